"""The commands of the worker: each ties a few steps of the library to files, and says how it goes."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import torch

from cropmap_core import __version__
from cropmap_core.errors import JobError, NoValidObservationError
from cropmap_core.inference.bundles import Bundle, check_fits, list_bundles, load_bundle
from cropmap_core.inference.classification import ClassMap, choose_device, write_class_map
from cropmap_core.io.grid import Grid
from cropmap_core.io.outputs import Outputs, write_text
from cropmap_core.jobs import Job
from cropmap_core.parcels import (
    PlacedParcels,
    describe_parcels,
    grid_of_file,
    legend_of_file,
    place_parcels,
    write_records,
)
from cropmap_core.scenes.intake import READING, Asked, origin_of, stack_asked
from cropmap_core.scenes.inventory import DEFAULT_BANDS
from cropmap_core.scenes.scl import DEFAULT_KEEP_CLASSES
from cropmap_core.styles import class_style, confidence_style, true_colour_style
from cropmap_core.timeseries.compositing import Composite, composite
from cropmap_core.timeseries.files import TimeSeriesFile, open_time_series, write_time_series
from cropmap_core.timeseries.filling import Filled
from cropmap_core.timeseries.indices import computable_indices, with_indices
from cropmap_core.timeseries.series import Series

Result = Mapping[str, Any]

_PACKAGES = ("torch", "numpy", "rasterio", "geopandas", "shapely", "pyproj", "numba", "exactextract", "safetensors")


def runtimeinfo(job: Job) -> Result:
    """Reports the worker's interpreter, packages, devices and models."""
    devices = [{"name": platform.processor() or platform.machine(), "kind": "cpu", "memory_gb": _memory_gb()}]
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        devices.append(
            {"name": properties.name, "kind": "cuda", "memory_gb": round(properties.total_memory / 2**30, 1)}
        )
    return {
        "cropmap": __version__,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "devices": devices,
        "models": [
            {"id": bundle.id, "title": bundle.title, "classes": [crop.name for crop in bundle.classes]}
            for bundle in list_bundles()
        ],
        "threads": torch.get_num_threads(),
    }


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
        max_cloud_percent: Scenes with more cloud over the raster, from their SCL, are left out.
        resolution: Pixel size in metres: 10, 20 or 60.
        offset: Radiometric offset: auto, 0 or -1000.
    """
    if resolution not in (10, 20, 60):
        raise JobError(f"RESOLUTION is {resolution}.", "Choose 10, 20 or 60 metres.")
    asked = Asked(start_date, end_date, months, max_cloud_percent)
    stack, files = stack_asked(job, scenes, bands, asked, resolution, offset)
    result = _write(job, stack, output, {"command": "stackscenes", **origin_of(stack)}, files)
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
    _tell_unseen(job, steps)
    return _write_step(job, steps, output, {"command": "compositetimeseries", "keep_classes": keep_classes}, source)


def fillgaps(job: Job, *, series: Path, output: Path) -> Result:
    """Fills gaps between composites from the nearest observed periods before and after.

    Args:
        series: Time series file of composites.
        output: Time series file to write, GeoTIFF.
    """
    source = open_time_series(series)
    return _write_step(job, Filled(source), output, {"command": "fillgaps"}, source)


def computeindices(
    job: Job, *, series: Path, output: Path, indices: tuple[str, ...] = ("NDVI",), include_reflectance: bool = True
) -> Result:
    """Computes vegetation indices of a time series.

    Args:
        series: Time series file of composites.
        output: Time series file to write, float32 GeoTIFF.
        indices: Names of indices.
        include_reflectance: Whether the bands are written too, as reflectance 0-1.
    """
    source = open_time_series(series)
    steps = with_indices(source, indices, include_reflectance)
    return _write_step(job, steps, output, {"command": "computeindices", "indices": indices}, source)


def classify(
    job: Job,
    *,
    series: Path,
    model: str,
    output_classes: Path,
    output_confidence: Path | None = None,
    device: str = "auto",
) -> Result:
    """Classifies a time series with a model.

    Args:
        series: Time series file of composites, with or without indices.
        model: A bundled model's id, or the folder of a model bundle.
        output_classes: Class raster to write, GeoTIFF.
        output_confidence: Confidence raster to write (percent), GeoTIFF.
        device: auto, cpu or cuda.
    """
    bundle = load_bundle(model)
    source = open_time_series(series)
    if not _is_filled(source.provenance):
        job.warning("The time series is not filled (fillgaps), but the model learnt from filled ones.")
    with _outputs(job) as outputs:
        outputs.protect([source.path])
        provenance = {"command": "classify", "series": source.path.name, "source": source.provenance}
        classes, confidence = _stage_maps(outputs, bundle, output_classes, output_confidence)
        class_map = _classify(job, source, bundle, device, classes, confidence, provenance, (0.0, 0.99))
        outputs.commit()
    return _map_result(bundle, class_map, output_classes, output_confidence)


def parcelattributes(job: Job, *, parcels: Path, classes: Path, output: Path, confidence: Path | None = None) -> Result:
    """Describes parcels by the class raster beneath them.

    Args:
        parcels: Polygon layer with the integer field `parcel`.
        classes: Class raster.
        output: Table to write, CSV.
        confidence: Confidence raster of the same run.
    """
    placed = _place(job, parcels, grid_of_file(classes))
    with _outputs(job) as outputs:
        outputs.protect([path for path in (parcels, classes, confidence) if path is not None])
        described = _describe_parcels(job, placed, classes, confidence, outputs.stage(output), (READING, 1.0))
        outputs.commit()
    return {"output": str(output), **described, "classes": legend_of_file(classes)}


def mapcrops(
    job: Job,
    *,
    scenes: tuple[Path, ...],
    model: str,
    output_classes: Path,
    parcels: Path | None = None,
    start_date: date | None = None,
    end_date: date | None = None,
    months: tuple[int, ...] = (),
    max_cloud_percent: int = 100,
    keep_classes: tuple[str, ...] = DEFAULT_KEEP_CLASSES,
    offset: str = "auto",
    device: str = "auto",
    output_confidence: Path | None = None,
    output_parcels: Path | None = None,
) -> Result:
    """Maps crops: scenes and parcels in, class raster and parcel table out, in one streamed pass.

    Args:
        scenes: Folders of scenes, products, archives or files: see docs/ingestion.md.
        model: A bundled model's id, or the folder of a model bundle.
        output_classes: Class raster to write, GeoTIFF.
        parcels: Polygon layer with the integer field `parcel`.
        start_date: First day that counts, inclusive.
        end_date: Last day that counts, inclusive.
        months: Months of acquisition, 1 to 12; none for all.
        max_cloud_percent: Scenes with more cloud over the raster, from their SCL, are left out.
        keep_classes: SCL classes that count as clear.
        offset: Radiometric offset: auto, 0 or -1000.
        device: auto, cpu or cuda.
        output_confidence: Confidence raster to write (percent), GeoTIFF.
        output_parcels: Parcel table to write, CSV.
    """
    if output_parcels is not None and parcels is None:
        raise JobError("There are no PARCELS to describe.", "Give PARCELS, or leave OUTPUT_PARCELS out.")
    bundle = load_bundle(model)
    asked = Asked(start_date, end_date, months, max_cloud_percent)
    stack, files = stack_asked(job, scenes, bundle.reflectance_bands, asked, 10, offset)
    composites = composite(stack, bundle.period, start_date, end_date, keep_classes)
    check_fits(bundle, (*composites.bands, *computable_indices(composites)), composites.dates)
    _tell_unseen(job, composites)
    placed = _place(job, parcels, stack.grid) if parcels is not None and output_parcels is not None else None
    with _outputs(job) as outputs:
        outputs.protect([*files, *([parcels] if parcels is not None else [])])
        provenance = {"command": "mapcrops", "keep_classes": keep_classes, **origin_of(stack)}
        maps = _stage_maps(outputs, bundle, output_classes, output_confidence)
        table = outputs.stage(output_parcels) if output_parcels is not None else None
        if table is not None and output_confidence is None:
            maps = maps[0], outputs.scratch(output_classes)  # pred_prob means the same whatever outputs were chosen
        end = 0.99 if table is None else 0.95
        class_map = _classify(job, Filled(composites), bundle, device, *maps, provenance, (READING, end))
        result = _map_result(bundle, class_map, output_classes, output_confidence)
        if table is not None and placed is not None:
            job.progress(end, "Describing the parcels")
            result |= _describe_parcels(job, placed, *maps, table, (end, 1.0))
        outputs.commit()
    dates = [day.isoformat() for day in stack.dates]
    return {**result, "output_parcels": str(output_parcels) if output_parcels else None, "dates": dates}


COMMANDS: Mapping[str, Callable[..., Result]] = {
    function.__name__: function
    for function in (
        runtimeinfo,
        stackscenes,
        compositetimeseries,
        fillgaps,
        computeindices,
        classify,
        parcelattributes,
        mapcrops,
    )
}


def _outputs(job: Job) -> Outputs:
    """The job's files, which do not outlive it however it ends."""
    outputs = Outputs(job.id)
    job.undo_with(outputs.discard)
    return outputs


def _write_step(
    job: Job, series: Series, output: Path, provenance: dict[str, Any], source: TimeSeriesFile
) -> dict[str, Any]:
    """Writes what a step makes of a time series file."""
    origin = {"series": source.path.name, "source": source.provenance}
    return _write(job, series, output, {**provenance, **origin}, [source.path])


def _write(
    job: Job, series: Series, output: Path, provenance: Mapping[str, Any], inputs: Iterable[Path]
) -> dict[str, Any]:
    with _outputs(job) as outputs:
        outputs.protect(inputs)
        part = outputs.stage_raster(output)
        style = outputs.stage(output.with_suffix(".qml")) if _can_show_true_colour(series) else None
        job.progress(READING, f"Writing {len(series.dates)} dates of {len(series.bands)} bands")
        write_time_series(series, part, provenance, job.part(READING, 0.99))
        if style is not None:
            write_text(style, _true_colour(series))
        outputs.commit()
    return {
        "output": str(output),
        "dates": [day.isoformat() for day in series.dates],
        "bands": list(series.bands),
    }


def _tell_unseen(job: Job, composites: Composite) -> None:
    """Warns of periods that filling will have to make up.

    Raises:
        NoValidObservationError: That would be most of them: no honest season can be made of it.
    """
    unseen = [day.isoformat()[:7] for day in composites.unseen]
    if 2 * len(unseen) > len(composites.dates):
        raise NoValidObservationError(
            f"{len(unseen)} of {len(composites.dates)} periods have no acquisition at all ({', '.join(unseen[:12])}).",
            "Give the scenes of the whole season, or choose START_DATE and END_DATE to fit those that are there.",
        )
    if unseen:
        job.warning(f"No acquisition in {', '.join(unseen)}: filling takes these periods from their neighbours.")


def _is_filled(provenance: Mapping[str, Any]) -> bool:
    """Whether fillgaps is among the commands that a file was made by."""
    source = provenance.get("source")
    return provenance.get("command") == "fillgaps" or (isinstance(source, Mapping) and _is_filled(source))


def _can_show_true_colour(series: Series) -> bool:
    return {"B04", "B03", "B02"} <= set(series.bands)


def _true_colour(series: Series) -> str:
    """Red, green and blue of the middle date."""
    first = len(series.dates) // 2 * len(series.bands)
    red, green, blue = (first + series.bands.index(band) + 1 for band in ("B04", "B03", "B02"))
    return true_colour_style(red, green, blue, brightest=0.3)


def _stage_maps(outputs: Outputs, bundle: Bundle, classes: Path, confidence: Path | None) -> tuple[Path, Path | None]:
    """The unfinished map files; their styles are written at once, for nothing in them depends on the pixels."""
    parts = outputs.stage_raster(classes), None if confidence is None else outputs.stage_raster(confidence)
    write_text(outputs.stage(classes.with_suffix(".qml")), class_style(bundle.classes))
    if confidence is not None:
        write_text(outputs.stage(confidence.with_suffix(".qml")), confidence_style())
    return parts


def _classify(
    job: Job,
    series: Series,
    bundle: Bundle,
    device_name: str,
    classes: Path,
    confidence: Path | None,
    provenance: Mapping[str, Any],
    span: tuple[float, float],
) -> ClassMap:
    device = choose_device(device_name)
    job.progress(span[0], f"Classifying with {bundle.id} on {device.type}")
    return write_class_map(series, bundle, device, classes, confidence, provenance, job.part(*span))


def _place(job: Job, parcels: Path, grid: Grid) -> PlacedParcels:
    """Places the parcels before anything is computed: a wrong layer should not cost a whole run."""
    job.progress(READING / 2, "Checking the parcels")
    placed = place_parcels(parcels, grid)
    for warning in placed.warnings:
        job.warning(warning)
    return placed


def _describe_parcels(
    job: Job, parcels: PlacedParcels, classes: Path, confidence: Path | None, table: Path, span: tuple[float, float]
) -> dict[str, Any]:
    records = describe_parcels(parcels, classes, confidence, job.part(*span))
    write_records(records, table)
    classified = sum(record.pred_code is not None for record in records)
    job.log(f"{classified} of {len(records)} parcels have a class.")
    return {"parcels": len(records), "classified": classified}


def _map_result(bundle: Bundle, class_map: ClassMap, classes: Path, confidence: Path | None) -> dict[str, Any]:
    return {
        "output_classes": str(classes),
        "output_confidence": str(confidence) if confidence else None,
        "device": class_map.device,
        "pixels": dict(class_map.pixels),
        "classes": [{"value": crop.value, "name": crop.name, "color": crop.color} for crop in bundle.classes],
    }


def _memory_gb() -> float | None:
    with suppress(AttributeError, OSError, ValueError):  # not on every platform
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    return None
