"""Confidence intervals by resampling groups: pixels of one parcel or place are no independent witnesses.

A group is drawn with all its pixels. Scores are made of sums over pixels, so a draw only sums counts of groups; what is
drawn are how many times each group counts.

References:
    Davison and Hinkley (1997), Bootstrap Methods and their Application, 3.8; percentile intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cropmap_core.evaluation.tallies import Tally, f1_by_class, overall_accuracy

DRAWS = 2000
FEW_GROUPS = 10
"""Of fewer groups intervals are a rough guess, usually too narrow."""
_AT_ONCE = 100
_PERCENT = (2.5, 97.5)

Floats = NDArray[np.float64]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Draws:
    """Scores of models in the same draws."""

    groups: int
    """That were drawn from."""
    overall_accuracy: Floats
    """Shape (M, D)."""
    macro_f1: Floats
    """Shape (M, D)."""
    f1: Floats
    """NaN where a draw has nothing of a class, shape (M, D, K)."""


def draw_scores(tallies: Sequence[Tally], seed: int, draws: int = DRAWS) -> Draws:
    """Draws groups with replacement, as many as there are, and scores each draw.

    A class that a draw has nothing of keeps its F1 in the macro average: left out, the rarest and hardest classes would
    be missing just from draws, and intervals would lie too high.

    Args:
        tallies: Of each model, by the same groups.
        seed: Of what is drawn.
        draws: D.
    """
    used = tallies[0].size > 0
    counts = np.stack([tally.counts[used] for tally in tallies], axis=1).astype(np.float64)  # (G, M, 3, K)
    groups = len(counts)
    random = np.random.default_rng(seed)
    whole = f1_by_class(counts.sum(axis=0))  # (M, K)
    oa, macro, f1 = [], [], []
    for start in range(0, draws, _AT_ONCE):
        times = np.stack(
            [
                np.bincount(random.integers(0, groups, groups), minlength=groups)
                for _ in range(min(_AT_ONCE, draws - start))
            ]
        )
        drawn = (times.astype(np.float64) @ counts.reshape(groups, -1)).reshape(len(times), *counts.shape[1:])
        oa.append(overall_accuracy(drawn))
        f1.append(f1_by_class(drawn))
        macro.append(np.nanmean(np.where(np.isnan(f1[-1]), whole, f1[-1]), axis=-1))
    return Draws(groups, np.concatenate(oa).T, np.concatenate(macro).T, np.concatenate(f1).swapaxes(0, 1))


def interval(draws: Floats) -> Interval | None:
    """The middle 95 % of draws; None where none has a number."""
    known = draws[np.isfinite(draws)]
    if not len(known):
        return None
    low, high = np.percentile(known, _PERCENT)
    return float(low), float(high)
