"""Sentinel-2 L2A scenes on disk: found by their content, whatever they are packed in and wherever they lie."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from cropmap_core.errors import NoValidObservationError, SceneError
from cropmap_core.scenes.acquisitions import by_acquisition
from cropmap_core.scenes.packagings import (
    band_files,
    earth_engine,
    openeo_cubes,
    other_files,
    safe_folders,
    safe_zips,
    stac_items,
)
from cropmap_core.scenes.packagings.found import Found
from cropmap_core.scenes.scene import DEFAULT_BANDS, NATIVE_RESOLUTION_M, BandSource, Scene, Skipped, StatedOffset

__all__ = [
    "DEFAULT_BANDS",
    "NATIVE_RESOLUTION_M",
    "BandSource",
    "Inventory",
    "Scene",
    "Skipped",
    "StatedOffset",
    "find_scenes",
]

_PACKAGINGS = (
    safe_folders.find,
    safe_zips.find,
    stac_items.find,  # before the files that its assets name
    band_files.find,
    openeo_cubes.find,
    other_files.find,
    earth_engine.find,
)

_ONE_STRIP = timedelta(seconds=5)
"""By as much processings may differ in when a datastrip began."""
_WHAT_IS_A_SCENE = (
    "Give a SAFE folder, zipped or not, per-band files named like T31UDS_20180504T105029_B04_10m.tif with their SCL "
    "file, a multi-band GeoTIFF per date, an openEO netCDF cube, or STAC Items with their files."
)


@dataclass(frozen=True)
class Inventory:
    """What was found in the inputs."""

    scenes: tuple[Scene, ...]
    skipped: tuple[Skipped, ...]
    files: frozenset[Path] = frozenset()
    """Files of all scenes that were found, those outside the dates too."""


def find_scenes(paths: Iterable[Path], start: date | None = None, end: date | None = None) -> Inventory:
    """Finds the scenes in folders, products, archives and files.

    Args:
        paths: Where to look; folders are searched to their depths.
        start: First acquisition date that counts, inclusive.
        end: Last acquisition date that counts, inclusive.

    Returns:
        Scenes by acquisition time, whatever the order of the inputs; of several processings of an acquisition the
        newest.

    Raises:
        SceneError: A path does not exist, or nothing is a scene.
        NoValidObservationError: No scene lies between the dates.
    """
    paths = [Path(path) for path in paths]
    candidates: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise SceneError(f"There is no file or folder {path}.", "Check the path given as SCENES.")
        for candidate in _walk(path):
            candidates.setdefault(candidate.resolve(), candidate)
    found = _look_through(candidates)
    if not found.scenes:
        raise SceneError(
            f"No Sentinel-2 L2A scene in {_listed(paths)}.{_reasons(sorted(found.skipped, key=_path_of))}",
            _WHAT_IS_A_SCENE,
        )
    scenes = _newest_processings(found)
    chosen = [
        scene
        for scene in sorted(scenes, key=lambda scene: (scene.acquired, scene.mgrs_tile))
        if (start is None or scene.acquisition_date >= start) and (end is None or scene.acquisition_date <= end)
    ]
    if not chosen:
        dates = sorted(scene.acquisition_date for scene in scenes)
        raise NoValidObservationError(
            f"No scene between {start or 'the beginning'} and {end or 'the end'}.",
            f"The scenes run from {dates[0]} to {dates[-1]}: change START_DATE or END_DATE.",
        )
    files = frozenset(source.file for scene in found.scenes for source in scene.files.values())
    return Inventory(tuple(chosen), tuple(sorted(found.skipped, key=_path_of)), files)


def _walk(path: Path) -> Iterator[Path]:
    """Files below a path, and folders that are products, which are not entered."""
    if path.is_file():
        yield path.parent if safe_folders.is_product([path.name]) else path
        return
    entered: set[str] = set()
    for folder, subfolders, names in os.walk(path, followlinks=True):
        entered.add(os.path.realpath(folder))
        # A link may lead back to a folder above it.
        subfolders[:] = [name for name in sorted(subfolders) if os.path.realpath(Path(folder) / name) not in entered]
        if safe_folders.is_product(names):
            subfolders.clear()
            yield Path(folder)
        else:
            yield from (Path(folder) / name for name in sorted(names))


def _look_through(candidates: dict[Path, Path]) -> Found:
    """Shows the candidates, by their resolved paths, to one packaging after the other."""
    found = Found()
    left = dict(sorted(candidates.items()))
    for find in _PACKAGINGS:
        found.add(find(left.values()))
        claimed = {path.resolve() for path in found.claimed}
        left = {resolved: path for resolved, path in left.items() if resolved not in claimed}
    for path in left.values():
        found.skip(path, "its name is not that of a Sentinel-2 band file")
    return found


def _newest_processings(found: Found) -> list[Scene]:
    """Of each acquisition the processing of the newest baseline, and of these the last; others become skipped.

    Where a baseline is unknown nothing is chosen, nor among exports of one processing. Datastrips are acquisitions.
    """
    kept = []
    for processings in [strip for scenes in by_acquisition(found.scenes) for strip in _by_strip(scenes)]:
        if any(scene.baseline is None for scene in processings):
            kept += processings
            continue
        newest = max(processings, key=_processing)
        best: dict[datetime, Scene] = {}  # those of other seconds may be other parts of the tile
        for scene in processings:
            if scene.baseline == newest.baseline:
                best[scene.acquired] = max(best.get(scene.acquired, scene), scene, key=_processing)
        for scene in processings:
            rival = best.get(scene.acquired)
            if rival is not None and (scene is rival or _are_parts(scene, rival)):
                kept.append(scene)
            else:
                reason = f"baseline {scene.baseline} of an acquisition that is there with {newest.baseline} too"
                found.skip(scene.place, f"{reason}, in {newest.place}")
    return kept


def _by_strip(scenes: list[Scene]) -> list[list[Scene]]:
    """Parts the scenes of one pass over a tile by their datastrips, where all of them tell theirs."""
    starts = [scene.product.strip_start if scene.product else None for scene in scenes]
    told = sorted(start for start in starts if start is not None)
    if len(told) < len(scenes):
        return [scenes]
    first = [start for start, before in zip(told, [datetime.min, *told], strict=False) if start - before > _ONE_STRIP]
    of_strip = [bisect_right(first, start) for start in starts if start is not None]
    return [
        [scene for scene, number in zip(scenes, of_strip, strict=True) if number == strip]
        for strip in sorted(set(of_strip))
    ]


def _processing(scene: Scene) -> tuple[str, str]:
    """Orders processings of one acquisition; the name of a product ends with the time of its making."""
    return scene.baseline or "", scene.product.folder.name if scene.product else ""


def _are_parts(one: Scene, other: Scene) -> bool:
    """Whether two scenes are files of all bands: of a processing there may be several, each a part of the area."""
    of_all_bands = not any(source.alone for scene in (one, other) for source in scene.files.values())
    return of_all_bands and _processing(one) == _processing(other)


def _path_of(skipped: Skipped) -> Path:
    return skipped.path


def _listed(paths: list[Path]) -> str:
    shown = ", ".join(str(path) for path in paths[:3])
    return shown + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


def _reasons(skipped: list[Skipped]) -> str:
    if not skipped:
        return " There is nothing in it."
    shown = "; ".join(f"{item.path.name}: {item.reason}" for item in skipped[:3])
    return f" Skipped {len(skipped)}, for instance {shown}."
