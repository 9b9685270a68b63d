"""The command that makes training sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from cropmap_core.commands.writing import Result, job_outputs, kept_if_killed, tell_unseen
from cropmap_core.errors import JobError
from cropmap_core.jobs import Job
from cropmap_core.samples.building import Built, Source, build, working_folder
from cropmap_core.samples.declarations import read_declarations
from cropmap_core.samples.labels import burn_labels, place_labels
from cropmap_core.samples.legend import legend_of_codes, load_legend
from cropmap_core.samples.rasters import RastersAsked, RasterSource
from cropmap_core.samples.splits import SplitAsked
from cropmap_core.samples.tables import TableAsked, TableSource
from cropmap_core.scenes.intake import READING, Asked, origin_of, stack_asked
from cropmap_core.scenes.inventory import DEFAULT_BANDS
from cropmap_core.scenes.scl import DEFAULT_KEEP_CLASSES
from cropmap_core.scenes.target import ask_for_grid
from cropmap_core.timeseries.compositing import composite
from cropmap_core.timeseries.files import open_time_series
from cropmap_core.timeseries.filling import Filled
from cropmap_core.timeseries.series import SelectedBands, Series


def buildtrainingset(
    job: Job,
    *,
    output: Path,
    table: Path | None = None,
    series: Path | None = None,
    scenes: tuple[Path, ...] = (),
    labels: Path | None = None,
    parcels_raster: Path | None = None,
    parcels: Path | None = None,
    field: str | None = None,
    name_field: str | None = None,
    legend: str | None = None,
    parcel_buffer_m: float = 10.0,
    min_pixels: int = 4,
    start_date: date | None = None,
    end_date: date | None = None,
    period: str = "auto",
    bands: tuple[str, ...] = (),
    reflectance: str = "scaled",
    label_year: int | None = None,
    kind: str = "pixel",
    patch_size: int = 32,
    pixels_per_parcel: int = 20,
    pixels_per_class: int = 0,
    fill: bool = False,
    months: tuple[int, ...] = (),
    max_cloud_percent: int = 100,
    area: Path | None = None,
    extent: str | None = None,
    missing_scl: str = "refuse",
    keep_classes: tuple[str, ...] = DEFAULT_KEEP_CLASSES,
    offset: str = "auto",
    split: str = "blocks",
    folds: int = 5,
    validation_folds: tuple[int, ...] = (1,),
    test_folds: tuple[int, ...] = (0,),
    block_m: int = 5000,
    buffer_m: int = 0,
    zones: Path | None = None,
    zone_field: str | None = None,
    split_column: str | None = None,
    confirm_random: bool = False,
    seed: int = 0,
) -> Result:
    """Builds a training set: labelled samples of time series, split, in one HDF5 file.

    Args:
        output: Training set to write, .h5.
        table: Long table of point time series, parquet or CSV: see docs/samples.md.
        series: Time series file of composites, with labels.
        scenes: Folders of scenes, with labels: see docs/ingestion.md.
        labels: Label raster on the grid of the series; with scenes it is the grid.
        parcels_raster: Raster of parcel numbers on the same grid, 0 for none.
        parcels: Polygons with crop codes, in place of labels; with scenes the grid covers them.
        field: Field of the parcels with the crop code.
        name_field: Field of the parcels with the name of the crop.
        legend: CSV file with code,value,name, or a built-in one; without it each code or label is a class.
        parcel_buffer_m: Parcels are narrowed by so many metres on all sides.
        min_pixels: Parcels with fewer pixels are left out.
        start_date: First day of the season, inclusive.
        end_date: Last day of the season, inclusive.
        period: A period, like month; auto for month or what a table's dates show; as_is for a table's own dates.
        bands: Reflectance bands; all that a table or series has, or the ten of 10 and 20 m of scenes, if not given.
        reflectance: Of a table: scaled (x 10000) or unit (0-1).
        label_year: Year that the labels are of, to be checked against the series.
        kind: pixel or patch.
        patch_size: Edge of a patch in pixels.
        pixels_per_parcel: Most pixels taken of a parcel, at random; 0 for all.
        pixels_per_class: Most pixels taken of a class, at random; 0 for all.
        fill: Whether gaps of composites made of scenes are filled.
        months: Months of acquisition of scenes, 1 to 12; none for all.
        max_cloud_percent: Scenes with more cloud over the area, from their SCL, are left out.
        area: Vector file of polygons: with scenes and parcels the grid covers it instead of the parcels.
        extent: The same as a rectangle: xmin,xmax,ymin,ymax [CRS].
        missing_scl: Scenes without SCL: refuse, leave_out or as_clear.
        keep_classes: SCL classes that count as clear.
        offset: Radiometric offset of scenes: auto, 0 or -1000.
        split: blocks, zone, parcel, tile, year, column or random.
        folds: Number of folds.
        validation_folds: Folds that early stopping and calibration look at.
        test_folds: Folds that the final evaluation looks at.
        block_m: Edge of a spatial block in metres.
        buffer_m: Samples closer than this to one of another fold are not used, in metres.
        zones: Polygons of the user's zones.
        zone_field: Field of the zones' names.
        split_column: Column of a table with groups, fold numbers, or train, validation, test.
        confirm_random: Whether a random split is really wanted.
        seed: Of what is drawn at random.
    """
    asked = SplitAsked(
        split, folds, test_folds, validation_folds, block_m, buffer_m, split_column or "", confirm_random, seed
    )
    if sum((table is not None, series is not None, bool(scenes))) != 1:
        raise JobError("Samples come from one of TABLE, SERIES and SCENES.", "Give one of the three.")
    if table is None and (labels is None) == (parcels is None):
        raise JobError("There are no LABELS.", "Give either PARCELS or the label raster that preparelabels wrote.")
    _check_place(area, extent, scenes, labels)
    if (zones is None) != (zone_field is None) or (split == "zone" and zones is None and table is None):
        raise JobError("Zones need both ZONES and ZONE_FIELD.", "Give the polygons and the field of their names.")
    if output.suffix.lower() not in (".h5", ".hdf5"):
        raise JobError(f"OUTPUT is {output.name}.", "Give a name that ends in .h5.")
    told = {name: value for name, value in locals().items() if name not in ("job", "output", "asked")}
    inputs = [path for path in (table, series, labels, parcels_raster, parcels, area, zones) if path is not None]

    def make_source(folder: Path) -> tuple[Source, dict[str, Any]]:
        if table is not None:
            known = load_legend(legend) if legend is not None else None
            how = TableAsked(period, start_date, end_date, bands or None, reflectance, known, label_year)
            return TableSource(table, how, folder), {}
        taken = RastersAsked(kind, patch_size, pixels_per_parcel, pixels_per_class, label_year, seed)
        steps: Series
        if series is not None:
            file = open_time_series(series)
            steps = SelectedBands(file, bands, str(series)) if bands else file
            origin: dict[str, Any] = {"series": series.name, "source": file.provenance}
        else:
            grid = ask_for_grid(10, area or (None if extent else parcels), extent, labels)
            wanted = Asked(start_date, end_date, months, max_cloud_percent, grid, missing_scl=missing_scl)
            steps, origin = _composites(job, scenes, bands or DEFAULT_BANDS, wanted, period, keep_classes, offset)
            steps = Filled(steps) if fill else steps
            origin["filled"] = fill
        name = series.stem if series is not None else "scenes"
        if labels is not None:
            return RasterSource(steps, labels, parcels_raster, taken, name), origin
        if parcels is None or field is None:
            raise JobError("PARCELS need FIELD.", "Name the field of crop codes.")
        burnt = _burn(job, steps, folder, parcels, (field, name_field), legend, parcel_buffer_m, min_pixels)
        origin |= {"parcels": parcels.name, "legend": Path(legend).name if legend else None}
        return RasterSource(steps, *burnt, taken, name), origin

    with job_outputs(job) as outputs:
        outputs.protect(inputs)
        part = outputs.stage(output)
        with kept_if_killed(job, working_folder(output, [*inputs, *scenes], told), outputs) as folder:
            job.progress(READING, "Looking at the labels")
            source, origin = make_source(folder)
            for warning in source.warnings:
                job.warning(warning)
            job.progress(2 * READING, f"Taking samples in {source.steps} steps")
            named = (zones, zone_field) if zones is not None and zone_field is not None else None
            provenance = {"command": "buildtrainingset", **origin}
            built = build(source, part, folder, asked, named, provenance, job.part(2 * READING, 0.99))
            outputs.commit()
    return _tell(job, built, output)


def _check_place(area: Path | None, extent: str | None, scenes: Sequence[Path], labels: Path | None) -> None:
    """Refuses a place where something else says already what the grid is.

    Raises:
        JobError: There are no scenes, or their grid is the label raster's.
    """
    if area is None and extent is None:
        return
    if not scenes:
        raise JobError("AREA and EXTENT are of SCENES, and there are none.", "Leave them out.")
    if labels is not None:
        raise JobError("AREA or EXTENT and LABELS both say what the grid covers.", "Leave AREA and EXTENT out.")


def _composites(
    job: Job,
    scenes: tuple[Path, ...],
    bands: tuple[str, ...],
    wanted: Asked,
    period: str,
    keep_classes: tuple[str, ...],
    offset: str,
) -> tuple[Series, dict[str, Any]]:
    """Composites of scenes, and what they are made of."""
    stack, _ = stack_asked(job, scenes, bands, wanted, offset)
    steps = composite(stack, "month" if period == "auto" else period, wanted.start, wanted.end, keep_classes)
    tell_unseen(job, steps)
    return steps, {**origin_of(stack), "keep_classes": keep_classes}


def _burn(
    job: Job,
    series: Series,
    folder: Path,
    parcels: Path,
    fields: tuple[str, str | None],
    legend: str | None,
    buffer_m: float,
    min_pixels: int,
) -> tuple[Path, Path]:
    """Label raster and raster of parcel numbers on the grid of a series."""
    declared = read_declarations(parcels, *fields)
    meaning = load_legend(legend) if legend else legend_of_codes(declared.codes, declared.names, parcels.name)
    labelling = place_labels(declared, meaning, series.grid, buffer_m)
    unmapped = ", ".join(f"{code} {name} ({count})" for (code, name), count in labelling.unmapped.items())
    if unmapped:
        job.warning(f"Codes that the legend does not know; their parcels are not used: {unmapped[:2000]}.")
    labels, numbers = folder / "labels.tif", folder / "numbers.tif"
    records = burn_labels(labelling, min_pixels, labels, numbers, folder / "scratch.tif", {"parcels": parcels.name})
    statuses = Counter(record.status for record in records)
    job.log("Parcels: " + ", ".join(f"{count} {status}" for status, count in statuses.items()) + ".")
    return labels, numbers


def _tell(job: Job, built: Built, output: Path) -> Result:
    description = built.split.description
    if built.resumed:
        job.log(f"{built.resumed} steps were done by a run that was killed.")
    job.log(f"{built.samples} samples: " + ", ".join(f"{name} {count}" for name, count in built.counts.items()) + ".")
    sizes = ", ".join(f"{role} {count}" for role, count in description["samples"].items())
    job.log(f"Split by {description['method']}: {sizes}; unused {description['unused']}.")
    leakage = description["leakage"]
    distances = ", ".join(
        f"{pair} {'unknown' if metres is None else f'{metres:.0f} m'}"
        for pair, metres in leakage["min_distance_m"].items()
    )
    job.log(f"Leakage check: least distances {distances}; shared parcels {leakage['shared_parcels']}.")
    for warning in built.split.warnings:
        job.warning(warning)
    return {
        "output": str(output),
        "samples": built.samples,
        "classes": dict(built.counts),
        "split": dict(description),
    }
