"""The commands that classify."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import date
from pathlib import Path
from typing import Any

import torch

from cropmap_core.classes import CropClass
from cropmap_core.commands.map_inputs import scenes_as_read, series_as_read
from cropmap_core.commands.parcels import place_in_job, tell_records
from cropmap_core.commands.using import model_temperatures, tell_seen, warn_of_missing, warn_of_place
from cropmap_core.commands.writing import Result, job_outputs, tell_unseen
from cropmap_core.errors import GridMismatchError, JobError, OutputError
from cropmap_core.inference.bundles import Bundle, load_bundle
from cropmap_core.inference.classification import (
    ClassMap,
    HowToMap,
    check_sure_from,
    keeps_blocks,
    legend_of,
    write_class_map,
)
from cropmap_core.inference.devices import choose_devices
from cropmap_core.inference.finished_blocks import folder_beside, remove_blocks
from cropmap_core.inference.fit import Composites, check_fits, present_channels
from cropmap_core.inference.manifest import Run, describe_run, unchanged
from cropmap_core.inference.map_care import Care
from cropmap_core.inference.map_files import stage_maps
from cropmap_core.inference.map_layers import MapPaths
from cropmap_core.inference.map_masks import open_mask
from cropmap_core.inference.out_of_distribution import read_reference
from cropmap_core.inference.run_documents import (
    MapMade,
    manifest_path,
    stage_documents,
    write_documents,
)
from cropmap_core.io.grid import Grid
from cropmap_core.io.locks import alone_in
from cropmap_core.io.outputs import Outputs
from cropmap_core.jobs import Job
from cropmap_core.parcels import Maps, describe_parcels, write_records
from cropmap_core.scenes.intake import READING, Asked, origin_of, stack_asked
from cropmap_core.scenes.scl import DEFAULT_KEEP_CLASSES
from cropmap_core.scenes.target import ask_for_grid
from cropmap_core.timeseries.compositing import composite
from cropmap_core.timeseries.files import open_time_series
from cropmap_core.timeseries.filling import Filled
from cropmap_core.timeseries.indices import computable_indices
from cropmap_core.timeseries.series import Series

_SINGLE_INPUTS = ("temperatures", "parcels", "area", "template", "mask")
"""Parameters that name one file, besides the series or scenes."""
_NO_PIXEL = ("parcels", "area", "mask")
"""Those whose bytes decide no pixel: parcels are described afterwards, of an area it counts which grid and scenes it
comes to, and of a mask which pixels. QGIS writes them anew for each run, with other bytes."""
_OF_BLOCKS = ("skip_damaged", "device", "precision")
"""Those that are looked at where finished blocks are taken over: another device may go on in the same precision."""


def classify(
    job: Job,
    *,
    series: Path,
    model: str,
    output_classes: Path,
    output_confidence: Path | None = None,
    output_ood: Path | None = None,
    output_entropy: Path | None = None,
    output_margin: Path | None = None,
    output_probabilities: Path | None = None,
    temperatures: Path | None = None,
    sure_from: float = 0.0,
    smoothing: float = 0.0,
    minimum_area_ha: float = 0.0,
    mask: Path | None = None,
    stride: int | None = None,
    skip_damaged: bool = False,
    device: str = "auto",
    precision: str = "auto",
    replay: str | None = None,
) -> Result:
    """Classifies a time series with a model.

    Args:
        series: Time series file of composites, with or without indices.
        model: A bundled model's id, or the folder of a model bundle.
        output_classes: Class raster to write, GeoTIFF.
        output_confidence: Confidence raster to write (percent), GeoTIFF.
        output_ood: Raster to write of pixels unlike what the model learnt of their class (1; else 0), GeoTIFF.
        output_entropy: Raster to write of how far the probability is spread over the classes (0-1), GeoTIFF.
        output_margin: Raster to write of the first less the second class probability (0-1), GeoTIFF.
        output_probabilities: Raster to write of all class probabilities (0-1), a band each, GeoTIFF.
        temperatures: Daily mean air temperatures, CSV, for a model that counts thermal days.
        sure_from: The least probability of a crop; below it a pixel is of the finest group that has it.
        smoothing: Standard deviation, in pixels, of the Gaussian that probabilities are averaged with; 0 for none.
        minimum_area_ha: Smaller regions become part of their surroundings; 0 for none.
        mask: Raster (values above 0 count) or polygons: nothing else is mapped, and computed only where it is needed.
        stride: Edge of the cells, in pixels, that a network of patches maps; that of the model if not given.
        skip_damaged: Parts of the input that cannot be read count as never observed, and are named.
        device: auto (all GPUs there are, else the processor), cpu, cuda, cuda:1, ... or mps.
        precision: auto (bfloat16 where the device has it and the model was seen to map the same), float32 or bfloat16.
        replay: The command that does this again, for the manifest; if not given the worker's, if empty none.
    """
    given = {name: value for name, value in locals().items() if name != "job"}
    bundle = load_bundle(model)
    how = _asked(job, bundle, given)
    source = open_time_series(series)
    if not _is_filled(source.provenance):
        job.warning("The time series is not filled (fillgaps), but the model learnt from filled ones.")
    written = _map_paths(given)
    how = _with_mask(job, how, source.grid)
    run = _describe_run(job, "classify", given, {"series": [source.path]}, bundle)
    run = replace(run, read_as=series_as_read(source))
    if before := _done_before(job, _fingerprint(run, how), written):
        return before
    how = _going_on(how, run, written, source.grid)
    with _holding_blocks(job, how), job_outputs(job) as outputs:
        outputs.protect([path for path in (source.path, temperatures, mask) if path is not None])
        provenance = {"command": "classify", "series": source.path.name, "source": source.provenance}
        maps, documents = stage_maps(outputs, how.legend, written), stage_documents(outputs, written.classes)
        class_map = _classify(job, source, bundle, how, maps, provenance, (0.0, 0.99))
        result = _map_result(how, class_map, written)
        made = _made(source, bundle, how, class_map, written, maps)
        write_documents(documents, run, made, _fingerprint(run, how), result)
        outputs.commit()
        class_map.finished.remove()
    return result


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
    area: Path | None = None,
    extent: str | None = None,
    template: Path | None = None,
    cover: str = "union",
    crs: str | None = None,
    resampling: str = "nearest",
    missing_scl: str = "refuse",
    keep_classes: tuple[str, ...] = DEFAULT_KEEP_CLASSES,
    offset: str = "auto",
    temperatures: Path | None = None,
    sure_from: float = 0.0,
    smoothing: float = 0.0,
    minimum_area_ha: float = 0.0,
    mask: Path | None = None,
    stride: int | None = None,
    skip_damaged: bool = False,
    device: str = "auto",
    precision: str = "auto",
    output_confidence: Path | None = None,
    output_ood: Path | None = None,
    output_entropy: Path | None = None,
    output_margin: Path | None = None,
    output_probabilities: Path | None = None,
    output_parcels: Path | None = None,
    replay: str | None = None,
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
        max_cloud_percent: Scenes with more cloud over the area, from their SCL, are left out.
        area: Vector file of polygons: the grid covers them.
        extent: The grid covers it: xmin,xmax,ymin,ymax [CRS].
        template: Raster whose grid is taken.
        cover: What to cover where nothing else tells: union or intersection of the scenes.
        crs: Projected CRS of the grid; that of most scenes if not given.
        resampling: Of reflectance: nearest, bilinear or cubic.
        missing_scl: Scenes without SCL: refuse, leave_out or as_clear.
        keep_classes: SCL classes that count as clear.
        offset: Radiometric offset: auto, 0 or -1000.
        temperatures: Daily mean air temperatures, CSV, for a model that counts thermal days.
        sure_from: The least probability of a crop; below it a pixel is of the finest group that has it.
        smoothing: Standard deviation, in pixels, of the Gaussian that probabilities are averaged with; 0 for none.
        minimum_area_ha: Smaller regions become part of their surroundings; 0 for none.
        mask: Raster (values above 0 count) or polygons: nothing else is mapped, and computed only where it is needed.
        stride: Edge of the cells, in pixels, that a network of patches maps; that of the model if not given.
        skip_damaged: Parts of the input that cannot be read count as never observed, and are named.
        device: auto (all GPUs there are, else the processor), cpu, cuda, cuda:1, ... or mps.
        precision: auto (bfloat16 where the device has it and the model was seen to map the same), float32 or bfloat16.
        output_confidence: Confidence raster to write (percent), GeoTIFF.
        output_ood: Raster to write of pixels unlike what the model learnt of their class (1; else 0), GeoTIFF.
        output_entropy: Raster to write of how far the probability is spread over the classes (0-1), GeoTIFF.
        output_margin: Raster to write of the first less the second class probability (0-1), GeoTIFF.
        output_probabilities: Raster to write of all class probabilities (0-1), a band each, GeoTIFF.
        output_parcels: Parcel table to write, CSV.
        replay: The command that does this again, for the manifest; if not given the worker's, if empty none.
    """
    given = {name: value for name, value in locals().items() if name != "job"}
    if output_parcels is not None and parcels is None:
        raise JobError("There are no PARCELS to describe.", "Give PARCELS, or leave OUTPUT_PARCELS out.")
    bundle = load_bundle(model)
    how = _asked(job, bundle, given)
    grid = ask_for_grid(10, area, extent, template, cover, crs)
    if grid.resolution_m != 10:
        raise GridMismatchError(
            f"TEMPLATE {template} has pixels of {grid.resolution_m} m.",
            "Give one of 10 m: models learn from such.",
        )
    asked = Asked(start_date, end_date, months, max_cloud_percent, grid, resampling, missing_scl)
    stack, files = stack_asked(job, scenes, bundle.reflectance_bands, asked, offset)
    composites = composite(stack, bundle.period, start_date, end_date, keep_classes)
    channels = (*composites.bands, *computable_indices(composites, bundle.channels))
    check_fits(bundle, Composites(channels, composites.period, tuple(composites.dates)))
    tell_unseen(job, composites)
    placed = place_in_job(job, parcels, stack.grid) if parcels is not None and output_parcels is not None else None
    written = _map_paths(given)
    how = _with_mask(job, how, stack.grid)
    run = _describe_run(job, "mapcrops", given, {"scenes": files}, bundle)
    run = replace(run, read_as=scenes_as_read(stack, run.inputs["scenes"]))
    if placed is None and (before := _done_before(job, _fingerprint(run, how), written)):
        of_parcels = ("output_parcels", "parcels", "classified")
        return {**{name: value for name, value in before.items() if name not in of_parcels}, "output_parcels": None}
    how = _going_on(how, run, written, stack.grid)
    with _holding_blocks(job, how), job_outputs(job) as outputs:
        outputs.protect([*files, *(path for path in (parcels, area, template, temperatures, mask) if path is not None)])
        provenance = {"command": "mapcrops", "keep_classes": keep_classes, **origin_of(stack)}
        maps, documents = stage_maps(outputs, how.legend, written), stage_documents(outputs, written.classes)
        table = outputs.stage(output_parcels) if output_parcels is not None else None
        if table is not None:  # the record means the same whatever outputs were chosen
            scratch = outputs.scratch(output_classes.with_suffix(".ood.tif")) if read_reference(bundle) else None
            maps = replace(
                maps,
                confidence=maps.confidence or outputs.scratch(output_classes.with_suffix(".confidence.tif")),
                ood=maps.ood or scratch,
                probabilities=maps.probabilities or _scratch_probabilities(outputs, output_classes, sure_from),
            )
        series, end = Filled(composites), 0.99 if table is None else 0.95
        class_map = _classify(job, series, bundle, how, maps, provenance, (READING, end))
        result = {**_map_result(how, class_map, written), "output_parcels": None}
        made = _made(series, bundle, how, class_map, written, maps)
        if table is not None and placed is not None and output_parcels is not None:
            job.progress(end, "Describing the parcels")
            described = Maps(maps.classes, maps.confidence, maps.ood, None if sure_from else maps.probabilities)
            records = describe_parcels(placed, described, job.part(end, 1.0))
            write_records(records, table)
            result |= tell_records(job, records)
            result["output_parcels"] = str(output_parcels)
            made = replace(made, tables={"output_parcels": (output_parcels, table)})
        result["dates"] = [day.isoformat() for day in stack.dates]
        write_documents(documents, run, made, _fingerprint(run, how), result)
        outputs.commit()
        class_map.finished.remove()
    return result


def _scratch_probabilities(outputs: Outputs, classes: Path, sure_from: float) -> Path | None:
    """Where probabilities go to describe parcels by; None where crops may be unsure, for they know no groups."""
    return None if sure_from else outputs.scratch(classes.with_suffix(".probabilities.tif"))


@dataclass(frozen=True)
class _Asked:
    """How a model is to be used."""

    how: HowToMap
    devices: tuple[torch.device, ...]
    legend: tuple[CropClass, ...]
    """What the values of the map stand for."""


def _asked(job: Job, bundle: Bundle, given: Mapping[str, Any]) -> _Asked:
    sure_from = check_sure_from(given["sure_from"])
    how = HowToMap(
        temperatures=model_temperatures(job, [bundle], given["temperatures"]),
        sure_from=sure_from,
        precision=given["precision"],
        stride=given["stride"],
        care=Care(given["smoothing"], given["minimum_area_ha"], given["mask"]),
        skip_damaged=given["skip_damaged"],
    )
    return _Asked(how, choose_devices(given["device"]), legend_of(bundle, sure_from))


def _is_filled(provenance: Mapping[str, Any]) -> bool:
    """Whether fillgaps is among the commands that a file was made by."""
    source = provenance.get("source")
    return provenance.get("command") == "fillgaps" or (isinstance(source, Mapping) and _is_filled(source))


def _map_paths(given: Mapping[str, Any]) -> MapPaths:
    """The rasters that are asked for among a command's parameters."""
    return MapPaths(**{field.name: given[f"output_{field.name}"] for field in fields(MapPaths)})


def _describe_run(
    job: Job, command: str, given: Mapping[str, Any], inputs: Mapping[str, Iterable[Path]], bundle: Bundle
) -> Run:
    job.log("Taking the hashes of the inputs, for the manifest.")
    files = {name: [given[name]] for name in _SINGLE_INPUTS if given.get(name) is not None}
    return describe_run(command, given, {**inputs, **files}, bundle, given["replay"])


def _made(
    series: Series, bundle: Bundle, how: _Asked, class_map: ClassMap, written: MapPaths, parts: MapPaths
) -> MapMade:
    """What is told of a map whose rasters are complete; those for the job's own use are left out."""
    own: dict[str, Any] = {name: None for name in parts.there if name not in written.there}
    return MapMade(
        written,
        replace(parts, **own),
        series.grid,
        series.dates,
        series.span,
        bundle.classes,
        how.legend,
        class_map.computed,
        class_map.warnings,
    )


def _with_mask(job: Job, how: _Asked, grid: Grid) -> _Asked:
    """With the mask on the map's grid: which pixels it names tells it from others."""
    if how.how.care.mask is None:
        return how
    mask = open_mask(how.how.care.mask, grid, progress=job.part(0.0, 0.0))
    return replace(how, how=replace(how.how, mask=mask))


def _fingerprint(run: Run, how: _Asked, without: tuple[str, ...] = _NO_PIXEL) -> str:
    """Of all that decides the pixels of a map."""
    deciding = {name: files for name, files in run.inputs.items() if name not in without}
    parameters = {name: value for name, value in run.parameters.items() if name not in without}
    wanted = how.how.mask
    mask = {} if wanted is None else {"mask": wanted.digest.hex()}
    return replace(run, inputs=deciding, parameters=parameters).fingerprint(mask)


def _done_before(job: Job, fingerprint: str, written: MapPaths) -> Result | None:
    """The result of the same run before this one, if all that it wrote is as it was."""
    outputs = {f"output_{name}": path for name, path in written.there.items()}
    manifest = unchanged(manifest_path(written.classes), fingerprint, outputs)
    if manifest is None:
        return None
    for warning in manifest["warnings"]:
        job.warning(warning)
    _remove_left(folder_beside(written.classes))
    job.log(
        f"{written.classes} was made of the same inputs by the same model: it is not computed again. Remove it to have "
        "it made anew."
    )
    asked = {f"output_{name}": path and str(path) for name, path in asdict(written).items()}
    return {**manifest["result"], **asked}


def _remove_left(folder: Path) -> None:
    """Removes the blocks of a run that was killed when its map was in place, unless another run is making new ones."""
    if folder.is_dir():
        with suppress(OutputError), alone_in(folder):
            remove_blocks(folder)


def _going_on(how: _Asked, run: Run, written: MapPaths, grid: Grid) -> _Asked:
    """With what is left of a run that was ended, where the map is so large that something is kept."""
    if not keeps_blocks(grid):
        return how
    fingerprint = _fingerprint(run, how, (*_NO_PIXEL, *_OF_BLOCKS))
    return replace(how, how=replace(how.how, unfinished=folder_beside(written.classes), fingerprint=fingerprint))


@contextmanager
def _holding_blocks(job: Job, how: _Asked) -> Iterator[None]:
    """Keeps other runs from the folder of finished blocks, and says where it is if the map is not completed.

    Raises:
        OutputError: Another run has it.
    """
    folder = how.how.unfinished
    if folder is None:
        yield
        return
    with alone_in(folder, "making the same map, and keeps its finished blocks in"):
        job.log(f"Finished blocks are kept in {folder} until the map is complete.")
        try:
            yield
        except BaseException:
            if count := sum(1 for _ in folder.glob("*.npz")):
                job.log(f"{count} finished blocks are kept in {folder}: started again, the run goes on from them.")
            raise


def _classify(
    job: Job,
    series: Series,
    bundle: Bundle,
    how: _Asked,
    maps: MapPaths,
    provenance: Mapping[str, Any],
    span: tuple[float, float],
) -> ClassMap:
    there = (*series.bands, *computable_indices(series, bundle.channels))
    warned = (
        *warn_of_missing(job, bundle, present_channels(bundle, there)),
        *warn_of_place(job, bundle, *series.grid.centre_degrees, series.dates),
    )
    job.progress(span[0], f"Classifying with {bundle.id} on {', '.join(map(str, how.devices))}")
    with_warnings = replace(how.how, warnings=warned)
    class_map = write_class_map(
        series, bundle, how.devices, maps, provenance, with_warnings, job.part(*span), job.warning
    )
    if class_map.report.taken_over:
        job.log(f"{class_map.report.taken_over} of {class_map.report.blocks} blocks were finished before.")
    job.log(f"Computed in {class_map.precision}, in parts of {class_map.report.edge} pixels.")
    tell_seen(job, bundle, class_map.watch, class_map.warnings)
    return replace(class_map, warnings=(*warned, *class_map.warnings))


def _map_result(how: _Asked, class_map: ClassMap, written: MapPaths) -> dict[str, Any]:
    files = {field.name: getattr(written, field.name) for field in fields(MapPaths)}
    return {
        **{f"output_{name}": None if path is None else str(path) for name, path in files.items()},
        "device": class_map.device,
        "pixels": dict(class_map.pixels),
        "ood_share": class_map.watch.share,
        "classes": [{"value": crop.value, "name": crop.name, "color": crop.color} for crop in how.legend],
    }
