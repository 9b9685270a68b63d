"""The command that describes parcels, and what mapping shares with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cropmap_core.commands.writing import Result, job_outputs
from cropmap_core.errors import JobError
from cropmap_core.io.grid import Grid
from cropmap_core.jobs import Job
from cropmap_core.parcels import (
    METHODS,
    Maps,
    PlacedParcels,
    RecordOptions,
    Records,
    Thresholds,
    describe_parcels,
    grid_of_file,
    legend_of_file,
    place_parcels,
    write_records,
    write_summary,
)
from cropmap_core.scenes.intake import READING


def parcelattributes(
    job: Job,
    *,
    parcels: Path,
    classes: Path,
    output: Path,
    confidence: Path | None = None,
    ood: Path | None = None,
    probabilities: Path | None = None,
    provenance: Path | None = None,
    series: Path | None = None,
    indices: tuple[str, ...] = (),
    method: str = METHODS[0],
    buffer_m: float = 0.0,
    declared_field: str | None = None,
    legend: str | None = None,
    class_probabilities: bool = False,
    class_shares: bool = False,
    min_pixels: float = Thresholds.min_pixels,
    min_purity: float = Thresholds.min_purity,
    min_probability: float = Thresholds.min_probability,
    min_clear_dates: float = Thresholds.min_clear_dates,
    max_filled: float = Thresholds.max_filled,
    max_edge: float = Thresholds.max_edge,
    max_ood: float = Thresholds.max_ood,
    min_covered: float = Thresholds.min_covered,
    max_overlap: float = Thresholds.max_overlap,
    output_profiles: Path | None = None,
    output_summary: Path | None = None,
) -> Result:
    """Describes parcels by the class raster beneath them.

    Args:
        parcels: Polygon layer with the integer field `parcel`.
        classes: Class raster.
        output: Table to write, CSV: see docs/parcels.md.
        confidence: Confidence raster of the same run.
        ood: Raster of the same run of pixels unlike what the model learnt.
        probabilities: Raster of the same run with a band per class.
        provenance: Fill provenance of the series that was classified, as fillgaps writes it.
        series: Time series file on the grid of the classes, for profiles and the largest fall of NDVI.
        indices: Of the series: indices or bands; NDVI if none is named.
        method: auto, majority or mean; auto is mean where there are probabilities.
        buffer_m: Inward buffer in metres: pixels nearer to a parcel's border do not decide.
        declared_field: Field that holds the declared crop.
        legend: What declared codes mean: a built-in legend's id or a CSV file; none where classes were declared.
        class_probabilities: Whether to give the mean probability of every class.
        class_shares: Whether to give the share of every class.
        min_pixels: TOO_SMALL with fewer pixels.
        min_purity: MIXED where the largest class covers less, 0-1.
        min_probability: LOW_CONFIDENCE where pred_prob is less.
        min_clear_dates: FEW_OBSERVATIONS with fewer observed periods.
        max_filled: FEW_OBSERVATIONS where more of the series is filled, 0-1.
        max_edge: EDGE where more lies in pixels that the border cuts, 0-1.
        max_ood: OUT_OF_DISTRIBUTION where more pixels are, 0-1.
        min_covered: NOT_COVERED where less of the parcel has a class, 0-1.
        max_overlap: OVERLAP where more of the parcel lies in others, 0-1.
        output_profiles: Table to write of each parcel's indices by date, CSV.
        output_summary: Table to write of hectares by declared and predicted crop, CSV.
    """
    thresholds = Thresholds(
        min_pixels,
        min_purity,
        min_probability,
        min_clear_dates,
        max_filled,
        max_edge,
        max_ood,
        min_covered,
        max_overlap,
    )
    options = RecordOptions(method, thresholds, class_probabilities, class_shares)
    options.by_mean(probabilities is not None)
    if series is None and (indices or output_profiles is not None):
        raise JobError(
            "There is no SERIES to take profiles from.", "Give SERIES, or leave INDICES and OUTPUT_PROFILES."
        )
    if declared_field is None and (legend or output_summary is not None):
        raise JobError("LEGEND and OUTPUT_SUMMARY need declared crops.", "Give DECLARED_FIELD, or leave them out.")
    maps = Maps(classes, confidence, ood, probabilities, provenance, series)
    placed = place_in_job(job, parcels, grid_of_file(classes), buffer_m, declared_field)
    with job_outputs(job) as outputs:
        outputs.protect([path for path in (parcels, *maps) if path is not None])
        table = outputs.stage(output)
        profiles = None if output_profiles is None else outputs.stage(output_profiles)
        summary = None if output_summary is None else outputs.stage(output_summary)
        records = describe_parcels(placed, maps, job.part(READING, 0.95), options, legend, indices, profiles)
        write_records(records, table)
        if summary is not None:
            write_summary(records, summary)
        outputs.commit()
    return {
        "output": str(output),
        **tell_records(job, records),
        "classes": legend_of_file(classes),
        "output_profiles": str(output_profiles) if output_profiles else None,
        "output_summary": str(output_summary) if output_summary else None,
    }


def place_in_job(
    job: Job, parcels: Path, grid: Grid, buffer_m: float = 0.0, declared_field: str | None = None
) -> PlacedParcels:
    """Places the parcels before anything is computed: a wrong layer should not cost a whole run."""
    job.progress(READING / 2, "Checking the parcels")
    placed = place_parcels(parcels, grid, buffer_m, declared_field)
    for warning in placed.warnings:
        job.warning(warning)
    return placed


def tell_records(job: Job, records: Records) -> dict[str, Any]:
    """Says what became of the parcels, in the log and as part of a result."""
    job.log(f"{records.classified()} of {len(records)} parcels have a class.")
    doubted = records.doubted()
    if doubted:
        reasons = ", ".join(f"{name} {count}" for name, count in doubted.items())
        job.log(f"{records.doubts()} of {len(records)} records are doubted: {reasons}.")
    if records.declared is not None:
        for warning in records.declared.warnings():
            job.warning(warning)
    return {
        "parcels": len(records),
        "classified": records.classified(),
        "doubted": doubted,
        "fields": [{"name": each.name, "kind": each.kind, "short": each.short} for each in records.fields],
    }
