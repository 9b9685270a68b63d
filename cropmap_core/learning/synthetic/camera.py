"""What the sensor sees of synthetic ground under a clear sky: mixed pixels, blur, the pattern inside fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from cropmap_core.learning.synthetic.growth import FIELD_SHARE, SOIL_SHARE, Growth, pattern
from cropmap_core.scenes.scl import SCL_CLASSES

SUBPIXELS = 4
"""Cells of the ground along each side of a 10 m pixel: it is drawn at 2.5 m."""
_BLUR_M = 5.0  # standard deviation of the point spread function beyond the pixel's own square


def resolution_m(band: str) -> int:
    """10 or 20 m."""
    return 10 if band in ("B02", "B03", "B04", "B08") else 20


class Camera:
    """Takes pictures of a growing landscape.

    Args:
        units: Unit of land (index into `growth`) of every cell, shape (H * SUBPIXELS, W * SUBPIXELS).
        growth: How the units grow.
        bands: Names of its bands.
        random: Decides the pattern that stays all season.
    """

    def __init__(
        self,
        units: NDArray[np.int32],
        growth: Growth,
        bands: Sequence[str],
        random: np.random.Generator,
    ) -> None:
        self._growth, self._bands = growth, bands
        self._shape = shape = (units.shape[0] // SUBPIXELS, units.shape[1] // SUBPIXELS)
        count = len(growth.delay_days)
        self._mixing = {metres: _mixing(units, count, metres) for metres in (10, 20)}
        self._greenness, self._brightness = _soil(shape, random), _soil(shape, random)

    def photograph(self, sensed: datetime, random: np.random.Generator) -> dict[str, NDArray[np.float32]]:
        """Clear-sky surface reflectance per band, at the band's own resolution."""
        typical, spread, least = self._growth.on(sensed.timetuple().tm_yday)
        fresh = np.sqrt(1 - FIELD_SHARE - SOIL_SHARE)
        # Haze that the atmospheric correction leaves or takes too much of, stronger in the blue.
        haze = random.normal(0, 0.004)
        ground = {}
        for channel, band in enumerate(self._bands):
            metres = resolution_m(band)
            shape = (self._shape[0] * 10 // metres, self._shape[1] * 10 // metres)
            mixing = self._mixing[metres]
            greenness, brightness = (_coarser(part, metres // 10) for part in (self._greenness, self._brightness))
            soil = pattern(greenness, brightness, band)
            deviation = np.sqrt(SOIL_SHARE) * soil + fresh * _smooth_noise(shape, 0.8, random)
            seen = mixing @ typical[:, channel] + (mixing @ spread[:, channel]) * deviation.ravel()
            seen = np.maximum(seen, mixing @ least[:, channel]).reshape(shape)
            seen = seen * random.normal(1, 0.015) + haze * {"B02": 1.0, "B03": 0.6, "B04": 0.4}.get(band, 0.1)
            ground[band] = seen.clip(0.001).astype(np.float32)
        return ground

    def ground_classes(self, ground: Mapping[str, NDArray[np.float32]]) -> NDArray[np.uint8]:
        """SCL classes of the clear ground at 20 m, decided by NDVI and brightness as the processor does."""
        green, red, infrared = (_coarser(ground[band], 2) for band in ("B03", "B04", "B08"))
        ndvi = (infrared - red) / (infrared + red)
        classes = np.where(ndvi > 0.35, SCL_CLASSES["vegetation"], SCL_CLASSES["bare_soil"]).astype(np.uint8)
        classes[(ndvi > 0.2) & (ndvi < 0.27)] = SCL_CLASSES["unclassified"]
        classes[(infrared < 0.08) & (green > infrared)] = SCL_CLASSES["water"]
        return classes


def _mixing(units: NDArray[np.int32], count: int, metres: int) -> sparse.csr_matrix:
    """Share of every unit in every pixel, seen through the point spread function; shape (pixels, units)."""
    cells = metres * SUBPIXELS // 10
    reach = int(2 * _BLUR_M / 10 * SUBPIXELS)
    cell_m = 10 / SUBPIXELS
    # The pixel's square convolved with a Gaussian, sampled at the cells.
    profile = np.zeros(cells + 2 * reach)
    profile[reach : reach + cells] = 1
    weights = ndimage.gaussian_filter1d(profile, _BLUR_M / cell_m, mode="constant")
    padded = np.pad(units, reach, mode="edge")
    rows, cols = units.shape[0] // cells, units.shape[1] // cells
    pixels = np.arange(rows * cols, dtype=np.int32)
    mixing = sparse.csr_matrix((rows * cols, count))
    for row, row_weight in enumerate(weights):
        window = padded[row : row + rows * cells : cells]
        taken = [window[:, col : col + cols * cells : cells].ravel() for col in range(len(weights))]
        shares = np.repeat(weights * row_weight, rows * cols)
        mixing += sparse.csr_matrix((shares, (np.tile(pixels, len(weights)), np.concatenate(taken))), mixing.shape)
    return sparse.csr_matrix(mixing / weights.sum() ** 2)


def _soil(shape: tuple[int, int], random: np.random.Generator) -> NDArray[np.float64]:
    """A pattern that stays all season: soil and moisture at two scales, standard normal."""
    field = sum(weight * _smooth_noise(shape, radius, random) for weight, radius in ((1, 8), (0.6, 2.5), (0.4, 0.6)))
    return np.asarray(field / np.std(field)).clip(-2.5, 2.5)


def _smooth_noise(shape: tuple[int, int], radius: float, random: np.random.Generator) -> NDArray[np.float64]:
    noise = ndimage.gaussian_filter(random.normal(size=shape), radius, mode="wrap")
    return np.asarray(noise / noise.std())


def _coarser(pixels: NDArray[Any], factor: int) -> NDArray[Any]:
    rows, cols = pixels.shape[0] // factor, pixels.shape[1] // factor
    return np.asarray(pixels.reshape(rows, factor, cols, factor).mean((1, 3)))
