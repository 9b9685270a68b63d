"""The command that describes training sets."""

from __future__ import annotations

from pathlib import Path

from cropmap_core.commands.writing import Result, job_outputs
from cropmap_core.errors import JobError
from cropmap_core.io.outputs import write_text
from cropmap_core.jobs import Job
from cropmap_core.reports.points import check_layer_name, write_points
from cropmap_core.samples.doubts import in_polygons, read_polygons, suspicious_parcels
from cropmap_core.samples.files import NO_PARCEL, SampleFile
from cropmap_core.samples.report import render, write_suspicious_parcels
from cropmap_core.samples.summary import Summary, summarize


def summarizesamples(
    job: Job,
    *,
    samples: Path,
    output_html: Path,
    parcels: Path | None = None,
    output_suspicious: Path | None = None,
    output_parcels: Path | None = None,
    seed: int = 0,
) -> Result:
    """Describes a training set: its classes, profiles, gaps, separability and suspicious samples.

    Args:
        samples: Training set, .h5.
        output_html: Report to write, HTML.
        parcels: Polygons of the parcels that samples lie in.
        output_suspicious: Points of suspicious samples to write, GeoPackage or GeoJSON.
        output_parcels: Polygons of suspicious parcels to write, GeoPackage or GeoJSON; needs parcels.
        seed: Of what is drawn at random.
    """
    if output_html.suffix.lower() not in (".html", ".htm"):
        raise JobError(f"OUTPUT_HTML is {output_html.name}.", "Give a name that ends in .html.")
    if output_parcels is not None and parcels is None:
        raise JobError("There are no PARCELS to look at.", "Give PARCELS, or leave OUTPUT_PARCELS out.")
    for layer in (output_suspicious, output_parcels):
        if layer is not None:
            check_layer_name(layer)
    with job_outputs(job) as outputs, SampleFile(samples) as file:
        outputs.protect([samples, *([parcels] if parcels else [])])
        page = outputs.stage(output_html)
        points = None if output_suspicious is None else outputs.stage(output_suspicious)
        areas = None if output_parcels is None else outputs.stage(output_parcels)
        polygons = None if parcels is None else read_polygons(parcels)
        job.progress(0.0, f"Looking at {len(file)} samples")
        summary = summarize(file, seed, job.part(0.0, 0.9))
        _warn_of_split(job, summary)
        job.progress(0.9, "Drawing")
        doubts = summary.doubts
        if polygons is not None and parcels is not None:
            doubts = in_polygons(doubts, polygons, file.layout.kind, parcels)
        found = suspicious_parcels(doubts)
        write_text(page, render(summary, found, samples.stem))
        if points is not None and output_suspicious is not None:
            write_points(summary.suspicious, points, output_suspicious.stem)
        if areas is not None and output_parcels is not None:
            write_suspicious_parcels(found, polygons, areas, output_parcels.stem)
        outputs.commit()
    reasons = summary.suspicious["reason"].value_counts().to_dict()
    job.log(f"{len(summary.suspicious)} suspicious samples: {reasons}.")
    looked_at = doubts.loc[doubts["parcel"] != NO_PARCEL, "parcel"].nunique()
    if looked_at:
        job.log(f"{len(found)} of {looked_at} parcels are suspicious.")
    return {
        "output_html": str(output_html),
        "output_suspicious": str(output_suspicious) if output_suspicious else None,
        "output_parcels": str(output_parcels) if output_parcels else None,
        "samples": summary.samples,
        "suspicious": len(summary.suspicious),
        "suspicious_parcels": len(found),
    }


def _warn_of_split(job: Job, summary: Summary) -> None:
    if summary.accuracy is None:
        job.warning("Labels are not judged: that needs samples of two classes in two folds.")
    if summary.split.get("random"):
        job.warning("The split is random: what is measured on it is too good for places that were not sampled.")
