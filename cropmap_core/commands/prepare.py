"""The commands that make time series of scenes."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from cropmap_core.commands.writing import Result, tell_unseen, write_series, write_step
from cropmap_core.jobs import Job
from cropmap_core.scenes.intake import Asked, origin_of, stack_asked
from cropmap_core.scenes.inventory import DEFAULT_BANDS
from cropmap_core.scenes.scl import DEFAULT_KEEP_CLASSES
from cropmap_core.scenes.target import ask_for_grid
from cropmap_core.timeseries.companions import clear_counts, fill_provenance
from cropmap_core.timeseries.compositing import METHODS as COMPOSITE_METHODS
from cropmap_core.timeseries.compositing import composite
from cropmap_core.timeseries.files import open_time_series
from cropmap_core.timeseries.filling import METHODS as FILL_METHODS
from cropmap_core.timeseries.filling import SMOOTHING_METHODS, Filled, Smoothing
from cropmap_core.timeseries.indices import read_formulas, with_indices
from cropmap_core.timeseries.masks import ClearSky


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
    method: str = COMPOSITE_METHODS[0],
    target_day: int | None = None,
    keep_classes: tuple[str, ...] = DEFAULT_KEEP_CLASSES,
    dilate_cloud: int = 0,
    speck: int = 0,
    mask_band: str | None = None,
    output_counts: Path | None = None,
) -> Result:
    """Makes one composite per period of the clear observations.

    Args:
        series: Time series file of acquisitions with SCL or a mask band.
        output: Time series file to write, GeoTIFF.
        period: month, half_month, dekad, days:N, or dates: and the periods' first days, between commas.
        start_date: First day that counts, inclusive.
        end_date: Last day that counts, inclusive.
        method: median, mean, medoid, geometric_median, first, last or nearest.
        target_day: For nearest, days from a period's first to the wanted day; none for the period's middle.
        keep_classes: SCL classes that count as clear.
        dilate_cloud: Metres around clouds and cloud shadows that are not clear either.
        speck: Metres; narrower patches of cloud, and of clear sky between clouds, are taken for what surrounds them.
        mask_band: A band of the series that is not 0 where there is a cloud.
        output_counts: Raster to write of the clear observations per period, GeoTIFF.
    """
    source = open_time_series(series)
    clear_sky = ClearSky(keep_classes, dilate_cloud, speck, mask_band)
    steps = composite(source, period, start_date, end_date, clear_sky, method, target_day)
    tell_unseen(job, steps)
    for name in clear_sky.without_effect(source.grid.resolution_m):
        job.warning(f"{name} reaches no other pixel of {source.grid.resolution_m:g} m, so it changes nothing.")
    provenance = {"command": "compositetimeseries", "method": method, "target_day": target_day, **asdict(clear_sky)}
    beside = (clear_counts(steps), output_counts) if output_counts is not None else None
    result = write_step(job, steps, output, provenance, source, beside)
    return {**result, "output_counts": str(output_counts) if output_counts else None}


def fillgaps(
    job: Job,
    *,
    series: Path,
    output: Path,
    method: str = FILL_METHODS[0],
    max_gap: int | None = None,
    window: int = Smoothing.window,
    order: int = Smoothing.order,
    smoothness: float = Smoothing.smoothness,
    output_provenance: Path | None = None,
) -> Result:
    """Fills gaps between composites from the periods that were observed.

    Args:
        series: Time series file of composites.
        output: Time series file to write, GeoTIFF.
        method: neighbour_mean or linear, which fill gaps alone, or savitzky_golay or whittaker, which smooth all.
        max_gap: Days; a gap longer than this, from observed to observed period, stays nodata.
        window: For savitzky_golay, periods that a polynomial is fitted to, an odd number.
        order: For savitzky_golay, the order of the polynomial.
        smoothness: For whittaker, lambda: how much curvature weighs against distance from the observed values.
        output_provenance: Raster to write of clear_count, filled_share and longest_gap_days, GeoTIFF.
    """
    source = open_time_series(series)
    steps = Filled(source, method, max_gap, Smoothing(window, order, smoothness))
    provenance: dict[str, Any] = {"command": "fillgaps", "method": method, "max_gap_days": max_gap}
    if method in SMOOTHING_METHODS:
        provenance |= asdict(steps.smoothing)
    beside = (fill_provenance(steps), output_provenance) if output_provenance is not None else None
    result = write_step(job, steps, output, provenance, source, beside)
    return {**result, "output_provenance": str(output_provenance) if output_provenance else None}


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
