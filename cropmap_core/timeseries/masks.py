"""What counts as clear: the scene classification, an own mask, and care for the edges of clouds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil, floor, isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import JobError, MissingBandError
from cropmap_core.io.grid import Window
from cropmap_core.io.outputs import BLOCK_SIZE as TILE_SIZE
from cropmap_core.scenes.scl import SCL_CLASSES, keep_table
from cropmap_core.timeseries.kernels import compiled, over_dates
from cropmap_core.timeseries.series import NODATA, SCL, Block, Mask, Series, Values, read_bands

CLOUD_CLASSES = ("cloud_shadow", "cloud_medium", "cloud_high", "cirrus")
"""SCL classes that DILATE_CLOUD and SPECK are about, as far as they are not kept."""
MOST_PIXELS = 250
"""Longest distance that clouds may be dilated by, and largest speck, in pixels."""


@dataclass(frozen=True)
class ClearSky:
    """A rule that says which observations are clear.

    Specks of cloud, and specks of clear sky between clouds, are taken for what surrounds them; then clouds are dilated.
    """

    keep_classes: tuple[str, ...]
    """Names of the SCL classes that count as clear."""
    dilate_cloud_m: int = 0
    """Clear pixels whose centre is this close to that of a cloud or cloud shadow pixel, in metres, are masked too."""
    speck_m: int = 0
    """Patches into which no square of this width, in metres, fits are specks."""
    mask_band: str | None = None
    """A band of the series that is not 0 where there is a cloud that SCL may not know."""

    def check(self, source: Series) -> None:
        """Refuses what does not fit a series.

        Raises:
            JobError: A class cannot be kept, or a distance is negative or very long.
            MissingBandError: The series has neither SCL nor a mask band, lacks the one that is named, or has no other.
        """
        keep_table(self.keep_classes)
        if self.mask_band is not None and self.mask_band not in source.bands:
            raise MissingBandError(
                [self.mask_band], "the time series", f"Choose MASK_BAND from {', '.join(source.bands)}."
            )
        if self.mask_band is None and SCL not in source.bands:
            raise MissingBandError(
                [SCL], "the time series", "Stack the scenes with their SCL files, or give MASK_BAND."
            )
        if not self.bands_of(source):
            raise MissingBandError(["reflectance"], "the time series", "It holds nothing but masks.")
        longest = floor(MOST_PIXELS * source.grid.resolution_m)
        for name, metres in (("DILATE_CLOUD", self.dilate_cloud_m), ("SPECK", self.speck_m)):
            if not 0 <= metres <= longest:
                raise JobError(f"{name} is {metres}.", f"Give 0 to {longest} metres.")

    def without_effect(self, resolution_m: float) -> tuple[str, ...]:
        """Which of DILATE_CLOUD and SPECK are given but reach no other pixel."""
        reaches = {
            "DILATE_CLOUD": (self.dilate_cloud_m, self.dilate_cloud_m >= resolution_m),
            "SPECK": (self.speck_m, self._square(resolution_m) > 1),
        }
        return tuple(name for name, (metres, reaching) in reaches.items() if metres and not reaching)

    def bands_of(self, source: Series) -> tuple[str, ...]:
        """The bands of a series that are masked, not those that mask."""
        return tuple(band for band in source.bands if band not in (SCL, self.mask_band))

    def halo(self, resolution_m: float) -> int:
        """Pixels around a window that decide on those in it."""
        square = self._square(resolution_m)
        return 2 * (square - 1) + floor(self.dilate_cloud_m / resolution_m)

    def working_bytes(self, source: Series) -> int:
        """Bytes for each pixel and date of a block, one tile of a file at least, that `read` takes besides it."""
        halo = self.halo(source.grid.resolution_m)
        if not halo:
            return 0
        masking = len(self._masking_bands(source)) * source.dtype.itemsize
        return ceil((masking + 3) * (1 + 2 * halo / TILE_SIZE) ** 2)  # cloud, unknown, and one on the way to them

    def read(self, source: Series, window: Window) -> tuple[Block, Mask]:
        """Reads a window of a series.

        Returns:
            All of its bands, and what of it is clear, bool, shape (T, H, W).
        """
        block = source.read(window)
        masking = {name: block.data[:, source.bands.index(name)] for name in self._masking_bands(source)}
        halo = self.halo(source.grid.resolution_m)
        if not halo:
            clear = block.valid
            if SCL in masking:
                clear = clear & _is_one_of(masking[SCL], self.keep_classes)
            return block, clear if self.mask_band is None else clear & (masking[self.mask_band] == 0)
        outer = window.expanded(halo)
        around = read_bands(source, outer, tuple(masking))
        cloud, unknown = self._clouds({name: around[:, channel] for channel, name in enumerate(masking)})
        rows, cols = window.slices_within(outer)
        clear = block.valid & ~self._cared_for(cloud, unknown, source.grid.resolution_m)[:, rows, cols]
        if SCL in masking:
            clear &= _is_one_of(masking[SCL], (*self.keep_classes, *self._cloud_classes))
        return block, clear

    def _masking_bands(self, source: Series) -> tuple[str, ...]:
        return tuple(band for band in source.bands if band in (SCL, self.mask_band))

    @property
    def _cloud_classes(self) -> tuple[str, ...]:
        return tuple(name for name in CLOUD_CLASSES if name not in self.keep_classes)

    def _clouds(self, masking: Mapping[str, Values]) -> tuple[Mask, Mask]:
        """Where there is a cloud before any care is taken, and where nobody knows."""
        shape = next(iter(masking.values())).shape
        cloud, unknown = np.zeros((2, *shape), dtype=bool)
        if SCL in masking:
            cloud |= _is_one_of(masking[SCL], self._cloud_classes)
            unknown |= masking[SCL] <= SCL_CLASSES["nodata"]
        if self.mask_band is not None:
            own = masking[self.mask_band]
            cloud |= (own != 0) & (own != NODATA)
            unknown |= own == NODATA
        return cloud, unknown

    def _cared_for(self, cloud: Mask, unknown: Mask, resolution_m: float) -> Mask:
        """The cloud mask without specks, and dilated."""
        square, reach = self._square(resolution_m), _reach(self.dilate_cloud_m / resolution_m)
        masked = np.empty_like(cloud)

        def care(time: int) -> None:
            mask = _without_specks(cloud[time], unknown[time], square)
            mask = ~_without_specks(~mask, unknown[time], square)
            _dilate(mask, reach, masked[time])

        over_dates(care, len(cloud))
        return masked

    def _square(self, resolution_m: float) -> int:
        """Width of the smallest patch that is no speck, in pixels."""
        return max(1, ceil(self.speck_m / resolution_m))


def _is_one_of(scl: Values, names: Iterable[str]) -> Mask:
    """Where a scene classification, shape (T, H, W), is of one of some classes."""
    classes = sum(1 << int(value) for value in np.flatnonzero(keep_table(names)))
    out = np.empty(scl.shape, dtype=bool)

    def look_up(time: int) -> None:
        _look_up(np.ascontiguousarray(scl[time]), classes, out[time])

    over_dates(look_up, len(scl))
    return out


@compiled
def _look_up(scl: Any, classes: int, out: Any) -> None:
    """Whether the bit of a class is set in `classes`; of classes from 16 on, and negative ones, none is."""
    for row in range(scl.shape[0]):
        for col in range(scl.shape[1]):
            value = np.int32(np.uint16(scl[row, col]))
            out[row, col] = (((np.int32(classes) >> (value & 15)) & 1) != 0) & (value < 16)


def _without_specks(mask: Mask, unknown: Mask, square: int) -> Mask:
    """Opening by a square: what is left of a mask where squares fit into it; what is unknown hinders none.

    Args:
        mask: bool, shape (H, W).
        unknown: Where nobody knows, bool, shape (H, W).
        square: Width of the square in pixels.
    """
    if square == 1:
        return mask
    fits = mask | unknown  # and, step by step, where the square's upper left corner may lie
    for axis in (0, 1):
        fits = ~_any_of(~fits, square, axis)
    covered = np.pad(fits, square - 1)
    for axis in (0, 1):
        covered = _any_of(covered, square, axis)
    return covered & mask


def _any_of(mask: Mask, length: int, axis: int) -> Mask:
    """Whether any of `length` pixels from each one on is set; the axis gets shorter by length - 1."""
    reached = 1
    while reached < length and mask.shape[axis]:
        step = min(reached, length - reached)
        here, there = [slice(None)] * 2, [slice(None)] * 2
        here[axis], there[axis] = slice(None, max(0, mask.shape[axis] - step)), slice(step, None)
        mask = mask[tuple(here)] | mask[tuple(there)]
        reached += step
    return mask


def _reach(radius: float) -> NDArray[np.uint8]:
    """Rows up and down that a disc covers, by the distance of the column from its centre, in pixels."""
    most = floor(radius)
    return np.array([isqrt(floor(radius * radius) - cols * cols) for cols in range(most + 1)], dtype=np.uint8)


@compiled
def _dilate(mask: Any, reach: Any, out: Any) -> None:
    """Dilates a plane, bool, shape (H, W), by the disc that `reach` describes.

    Each column tells how far up or down its next set pixel is; a pixel then looks at the columns to both sides.
    """
    height, width = mask.shape
    far = np.uint8(reach[0] + 1)
    away = np.empty((height, width), dtype=np.uint8)
    for row in range(height):
        for col in range(width):
            above = away[row - 1, col] if row else far
            away[row, col] = np.uint8(0) if mask[row, col] else min(far, np.uint8(above + 1))
    for row in range(height - 2, -1, -1):
        for col in range(width):
            away[row, col] = min(away[row, col], np.uint8(away[row + 1, col] + 1))
    out[:] = False
    for row in range(height):
        for side in range(min(reach.size, width)):
            for col in range(width - side):  # two loops: one that wrote to both places could not be vectorised
                out[row, col] |= away[row, col + side] <= reach[side]
            for col in range(width - side):
                out[row, col + side] |= away[row, col] <= reach[side]
