"""Two models on the very same samples: which of them is right where the other is wrong, and by how much."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, chi2

from cropmap_core.evaluation.bootstrap import Draws, Interval, interval

EXACT_BELOW = 25
"""Disagreements; of more the chi-squared distribution is close enough."""


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of equal accuracy.

    References:
        McNemar (1947), Psychometrika 12(2); Edwards (1948), Psychometrika 13(3) for the continuity correction;
        Foody (2004), Photogrammetric Engineering & Remote Sensing 70(5) for maps.
    """

    only_first: int
    """Right by the first model alone."""
    only_second: int
    """Right by the second model alone."""

    @property
    def exact(self) -> bool:
        """Whether the binomial distribution is used, and not chi-squared with continuity correction."""
        return self.only_first + self.only_second < EXACT_BELOW

    @property
    def p_value(self) -> float:
        """How often equally good models would differ so much, two-sided, were samples independent."""
        disagreements = self.only_first + self.only_second
        if not disagreements:
            return 1.0
        if self.exact:
            return float(min(1.0, 2 * binom.cdf(min(self.only_first, self.only_second), disagreements, 0.5)))
        excess = max(0, abs(self.only_first - self.only_second) - 1)
        return float(chi2.sf(excess**2 / disagreements, 1))


@dataclass(frozen=True)
class Difference:
    """How much better the second model is, with its interval over draws of the same groups."""

    value: float
    interval: Interval | None
    better: float
    """Share of draws in which the second is better; equal draws count half."""


@dataclass(frozen=True)
class Comparison:
    """Two models."""

    first: int
    """Position of the model."""
    second: int
    pixels: McNemar
    parcels: McNemar | None
    macro_f1: Difference
    overall_accuracy: Difference


def difference(first: int, second: int, of: str, values: tuple[float, float], draws: Draws) -> Difference:
    """The difference of two models in a score.

    Args:
        first: Position of the one.
        second: Of the other.
        of: `macro_f1` or `overall_accuracy`.
        values: What the models have on all samples.
        draws: Of all models.
    """
    scores = getattr(draws, of)
    apart = scores[second] - scores[first]
    better = float(np.mean(apart > 0) + np.mean(apart == 0) / 2)
    return Difference(values[1] - values[0], interval(apart), better)
