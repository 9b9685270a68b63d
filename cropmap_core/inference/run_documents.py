"""What is written beside a map to tell of it: the manifest of its run, and its STAC Item."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from cropmap_core.classes import CropClass
from cropmap_core.inference.manifest import Run, manifest_of
from cropmap_core.inference.map_item import item_of_map
from cropmap_core.inference.map_layers import MapPaths
from cropmap_core.io.grid import Grid
from cropmap_core.io.outputs import Outputs, write_text


@dataclass(frozen=True)
class RunDocuments:
    """The unfinished documents of a map."""

    manifest: Path
    item: Path


@dataclass(frozen=True)
class MapMade:
    """What a run has made, when its rasters are complete but not yet in place."""

    written: MapPaths
    """Where the rasters are to stand."""
    parts: MapPaths
    """Where they are now."""
    grid: Grid
    dates: Sequence[date]
    span: tuple[date, date]
    """First and last day that the series stands for, inclusive."""
    classes: Sequence[CropClass]
    """The model's, in its order."""
    legend: Sequence[CropClass]
    """What class values stand for."""
    computed: Mapping[str, Any]
    """By what: device, precision, blocks and whatever else is to be told."""
    warnings: Sequence[str] = ()
    tables: Mapping[str, tuple[Path, Path]] | None = None
    """Further outputs by their parameters: where each is to stand, and where it is now."""


def manifest_path(classes: Path) -> Path:
    """Where the manifest of a class raster's run stands."""
    return classes.with_suffix(".run.json")


def item_path(classes: Path) -> Path:
    """Where the STAC Item of a map stands."""
    return classes.with_suffix(".stac.json")


def stage_documents(outputs: Outputs, classes: Path) -> RunDocuments:
    """The unfinished documents of a map.

    Raises:
        OutputError: One of them cannot be written to.
    """
    return RunDocuments(outputs.stage(manifest_path(classes)), outputs.stage(item_path(classes)))


def write_documents(
    documents: RunDocuments, run: Run, made: MapMade, fingerprint: str, result: Mapping[str, Any]
) -> None:
    """Writes what tells of a run that has ended well.

    Args:
        documents: Where to.
        run: What was asked for.
        made: What came of it.
        fingerprint: Of all that decided it.
        result: What the job answers.

    Raises:
        OutputError: One of them cannot be written.
    """
    parts = made.parts.there
    outputs = {f"output_{name}": (path, parts[name]) for name, path in made.written.there.items()}
    outputs |= made.tables or {}
    manifest = manifest_of(run, made.computed, made.dates, outputs, fingerprint, made.warnings, result)
    beside = manifest_path(made.written.classes)
    item = item_of_map(manifest, beside, made.written, made.grid, made.span, made.classes, made.legend)
    for path, document in ((documents.manifest, manifest), (documents.item, item)):
        write_text(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
