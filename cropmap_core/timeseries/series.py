"""What every step of the chain is: a time series on a grid, read window by window.

Scenes, composites, filled series and series with indices are all `Series`. Each wraps the one before it and computes
only the window that is asked for, so the whole chain streams, with or without files between its steps.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import MissingBandError
from cropmap_core.io.grid import Grid, Window

REFLECTANCE_SCALE = 0.0001
"""Reflectance of one digital number in an int16 series."""
NODATA = -32768
"""Marks missing values in int16 series; float32 series use NaN."""
SCL = "SCL"
"""Name of the scene classification among the bands of a series."""

Values = NDArray[Any]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Block:
    """The pixels of one window, all dates at once.

    Missing values hold the series' nodata (so that a file carries them), but only `valid` says what may be used.
    """

    data: Values
    """int16 (reflectance x 10000) or float32 (reflectance 0-1, indices), shape (T, C, H, W)."""
    valid: Mask
    """True where all bands are present, shape (T, H, W)."""

    def __post_init__(self) -> None:
        times, _, height, width = self.data.shape
        if self.valid.shape != (times, height, width):
            raise ValueError(f"valid has shape {self.valid.shape}, data {self.data.shape}")


class Series(Protocol):
    """A time series of rasters on one grid."""

    @property
    def grid(self) -> Grid:
        """CRS, transform and shape."""
        ...

    @property
    def dates(self) -> tuple[date, ...]:
        """Acquisition dates, or first days of periods, ascending."""
        ...

    @property
    def bands(self) -> tuple[str, ...]:
        """Band and index names, the channels of a block in order."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """int16 or float32."""
        ...

    @property
    def period(self) -> str | None:
        """Name of the compositing period, None for single acquisitions."""
        ...

    @property
    def span(self) -> tuple[date, date]:
        """First and last day that the series stands for, inclusive."""
        ...

    def read(self, window: Window) -> Block:
        """The pixels of a window; beyond the grid nothing is valid. The arrays are the caller's own, to change too."""
        ...


@dataclass(frozen=True)
class Derived:
    """What steps of the chain have in common: all but what they change is their source's."""

    source: Series

    @property
    def grid(self) -> Grid:
        return self.source.grid

    @property
    def dates(self) -> tuple[date, ...]:
        return self.source.dates

    @property
    def bands(self) -> tuple[str, ...]:
        return self.source.bands

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.source.dtype

    @property
    def period(self) -> str | None:
        return self.source.period

    @property
    def span(self) -> tuple[date, date]:
        return self.source.span

    @property
    def source_dates_at_once(self) -> int:
        """How many dates of the source are in memory while a window is read."""
        return len(self.source.dates)


@dataclass(frozen=True)
class SelectedBands(Derived):
    """A series with only some of its bands, in a given order."""

    chosen: tuple[str, ...]
    name: str = "the time series"

    def __post_init__(self) -> None:
        missing = [band for band in self.chosen if band not in self.source.bands]
        if missing:
            raise MissingBandError(missing, self.name, f"It holds {', '.join(self.source.bands)}.")

    @property
    def bands(self) -> tuple[str, ...]:
        return self.chosen

    def read(self, window: Window) -> Block:
        block = self.source.read(window)
        data = block.data[:, channels_of(self.source.bands, self.chosen)]
        return Block(data, present(data, self.chosen))


@dataclass(frozen=True)
class SelectedDates(Derived):
    """A series with only the dates from `first` to `last`, both inclusive."""

    first: date
    last: date

    @property
    def dates(self) -> tuple[date, ...]:
        return tuple(day for day in self.source.dates if self.first <= day <= self.last)

    @property
    def span(self) -> tuple[date, date]:
        return self.first, self.last

    def read(self, window: Window) -> Block:
        block = self.source.read(window)
        return Block(block.data[self._chosen], block.valid[self._chosen])

    def read_bands(self, window: Window, bands: Sequence[str]) -> Values:
        return read_bands(self.source, window, bands)[self._chosen]

    def of_dates(self, chosen: slice) -> Series:
        first = self._chosen.start
        return split(self.source, slice(first + chosen.start, first + chosen.stop))

    @property
    def _chosen(self) -> slice:
        return slice(bisect_left(self.source.dates, self.first), bisect_right(self.source.dates, self.last))


@runtime_checkable
class SplitByDate(Protocol):
    """A series whose dates can be read apart, by several threads: that of single acquisitions, or of a file."""

    def of_dates(self, chosen: slice) -> Series:
        """The series with only some of its dates, by position."""
        ...


def can_be_split(series: Series) -> bool:
    """Whether some dates of a series can be read without the others."""
    if isinstance(series, SelectedDates):
        return can_be_split(series.source)
    return isinstance(series, SplitByDate)


def split(series: Series, chosen: slice) -> Series:
    """Some dates of a series that can be split.

    Raises:
        ValueError: It cannot.
    """
    if not isinstance(series, SplitByDate) or not can_be_split(series):
        raise ValueError(f"{type(series).__name__} cannot be read date by date")
    return series.of_dates(chosen)


@runtime_checkable
class NeedsWorkingMemory(Protocol):
    """A series that reads or computes more than the blocks that it returns."""

    def working_bytes(self, dates: int) -> int:
        """Most bytes for each pixel of a window that reading so many dates takes besides their block."""
        ...


@runtime_checkable
class BandReader(Protocol):
    """A series that can read some of its bands alone."""

    def read_bands(self, window: Window, bands: Sequence[str]) -> Values:
        """The values of some bands, shape (T, len(bands), H, W); beyond the grid nodata."""
        ...


def read_bands(series: Series, window: Window, bands: Sequence[str]) -> Values:
    """The values of some bands of a series, shape (T, len(bands), H, W); others are read only where that must be."""
    if isinstance(series, BandReader):
        return series.read_bands(window, bands)
    return series.read(window).data[:, channels_of(series.bands, bands)]


def channels_of(bands: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Positions of the wanted bands among `bands`."""
    return [bands.index(name) for name in wanted]


def present(data: Values, bands: Sequence[str]) -> Mask:
    """Where every band but SCL has a value.

    Args:
        data: int16 with `NODATA`, or float32 with NaN, shape (T, C, H, W).
        bands: Names of the C channels.

    Returns:
        bool, shape (T, H, W).
    """
    channels = [index for index, name in enumerate(bands) if name != SCL]
    valid = np.ones((data.shape[0], *data.shape[2:]), dtype=bool)
    for channel in channels:  # one channel at a time: no temporary of the whole block
        values = data[:, channel]
        valid &= np.isfinite(values) if data.dtype.kind == "f" else values != NODATA
    return valid


def empty_block(times: int, bands: int, window: Window, dtype: np.dtype[Any]) -> Values:
    """An array of nodata for a window, shape (T, C, H, W)."""
    fill = np.nan if dtype.kind == "f" else NODATA
    return np.full((times, bands, window.height, window.width), fill, dtype=dtype)
