"""In which blocks a series is computed, what memory they take, and reading them ahead of their use."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from cropmap_core.io.grid import Grid, Window
from cropmap_core.io.outputs import BLOCK_SIZE as TILE_SIZE
from cropmap_core.timeseries.series import (
    Block,
    Derived,
    NeedsWorkingMemory,
    SelectedDates,
    Series,
    can_be_split,
    split,
)

MEMORY = 2**30
"""Bytes that the blocks of a series may take at once; only blocks of one tile of the file may take more."""


@dataclass(frozen=True)
class Part:
    """What is computed at once."""

    window: Window
    dates: slice


@dataclass(frozen=True)
class BlockPlan:
    """A division of a series into parts of equal size, but for those at the end; each is computed once.

    The larger the blocks, the fewer blocks of the source files are decoded more than once: JPEG 2000 has 1024 pixels a
    block at every resolution, and 1024 pixels of 20 m are 2048 of 10 m.
    """

    grid: Grid
    height: int
    """Rows of a block."""
    width: int
    """Columns of a block."""
    date_count: int
    """Dates of the series."""
    dates: int
    """Dates of a part."""
    ahead: int
    """Parts that are computed while one is written."""
    bytes_per_pixel: int
    """Bytes for each pixel of a block."""

    @property
    def memory(self) -> int:
        """Bytes that all parts in the making take at most."""
        return self.height * self.width * self.bytes_per_pixel

    def parts(self) -> list[Part]:
        """Block by block along the rows, and date by date in each block."""
        blocks = [
            Window(row, col, min(self.height, self.grid.height - row), min(self.width, self.grid.width - col))
            for row in range(0, self.grid.height, self.height)
            for col in range(0, self.grid.width, self.width)
        ]
        dates = [slice(first, first + self.dates) for first in range(0, self.date_count, self.dates)]
        return [Part(block, some) for block in blocks for some in dates]

    def describe(self) -> str:
        """The plan in a sentence, for the log."""
        return (
            f"Blocks of {self.width} x {self.height} pixels and {self.dates} dates, {self.ahead} ahead: "
            f"{self.memory / 2**30:.2f} GiB at most."
        )


def plan_blocks(series: Series, largest: int, memory: int) -> BlockPlan:
    """Chooses the largest blocks that the memory allows; fewer dates go before fewer pixels where they can be apart.

    Args:
        series: What is to be computed.
        largest: Edge of the largest block, in pixels.
        memory: Bytes that all blocks in the making may take.
    """
    ahead = 2 if can_be_split(series) else 1
    for height, width in _sizes(min(largest, series.grid.height), min(largest, series.grid.width)):
        for dates in _date_counts(series):
            per_pixel = bytes_per_pixel(series, dates, ahead)
            plan = BlockPlan(series.grid, height, width, len(series.dates), dates, ahead, per_pixel)
            if plan.memory <= memory:
                return plan
    return plan


def read_ahead(series: Series, parts: Sequence[Part], ahead: int) -> Generator[Block, None, None]:
    """Reads part by part, some while the one before is in use.

    Args:
        series: What is read.
        parts: What of it, in order.
        ahead: Parts that are read at once.

    Raises:
        CropMapError: What reading a part raises, when its turn comes.
    """
    coming: deque[Future[Block]] = deque()
    with ThreadPoolExecutor(ahead, thread_name_prefix="next block") as threads:
        try:
            for part in parts:
                coming.append(threads.submit(_read, series, part))
                if len(coming) > ahead:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()
        finally:
            for future in coming:
                future.cancel()


def _read(series: Series, part: Part) -> Block:
    if can_be_split(series):
        series = split(series, part.dates)
    return series.read(part.window)


def _sizes(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Heights and widths of blocks, halved in turn down to a tile of the file."""
    yield height, width
    while max(height, width) > TILE_SIZE:
        if height >= width:
            height = _half(height)
        else:
            width = _half(width)
        yield height, width


def _half(edge: int) -> int:
    """About half, in whole tiles of the file."""
    return max(1, edge // 2 // TILE_SIZE) * TILE_SIZE


def _date_counts(series: Series) -> Sequence[int]:
    count = len(series.dates)
    if not can_be_split(series):
        return [count]
    return sorted({-(-count // parts) for parts in range(1, count + 1)}, reverse=True)


def bytes_per_pixel(series: Series, dates: int, ahead: int) -> int:
    """Of the block in use, and of those that are read or computed with all that they are computed from.

    Args:
        series: What is read.
        dates: How many of its dates at a time.
        ahead: Blocks that are read while one is in use.
    """
    own = dates * (len(series.bands) * series.dtype.itemsize + 1)
    total = own + ahead * (own + _working_bytes(series, dates))
    step: Series = series
    while isinstance(step, Derived):
        at_once = step.source_dates_at_once
        step = step.source
        if isinstance(step, SelectedDates):  # a view of what is read for it
            step = step.source
        total += ahead * at_once * (len(step.bands) * step.dtype.itemsize + 2)  # valid, and clear
        total += ahead * _working_bytes(step, at_once)
    return total


def _working_bytes(series: Series, dates: int) -> int:
    return series.working_bytes(dates) if isinstance(series, NeedsWorkingMemory) else 0
