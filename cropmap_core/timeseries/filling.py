"""Gap filling: composites without a clear observation borrow from their neighbours in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import JobError, SeriesError
from cropmap_core.io.grid import Window
from cropmap_core.timeseries.gaps import gap_days, provenance
from cropmap_core.timeseries.interpolation import fill_from_neighbours, fill_linearly
from cropmap_core.timeseries.series import NODATA, SCL, Block, Derived, Mask
from cropmap_core.timeseries.smoothing import smooth_savitzky_golay, smooth_whittaker

SMOOTHING_METHODS = ("savitzky_golay", "whittaker")
"""Ways to fill that smooth what was observed too."""
METHODS = ("neighbour_mean", "linear", *SMOOTHING_METHODS)
"""Ways to fill; the first is the usual one."""


@dataclass(frozen=True)
class Smoothing:
    """How smooth the curves of the smoothing methods are."""

    window: int = 5
    """Savitzky-Golay: dates that a polynomial is fitted to, an odd number from 3 on."""
    order: int = 2
    """Savitzky-Golay: order of the polynomial, 0 to 4, less than the window."""
    smoothness: float = 1.0
    """Whittaker: lambda, over 0."""

    def __post_init__(self) -> None:
        if self.window < 3 or self.window % 2 == 0:
            raise JobError(f"WINDOW is {self.window}.", "Give an odd number of dates from 3 on.")
        if not 0 <= self.order <= min(4, self.window - 1):
            raise JobError(f"ORDER is {self.order}.", f"Give 0 to {min(4, self.window - 1)}.")
        if self.smoothness <= 0:
            raise JobError(f"SMOOTHNESS is {self.smoothness:g}.", "Give a number over 0.")


@dataclass(frozen=True)
class Filled(Derived):
    """A series whose gaps are filled; a pixel that was never observed stays nodata at every date."""

    method: str = METHODS[0]
    max_gap_days: int | None = None
    """Gaps that are longer stay nodata; see `gap_days`."""
    smoothing: Smoothing = Smoothing()

    def __post_init__(self) -> None:
        if self.source.dtype.kind != "i" or SCL in self.source.bands:
            raise SeriesError(
                "Only composites of reflectance can be filled.", "Give the output of compositetimeseries."
            )
        if self.method not in METHODS:
            raise JobError(f"METHOD is '{self.method}'.", f"Choose one of {', '.join(METHODS)}.")
        if self.max_gap_days is not None and self.max_gap_days < 1:
            raise JobError(f"MAX_GAP is {self.max_gap_days}.", "Give a number of days, or leave it out.")

    def read(self, window: Window) -> Block:
        block = self.source.read(window)
        return self._fill(block, None if self.max_gap_days is None else gap_days(block.valid, self._days))

    def read_with_provenance(self, window: Window) -> tuple[Block, NDArray[np.float32]]:
        """The filled values of a window, and what they are made from: see `provenance`."""
        block = self.source.read(window)
        gaps = gap_days(block.valid, self._days)
        filled = self._fill(block, gaps)
        return filled, provenance(block.valid, filled.valid, gaps)

    @property
    def _days(self) -> NDArray[np.int64]:
        return np.array([day.toordinal() for day in self.dates])

    def _fill(self, block: Block, gaps: NDArray[np.int32] | None) -> Block:
        self._fill_in_place(block.data, block.valid)
        valid = np.repeat(block.valid.any(axis=0, keepdims=True), len(block.valid), axis=0)
        if gaps is not None and self.max_gap_days is not None:
            too_long = gaps > self.max_gap_days
            valid &= ~too_long
            np.copyto(block.data, NODATA, where=too_long[:, None])
        return Block(block.data, valid)

    def _fill_in_place(self, data: NDArray[np.int16], valid: Mask) -> None:
        if self.method == "linear":
            fill_linearly(data, valid, self._days)
        elif self.method == "savitzky_golay":
            smooth_savitzky_golay(data, valid, self._days, self.smoothing.window, self.smoothing.order)
        elif self.method == "whittaker":
            smooth_whittaker(data, valid, self._days, self.smoothing.smoothness)
        else:
            fill_from_neighbours(data, valid)
