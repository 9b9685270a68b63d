"""Labels are doubted where others know better, and not where nobody can."""

from __future__ import annotations

import numpy as np
import pytest

from cropmap_core.samples.pixel_series import PixelSeries
from cropmap_core.samples.suspicion import find_label_errors, find_outliers, out_of_fold_probabilities

VALUES = np.asarray([3, 7], np.int16)


def errors(probability: list[list[float]], label: list[int]) -> tuple[list[bool], list[int]]:
    found = find_label_errors(np.asarray(probability), np.asarray(label, np.int16), VALUES)
    return found.suspicious.tolist(), found.suggested.tolist()


def test_a_label_is_doubted_where_another_class_is_surer_than_it_usually_is() -> None:
    """Class 7 is usually given 0.8; the third sample is given 0.9, the fourth, of the same label, only 0.6."""
    probability = [[0.8, 0.2], [0.2, 0.8], [0.1, 0.9], [0.4, 0.6]]
    assert errors(probability, [3, 7, 3, 3]) == ([False, False, True, False], [0, 0, 7, 0])


def test_a_label_is_not_doubted_for_a_class_that_is_less_probable() -> None:
    """Class 7 is hardly ever recognised, so that 0.3 is much for it."""
    assert errors([[0.9, 0.1], [0.9, 0.1], [0.7, 0.3]], [7, 7, 3]) == ([True, True, False], [3, 3, 0])


def test_a_label_that_nobody_could_know_is_not_judged() -> None:
    """NaN: all samples of class 7 were held out together."""
    unknown = float("nan")
    assert errors([[0.9, 0.1], [0.9, 0.1], [1.0, unknown]], [3, 3, 7]) == ([False] * 3, [0] * 3)


def test_probabilities_of_classes_that_only_the_own_fold_holds_are_unknown() -> None:
    label = np.asarray([3, 3, 7, 3, 3, 7, 9, 9], np.int16)
    fold = np.asarray([0, 0, 0, 1, 1, 1, 1, 1], np.int8)
    reflectance = np.broadcast_to(label[:, None, None] / 10, (8, 2, 1)).astype(np.float32)
    series = PixelSeries(np.arange(8), label, np.full(8, -1), reflectance, np.ones((8, 2), bool), ("B04",), (0, 30))
    found = out_of_fold_probabilities(series, fold, np.asarray([3, 7, 9], np.int16), 0, lambda fraction: None)
    assert np.isnan(found[fold == 1, 2]).all()
    assert np.isfinite(found[fold == 0]).all()
    assert found[:, :2][[0, 3]].argmax(axis=1).tolist() == [0, 0]


@pytest.mark.parametrize("members", [19, 20])
def test_an_outlier_lies_far_from_its_class_if_that_has_enough_members(members: int) -> None:
    profiles = np.random.default_rng(0).normal(0.5, 0.05, (members, 6)).astype(np.float32)
    profiles[0] = -0.5
    far = find_outliers(profiles, np.full(members, 3, np.int16))
    assert (np.flatnonzero(far > 1).tolist(), np.isnan(far).all()) == (([0], False) if members == 20 else ([], True))
