"""Rasters that are written along with a series, of what a step knows about its pixels besides their values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from rasterio.io import DatasetWriter

from cropmap_core.io.grid import Window
from cropmap_core.io.outputs import create_raster
from cropmap_core.timeseries.compositing import Composite
from cropmap_core.timeseries.filling import Filled
from cropmap_core.timeseries.gaps import PROVENANCE
from cropmap_core.timeseries.series import Block, Derived, Series, Values


@dataclass(frozen=True)
class Companion:
    """A raster beside a series on the same grid."""

    bands: tuple[str, ...]
    """Descriptions of its bands."""
    dtype: str
    nodata: float | None
    read: Callable[[Window], tuple[Block, Values]]
    """The series' block of a window and the companion's, shape (len(bands), H, W), from one read of the source."""

    @contextmanager
    def written(self, series: Series, path: Path) -> Iterator[Series]:
        """The series, whose every block that is read is followed by the companion's in a file.

        Raises:
            OutputError: The file cannot be written.
        """
        with create_raster(path, series.grid, len(self.bands), self.dtype, self.nodata) as dataset:
            dataset.descriptions = self.bands
            yield _Accompanied(series, self, dataset)


@dataclass(frozen=True)
class _Accompanied(Derived):
    companion: Companion
    dataset: DatasetWriter
    lock: Lock = field(default_factory=Lock)  # blocks may be read in several threads

    def read(self, window: Window) -> Block:
        block, values = self.companion.read(window)
        with self.lock:
            self.dataset.write(values, window=window.bounds_rc)
        return block


def clear_counts(composites: Composite) -> Companion:
    """How many clear observations each composite is made from, one band per period."""
    dtype = "uint8" if composites.most_observations <= 255 else "uint16"

    def read(window: Window) -> tuple[Block, Values]:
        block, counts = composites.read_counted(window)
        return block, counts.astype(dtype)

    return Companion(tuple(f"{day} clear_count" for day in composites.dates), dtype, None, read)


def fill_provenance(filled: Filled) -> Companion:
    """What filled pixels are made from: see `gaps.provenance`."""
    return Companion(PROVENANCE, "float32", float("nan"), filled.read_with_provenance)
