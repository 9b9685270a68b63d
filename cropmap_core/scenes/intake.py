"""What a job takes in: the scenes that the user asked for, selected, checked and stacked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from cropmap_core.jobs import Job
from cropmap_core.scenes.inventory import Inventory, Scene, find_scenes
from cropmap_core.scenes.selection import check_cloud_limit, cloud_percents, select_by_cloud, select_by_month
from cropmap_core.scenes.stack import SceneStack, stack_scenes

READING = 0.02
"""Share of a job's progress that finding and checking the inputs takes."""


@dataclass(frozen=True)
class Asked:
    """Which of the scenes the user wants."""

    start: date | None
    end: date | None
    months: tuple[int, ...]
    max_cloud_percent: int


def stack_asked(
    job: Job,
    paths: tuple[Path, ...],
    bands: tuple[str, ...],
    asked: Asked,
    resolution_m: int,
    offset: str,
) -> tuple[SceneStack, frozenset[Path]]:
    """Finds, selects and stacks scenes, and tells the user's log what was found.

    Args:
        job: Hears of it.
        paths: Where to look.
        bands: Reflectance bands; SCL is added.
        asked: Which of the scenes are wanted.
        resolution_m: 10, 20 or 60 metres.
        offset: `auto`, `0` or `-1000`.

    Returns:
        The stack, and all files that were found to belong to scenes, those that are not wanted too.

    Raises:
        SceneError: Nothing is a scene, or scenes contradict each other; also all that `stack_scenes` raises.
        NoValidObservationError: No scene is left.
    """
    check_cloud_limit(asked.max_cloud_percent)
    job.progress(0.0, "Looking for scenes")
    inventory = find_scenes(paths, asked.start, asked.end)
    _log_inventory(job, inventory)
    job.progress(READING / 2, "Checking the scenes")
    scenes = _select(job, inventory.scenes, asked, resolution_m)
    stack = stack_scenes(scenes, bands, resolution_m, offset, asked.start, asked.end)
    job.log(f"Grid: {stack.grid.describe()}.")
    job.log(stack.offsets.evidence)
    for warning in stack.offsets.warnings:
        job.warning(warning)
    return stack, inventory.files


def _select(job: Job, scenes: tuple[Scene, ...], asked: Asked, resolution_m: int) -> tuple[Scene, ...]:
    selected = select_by_month(scenes, asked.months)
    if len(selected) < len(scenes):
        job.log(f"{len(scenes) - len(selected)} scenes of other months are left out.")
    if asked.max_cloud_percent == 100:
        return selected
    percents = cloud_percents(selected, resolution_m)
    clear = select_by_cloud(selected, percents, asked.max_cloud_percent)
    left_out = [
        f"{scene.acquisition_date} ({percent:.0f} %)"
        for scene, percent in zip(selected, percents, strict=True)
        if scene not in clear
    ]
    if left_out:
        shown = ", ".join(left_out[:20]) + (f" and {len(left_out) - 20} more" if len(left_out) > 20 else "")
        job.log(f"{len(left_out)} scenes with more than {asked.max_cloud_percent} % cloud are left out: {shown}.")
    return clear


def _log_inventory(job: Job, inventory: Inventory) -> None:
    dates = [scene.acquisition_date for scene in inventory.scenes]
    tile = next((f" of MGRS tile {scene.mgrs_tile}" for scene in inventory.scenes if scene.mgrs_tile), "")
    job.log(f"{len(dates)} scenes{tile}, {dates[0]} to {dates[-1]}.")
    for skipped in inventory.skipped[:20]:
        job.log(f"Skipped {skipped.path}: {skipped.reason}.")
    if len(inventory.skipped) > 20:
        job.log(f"Skipped {len(inventory.skipped) - 20} more.")


def origin_of(stack: SceneStack) -> dict[str, Any]:
    """What a stack was made from, for the tags of the files made of it."""
    return {
        "scenes": [scene.name for scene in stack.scenes],
        "baselines": sorted({scene.baseline for scene in stack.scenes if scene.baseline}),
        "offsets": list(stack.offsets.values),
        "offset_evidence": stack.offsets.evidence,
    }
