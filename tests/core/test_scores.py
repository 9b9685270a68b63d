"""Scores are those of scikit-learn, whatever the labels; calibration by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from cropmap_core.learning.scores import Scores, confusion_matrix, expected_calibration_error, reliability

CLASSES = 4
Pairs = list[tuple[int, int]]
pairs = st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=60)


def split(given_pairs: Pairs) -> tuple[np.ndarray, np.ndarray, Scores]:
    truth, predicted = np.array(given_pairs).T
    return truth, predicted, Scores(confusion_matrix(truth, predicted, CLASSES))


@given(pairs)
def test_confusion_is_that_of_scikit_learn(given_pairs: Pairs) -> None:
    truth, predicted, scores = split(given_pairs)
    expected = sklearn.metrics.confusion_matrix(truth, predicted, labels=range(CLASSES))
    np.testing.assert_array_equal(scores.confusion, expected)


@given(pairs)
def test_scores_of_classes_are_those_of_scikit_learn(given_pairs: Pairs) -> None:
    truth, predicted, scores = split(given_pairs)
    precision, recall, f1, support = sklearn.metrics.precision_recall_fscore_support(
        truth, predicted, labels=range(CLASSES), zero_division=0
    )
    np.testing.assert_allclose(scores.precision, precision)
    np.testing.assert_allclose(scores.recall, recall)
    np.testing.assert_allclose(scores.f1, f1)
    np.testing.assert_array_equal(scores.support, support)


@given(pairs)
def test_averages_are_those_of_scikit_learn(given_pairs: Pairs) -> None:
    truth, predicted, scores = split(given_pairs)
    there = np.unique(truth)
    for average in ("macro", "weighted"):
        found = [getattr(scores, f"{average}_{name}") for name in ("precision", "recall", "f1")]
        expected = sklearn.metrics.precision_recall_fscore_support(
            truth, predicted, labels=there, average=average, zero_division=0
        )[:3]
        np.testing.assert_allclose(found, expected)
    iou = sklearn.metrics.jaccard_score(truth, predicted, labels=there, average="macro", zero_division=0)
    assert scores.mean_iou == pytest.approx(iou)
    assert scores.overall_accuracy == pytest.approx(sklearn.metrics.accuracy_score(truth, predicted))


@given(pairs)
def test_kappa_is_that_of_scikit_learn(given_pairs: Pairs) -> None:
    truth, predicted, scores = split(given_pairs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = sklearn.metrics.cohen_kappa_score(truth, predicted)
    assert scores.kappa == pytest.approx(0.0 if np.isnan(expected) else expected)


def test_by_hand() -> None:
    """Three maize, one of them taken for grass, and one grass."""
    scores = Scores(np.array([[2, 1], [0, 1]]))
    assert scores.overall_accuracy == 0.75
    assert scores.precision.tolist() == [1.0, 0.5]
    assert scores.recall.tolist() == pytest.approx([2 / 3, 1.0])
    assert scores.f1.tolist() == pytest.approx([0.8, 2 / 3])
    assert scores.iou.tolist() == pytest.approx([2 / 3, 0.5])
    assert scores.kappa == pytest.approx(0.5)  # by chance half would be right: 3/4 of 1/2 and 1/4 of 1/2


def test_what_is_not_labelled_does_not_count() -> None:
    matrix = confusion_matrix(np.array([[0, -1], [1, -1]]), np.array([[0, 0], [0, 1]]), 2)
    assert matrix.tolist() == [[1, 0], [1, 0]]


def test_a_class_that_the_truth_lacks_costs_precision_and_is_no_part_of_the_mean() -> None:
    scores = Scores(np.array([[1, 0, 1], [0, 2, 0], [0, 0, 0]]))
    assert scores.macro_f1 == pytest.approx((2 / 3 + 1) / 2)


def test_scores_of_nothing_are_zero() -> None:
    scores = Scores(np.zeros((2, 2), np.int64))
    assert (scores.macro_f1, scores.weighted_f1, scores.overall_accuracy, scores.kappa) == (0, 0, 0, 0)


def test_calibration_error_by_hand() -> None:
    """Four predictions that are 0.9 sure, half of them right; two that are 0.3 sure, none right."""
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.3, 0.3])
    correct = np.array([True, True, False, False, False, False])
    assert expected_calibration_error(confidence, correct) == pytest.approx((4 * 0.4 + 2 * 0.3) / 6)


def test_a_bin_includes_its_upper_edge() -> None:
    table = reliability(np.array([0.0, 0.5, 0.6, 1.0]), np.ones(4, bool), bins=2)
    assert table.count.tolist() == [2, 2]


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=50), st.integers(1, 40))
def test_reliability_of_parts_adds_up(rows: list[tuple[float, bool]], at: int) -> None:
    confidence, correct = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    parts = reliability(confidence[:at], correct[:at]) + reliability(confidence[at:], correct[at:])
    whole = reliability(confidence, correct)
    np.testing.assert_array_equal(parts.count, whole.count)
    assert parts.expected_calibration_error == pytest.approx(whole.expected_calibration_error)


def test_perfect_calibration_has_no_error() -> None:
    """Of predictions that are as sure as 0.75, three in four are right."""
    assert expected_calibration_error(np.full(8, 0.75), np.array([True, True, True, False] * 2)) == pytest.approx(0)
