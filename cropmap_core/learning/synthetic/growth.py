"""How the reflectance of synthetic fields runs through a year, after the signatures of a model bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

FIELD_SHARE, SOIL_SHARE = 0.65, 0.25
"""Shares of a class's variance that lie between fields, and in the fixed pattern inside them; scenes add the rest."""
_SIGMAS_PER_QUARTILE = 1 / 0.6745  # of a normal distribution
_MEMORY = 0.75  # correlation of a field's deviation from one month to the next
_DAYS_PER_MONTH = 365.25 / 12

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
"""The bands that a synthetic season can have."""
_GREENING = dict(zip(BANDS, (-1, -1, -1, -1, 1, 1, 1, 1, -1, -1), strict=True))
"""What more leaves do to a band."""

_COVERS = {
    "verge": (
        (0.035, 0.065, 0.045, 0.110, 0.260, 0.310, 0.330, 0.350, 0.220, 0.130),
        (0.050, 0.075, 0.075, 0.130, 0.200, 0.220, 0.240, 0.260, 0.270, 0.180),
    ),
    "tree": (
        (0.022, 0.043, 0.023, 0.075, 0.240, 0.300, 0.320, 0.330, 0.150, 0.070),
        (0.035, 0.050, 0.050, 0.085, 0.130, 0.150, 0.165, 0.180, 0.170, 0.100),
    ),
    "road": ((0.100, 0.112, 0.122, 0.132, 0.140, 0.145, 0.150, 0.155, 0.170, 0.155),) * 2,
    "water": ((0.035, 0.045, 0.030, 0.028, 0.022, 0.022, 0.020, 0.020, 0.010, 0.007),) * 2,
    "yard": ((0.105, 0.125, 0.140, 0.160, 0.190, 0.205, 0.215, 0.225, 0.250, 0.220),) * 2,
    "roof": ((0.140, 0.155, 0.190, 0.200, 0.210, 0.215, 0.220, 0.220, 0.250, 0.230),) * 2,
}
"""Reflectance of what is no field, in leaf and out of leaf, in the order of `BANDS`."""


@dataclass(frozen=True)
class Growth:
    """Monthly reflectance of every unit of land (first the fields, then the other covers), U of them."""

    typical: Values
    """Reflectance of each unit in the middle of each month, shape (U, C, 12)."""
    spread: Values
    """Standard deviation of its class then, shape (U, C, 12)."""
    least: Values
    """No pixel falls below, shape (U, C, 12): a normal distribution's tail would leave the real range."""
    delay_days: Values
    """How much later than its class each unit is, shape (U,)."""

    def on(self, day_of_year: int) -> tuple[Values, Values, Values]:
        """`typical`, `spread` and `least` of every unit on a day, each of shape (U, C)."""
        position = (day_of_year - 1 - self.delay_days) / _DAYS_PER_MONTH - 0.5
        before = np.floor(position).astype(int)
        weight = (position - before)[:, None]
        units = np.arange(len(position))
        typical, spread, least = (
            values[units, :, before % 12] * (1 - weight) + values[units, :, (before + 1) % 12] * weight
            for values in (self.typical, self.spread, self.least)
        )
        return typical, spread, least


def grow(
    quartiles: Values,
    crops: Sequence[int],
    covers: Sequence[str],
    bands: Sequence[str],
    random: np.random.Generator,
) -> Growth:
    """Draws every field's year from its crop's signature.

    A field deviates from the median by a slowly changing greenness (which lowers the visible and short-wave bands where
    it raises the near infrared), brightness, and a little of its own per band; together they spread as a normal
    distribution between the quartiles, which need not lie evenly about the median.

    Args:
        quartiles: Reflectance per crop, band, month and quartile (25, 50, 75 %), shape (K, C, 12, 3).
        crops: Crop of each field.
        covers: Land covers that follow the fields, from `_COVERS`.
        bands: Names of the C bands.
        random: Decides the deviations.

    Returns:
        The growth of the fields and covers.
    """
    own = quartiles[np.asarray(crops, int)]
    low, median, high = (own[..., index] for index in range(3))
    share = np.sqrt(FIELD_SHARE)
    deviation = share * deviations(len(crops), bands, random).clip(-2, 2) * _SIGMAS_PER_QUARTILE
    fields = median + np.where(deviation > 0, deviation * (high - median), deviation * (median - low))
    least = np.maximum(low - 0.5 * (high - low), 0.5 * low)
    spread = (high - low) / 2 * _SIGMAS_PER_QUARTILE

    leafiness = np.array([0.0, 0.0, 0.1, 0.45, 0.9, 1.0, 1.0, 0.95, 0.85, 0.6, 0.2, 0.0])
    channels = [BANDS.index(band) for band in bands]
    others = np.array([_COVERS[name] for name in covers])[:, :, channels]  # (covers, in and out of leaf, C)
    others = others[:, 0, :, None] * leafiness + others[:, 1, :, None] * (1 - leafiness)
    return Growth(
        typical=np.concatenate([np.maximum(fields, least), others]),
        spread=np.concatenate([spread, 0.12 * others]),
        least=np.concatenate([least, 0.6 * others]),
        delay_days=np.concatenate([random.normal(0, 4, len(crops)), np.zeros(len(covers))]),
    )


def deviations(count: int, bands: Sequence[str], random: np.random.Generator) -> Values:
    """Standard normal deviations that remember the month before and move bands together, shape (count, C, 12)."""
    steps = random.normal(size=(count, len(bands) + 2, 12))
    for month in range(1, 12):
        steps[..., month] = _MEMORY * steps[..., month - 1] + np.sqrt(1 - _MEMORY**2) * steps[..., month]
    sign = np.array([_GREENING[band] for band in bands])[:, None]
    together = 0.6**0.5 * sign * steps[:, :1] + 0.32**0.5 * steps[:, 1:2]
    return np.asarray(together + 0.08**0.5 * steps[:, 2:])


def pattern(greenness: Values, brightness: Values, band: str) -> Values:
    """The deviation of a band that goes with deviations in greenness and brightness, standard normal like them."""
    return np.asarray(0.7**0.5 * _GREENING[band] * greenness + 0.3**0.5 * brightness)
