"""The commands that make time series of scenes."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from cropmap_core.commands.writing import Result, tell_unseen, write_series, write_step
from cropmap_core.jobs import Job
from cropmap_core.scenes.intake import Asked, origin_of, stack_asked
from cropmap_core.scenes.inventory import DEFAULT_BANDS
from cropmap_core.scenes.scl import DEFAULT_KEEP_CLASSES
from cropmap_core.scenes.target import ask_for_grid
from cropmap_core.timeseries.compositing import composite
from cropmap_core.timeseries.files import open_time_series
from cropmap_core.timeseries.filling import Filled
from cropmap_core.timeseries.indices import read_formulas, with_indices


def stackscenes(
    job: Job,
    *,
    scenes: tuple[Path, ...],
    output: Path,
    bands: tuple[str, ...] = DEFAULT_BANDS,
    start_date: date | None = None,
    end_date: date | None = None,
    months: tuple[int, ...] = (),
    max_cloud_percent: int = 100,
    area: Path | None = None,
    extent: str | None = None,
    template: Path | None = None,
    cover: str = "union",
    crs: str | None = None,
    resampling: str = "nearest",
    missing_scl: str = "refuse",
    resolution: int = 10,
    offset: str = "auto",
) -> Result:
    """Stacks Sentinel-2 L2A scenes into one time series.

    Args:
        scenes: Folders of scenes, products, archives or files: see docs/ingestion.md.
        output: Time series file to write, GeoTIFF.
        bands: Reflectance bands; SCL is added.
        start_date: First acquisition date, inclusive.
        end_date: Last acquisition date, inclusive.
        months: Months of acquisition, 1 to 12; none for all.
        max_cloud_percent: Scenes with more cloud over the area, from their SCL, are left out.
        area: Vector file of polygons: the grid covers them.
        extent: The grid covers it: xmin,xmax,ymin,ymax [CRS].
        template: Raster whose grid is taken.
        cover: What to cover where nothing else tells: union or intersection of the scenes.
        crs: Projected CRS of the grid; that of most scenes if not given.
        resampling: Of reflectance: nearest, bilinear or cubic.
        missing_scl: Scenes without SCL: refuse, leave_out or as_clear.
        resolution: Pixel size in metres: 10, 20 or 60; not used with a template.
        offset: Radiometric offset: auto, 0 or -1000.
    """
    grid = ask_for_grid(resolution, area, extent, template, cover, crs)
    asked = Asked(start_date, end_date, months, max_cloud_percent, grid, resampling, missing_scl)
    stack, files = stack_asked(job, scenes, bands, asked, offset)
    inputs = [*files, *(path for path in (area, template) if path is not None)]
    result = write_series(job, stack, output, {"command": "stackscenes", **origin_of(stack)}, inputs)
    return {**result, "offset": sorted(set(stack.offsets.values))}


def compositetimeseries(
    job: Job,
    *,
    series: Path,
    output: Path,
    period: str = "month",
    start_date: date | None = None,
    end_date: date | None = None,
    keep_classes: tuple[str, ...] = DEFAULT_KEEP_CLASSES,
) -> Result:
    """Makes one composite per period: the median of the clear observations.

    Args:
        series: Time series file of acquisitions with SCL.
        output: Time series file to write, GeoTIFF.
        period: month.
        start_date: First day that counts, inclusive.
        end_date: Last day that counts, inclusive.
        keep_classes: SCL classes that count as clear.
    """
    source = open_time_series(series)
    steps = composite(source, period, start_date, end_date, keep_classes)
    tell_unseen(job, steps)
    return write_step(job, steps, output, {"command": "compositetimeseries", "keep_classes": keep_classes}, source)


def fillgaps(job: Job, *, series: Path, output: Path) -> Result:
    """Fills gaps between composites from the nearest observed periods before and after.

    Args:
        series: Time series file of composites.
        output: Time series file to write, GeoTIFF.
    """
    source = open_time_series(series)
    return write_step(job, Filled(source), output, {"command": "fillgaps"}, source)


def computeindices(
    job: Job,
    *,
    series: Path,
    output: Path,
    indices: tuple[str, ...] = ("NDVI",),
    formulas: tuple[str, ...] = (),
    include_reflectance: bool = True,
) -> Result:
    """Computes vegetation indices of a time series.

    Args:
        series: Time series file of composites.
        output: Time series file to write, float32 GeoTIFF.
        indices: Names of indices: see docs/indices.md.
        formulas: Further indices, each written as NAME = expression of bands.
        include_reflectance: Whether the bands are written too, as reflectance 0-1.
    """
    source = open_time_series(series)
    steps = with_indices(source, indices, include_reflectance, read_formulas(formulas))
    computed = {index.name: index.formula for index in steps.indices}
    return write_step(job, steps, output, {"command": "computeindices", "indices": computed}, source)
