"""What of a series cannot be read: it is tried again, told with its place, or left out where that is asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from cropmap_core.errors import SceneError
from cropmap_core.inference.finished_blocks import FinishedBlocks
from cropmap_core.io import outputs
from cropmap_core.io.grid import Window
from cropmap_core.timeseries.series import Block, Series

_PAUSE_S = 1.0  # before what failed is tried again: network drives are away for a moment


class CarefulReading:
    """Reads parts of a series.

    Args:
        series: The series.
        store: Where it is noted what cannot be read.
        keep_going: What cannot be read counts as never observed.
    """

    def __init__(self, series: Series, store: FinishedBlocks, keep_going: bool) -> None:
        self._series, self._store, self._keep_going = series, store, keep_going

    def read(self, part: Window) -> Block:
        """A part.

        Of one that cannot be read no more is left out than the tiles of 512 pixels in which the damage lies, counted
        from the raster's corner: tiles of the files that CropMap writes, so that the map does not depend on how large
        parts are. Where files have other tiles and parts are smaller than these it may.

        Raises:
            SceneError: It cannot be read, and nothing is to be left out.
        """
        try:
            return self._twice(part)
        except SceneError as error:
            if not self._keep_going:
                raise self._told(part, error) from error
        return self._without_damaged(part)

    def _twice(self, window: Window) -> Block:
        try:
            return self._series.read(window)
        except SceneError:
            time.sleep(_PAUSE_S)
            return self._series.read(window)

    def _without_damaged(self, part: Window) -> Block:
        shape = len(self._series.dates), len(self._series.bands), part.height, part.width
        block = Block(np.zeros(shape, self._series.dtype), np.zeros((shape[0], *shape[2:]), bool))
        failed = [window for window in tiles_of(part) if self._failure(part, window, block)]
        if failed:
            time.sleep(_PAUSE_S)
        for window in failed:
            error = self._failure(part, window, block)
            if error is not None:
                self._store.note_unreadable(f"{_place(window)}: {error.message}")
        return block

    def _failure(self, part: Window, window: Window, block: Block) -> SceneError | None:
        """Puts what is read of a window into the block of its part; or why it cannot be read."""
        rows, cols = window.slices_within(part)
        try:
            found = self._series.read(window)
        except SceneError as error:
            return error
        block.data[..., rows, cols], block.valid[:, rows, cols] = found.data, found.valid
        return None

    def _told(self, part: Window, error: SceneError) -> SceneError:
        kept = " What is finished is kept." if self._store.folder is not None else ""
        return SceneError(
            f"{error.message.rstrip('.')} ({_place(part)} of the map).",
            f"{error.remedy}{kept} To map the rest without it, choose SKIP_DAMAGED.",
        )


def tiles_of(part: Window) -> Iterator[Window]:
    """What of a part lies in each of the raster's tiles."""
    edge = outputs.BLOCK_SIZE
    for top in range(part.row - part.row % edge, part.row + part.height, edge):
        for left in range(part.col - part.col % edge, part.col + part.width, edge):
            row, col = max(top, part.row), max(left, part.col)
            below, right = min(top + edge, part.row + part.height), min(left + edge, part.col + part.width)
            yield Window(row, col, below - row, right - col)


def _place(window: Window) -> str:
    rows, cols = f"{window.row} to {window.row + window.height}", f"{window.col} to {window.col + window.width}"
    return f"rows {rows}, columns {cols}"
