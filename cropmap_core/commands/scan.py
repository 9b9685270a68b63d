"""The command that tells what scenes there are, before anything is read of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from cropmap_core.errors import BaselineError, SceneError
from cropmap_core.jobs import Job
from cropmap_core.scenes.clear_pixels import ClearPixels
from cropmap_core.scenes.intake import mgrs_tiles
from cropmap_core.scenes.inventory import find_scenes
from cropmap_core.scenes.offset import Offsets, decide_offsets
from cropmap_core.scenes.placing import place_scenes
from cropmap_core.scenes.scene import NATIVE_RESOLUTION_M, Scene, band_order
from cropmap_core.scenes.selection import select_by_month
from cropmap_core.timeseries.series import SCL

_EXAMPLES = 3


def scanscenes(
    job: Job,
    *,
    scenes: tuple[Path, ...],
    start_date: date | None = None,
    end_date: date | None = None,
    months: tuple[int, ...] = (),
    offset: str = "auto",
) -> Mapping[str, Any]:
    """Tells which scenes there are, of which dates, and what their radiometric offset is.

    Args:
        scenes: Folders of scenes, products, archives or files: see docs/ingestion.md.
        start_date: First acquisition date, inclusive.
        end_date: Last acquisition date, inclusive.
        months: Months of acquisition, 1 to 12; none for all.
        offset: Radiometric offset: auto, 0 or -1000.
    """
    job.progress(0.0, "Looking for scenes")
    inventory = find_scenes(scenes, start_date, end_date)
    chosen = select_by_month(inventory.scenes, months)
    job.progress(0.5, "Looking at their offset")
    offsets, warnings = _offsets(chosen, offset)
    blind = sum(not scene.has(SCL) for scene in chosen)
    if blind:
        warnings.append(f"{blind} scenes have no SCL.")
    common = set.intersection(*({band for band, _ in scene.files} for scene in chosen))
    return {
        "scenes": len(chosen),
        "dates": sorted({scene.acquisition_date.isoformat() for scene in chosen}),
        "mgrs_tiles": mgrs_tiles(chosen),
        "offsets": _counted(chosen, offsets, "their clear pixels" if offset == "auto" else "the parameter OFFSET"),
        "offset_evidence": offsets.evidence,
        "bands": [band for band in sorted(NATIVE_RESOLUTION_M, key=band_order) if band in common],
        "skipped": len(inventory.skipped),
        "skipped_examples": [f"{each.path}: {each.reason}" for each in inventory.skipped[:_EXAMPLES]],
        "warnings": warnings,
    }


def _offsets(scenes: tuple[Scene, ...], parameter: str) -> tuple[Offsets, list[str]]:
    """Reads pixels only where nothing else tells."""
    silent = [scene for scene in scenes if scene.stated_offset is None and scene.has(SCL)]
    try:
        placed = place_scenes(silent, (SCL,), NATIVE_RESOLUTION_M[SCL]) if parameter == "auto" else ()
        clear_pixels = ClearPixels(placed)
        offsets = decide_offsets(scenes, parameter, clear_pixels)
    except (BaselineError, SceneError) as error:
        return Offsets((), error.message), [str(error)]
    return offsets, list(offsets.warnings)


def _counted(scenes: tuple[Scene, ...], offsets: Offsets, otherwise: str) -> list[dict[str, Any]]:
    """How many scenes have which offset, and what says so; nothing where it cannot be told."""
    if not offsets.values:
        return []
    counts = Counter(
        (value, scene.stated_offset.evidence if scene.stated_offset else otherwise)
        for scene, value in zip(scenes, offsets.values, strict=True)
    )
    return [{"value": value, "evidence": evidence, "scenes": count} for (value, evidence), count in counts.items()]
