"""Samples of two: mixed pixels, and series of no crop."""

from __future__ import annotations

import numpy as np
import pytest

from cropmap_core.classes import CropClass
from cropmap_core.learning.mingling import Mingled, mingle, position_of_other, unmingled

CLASSES = tuple(CropClass(k, name, "#000000") for k, name in enumerate(("Maize", "Rice", "Others"), start=1))
COUNT, TIMES = 400, 10


def batch() -> Mingled:
    """Samples whose values tell the source (thousands), the class (hundreds) and the date."""
    target = np.arange(COUNT) % 3
    source = np.arange(COUNT) % 2
    values = 5000 * source[:, None] + 1000 * target[:, None] + np.arange(TIMES)
    valid = np.ones((COUNT, TIMES, 1, 1), bool)
    valid[::5, 3] = False
    return unmingled(values.astype(np.int16)[:, :, None, None, None], valid, target[:, None, None])


SOURCE = (np.arange(COUNT) % 2).astype("U1")


def test_nothing_is_mingled_without_a_share() -> None:
    samples = batch()
    same = mingle(samples, SOURCE, 2, 0, 0, np.random.default_rng(0))
    np.testing.assert_array_equal(same.data, samples.data)
    np.testing.assert_array_equal(same.target, samples.target)
    assert not same.outlier.any()


def test_mixed_pixels_are_of_one_source_and_keep_class_and_validity() -> None:
    samples = batch()
    mixed = mingle(samples, SOURCE, 2, 1, 0, np.random.default_rng(0))
    np.testing.assert_array_equal(mixed.target, samples.target)
    np.testing.assert_array_equal(mixed.valid, samples.valid)
    assert not mixed.outlier.any()
    np.testing.assert_array_equal(mixed.data[~samples.valid], samples.data[~samples.valid])
    assert ((mixed.data >= 5000).all(axis=(1, 2, 3, 4)) == (SOURCE == "1")).all()
    part = np.abs(mixed.data[..., 0, 0, 0].astype(int) - samples.data[..., 0, 0, 0])
    assert part.max() <= 0.45 * 2000 + 1  # of a sample two classes away
    assert (part.max(axis=1) > 90).mean() > 0.3


def test_outliers_change_to_another_class_of_their_source_in_mid_season() -> None:
    samples = batch()
    found = mingle(samples, SOURCE, 2, 0, 0.5, np.random.default_rng(0))
    assert 0.05 < found.outlier.mean() < 0.4
    assert (found.target[found.outlier] == 2).all()
    np.testing.assert_array_equal(found.data[~found.outlier], samples.data[~found.outlier])
    np.testing.assert_array_equal(found.target[~found.outlier], samples.target[~found.outlier])
    data = found.data[found.outlier][..., 0, 0, 0].astype(int)
    np.testing.assert_array_equal(data[:, :3], samples.data[found.outlier][:, :3, 0, 0, 0])
    of_class = data % 5000 // 1000
    changes = (np.diff(of_class, axis=1) != 0).sum(axis=1)
    assert (changes == 1).all()
    assert ((data >= 5000).all(axis=1) == (SOURCE[found.outlier] == "1")).all()


def test_no_outliers_where_nothing_stands_for_what_is_unknown() -> None:
    found = mingle(batch(), SOURCE, None, 0, 1, np.random.default_rng(0))
    assert not found.outlier.any()


@pytest.mark.parametrize("times", [1, 2, 3])
def test_short_seasons(times: int) -> None:
    samples = batch()
    some = unmingled(samples.data[:, :times], samples.valid[:, :times], samples.target)
    assert mingle(some, SOURCE, 2, 0.5, 0.5, np.random.default_rng(0)).data.shape == some.data.shape


def test_the_class_of_all_others_goes_by_its_name() -> None:
    assert position_of_other(CLASSES) == 2
    assert position_of_other(CLASSES[:2]) is None
