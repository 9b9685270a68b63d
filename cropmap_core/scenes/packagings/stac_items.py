"""STAC Items on disk, whose assets lie on disk too.

References:
    STAC 1.1; the extensions eo, raster, grid, mgrs, processing; https://github.com/Element84/earth-search.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from cropmap_core.errors import SceneError
from cropmap_core.io.rasters import open_raster
from cropmap_core.scenes.packagings.found import Bands, Found, suffixed
from cropmap_core.scenes.packagings.rasters import resolution_of
from cropmap_core.scenes.safe import baseline_in_name, offset_of_baseline
from cropmap_core.scenes.scene import NATIVE_RESOLUTION_M, BandSource, Scene, StatedOffset
from cropmap_core.timeseries.series import SCL

_COMMON_NAMES = {
    "coastal": "B01", "blue": "B02", "green": "B03", "red": "B04", "rededge1": "B05", "rededge2": "B06",
    "rededge3": "B07", "nir": "B08", "nir08": "B8A", "nir09": "B09", "swir16": "B11", "swir22": "B12", "scl": SCL,
}  # fmt: skip
"""Asset keys of Earth Search."""
_KEY = re.compile(r"^(B\d[\dA]|SCL)(?:_\d{2}m)?$", re.IGNORECASE)
_LARGEST_ITEM_BYTES = 64 * 2**20
_SCALE = 0.0001
_EVIDENCE = "their STAC items"


class _Unusable(Exception):  # noqa: N818  (a reason to skip, not an error)
    """Why an Item is skipped."""


def find(candidates: Iterable[Path]) -> Found:
    """Makes scenes of the Items and ItemCollections among the candidates, and claims the files of their assets."""
    found = Found()
    for path in suffixed(candidates, ".json", ".geojson"):
        for item in _items(path):
            found.claimed.add(path)
            try:
                scene = _scene(item, path)
            except (_Unusable, SceneError) as error:
                reason = error.message if isinstance(error, SceneError) else str(error)
                found.skip(path, f"STAC Item {item.get('id')}: {reason}")
            else:
                found.scenes.append(scene)
                found.claimed |= {source.file for source in scene.files.values()}
    return found


def _items(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        if path.stat().st_size > _LARGEST_ITEM_BYTES:
            return
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return  # no JSON, so no Item: listed as any other file
    features = [document]
    if isinstance(document, dict) and document.get("type") == "FeatureCollection":
        features = document["features"] if isinstance(document.get("features"), list) else []
    for feature in features:
        if isinstance(feature, dict) and feature.get("type") == "Feature" and "stac_version" in feature:
            yield feature


def _scene(item: Mapping[str, Any], path: Path) -> Scene:
    properties, assets = item.get("properties"), item.get("assets")
    if not isinstance(properties, dict) or not isinstance(assets, dict):
        raise _Unusable("it has no properties or no assets")
    _refuse_other_products(item, properties)
    try:
        moment = datetime.fromisoformat(str(properties.get("datetime")))
        acquired = (moment.astimezone(UTC) if moment.tzinfo else moment).replace(tzinfo=None, microsecond=0)
    except (ValueError, OverflowError):
        raise _Unusable("its datetime is no date") from None
    files, offsets = _files(assets, path)
    if not files:
        raise _Unusable("it has no asset that is a band of Sentinel-2")
    baseline = _baseline(item, properties)
    told = _told_offset(properties, baseline, offsets)
    return Scene(acquired, _mgrs_tile(properties), files, named_baseline=baseline, told_offset=told)


def _refuse_other_products(item: Mapping[str, Any], properties: Mapping[str, Any]) -> None:
    texts = (item.get("collection"), properties.get("constellation"), properties.get("platform"), item.get("id"))
    known = " ".join(str(text).lower() for text in texts if text)
    if "landsat" in known or not re.search(r"sentinel-?2|s2[a-d]_", known):
        raise _Unusable("it is not of Sentinel-2")
    levels = (properties.get("processing:level"), properties.get("s2:product_type"), item.get("collection"))
    if any(re.search(r"l1c|level-?1c|msi1c", str(level).lower()) for level in levels):
        raise _Unusable("a Level-1C product (top of atmosphere): get its Level-2A product")


def _files(assets: Mapping[str, Any], path: Path) -> tuple[Bands, set[int]]:
    """Sources of the bands, and the offsets that their assets state."""
    files: Bands = {}
    offsets = set()
    for key, asset in sorted(assets.items()):
        band = _band(key)
        if band is None or not isinstance(asset, dict):
            continue
        file = _local_file(str(asset.get("href", "")), key, path)
        with open_raster(file) as dataset:
            resolution_m = resolution_of(dataset)
        if resolution_m is None:
            raise _Unusable(f"asset {key} is no raster of 10, 20 or 60 m in a UTM zone")
        files[band, resolution_m] = BandSource(str(file), file, resolution_m)
        if band != SCL:
            offsets |= _stated_by_asset(asset, key)
    return files, offsets


def _band(key: str) -> str | None:
    match = _KEY.match(key)
    band = match[1].upper() if match else _COMMON_NAMES.get(key.lower())
    return band if band in NATIVE_RESOLUTION_M else None


def _local_file(href: str, key: str, path: Path) -> Path:
    try:
        parts = urlsplit(href)
        if len(parts.scheme) > 1 and parts.scheme != "file":  # a single letter is a drive
            raise _Unusable(f"asset {key} lies at {parts.scheme}://{parts.netloc}, not on this computer: download it")
        # An absolute href stands for itself.
        file = Path(unquote(parts.path)) if parts.scheme == "file" else path.parent / href
        there = bool(href) and file.is_file()
    except (ValueError, OSError):  # what is no address, or no name that a file may have
        there = False
    if not there:
        raise _Unusable(f"asset {key} is not there: {href or 'it has no href'}")
    if file.suffix.lower() not in (".tif", ".tiff", ".jp2"):
        raise _Unusable(f"asset {key} is no GeoTIFF or JPEG 2000 file")
    return file.resolve()


def _stated_by_asset(asset: Mapping[str, Any], key: str) -> set[int]:
    """The offset in digital numbers that an asset states by the raster extension, 1.x or 2."""
    bands = asset.get("raster:bands") or asset.get("bands") or [{}]
    first = bands[0] if isinstance(bands, list) and isinstance(bands[0], dict) else {}
    scale = first.get("scale", first.get("raster:scale", asset.get("raster:scale")))
    offset = first.get("offset", first.get("raster:offset", asset.get("raster:offset")))
    if scale is None and offset is None:
        return set()
    try:
        wrong = scale is not None and abs(float(scale) - _SCALE) > 1e-9
        numbers = round(float(offset or 0) / _SCALE)
    except (TypeError, ValueError, OverflowError):
        wrong, numbers = True, 0
    if wrong or numbers not in (0, -1000):
        raise _Unusable(f"asset {key} states scale {scale} and offset {offset}, not {_SCALE} and 0 or -0.1")
    return {numbers}


def _baseline(item: Mapping[str, Any], properties: Mapping[str, Any]) -> str | None:
    for key in ("s2:processing_baseline", "sentinel2:processing_baseline", "processing:version"):
        match = re.match(r"^(\d{2})\.?(\d{2})$", str(properties.get(key, "")))
        if match is not None:
            return f"{match[1]}.{match[2]}"
    names = (item.get("id"), properties.get("s2:product_uri"))
    return next((found for name in names if (found := baseline_in_name(Path(str(name))))), None)


def _mgrs_tile(properties: Mapping[str, Any]) -> str:
    parts = [properties.get(f"mgrs:{part}", "") for part in ("utm_zone", "latitude_band", "grid_square")]
    for text in (properties.get("grid:code"), properties.get("s2:mgrs_tile"), "".join(map(str, parts))):
        match = re.search(r"(?<!\d)(\d{1,2}[C-X][A-Z]{2})$", str(text))
        if match is not None:
            return match[1].zfill(5)
    return ""


def _told_offset(properties: Mapping[str, Any], baseline: str | None, by_assets: set[int]) -> StatedOffset | None:
    """Whether the offset was taken off, where the catalogue says so; else what the assets say; else the baseline.

    Earth Search states -0.1 for its assets even where `earthsearch:boa_offset_applied` says that it was taken off.
    """
    applied = properties.get("earthsearch:boa_offset_applied")
    if applied is True:
        return StatedOffset(0, f"{_EVIDENCE} (offset applied)")
    if applied is False and baseline is not None:
        return StatedOffset(offset_of_baseline(baseline), f"{_EVIDENCE} (offset not applied)")
    if len(by_assets) > 1:
        raise _Unusable("its assets state different offsets")
    if by_assets:
        return StatedOffset(by_assets.pop(), f"{_EVIDENCE} (raster extension)")
    if baseline is not None:
        return StatedOffset(offset_of_baseline(baseline), f"{_EVIDENCE} (baseline)")
    return None
