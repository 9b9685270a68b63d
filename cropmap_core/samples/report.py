"""The report on a training set: one HTML page that needs nothing but itself."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import numpy as np
import pandas

from cropmap_core.reports.pages import render_page
from cropmap_core.reports.points import write_layer
from cropmap_core.samples import figures
from cropmap_core.samples.doubts import SUSPICIOUS_SHARE
from cropmap_core.samples.files import ROLES
from cropmap_core.samples.summary import Summary

TEMPLATE = Path(__file__).with_name("summary.html")
_LISTED = 25
_WORST_PAIRS = 10


def render(summary: Summary, parcels: pandas.DataFrame, title: str) -> str:
    """The report as one HTML page.

    Args:
        summary: What it tells.
        parcels: The suspicious ones, of `suspicious_parcels`.
        title: Name of the training set.
    """
    names = {crop.value: crop.name for crop in summary.classes}
    worst = sorted(summary.separability.items(), key=lambda item: item[1])[:_WORST_PAIRS]
    return render_page(
        TEMPLATE,
        title=title,
        summary=summary,
        roles=ROLES,
        colours={crop.name: crop.color for crop in summary.classes},
        distribution=figures.class_distribution(summary),
        profiles=[(profile, figures.class_profile(profile, summary)) for profile in summary.profiles],
        gaps=figures.gap_statistics(summary),
        gap_median=int(np.median(summary.gaps)),
        gap_longest=int(summary.gaps.max()),
        separability=figures.separability(summary) if summary.separability else None,
        worst=[(names[one], names[other], distance) for (one, other), distance in worst],
        suspicious=summary.suspicious.head(_LISTED).to_dict("records"),
        parcels=parcels.head(_LISTED).to_dict("records"),
        suspicious_parcels=len(parcels),
        suspicious_percent=round(100 * SUSPICIOUS_SHARE),
        by_class=_by_class(summary.suspicious),
        provenance=[(name, json.dumps(value, ensure_ascii=False)) for name, value in summary.provenance.items()],
    )


def write_suspicious_parcels(
    parcels: pandas.DataFrame, polygons: geopandas.GeoDataFrame, path: Path, name: str
) -> None:
    """Writes the suspicious parcels as polygons, with the attributes that they have.

    Args:
        parcels: Of `suspicious_parcels`.
        polygons: All parcels, of `read_polygons`.
        path: The file to write; what it becomes is told by its name.
        name: Of the layer.

    Raises:
        OutputError: It cannot be written.
    """
    ours = {column.lower() for column in parcels.columns if column != "parcel"} | {"fid"}
    theirs = polygons.drop(columns=[column for column in polygons.columns if str(column).lower() in ours])
    layer = theirs.set_index("parcel").loc[parcels["parcel"]].reset_index()
    write_layer(layer.assign(**parcels.drop(columns="parcel")), path, name, "MultiPolygon")


def _by_class(suspicious: pandas.DataFrame) -> dict[str, int]:
    return {str(name): int(count) for name, count in suspicious["label_name"].value_counts().items()}
