"""Lists of STAC Items: read, written, and those of them that are wanted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry import shape

from cropmap_core.errors import JobError
from cropmap_core.scenes.acquisitions import by_acquisition
from cropmap_core.scenes.area import Area
from cropmap_core.scenes.packagings.stac import (
    Item,
    UnusableItem,
    acquired_of,
    baseline_of,
    contents_of,
    is_item,
    mgrs_tile_of,
)

_FOLDER_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,198}[A-Za-z0-9_-]")
_LARGEST_LIST_BYTES = 512 * 2**20


@dataclass(frozen=True)
class ListedScene:
    """An Item of Sentinel-2 L2A at a catalogue."""

    item: Item
    """As the catalogue gave it."""
    id: str
    """Fit to be the name of a folder."""
    acquired: datetime
    mgrs_tile: str
    baseline: str | None


@dataclass(frozen=True)
class Listing:
    """Which Items are wanted."""

    scenes: tuple[ListedScene, ...]
    """By acquisition time."""
    skipped: tuple[tuple[str, str], ...]
    """Id and reason."""


def read_item_list(path: Path) -> list[Item]:
    """Reads the Items of a GeoJSON file.

    Raises:
        JobError: It cannot be read or holds none.
    """
    remedy = "Give the item list that searchscenes wrote, or another ItemCollection."
    try:
        if path.stat().st_size > _LARGEST_LIST_BYTES:
            raise JobError(f"ITEMS {path} is larger than any item list.", remedy)
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise JobError(f"ITEMS {path} cannot be read as GeoJSON: {error}.", remedy) from error
    features = document.get("features") if isinstance(document, dict) else None
    items = [feature for feature in features if is_item(feature)] if isinstance(features, list) else []
    if not items:
        raise JobError(f"ITEMS {path} holds no STAC Item.", remedy)
    return items


def item_list(scenes: Sequence[ListedScene]) -> str:
    """The Items as a GeoJSON document that QGIS opens as footprints."""
    return json.dumps({"type": "FeatureCollection", "features": [scene.item for scene in scenes]}, ensure_ascii=False)


def choose_scenes(
    items: Iterable[Item], area: Area, start: date | None, end: date | None, max_cloud_percent: int
) -> Listing:
    """Chooses among Items; of several processings of one acquisition the newest baseline is wanted.

    Args:
        items: As a catalogue or a file gave them, so not to be trusted.
        area: What footprints must meet.
        start: First acquisition date, inclusive.
        end: Last acquisition date, inclusive.
        max_cloud_percent: Of the whole tile as the Item states it; those that state none are kept.
    """
    skipped: list[tuple[str, str]] = []
    scenes: dict[str, ListedScene] = {}
    shapely.prepare(area.on_globe)
    for item in items:
        name = str(item.get("id") if isinstance(item, dict) else item)[:200]
        try:
            scene = _scene(item, area, start, end, max_cloud_percent)
            if scene.id in scenes:
                raise UnusableItem("its id is there twice")
        except UnusableItem as reason:
            skipped.append((name, str(reason)))
        else:
            scenes[scene.id] = scene
    newest = _newest_processings(scenes.values(), skipped)
    return Listing(tuple(sorted(newest, key=lambda scene: (scene.acquired, scene.id))), tuple(skipped))


def _scene(item: Any, area: Area, start: date | None, end: date | None, max_cloud_percent: int) -> ListedScene:
    if not is_item(item):
        raise UnusableItem("it is no STAC Item")
    properties, _ = contents_of(item)
    acquired = acquired_of(properties)
    if (start is not None and acquired.date() < start) or (end is not None and acquired.date() > end):
        raise UnusableItem(f"it was acquired on {acquired.date()}")
    cloud = properties.get("eo:cloud_cover")
    if isinstance(cloud, int | float) and cloud > max_cloud_percent:
        raise UnusableItem(f"{cloud:.0f} % of its tile is cloud")
    if not _meets(item.get("geometry"), area):
        raise UnusableItem("it does not touch the area")
    name = item.get("id")
    if not isinstance(name, str) or not _FOLDER_NAME.fullmatch(name):
        raise UnusableItem("its id cannot be the name of a folder")
    return ListedScene(item, name, acquired, mgrs_tile_of(properties), baseline_of(item, properties))


def _meets(geometry: Any, area: Area) -> bool:
    if geometry is None:
        return True  # the raster itself will tell
    try:
        return bool(area.on_globe.intersects(shape(geometry)))
    except (shapely.errors.ShapelyError, ValueError, TypeError, KeyError, AttributeError, IndexError):
        raise UnusableItem("its geometry is none") from None


def _newest_processings(scenes: Iterable[ListedScene], skipped: list[tuple[str, str]]) -> list[ListedScene]:
    """Where a tile or baseline is unknown nothing is chosen."""
    kept = []
    for processings in by_acquisition(scenes):
        if any(scene.baseline is None or not scene.mgrs_tile for scene in processings):
            kept += processings
            continue
        newest = max(processings, key=_processing)
        best = {  # by time: those of other seconds may be other parts of the tile
            scene.acquired: scene for scene in sorted(processings, key=_processing) if scene.baseline == newest.baseline
        }
        for scene in processings:
            if scene is best.get(scene.acquired):
                kept.append(scene)
            else:
                reason = f"baseline {scene.baseline} of an acquisition that {newest.id} has with {newest.baseline} too"
                skipped.append((scene.id, reason))
    return kept


def _processing(scene: ListedScene) -> tuple[str, str, str]:
    properties = scene.item["properties"]
    made = properties.get("s2:generation_time") or properties.get("created") or ""
    return scene.baseline or "", str(made), scene.id
