"""From parcels to labels: which pixels lie safely within one parcel, and what grows there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize

from cropmap_core.classes import CropClass
from cropmap_core.errors import ParcelError
from cropmap_core.io.grid import Grid, Window
from cropmap_core.io.outputs import create_raster, write_table
from cropmap_core.samples.declarations import Declarations, place_shapes, polygons_of
from cropmap_core.samples.label_raster import create_label_raster
from cropmap_core.samples.legend import Legend

USED, UNMAPPED, TOO_SMALL = "used", "unmapped", "too_small"
CONFLICT, OUTSIDE, INVALID = "overlap_conflict", "outside", "invalid"
STATUSES = (USED, UNMAPPED, TOO_SMALL, CONFLICT, OUTSIDE, INVALID)
RECORD_FIELDS = ("parcel", "code", "value", "name", "area_ha", "pixels", "status")
NO_PARCEL = 0
"""Value of the parcel raster where no label is."""
_BLOCK = 2048
"""Edge of the blocks that are rasterised: int32, 16 MB."""

Progress = Callable[[float], None]


@dataclass(frozen=True)
class LabelRecord:
    """What became of one parcel."""

    parcel: int
    code: str
    value: int | None
    """Of its class; None where the code is unmapped."""
    name: str | None
    area_ha: float | None
    """Before the buffer, in the raster's CRS; None where it has no area."""
    pixels: int
    """That carry its label."""
    status: str
    """One of `STATUSES`. A parcel of `overlap_conflict` keeps its labels where nothing else lies."""


@dataclass(frozen=True)
class Labelling:
    """Parcels that are ready to be burnt into a grid."""

    declarations: Declarations
    grid: Grid
    classes: tuple[CropClass, ...]
    meant: tuple[CropClass | None, ...]
    """The class of each parcel."""
    status: NDArray[np.str_]
    """Of each parcel, as far as it is known before a pixel is looked at."""
    cores: NDArray[Any]
    """The parcels within their inward buffer, in the grid's CRS; None where they are not used."""
    area_ha: NDArray[np.float64]
    repaired: tuple[int, ...]
    """Numbers of the parcels whose geometry was invalid."""

    @property
    def unmapped(self) -> Mapping[tuple[str, str], int]:
        """Parcels on the grid by code and its name, where that is no class; most frequent first."""
        named = zip(self.declarations.codes, self.declarations.names, self.status, strict=True)
        counts = Counter((code, name) for code, name, status in named if status == UNMAPPED)
        return dict(counts.most_common())


def place_labels(declarations: Declarations, legend: Legend, grid: Grid, buffer_m: float) -> Labelling:
    """Finds out what can be known of parcels before they are burnt.

    Args:
        declarations: Parcels with codes.
        legend: What the codes mean; one that is keyed on names looks at the parcels' names.
        grid: That of the time series, in metres.
        buffer_m: Parcels are narrowed by so much on all sides: pixels at their borders are mixed.

    Raises:
        ParcelError: No parcel has an area, or none lies on the grid.
    """
    placed = place_shapes(declarations, grid)
    there = ~shapely.is_missing(placed.shapes)
    on_grid = there & shapely.intersects(placed.shapes, shapely.box(*grid.bounds))
    if not on_grid.any():
        left, bottom, right, top = shapely.total_bounds(placed.shapes[there])
        raise ParcelError(
            f"No parcel lies on the time series: in its CRS the parcels reach from {left:.0f} {bottom:.0f} to "
            f"{right:.0f} {top:.0f}; the series is {grid.describe()}.",
            "Check that the parcel layer's CRS is set rightly and that it covers the scenes.",
        )
    keys = declarations.names if legend.find is not None else declarations.codes
    classes = {key: legend.class_of(key) for key in dict.fromkeys(keys)}
    meant = tuple(classes[key] for key in keys)
    mapped = np.array([each is not None for each in meant])
    status = np.select([~there, ~on_grid, ~mapped], [INVALID, OUTSIDE, UNMAPPED], USED)
    cores = placed.shapes.copy()
    cores[status != USED] = None
    if buffer_m:
        cores = shapely.buffer(cores, -buffer_m, join_style="mitre")
    repaired = tuple(map(int, declarations.numbers[placed.repaired & on_grid]))
    area_ha = shapely.area(placed.shapes) / 1e4
    return Labelling(declarations, grid, legend.classes, meant, status, cores, area_ha, repaired)


def burn_labels(
    labelling: Labelling,
    min_pixels: int,
    labels: Path,
    parcels: Path | None,
    scratch: Path,
    provenance: Mapping[str, Any],
    progress: Progress = lambda fraction: None,
) -> list[LabelRecord]:
    """Writes the label raster, and the raster of parcel numbers, block by block.

    A pixel belongs to a parcel where its centre lies in the parcel's core. Where cores of different classes overlap no
    pixel is labelled; of overlapping parcels of one class the first one counts.

    Args:
        labelling: The parcels.
        min_pixels: Parcels of fewer pixels are left out.
        labels: Label raster to write.
        parcels: Raster of parcel numbers to write, int32, 0 where no label is.
        scratch: Raster for this function's own use.
        provenance: What the labels were made from.
        progress: Called with the share that is done; may raise to stop.

    Returns:
        One record a parcel, in their order.

    Raises:
        ParcelError: No pixel got a label.
        OutputError: A raster cannot be written.
    """
    counts, disputed = _burn_positions(labelling, scratch, progress)
    kept = counts >= max(1, min_pixels)
    kept[0] = False
    records = _records(labelling, np.where(kept, counts, 0)[1:], disputed)
    if not kept.any():
        raise _nothing_labelled(labelling, records)
    _write(labelling, kept, labels, parcels, scratch, provenance, progress)
    return records


def write_records(records: list[LabelRecord], path: Path) -> None:
    """Writes records as CSV; empty cells where nothing is known.

    Raises:
        OutputError: The file cannot be written.
    """
    write_table(RECORD_FIELDS, ([getattr(record, field) for field in RECORD_FIELDS] for record in records), path)


def _burn_positions(
    labelling: Labelling, scratch: Path, progress: Progress
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Burns each parcel's position, from 1, into the scratch raster.

    Returns:
        Pixels by position, shape (parcels + 1,); and which parcels lost pixels to an overlap, shape (parcels,).
    """
    cores, grid = labelling.cores, labelling.grid
    tree = shapely.STRtree(cores)
    overlaps = _overlaps(labelling, tree)
    overlap_tree = shapely.STRtree(overlaps)
    counts = np.zeros(len(cores) + 1, dtype=np.int64)
    disputed = np.zeros(len(cores), dtype=np.bool_)
    windows = list(grid.blocks(_BLOCK))
    with create_raster(scratch, grid, 1, "int32", 0) as dataset:
        for done, window in enumerate(windows):
            progress(0.7 * done / len(windows))
            block = grid.cut(window)
            bounds = shapely.box(*block.bounds)
            near = np.sort(tree.query(bounds))[::-1]  # the last one burnt stays: the first in order
            positions = _rasterise(cores[near], near + 1, block)
            overlap = _rasterise(overlaps[overlap_tree.query(bounds)], None, block) > 0
            overlap &= positions > 0
            if overlap.any():
                _, lying_there = tree.query(_centres(overlap, block), predicate="intersects")
                disputed[lying_there] = True
                positions[overlap] = 0
            counts += np.bincount(positions.ravel(), minlength=counts.size)
            dataset.write(positions, 1, window=window.bounds_rc)
    counts[0] = 0
    return counts, disputed


def _overlaps(labelling: Labelling, tree: shapely.STRtree) -> NDArray[Any]:
    """Where cores of different classes lie above each other, as polygons."""
    one, other = tree.query(labelling.cores, predicate="intersects")
    values = np.array([each.value if each else 0 for each in labelling.meant])
    differ = (one < other) & (values[one] != values[other])
    common = polygons_of(shapely.intersection(labelling.cores[one[differ]], labelling.cores[other[differ]]))
    overlaps: NDArray[Any] = common[shapely.area(common) > 0]
    return overlaps


def _rasterise(shapes: NDArray[Any], values: NDArray[Any] | None, grid: Grid) -> NDArray[np.int32]:
    if not len(shapes):
        return np.zeros((grid.height, grid.width), dtype=np.int32)
    burnt = zip(shapes, values.tolist() if values is not None else [1] * len(shapes), strict=True)
    raster: NDArray[np.int32] = rasterize(
        burnt, (grid.height, grid.width), fill=0, transform=grid.transform, dtype="int32"
    )
    return raster


def _centres(mask: NDArray[np.bool_], grid: Grid) -> NDArray[Any]:
    rows, cols = np.nonzero(mask)
    transform = grid.transform
    x, y = transform.c + transform.a * (cols + 0.5), transform.f + transform.e * (rows + 0.5)
    return np.asarray(shapely.points(x, y))


def _write(
    labelling: Labelling,
    kept: NDArray[np.bool_],
    labels: Path,
    parcels: Path | None,
    scratch: Path,
    provenance: Mapping[str, Any],
    progress: Progress,
) -> None:
    values = np.array([0, *(each.value if each else 0 for each in labelling.meant)]) * kept
    numbers = np.concatenate([[NO_PARCEL], labelling.declarations.numbers]) * kept
    windows: list[Window] = list(labelling.grid.blocks(_BLOCK))
    with ExitStack() as files:
        source = files.enter_context(rasterio.open(scratch))
        target = files.enter_context(create_label_raster(labels, labelling.grid, labelling.classes, provenance))
        number_target = None
        if parcels is not None:
            number_target = files.enter_context(create_raster(parcels, labelling.grid, 1, "int32", NO_PARCEL))
            number_target.set_band_description(1, "parcel")
        for done, window in enumerate(windows):
            progress(0.7 + 0.3 * done / len(windows))
            positions = source.read(1, window=window.bounds_rc)
            target.write(values.astype(target.dtypes[0])[positions], 1, window=window.bounds_rc)
            if number_target is not None:
                number_target.write(numbers.astype(np.int32)[positions], 1, window=window.bounds_rc)
    progress(1.0)


def _records(labelling: Labelling, pixels: NDArray[np.int64], disputed: NDArray[np.bool_]) -> list[LabelRecord]:
    status = labelling.status.copy()
    used = status == USED
    status = np.where(used & disputed, CONFLICT, np.where(used & (pixels == 0), TOO_SMALL, status))
    found = labelling.declarations
    return [
        LabelRecord(
            int(number),
            code,
            meant.value if meant else None,
            meant.name if meant else None,
            None if np.isnan(area) or state == INVALID else round(float(area), 4),
            int(count),
            str(state),
        )
        for number, code, meant, area, count, state in zip(
            found.numbers, found.codes, labelling.meant, labelling.area_ha, pixels, status, strict=True
        )
    ]


def _nothing_labelled(labelling: Labelling, records: list[LabelRecord]) -> ParcelError:
    counts = Counter(record.status for record in records)
    said = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    codes = ", ".join(code or "(empty)" for code, _ in list(labelling.unmapped)[:10])
    unmapped = f" Unmapped codes: {codes}." if codes else ""
    return ParcelError(
        f"No pixel got a label; the parcels are {said}.{unmapped}",
        "Give a legend that knows the codes, a smaller buffer, or fewer minimum pixels.",
    )
