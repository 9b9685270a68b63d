"""Which class a parcel is of, which one comes next, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cropmap_core.parcels.tallies import Counts, mean_of

Floats = NDArray[np.float64]
SAME = 1e-9
"""Pixels or probabilities closer than that are equal."""


class Ranking(NamedTuple):
    """What speaks for classes in n parcels."""

    codes: NDArray[np.int64]
    """Class values of the columns, ascending."""
    first: Floats
    """Decides, shape (n, C)."""
    second: Floats
    """Decides where that is equal."""
    probability: Floats
    """Mean probability, or what is known of it."""


class Choice(NamedTuple):
    """A class for each of n parcels."""

    code: Floats
    """NaN where there is none."""
    probability: Floats


def rank_by_probability(codes: Sequence[int], counts: Counts, known: Sequence[int], mean: Floats) -> Ranking:
    """By mean probability, then by area.

    Args:
        codes: Class values of the columns of the counts.
        counts: As `Tally.count` gives them.
        known: Class values that there are probabilities of.
        mean: Their means, shape (n, len(known)).
    """
    at = {code: column for column, code in enumerate(codes)}
    none = np.zeros(len(mean))
    area = np.stack([counts["area"][:, at[code]] if code in at else none for code in known], axis=1)
    order = np.argsort(np.asarray(known))
    probability = np.nan_to_num(mean)[:, order]
    return Ranking(np.asarray(known, dtype=np.int64)[order], probability, area[:, order], probability)


def rank_by_area(codes: Sequence[int], counts: Counts, known: Sequence[int], mean: Floats | None) -> Ranking:
    """By area, then by confidence.

    The probability is the mean one where it is known, else the mean of the confidence in the class, where pixels of
    other classes count 0: a lower bound of it (docs/decisions/0003-confidence-and-pred-prob.md).

    Args:
        codes: Class values of the columns of the counts.
        counts: As `Tally.count` gives them.
        known: Class values that there are probabilities of.
        mean: Their means, shape (n, len(known)); None without probabilities.
    """
    support = counts["support"]
    probability = support / np.maximum(counts["pixels"][:, 1:2], SAME)
    if mean is not None:
        for column, code in enumerate(codes):
            if code in known:
                probability[:, column] = np.nan_to_num(mean[:, known.index(code)])
    values = np.asarray(codes, dtype=np.int64)
    order = np.argsort(values)
    return Ranking(values[order], counts["area"][:, order], support[:, order], probability[:, order])


def first_two(ranking: Ranking, seen: NDArray[np.bool_]) -> tuple[Choice, Choice]:
    """The class that comes first and the one that comes second; none that nothing speaks for.

    Args:
        ranking: Of n parcels.
        seen: Whether anything was observed in them, shape (n,).
    """
    left = ranking.first.copy()
    choices = []
    for _ in range(2):
        if not len(ranking.codes):
            none = np.full(len(seen), np.nan)
            choices.append(Choice(none, none))
            continue
        best = _best(left, ranking.second)
        at = np.arange(len(best)), best
        there = seen & (left[at] > 0)
        choices.append(
            Choice(np.where(there, ranking.codes[best], np.nan), np.where(there, ranking.probability[at], np.nan))
        )
        left[at] = -np.inf
    return choices[0], choices[1]


def entropy(probability: Floats) -> Floats:
    """Shannon's entropy by the greatest that it can be: 0 where one class is sure, 1 where all are alike.

    Args:
        probability: Shape (n, C); NaN where it is unknown.

    Returns:
        Shape (n,).
    """
    share = mean_of(probability, probability.sum(axis=1, keepdims=True))
    if share.shape[1] < 2:
        return np.where(np.isnan(share[:, 0]), np.nan, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(share > 0, share * np.log(share), share * 0)
    spread: Floats = -terms.sum(axis=1) / np.log(share.shape[1])
    return spread


def _best(first: Floats, second: Floats) -> NDArray[np.int64]:
    """The column with the greatest value; of equal ones that with the greatest second value, then the first."""
    equal = first >= first.max(axis=1, keepdims=True) - SAME
    best: NDArray[np.int64] = np.where(equal, np.round(second, 9), -np.inf).argmax(axis=1)
    return best
