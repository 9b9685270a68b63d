"""The command that makes labels: of parcels or crop inventories, for a time series."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from pyproj import CRS

from cropmap_core.commands.writing import Result, job_outputs
from cropmap_core.errors import GridMismatchError, JobError, ParcelError
from cropmap_core.io.outputs import write_text
from cropmap_core.jobs import Job
from cropmap_core.samples.declarations import Declarations, read_declarations
from cropmap_core.samples.drafts import write_draft
from cropmap_core.samples.inventory import write_inventory_labels
from cropmap_core.samples.labels import (
    CONFLICT,
    STATUSES,
    Labelling,
    LabelRecord,
    burn_labels,
    place_labels,
    write_records,
)
from cropmap_core.samples.legend import Legend, load_legend
from cropmap_core.samples.zones import Zones, propose_zones, write_zones
from cropmap_core.styles import class_style
from cropmap_core.timeseries.files import TimeSeriesFile, open_time_series

_SHOWN = 30
"""Codes and parcels that are listed."""
_LABELS = 0.8
"""Share of the progress bar for the labels; what is left is for zones."""


def preparelabels(
    job: Job,
    *,
    series: Path | None = None,
    parcels: Path | None = None,
    field: str | None = None,
    name_field: str | None = None,
    inventory: Path | None = None,
    confidence: Path | None = None,
    min_confidence: float = 0.0,
    legend: str | None = None,
    buffer_m: float = 10.0,
    min_pixels: int = 4,
    label_year: int | None = None,
    land_cover: Path | None = None,
    cropland_classes: tuple[int, ...] = (40,),
    zone_size_km: float = 10.0,
    zone_count: int = 10,
    min_cropland_percent: int = 50,
    output_labels: Path | None = None,
    output_parcels: Path | None = None,
    output_table: Path | None = None,
    output_draft: Path | None = None,
    output_zones: Path | None = None,
) -> Result:
    """Makes labels for training: a raster on the grid of a time series, of parcels or of a crop inventory.

    Args:
        series: Time series file whose grid the labels take.
        parcels: Vector file of polygons, any CRS; an integer field `parcel` numbers them.
        field: Field of the parcels with the crop code.
        name_field: Field of the parcels with the name of the crop.
        inventory: Raster of crop codes instead of parcels, such as the CDL or the ACI.
        confidence: Raster of the inventory's confidence; else it is the inventory's second band.
        min_confidence: Pixels that the inventory is less sure of are not labelled.
        legend: CSV file with code,value,name, or a built-in one: rpg-2023-crops, -families, -groups, names.
        buffer_m: Parcels are narrowed by so many metres on all sides.
        min_pixels: Parcels with fewer pixels are left out.
        label_year: The year that the labels are of; it must be one of the time series.
        land_cover: Raster of land cover, to propose training zones.
        cropland_classes: Values of the land cover that are cropland; 40 in ESA WorldCover.
        zone_size_km: Edge of the zones.
        zone_count: Number of zones.
        min_cropland_percent: Share of cropland that a zone must have.
        output_labels: Label raster to write, GeoTIFF.
        output_parcels: Raster of parcel numbers to write, GeoTIFF.
        output_table: What became of each parcel, CSV to write.
        output_draft: Legend to complete, CSV to write.
        output_zones: Proposed zones, GeoPackage to write.
    """
    if not (output_labels or output_draft or output_zones):
        raise JobError("Nothing is to be written.", "Ask for OUTPUT_LABELS, OUTPUT_DRAFT or OUTPUT_ZONES.")
    if parcels is not None and inventory is not None:
        raise JobError("There are both PARCELS and an INVENTORY.", "Give one of them.")
    if (output_parcels or output_table) and not (output_labels and parcels):
        raise JobError(
            "OUTPUT_PARCELS and OUTPUT_TABLE go with the labels of parcels.", "Give PARCELS and OUTPUT_LABELS too."
        )
    if buffer_m < 0 or min_pixels < 1:
        raise JobError(f"BUFFER is {buffer_m:g}, MIN_PIXELS {min_pixels}.", "Give at least 0 and at least 1.")
    if output_zones is not None:
        _check_zones(land_cover, output_zones, zone_size_km, zone_count, min_cropland_percent)
    source = open_time_series(series) if series is not None else None
    known = _open_legend(job, legend, source, label_year) if output_labels is not None else None
    declared = _read_parcels(job, parcels, field, name_field) if parcels is not None else None
    with job_outputs(job) as outputs:
        inputs = (series, parcels, inventory, confidence, land_cover, Path(legend) if legend else None)
        outputs.protect(path for path in inputs if path is not None)
        result: dict[str, Any] = {}
        if output_draft is not None:
            result |= _draft(job, declared, outputs.stage(output_draft))
        if output_labels is not None and known is not None and source is not None:
            labels = outputs.stage_raster(output_labels)
            write_text(outputs.stage(output_labels.with_suffix(".qml")), class_style(known.classes))
            if declared is not None and parcels is not None:
                numbers = outputs.stage_raster(output_parcels) if output_parcels is not None else None
                table = outputs.stage(output_table) if output_table is not None else None
                rasters = labels, numbers, outputs.scratch(output_labels)
                result |= _label_parcels(job, declared, known, source, buffer_m, min_pixels, rasters, table, label_year)
            elif inventory is not None:
                sureness = (confidence, 1) if confidence else (inventory, 2) if min_confidence > 0 else None
                result |= _label_by_inventory(
                    job, inventory, sureness, min_confidence, known, source, labels, label_year
                )
            else:
                raise JobError("There is nothing to make labels of.", "Give PARCELS or an INVENTORY.")
            result["classes"] = [each.as_json() for each in known.classes]
        if output_zones is not None and land_cover is not None:
            job.progress(_LABELS, "Looking for training zones")
            share, within = min_cropland_percent / 100, source.grid if source else None
            part = job.part(_LABELS, 0.99)
            zones = propose_zones(land_cover, zone_size_km, zone_count, share, cropland_classes, within, part)
            write_zones(zones, outputs.stage(output_zones))
            result |= _tell_zones(job, zones, zone_count, min_cropland_percent)
        outputs.commit()
    written = {
        "output_labels": output_labels,
        "output_parcels": output_parcels,
        "output_table": output_table,
        "output_draft": output_draft,
        "output_zones": output_zones,
    }
    return {**{name: str(path) if path else None for name, path in written.items()}, **result}


def _check_zones(land_cover: Path | None, output: Path, size_km: float, count: int, percent: int) -> None:
    if land_cover is None:
        raise JobError("There is no LAND_COVER to propose zones from.", "Give one, or leave OUTPUT_ZONES out.")
    if output.suffix.lower() != ".gpkg":
        raise JobError(f"{output} is not named as a GeoPackage.", "Give a name that ends in .gpkg.")
    if not (size_km > 0 and count >= 1 and 0 <= percent <= 100):
        raise JobError(
            f"ZONE_SIZE is {size_km:g} km, ZONE_COUNT {count}, MIN_CROPLAND {percent} %.",
            "Give a size above 0, at least one zone, and 0 to 100 %.",
        )


def _open_legend(job: Job, legend: str | None, source: TimeSeriesFile | None, label_year: int | None) -> Legend:
    """The legend, once it is clear that labels can be made for the series."""
    if legend is None or source is None:
        lacking = " and ".join(name for name, given in (("LEGEND", legend), ("SERIES", source)) if given is None)
        raise JobError(f"Labels need {lacking}.", "Give a time series and a legend of its classes.")
    axes = CRS.from_user_input(source.grid.crs).axis_info
    if axes[0].unit_name != "metre":
        raise GridMismatchError(
            f"{source.path} is in {axes[0].unit_name}s, not in metres.", "Give a time series in a projected CRS."
        )
    known = load_legend(legend)
    years = sorted({day.year for day in source.dates})
    if label_year is not None and label_year not in years:
        raise JobError(
            f"The labels are of {label_year}, but {source.path} holds dates of {', '.join(map(str, years))}.",
            "Give labels of a year that the time series covers.",
        )
    if label_year is None and known.year is not None and known.year not in years:
        job.warning(
            f"The legend {known.id} is of {known.year}, the time series of {', '.join(map(str, years))}: codes "
            "change from year to year. Check that the parcels are of the series' year (LABEL_YEAR)."
        )
    return known


def _read_parcels(job: Job, parcels: Path, field: str | None, name_field: str | None) -> Declarations:
    if not field:
        raise JobError("FIELD is empty.", "Name the field that holds the parcels' crop codes.")
    job.progress(0.0, "Reading the parcels")
    return read_declarations(parcels, field, name_field)


def _draft(job: Job, declared: Declarations | None, path: Path) -> dict[str, Any]:
    if declared is None:
        raise JobError("There are no PARCELS to draft a legend for.", "Give them, or leave OUTPUT_DRAFT out.")
    codes, filled = write_draft(declared, path)
    job.log(f"The draft has {codes} codes: {filled} filled in by their names, {codes - filled} for you to fill in.")
    return {"codes": codes, "filled": filled}


def _label_parcels(
    job: Job,
    declared: Declarations,
    legend: Legend,
    source: TimeSeriesFile,
    buffer_m: float,
    min_pixels: int,
    rasters: tuple[Path, Path | None, Path],
    table: Path | None,
    label_year: int | None,
) -> dict[str, Any]:
    job.progress(0.05, f"Placing {len(declared)} parcels")
    labelling = place_labels(declared, legend, source.grid, buffer_m)
    if labelling.repaired:
        numbers = ", ".join(map(str, labelling.repaired[:5]))
        job.warning(f"Invalid geometries that were repaired: {len(labelling.repaired)} (parcel {numbers}).")
    unmapped = {f"{code} {name}" if name != code else code: count for (code, name), count in labelling.unmapped.items()}
    known = sum(count for (code, _), count in labelling.unmapped.items() if code in legend.codes)
    if known:
        job.log(f"{known} of the unmapped parcels have a code that the legend knows as no class.")
    _list_unmapped(job, unmapped, "parcels")
    provenance = {**_origin(source, legend, label_year), "parcels": declared.path.name}
    provenance |= {"buffer_m": buffer_m, "min_pixels": min_pixels}
    records = burn_labels(labelling, min_pixels, *rasters, provenance, job.part(0.1, _LABELS))
    if table is not None:
        write_records(records, table)
    return _tell_parcels(job, labelling, records)


def _label_by_inventory(
    job: Job,
    inventory: Path,
    sureness: tuple[Path, int] | None,
    min_confidence: float,
    legend: Legend,
    source: TimeSeriesFile,
    labels: Path,
    label_year: int | None,
) -> dict[str, Any]:
    job.progress(0.0, "Labelling by the crop inventory")
    provenance = {**_origin(source, legend, label_year), "inventory": inventory.name, "min_confidence": min_confidence}
    part = job.part(0.0, _LABELS)
    made = write_inventory_labels(inventory, sureness, min_confidence, legend, source.grid, labels, provenance, part)
    _list_unmapped(job, made.unmapped, "pixels of the inventory")
    if not made.pixels:
        raise ParcelError("No pixel got a label.", "Give a legend that knows the inventory's codes.")
    pixels = {each.name: made.pixels.get(each.value, 0) for each in legend.classes}
    return {
        "unmapped": dict(made.unmapped),
        "pixels": _tell_classes(job, pixels),
        "resampling": made.resampling,
    }


def _origin(source: TimeSeriesFile, legend: Legend, label_year: int | None) -> dict[str, Any]:
    return {"command": "preparelabels", "series": source.path.name, "legend": legend.id, "label_year": label_year}


def _list_unmapped(job: Job, unmapped: Mapping[str, int], what: str) -> None:
    """Lists codes that are no class: they are ignored, never background."""
    if not unmapped:
        return
    listed = [f"{code.strip() or '(empty)'}: {count}" for code, count in islice(unmapped.items(), _SHOWN)]
    more = f"; and {len(unmapped) - _SHOWN} more codes" if len(unmapped) > _SHOWN else ""
    job.warning(f"Unmapped codes are ignored ({sum(unmapped.values())} {what}): {'; '.join(listed)}{more}.")


def _tell_parcels(job: Job, labelling: Labelling, records: list[LabelRecord]) -> dict[str, Any]:
    counts = Counter(record.status for record in records)
    job.log("Parcels: " + ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status]) + ".")
    in_conflict = [record.parcel for record in records if record.status == CONFLICT]
    if in_conflict:
        numbers = ", ".join(map(str, in_conflict[:_SHOWN]))
        job.warning(
            f"{len(in_conflict)} parcels overlap others of another class and have no labels there (parcel {numbers})."
        )
    pixels = {each.name: 0 for each in labelling.classes}
    for record in records:
        if record.pixels and record.name is not None:
            pixels[record.name] += record.pixels
    unmapped: Counter[str] = Counter()
    for (code, _), count in labelling.unmapped.items():
        unmapped[code] += count
    return {
        "parcels": {status: counts[status] for status in STATUSES},
        "unmapped": dict(unmapped.most_common()),
        "pixels": _tell_classes(job, pixels),
    }


def _tell_classes(job: Job, pixels: Mapping[str, int]) -> dict[str, int]:
    """Says how many pixels each class has; those without are left out."""
    found = {name: count for name, count in pixels.items() if count}
    job.log("Labelled pixels: " + ", ".join(f"{name} {count}" for name, count in found.items()) + ".")
    if len(found) == 1:
        job.warning("All labels are of one class: a model needs at least two.")
    return found


def _tell_zones(job: Job, zones: Zones, wanted: int, percent: int) -> dict[str, Any]:
    job.log(f"{len(zones.zones)} zones, chosen of {zones.candidates} with at least {percent} % of cropland.")
    if len(zones.zones) < wanted:
        job.warning(f"Only {len(zones.zones)} zones have so much cropland; {wanted} were asked for.")
    return {"zones": len(zones.zones)}
