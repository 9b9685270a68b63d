"""STAC Items on disk, whose assets lie on disk too."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from cropmap_core.errors import SceneError
from cropmap_core.io.rasters import open_raster
from cropmap_core.scenes.packagings.found import Bands, Found, suffixed
from cropmap_core.scenes.packagings.rasters import resolution_of
from cropmap_core.scenes.packagings.stac import (
    IMAGE_SUFFIXES,
    Item,
    UnusableItem,
    acquired_of,
    band_of_asset,
    baseline_of,
    contents_of,
    is_item,
    mgrs_tile_of,
    stated_by_asset,
    told_offset,
)
from cropmap_core.scenes.scene import BandSource, Scene
from cropmap_core.timeseries.series import SCL

_LARGEST_ITEM_BYTES = 64 * 2**20


def find(candidates: Iterable[Path]) -> Found:
    """Makes scenes of the Items and ItemCollections among the candidates, and claims the files of their assets."""
    found = Found()
    for path in suffixed(candidates, ".json", ".geojson"):
        for item in _items(path):
            found.claimed.add(path)
            try:
                scene = _scene(item, path)
            except (UnusableItem, SceneError) as error:
                reason = error.message if isinstance(error, SceneError) else str(error)
                found.skip(path, f"STAC Item {item.get('id')}: {reason}")
            else:
                found.scenes.append(scene)
                found.claimed |= {source.file for source in scene.files.values()}
    return found


def _items(path: Path) -> Iterator[Item]:
    try:
        if path.stat().st_size > _LARGEST_ITEM_BYTES:
            return
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return  # no JSON, so no Item: listed as any other file
    features = [document]
    if isinstance(document, dict) and document.get("type") == "FeatureCollection":
        features = document["features"] if isinstance(document.get("features"), list) else []
    yield from filter(is_item, features)


def _scene(item: Item, path: Path) -> Scene:
    properties, assets = contents_of(item)
    acquired = acquired_of(properties)
    files, offsets = _files(assets, path)
    if not files:
        raise UnusableItem("it has no asset that is a band of Sentinel-2")
    baseline = baseline_of(item, properties)
    told = told_offset(properties, baseline, offsets)
    return Scene(acquired, mgrs_tile_of(properties), files, named_baseline=baseline, told_offset=told)


def _files(assets: Mapping[str, Any], path: Path) -> tuple[Bands, set[int]]:
    """Sources of the bands, and the offsets that their assets state."""
    files: Bands = {}
    offsets = set()
    for key, asset in sorted(assets.items()):
        named = band_of_asset(key)
        if named is None or not isinstance(asset, dict):
            continue
        file = _local_file(str(asset.get("href", "")), key, path)
        with open_raster(file) as dataset:
            resolution_m = resolution_of(dataset)
        if resolution_m is None:
            raise UnusableItem(f"asset {key} is no raster of 10, 20 or 60 m in a UTM zone")
        files[named[0], resolution_m] = BandSource(str(file), file, resolution_m)
        if named[0] != SCL:
            offsets |= stated_by_asset(asset, key)
    return files, offsets


def _local_file(href: str, key: str, path: Path) -> Path:
    try:
        parts = urlsplit(href)
        if len(parts.scheme) > 1 and parts.scheme != "file":  # a single letter is a drive
            raise UnusableItem(
                f"asset {key} lies at {parts.scheme}://{parts.netloc}, not on this computer: "
                "give the item list to searchscenes as ITEMS, which fetches what an area needs"
            )
        # An absolute href stands for itself.
        file = Path(unquote(parts.path)) if parts.scheme == "file" else path.parent / href
        there = bool(href) and file.is_file()
    except (ValueError, OSError):  # what is no address, or no name that a file may have
        there = False
    if not there:
        raise UnusableItem(f"asset {key} is not there: {href or 'it has no href'}")
    if file.suffix.lower() not in IMAGE_SUFFIXES:
        raise UnusableItem(f"asset {key} is no GeoTIFF or JPEG 2000 file")
    return file.resolve()
