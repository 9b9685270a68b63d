"""A time series without files: the numbers of an example, as a step of the chain reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import ArrayLike, NDArray

from cropmap_core.io.grid import Grid, Window
from cropmap_core.timeseries.series import Block, Mask, Series, Values, empty_block, present
from tests.factories import CRS, ORIGIN


def grid(height: int, width: int, resolution_m: float = 10) -> Grid:
    """A grid at the corner where the factories put their scenes."""
    return Grid(CRS, Affine(resolution_m, 0, ORIGIN[0], 0, -resolution_m, ORIGIN[1]), width, height)


@dataclass(frozen=True)
class SeriesInMemory:
    """A series whose values stand in an array."""

    values: Values
    """int16 or float32, shape (T, C, H, W)."""
    bands: tuple[str, ...]
    dates: tuple[date, ...]
    period: str | None = None

    @property
    def grid(self) -> Grid:
        return grid(*self.values.shape[2:])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values.dtype

    @property
    def span(self) -> tuple[date, date]:
        return self.dates[0], self.dates[-1]

    def read(self, window: Window) -> Block:
        data = empty_block(len(self.dates), len(self.bands), window, self.dtype)
        inner = window.clipped(self.grid.height, self.grid.width)
        rows, cols = inner.slices_within(window)
        if inner.height and inner.width:
            own_rows, own_cols = inner.slices_within(self.grid.window())
            data[:, :, rows, cols] = self.values[:, :, own_rows, own_cols]
        return Block(data, present(data, self.bands))


def pixel_series(bands: Sequence[str], rows: Sequence[ArrayLike], dates: Sequence[str], **more: Any) -> SeriesInMemory:
    """A series of one pixel, `rows` holding the bands' int16 values date by date."""
    values = np.asarray(rows, dtype=np.int16)[:, :, None, None]
    return SeriesInMemory(values, tuple(bands), tuple(map(date.fromisoformat, dates)), **more)


def whole(series: Series) -> tuple[NDArray[Any], Mask]:
    """All values of a series and where they are valid."""
    block = series.read(series.grid.window())
    return block.data, block.valid


def band_of(series: Series, band: str, time: int = 0) -> NDArray[Any]:
    """One band of one date, shape (H, W)."""
    values: NDArray[Any] = whole(series)[0][time, series.bands.index(band)]
    return values
