"""What STAC Items of Sentinel-2 L2A say, on disk and at a catalogue alike.

References:
    STAC 1.1; the extensions eo, raster, grid, mgrs, processing; https://github.com/Element84/earth-search.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cropmap_core.scenes.safe import baseline_in_name, offset_of_baseline
from cropmap_core.scenes.scene import NATIVE_RESOLUTION_M, StatedOffset
from cropmap_core.timeseries.series import SCL

Item = Mapping[str, Any]

IMAGE_SUFFIXES = (".tif", ".tiff", ".jp2")
_COMMON_NAMES = {
    "coastal": "B01", "blue": "B02", "green": "B03", "red": "B04", "rededge1": "B05", "rededge2": "B06",
    "rededge3": "B07", "nir": "B08", "nir08": "B8A", "nir09": "B09", "swir16": "B11", "swir22": "B12", "scl": SCL,
}  # fmt: skip
"""Asset keys of Earth Search."""
_KEY = re.compile(r"^(?P<band>B\d[\dA]|SCL)(?:_(?P<resolution>\d{2})m)?$", re.IGNORECASE)
_SCALE = 0.0001
_EVIDENCE = "their STAC items"


class UnusableItem(Exception):  # noqa: N818  (a reason to skip, not an error)
    """Why an Item is skipped."""


def is_item(document: Any) -> bool:
    """Whether a JSON document is a STAC Item."""
    return isinstance(document, dict) and document.get("type") == "Feature" and "stac_version" in document


def contents_of(item: Item) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Properties and assets of an Item of Sentinel-2 L2A.

    Raises:
        UnusableItem: It has none, or is of another sensor or level.
    """
    properties, assets = item.get("properties"), item.get("assets")
    if not isinstance(properties, dict) or not isinstance(assets, dict):
        raise UnusableItem("it has no properties or no assets")
    texts = (item.get("collection"), properties.get("constellation"), properties.get("platform"), item.get("id"))
    known = " ".join(str(text).lower() for text in texts if text)
    if "landsat" in known or not re.search(r"sentinel-?2|s2[a-d]_", known):
        raise UnusableItem("it is not of Sentinel-2")
    levels = (properties.get("processing:level"), properties.get("s2:product_type"), item.get("collection"))
    if any(re.search(r"l1c|level-?1c|msi1c", str(level).lower()) for level in levels):
        raise UnusableItem("a Level-1C product (top of atmosphere): get its Level-2A product")
    return properties, assets


def acquired_of(properties: Mapping[str, Any]) -> datetime:
    """Sensing time, UTC, to the second.

    Raises:
        UnusableItem: The datetime is none.
    """
    try:
        moment = datetime.fromisoformat(str(properties.get("datetime")))
        return (moment.astimezone(UTC) if moment.tzinfo else moment).replace(tzinfo=None, microsecond=0)
    except (ValueError, OverflowError):
        raise UnusableItem("its datetime is no date") from None


def band_of_asset(key: str) -> tuple[str, int] | None:
    """Band and resolution in metres that an asset's key stands for; None where it is no band of L2A."""
    match = _KEY.match(key)
    band = match["band"].upper() if match else _COMMON_NAMES.get(key.lower())
    if band not in NATIVE_RESOLUTION_M:
        return None
    return band, int(match["resolution"] or 0) if match else 0


def stated_by_asset(asset: Mapping[str, Any], key: str) -> set[int]:
    """The offset in digital numbers that an asset states by the raster extension, 1.x or 2.

    Raises:
        UnusableItem: It is no offset of Sentinel-2, or the scale is none.
    """
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
        raise UnusableItem(f"asset {key} states scale {scale} and offset {offset}, not {_SCALE} and 0 or -0.1")
    return {numbers}


def baseline_of(item: Item, properties: Mapping[str, Any]) -> str | None:
    """Processing baseline, for instance 04.00; None where nothing states it."""
    for key in ("s2:processing_baseline", "sentinel2:processing_baseline", "processing:version"):
        match = re.match(r"^(\d{2})\.?(\d{2})$", str(properties.get(key, "")))
        if match is not None:
            return f"{match[1]}.{match[2]}"
    names = (item.get("id"), properties.get("s2:product_uri"))
    return next((found for name in names if (found := baseline_in_name(Path(str(name))))), None)


def mgrs_tile_of(properties: Mapping[str, Any]) -> str:
    """For instance 31UDS; empty where nothing states it."""
    parts = [properties.get(f"mgrs:{part}", "") for part in ("utm_zone", "latitude_band", "grid_square")]
    for text in (properties.get("grid:code"), properties.get("s2:mgrs_tile"), "".join(map(str, parts))):
        match = re.search(r"(?<!\d)(\d{1,2}[C-X][A-Z]{2})$", str(text))
        if match is not None:
            return match[1].zfill(5)
    return ""


def told_offset(properties: Mapping[str, Any], baseline: str | None, by_assets: set[int]) -> StatedOffset | None:
    """Whether the offset was taken off, where the catalogue says so; else what the assets say; else the baseline.

    Earth Search states -0.1 for its assets even where `earthsearch:boa_offset_applied` says that it was taken off.

    Raises:
        UnusableItem: The assets contradict each other.
    """
    applied = properties.get("earthsearch:boa_offset_applied")
    if applied is True:
        return StatedOffset(0, f"{_EVIDENCE} (offset applied)")
    if applied is False and baseline is not None:
        return StatedOffset(offset_of_baseline(baseline), f"{_EVIDENCE} (offset not applied)")
    if len(by_assets) > 1:
        raise UnusableItem("its assets state different offsets")
    if by_assets:
        return StatedOffset(by_assets.pop(), f"{_EVIDENCE} (raster extension)")
    if baseline is not None:
        return StatedOffset(offset_of_baseline(baseline), f"{_EVIDENCE} (baseline)")
    return None
