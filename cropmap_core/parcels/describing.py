"""Parcels described by the maps beneath them, block by block: memory does not grow with the maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from cropmap_core.io.grid import Window
from cropmap_core.parcels.coverage import Cells, covered_cells
from cropmap_core.parcels.declared import match_declared
from cropmap_core.parcels.maps import MapBlock, Maps, OpenMaps, open_maps
from cropmap_core.parcels.overlaps import overlapping_areas
from cropmap_core.parcels.placing import PlacedParcels
from cropmap_core.parcels.profiles import NDVI, Profiles, written_profiles
from cropmap_core.parcels.record import RecordOptions, Records
from cropmap_core.parcels.tallies import Counts, Tally

Progress = Callable[[float], None]
_USUAL = RecordOptions()
_BLOCK = 1024
"""Edge of a block in pixels; halved until a window of all maps fits into `_MEMORY`."""
_SMALLEST_BLOCK = 128
_MEMORY = 128 * 2**20  # bytes of all maps in a block; two blocks are in memory, and what indices are computed from
_CELLS = 4 * 2**20
"""Pixels of parcels that are weighed together, by their boxes."""


@dataclass(frozen=True)
class _Part:
    """Some parcels and the window in which they are looked at."""

    window: Window
    home: tuple[int, int]
    """Row and column of its block."""
    rows: NDArray[np.int64]
    """Positions of the parcels."""
    neighbours: NDArray[np.int64]
    """Positions of those that may overlap them here, themselves among them; empty but for a block's first part."""


def describe_parcels(
    parcels: PlacedParcels,
    maps: Maps,
    progress: Progress = lambda fraction: None,
    options: RecordOptions = _USUAL,
    source_legend: str | None = None,
    indices: Sequence[str] = (),
    profiles: Path | None = None,
) -> Records:
    """Describes every parcel by the maps beneath it.

    Args:
        parcels: Placed on the class raster's grid.
        maps: The class raster, and what goes with it.
        progress: Called with the share that is done; may raise to stop.
        options: What the records are to hold.
        source_legend: What declared crops mean: see `match_declared`.
        indices: Of the series, for profiles; NDVI if none is named.
        profiles: CSV to write with the indices of each parcel by date.

    Raises:
        GridMismatchError: The rasters have different grids.
        SeriesError: A raster cannot be read, or is not of its kind.
        JobError: The options need a map that is not given.
        OutputError: The profiles cannot be written.
    """
    with ExitStack() as files:
        opened = files.enter_context(open_maps(maps, indices))
        declared = match_declared(parcels.declared, opened.legend, source_legend) if parcels.declared else None
        dates = opened.series.dates if opened.series is not None else ()
        names = opened.series.bands if opened.series is not None else ()
        falls = dates if NDVI in names else ()
        records = Records(parcels, opened.legend, opened.probability_codes, options, declared, falls)
        table = files.enter_context(written_profiles(profiles, dates, names))
        _Describing(parcels, opened, records, table).run(progress)
    progress(1.0)
    return records


class _Describing:
    def __init__(self, parcels: PlacedParcels, maps: OpenMaps, records: Records, table: Profiles) -> None:
        self._parcels, self._maps, self._records, self._table = parcels, maps, records, table
        self._tally = Tally()
        self._edge = _block_edge(maps.bytes_per_pixel)
        self._blocks = _Blocks(parcels, self._edge)
        self._left = self._blocks.counts.copy()  # blocks of each parcel that are to come
        self._shared = np.zeros(len(parcels))

    def run(self, progress: Progress) -> None:
        """Goes through the blocks that have parcels; the next one is read while parcels are weighed in this one."""
        parts = self._blocks.parts()
        done, total = 0, max(1, int(self._blocks.counts.sum()))
        with ThreadPoolExecutor(1, thread_name_prefix="next block") as ahead:
            part = next(parts, None)
            coming = None if part is None else ahead.submit(self._maps.read, part.window)
            while part is not None and coming is not None:
                progress(done / total)
                this, block = part, coming
                part = next(parts, None)
                coming = None if part is None else ahead.submit(self._maps.read, part.window)
                whole, cells = self._cells(this)
                self._overlaps(this)
                self._add(this, block.result(), cells, whole)
                done += len(this.rows)

    def _cells(self, part: _Part) -> tuple[Cells, Cells]:
        """All pixels of parcels, and those that decide."""
        grid = self._parcels.grid.cut(part.window)
        shapes = self._parcels.shapes.read(part.rows)
        whole = covered_cells(shapes, grid)
        if self._parcels.inner is None:
            return whole, whole
        inner = self._parcels.inner.read(part.rows)
        return whole, covered_cells([small or large for small, large in zip(inner, shapes, strict=True)], grid)

    def _overlaps(self, part: _Part) -> None:
        """Adds up what pairs of parcels share that meet first in this block."""
        if len(part.neighbours) > 1:
            shapes = shapely.from_wkb(np.array(self._parcels.shapes.read(part.neighbours), dtype=object))
            home = self._blocks.bounds(part.home)
            self._shared[part.neighbours] += overlapping_areas(shapes, self._parcels.boxes[part.neighbours], home)

    def _add(self, part: _Part, block: MapBlock, cells: Cells, whole: Cells) -> None:
        counts = self._tally.count(block, cells, whole)
        self._left[part.rows] -= 1
        done = self._left[part.rows] == 0
        complete = self._tally.complete(part.rows, counts, done)
        rows = part.rows[done]
        pixel_area = abs(self._parcels.grid.transform.a * self._parcels.grid.transform.e)
        overlap = self._shared[rows] / (self._parcels.pixels[rows] * pixel_area)
        self._records.add(rows, self._tally.codes, complete, self._maps.probability_scale, np.minimum(overlap, 1.0))
        if "indices" in complete:
            self._add_profiles(rows, complete)

    def _add_profiles(self, rows: NDArray[np.int64], counts: Counts) -> None:
        sums, weights = counts["indices"][:, 0], counts["indices"][:, 1]
        falls = self._table.add(self._parcels.numbers[rows], sums, weights)
        if falls is not None:
            self._records.set_falls(rows, *falls)


class _Blocks:
    """Which parcels lie in which blocks of a grid."""

    def __init__(self, parcels: PlacedParcels, edge: int) -> None:
        self._boxes, self._grid, self._edge = parcels.boxes, parcels.grid, edge
        there = np.flatnonzero(np.isfinite(parcels.boxes[:, 0]))
        first_row, first_col, last_row, last_col = self._pixels(parcels.boxes[there]).T // edge
        counts = (last_row - first_row + 1) * (last_col - first_col + 1)
        self.counts = np.zeros(len(parcels), dtype=np.int64)
        """Blocks that each parcel reaches into, shape (N,)."""
        self.counts[there] = counts
        self._parcel = np.repeat(there, counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        widths = np.repeat(last_col - first_col + 1, counts)
        row = np.repeat(first_row, counts) + within // widths
        col = np.repeat(first_col, counts) + within % widths
        self._across = -(-parcels.grid.width // edge)
        block = row * self._across + col
        order = np.argsort(block, kind="stable")
        self._parcel, self._block = self._parcel[order], block[order]

    def parts(self) -> Iterator[_Part]:
        """Block by block, row by row of them."""
        numbers, starts = np.unique(self._block, return_index=True)
        for number, parcels in zip(numbers.tolist(), np.split(self._parcel, starts[1:]), strict=True):
            home = number // self._across, number % self._across
            pixels = self._pixels(self._boxes[parcels])
            low = np.maximum(pixels[:, :2], np.array(home) * self._edge)
            high = np.minimum(pixels[:, 2:], (np.array(home) + 1) * self._edge - 1)
            top, left = low.min(axis=0)
            bottom, right = high.max(axis=0)
            window = Window(int(top), int(left), int(bottom - top + 1), int(right - left + 1))
            sizes = (high - low + 1).prod(axis=1)
            cuts = np.flatnonzero(np.diff(np.cumsum(sizes) // _CELLS)) + 1
            for at, some in enumerate(np.split(parcels, cuts)):
                yield _Part(window, home, some, parcels if at == 0 else parcels[:0])

    def bounds(self, home: tuple[int, int]) -> NDArray[np.float64]:
        """Left, bottom, right, top of a block; those at the grid's edges reach on without end."""
        down = -(-self._grid.height // self._edge)
        left, bottom, right, top = self._grid.cut(
            Window(home[0] * self._edge, home[1] * self._edge, self._edge, self._edge)
        ).bounds
        return np.array(
            [
                -np.inf if home[1] == 0 else left,
                -np.inf if home[0] == down - 1 else bottom,
                np.inf if home[1] == self._across - 1 else right,
                np.inf if home[0] == 0 else top,
            ]
        )

    def _pixels(self, boxes: NDArray[np.float64]) -> NDArray[np.int64]:
        """First row and column, last row and column of the pixels that boxes touch, on the grid; shape (n, 4)."""
        grid = self._grid
        col = (boxes[:, [0, 2]] - grid.transform.c) / grid.transform.a
        row = (boxes[:, [3, 1]] - grid.transform.f) / grid.transform.e
        first = np.floor(np.stack([row[:, 0], col[:, 0]], axis=1))
        last = np.ceil(np.stack([row[:, 1], col[:, 1]], axis=1)) - 1
        most = np.array([grid.height - 1, grid.width - 1])
        first = np.clip(first, 0, most)
        return np.concatenate([first, np.clip(last, first, most)], axis=1).astype(np.int64)


def _block_edge(bytes_per_pixel: int) -> int:
    edge = _BLOCK
    while edge > _SMALLEST_BLOCK and edge**2 * bytes_per_pixel > _MEMORY:
        edge //= 2
    return edge
