"""Why a parcel's record may be wrong: reasons with stable codes, by thresholds that a user may move."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import JobError

Floats = NDArray[np.float64]
_DIGITS = 6


class Doubt(IntFlag):
    """Reasons; their names are what records hold, in this order."""

    TOO_SMALL = 1
    MIXED = 2
    LOW_CONFIDENCE = 4
    FEW_OBSERVATIONS = 8
    EDGE = 16
    OUT_OF_DISTRIBUTION = 32
    NOT_COVERED = 64
    OVERLAP = 128


@dataclass(frozen=True)
class Thresholds:
    """From where on a record is doubted."""

    min_pixels: float = 10.0
    """TOO_SMALL with fewer observed pixels, or where the inward buffer left no pixel."""
    min_purity: float = 0.7
    """MIXED where the largest class covers a smaller share."""
    min_probability: float = 0.5
    """LOW_CONFIDENCE where `pred_prob` is less."""
    min_clear_dates: float = 4.0
    """FEW_OBSERVATIONS where the mean number of observed periods is less."""
    max_filled: float = 0.5
    """FEW_OBSERVATIONS also where a greater share of the series is filled."""
    max_edge: float = 0.5
    """EDGE where a greater share of what decides lies in pixels that the parcel's border cuts."""
    max_ood: float = 0.5
    """OUT_OF_DISTRIBUTION where a greater share of the pixels is."""
    min_covered: float = 0.8
    """NOT_COVERED where a smaller share of the parcel has a class."""
    max_overlap: float = 0.05
    """OVERLAP where a greater share of the parcel lies in other parcels."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, of_counts = getattr(self, field.name), field.name in ("min_pixels", "min_clear_dates")
            if value < 0 or (value > 1 and not of_counts):
                raise JobError(
                    f"{field.name.upper()} is {value:g}.",
                    "Give a number from 0 on." if of_counts else "Give a share from 0 to 1.",
                )


@dataclass(frozen=True)
class Grounds:
    """What decides on doubts, arrays of shape (n,); NaN where it is not known, which raises none."""

    pixels: Floats
    """Observed."""
    covered: Floats
    """Share of the parcel that has a class."""
    buffer_failed: NDArray[np.bool_]
    """Whether an inward buffer was asked for and left no pixel."""
    purity: Floats
    probability: Floats
    clear_dates: Floats
    filled: Floats
    edge: Floats
    """Share of what decides that lies in cut pixels."""
    ood: Floats
    overlap: Floats


def doubts_of(grounds: Grounds, thresholds: Thresholds) -> NDArray[np.int64]:
    """The reasons to doubt parcels.

    Args:
        grounds: Of n parcels.
        thresholds: From where on a doubt is raised.

    Returns:
        Sums of `Doubt`, shape (n,).
    """
    few = _below(grounds.clear_dates, thresholds.min_clear_dates) | _above(grounds.filled, thresholds.max_filled)
    found = {
        Doubt.TOO_SMALL: _below(grounds.pixels, thresholds.min_pixels) | grounds.buffer_failed,
        Doubt.MIXED: _below(grounds.purity, thresholds.min_purity),
        Doubt.LOW_CONFIDENCE: _below(grounds.probability, thresholds.min_probability),
        Doubt.FEW_OBSERVATIONS: few,
        Doubt.EDGE: _above(grounds.edge, thresholds.max_edge),
        Doubt.OUT_OF_DISTRIBUTION: _above(grounds.ood, thresholds.max_ood),
        Doubt.NOT_COVERED: _below(np.nan_to_num(grounds.covered), thresholds.min_covered),
        Doubt.OVERLAP: _above(grounds.overlap, thresholds.max_overlap),
    }
    reasons = np.zeros(len(grounds.pixels), dtype=np.int64)
    for doubt, raised in found.items():
        reasons += np.where(raised, int(doubt), 0)
    # Of what was never observed nothing else can be told but its size and place.
    only = int(Doubt.NOT_COVERED | Doubt.OVERLAP)
    return np.where(grounds.pixels > 0, reasons, reasons & only)


def reason_text(reasons: int) -> str:
    """The codes, in their order, between semicolons; empty without a doubt."""
    return ";".join(str(doubt.name) for doubt in Doubt if reasons & doubt)


def _below(values: Floats, limit: float) -> NDArray[np.bool_]:
    """Not a little below: rasters hold 32-bit numbers, which are a little off what they stand for."""
    return np.round(values, _DIGITS) < limit


def _above(values: Floats, limit: float) -> NDArray[np.bool_]:
    return np.round(values, _DIGITS) > limit
