"""What a job takes in: the scenes that the user asked for, selected, checked and stacked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from cropmap_core.jobs import Job
from cropmap_core.scenes.bands import NEAREST, in_same_crs
from cropmap_core.scenes.inventory import Inventory, Scene, find_scenes
from cropmap_core.scenes.offset import Offsets
from cropmap_core.scenes.placing import PlacedScene, place_scenes
from cropmap_core.scenes.selection import (
    check_cloud_limit,
    check_dates,
    cloud_percents,
    select_by_cloud,
    select_by_month,
    select_with_scl,
)
from cropmap_core.scenes.stack import SceneStack, in_order, stack_placed
from cropmap_core.scenes.target import GridAsked, choose_grid, within
from cropmap_core.timeseries.series import SCL

READING = 0.02
"""Share of a job's progress that finding and checking the inputs takes."""
_SHOWN = 20


@dataclass(frozen=True)
class Asked:
    """Which of the scenes the user wants, and on which grid."""

    start: date | None
    end: date | None
    months: tuple[int, ...]
    max_cloud_percent: int
    grid: GridAsked
    resampling: str = NEAREST
    missing_scl: str = "refuse"


def stack_asked(
    job: Job, paths: tuple[Path, ...], bands: tuple[str, ...], asked: Asked, offset: str
) -> tuple[SceneStack, frozenset[Path]]:
    """Finds, selects and stacks scenes, and tells the user's log what was found.

    Args:
        job: Hears of it.
        paths: Where to look.
        bands: Reflectance bands; SCL is added.
        asked: Which of the scenes are wanted, and where.
        offset: `auto`, `0` or `-1000`.

    Returns:
        The stack, and all files that were found to belong to scenes, those that are not wanted too.

    Raises:
        SceneError: Nothing is a scene, or scenes contradict each other; also all that `place_scenes`, `choose_grid` and
            `stack_placed` raise.
        NoValidObservationError: No scene is left.
    """
    check_cloud_limit(asked.max_cloud_percent)
    check_dates(asked.start, asked.end)
    ordered = in_order(bands)
    job.progress(0.0, "Looking for scenes")
    inventory = find_scenes(paths, asked.start, asked.end)
    _log_inventory(job, inventory)
    job.progress(READING / 2, "Checking the scenes")
    scenes = place_scenes(_select(job, inventory.scenes, asked), ordered, asked.grid.resolution_m)
    grid = choose_grid(asked.grid, scenes)
    there = within(grid, asked.grid.area, scenes)
    _log_left_out(job, "that do not touch the area", _days(scenes, there))
    clear = _select_clear(job, there, asked, cloud_over=lambda some: cloud_percents(some, grid, asked.grid.area))
    stack = stack_placed(clear, ordered, grid, offset, (asked.start, asked.end), asked.resampling)
    job.log(f"Grid: {stack.grid.describe()}.")
    _log_merged(job, stack)
    _log_offsets(job, stack.offsets)
    return stack, inventory.files


def _select(job: Job, scenes: tuple[Scene, ...], asked: Asked) -> tuple[Scene, ...]:
    selected = select_by_month(scenes, asked.months)
    if len(selected) < len(scenes):
        job.log(f"{len(scenes) - len(selected)} scenes of other months are left out.")
    with_scl = select_with_scl(selected, asked.missing_scl)
    _log_left_out(job, "without SCL", [f"{scene.acquisition_date}" for scene in selected if scene not in with_scl])
    blind = [f"{scene.acquisition_date}" for scene in with_scl if not scene.has(SCL)]
    if blind:
        job.warning(f"{len(blind)} scenes have no SCL: all that they observe counts as clear, {_some(blind)}.")
    return with_scl


def _select_clear(job: Job, scenes: tuple[PlacedScene, ...], asked: Asked, cloud_over: Any) -> tuple[PlacedScene, ...]:
    if asked.max_cloud_percent == 100:
        return scenes
    percents = cloud_over(scenes)
    clear = select_by_cloud(scenes, percents, asked.max_cloud_percent)
    left_out = [f"{day} ({percents[day]:.0f} %)" for day in sorted(percents.keys() - {scene.date for scene in clear})]
    _log_left_out(job, f"with more than {asked.max_cloud_percent} % cloud", left_out, "dates")
    return clear


def _days(scenes: Sequence[PlacedScene], kept: Sequence[PlacedScene]) -> list[str]:
    left = {id(scene) for scene in scenes} - {id(scene) for scene in kept}
    return [f"{scene.date} ({scene.scene.place.name})" for scene in scenes if id(scene) in left]


def _log_left_out(job: Job, which: str, left_out: Sequence[str], what: str = "scenes") -> None:
    if left_out:
        job.log(f"{len(left_out)} {what} {which} are left out: {_some(left_out)}.")


def _some(texts: Sequence[str]) -> str:
    return ", ".join(texts[:_SHOWN]) + (f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else "")


def _log_inventory(job: Job, inventory: Inventory) -> None:
    dates = [scene.acquisition_date for scene in inventory.scenes]
    tiles = mgrs_tiles(inventory.scenes)
    of_tiles = f" of MGRS tile{'s' * (len(tiles) > 1)} {', '.join(tiles)}" if tiles else ""
    job.log(f"{len(dates)} scenes{of_tiles}, {dates[0]} to {dates[-1]}.")
    for skipped in inventory.skipped[:_SHOWN]:
        job.log(f"Skipped {skipped.path}: {skipped.reason}.")
    if len(inventory.skipped) > _SHOWN:
        job.log(f"Skipped {len(inventory.skipped) - _SHOWN} more.")


def _log_merged(job: Job, stack: SceneStack) -> None:
    merged = [str(day) for day, scenes in zip(stack.dates, stack.days, strict=True) if len(scenes) > 1]
    if merged:
        job.log(f"Several scenes make one date on {len(merged)} dates: {_some(merged)}.")
    others = Counter(
        scene.grid.crs for scenes in stack.days for scene in scenes if not in_same_crs(scene.grid, stack.grid)
    )
    for crs, count in sorted(others.items()):
        job.log(f"{count} scenes in {crs} are brought to {stack.grid.crs}.")


def _log_offsets(job: Job, offsets: Offsets) -> None:
    job.log(offsets.evidence)
    for warning in offsets.warnings:
        job.warning(warning)


def mgrs_tiles(scenes: Iterable[Scene]) -> list[str]:
    """The MGRS tiles of scenes, as far as they are known."""
    return sorted({scene.mgrs_tile for scene in scenes} - {""})


def origin_of(stack: SceneStack) -> dict[str, Any]:
    """What a stack was made from, for the tags of the files made of it."""
    return {
        "scenes": [scene.name for scene in stack.scenes],
        "baselines": sorted({scene.baseline for scene in stack.scenes if scene.baseline}),
        "offsets": list(stack.offsets.values),
        "offset_evidence": stack.offsets.evidence,
        "resampling": stack.resampling,
    }
