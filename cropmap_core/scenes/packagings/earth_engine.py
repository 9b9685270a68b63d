"""One GeoTIFF per date with all bands, as Earth Engine exports them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rasterio.io import DatasetReader

from cropmap_core.errors import SceneError
from cropmap_core.io.rasters import open_raster
from cropmap_core.scenes.packagings.found import Found, suffixed, time_in_name
from cropmap_core.scenes.packagings.rasters import band_of, nodata_of, resolution_of, unfit
from cropmap_core.scenes.safe import offset_of_baseline
from cropmap_core.scenes.scene import BandSource, Scene, StatedOffset

_SHARD = re.compile(r"-\d{10}-\d{10}$")
_INDEX = re.compile(r"(\d{8}T\d{6})_\d{8}T\d{6}_T(\d{2}[A-Z]{3})")
_PRODUCT = re.compile(r"S2[A-D]_MSIL2A_(\d{8}T\d{6})_N(\d{2})(\d{2})_R\d{3}_T(\d{2}[A-Z]{3})")
_DAY = re.compile(r"(?<!\d)(20[12]\d)([-_.]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?!\d)")
_TIME_START = re.compile(r"time_start=(\d{12,13})(?!\d)")
_HARMONIZED, _AS_DISTRIBUTED = re.compile(r"S2_SR_HARMONIZED"), re.compile(r"S2_SR(?!_HARMONIZED)")


@dataclass(frozen=True)
class _Origin:
    """What the name and tags tell of a raster's origin."""

    acquired: datetime
    mgrs_tile: str = ""
    baseline: str | None = None


def find(candidates: Iterable[Path]) -> Found:
    """Makes a scene of each GeoTIFF among the candidates whose bands are named as those of Sentinel-2."""
    found = Found()
    for path in suffixed(candidates, ".tif", ".tiff"):
        try:
            with open_raster(path) as dataset:
                _look(path, dataset, found)
        except SceneError as error:
            found.skip(path, f"its name is not that of a Sentinel-2 band file, and {error.message}")
    return found


def _look(path: Path, dataset: DatasetReader, found: Found) -> None:
    if "CROPMAP_DATES" in dataset.tags():
        found.skip(path, "a time series file of CropMap: it is stacked already")
        return
    bands: dict[str, int] = {}
    for number, description in enumerate(dataset.descriptions, start=1):
        band = band_of(description or "")
        if band is not None:
            bands.setdefault(band, number)
    if not bands:
        return
    reason = unfit(dataset, bands)
    stem = _SHARD.sub("", path.stem)
    origin = None if reason else _origin(path, stem, dataset.tags())
    if origin is None:
        found.skip(path, reason or "bands of Sentinel-2 without one date: name the file like S2_2018-05-04.tif")
        return
    resolution_m, nodata = resolution_of(dataset) or 0, nodata_of(dataset)
    files = {
        (band, resolution_m): BandSource(str(path), path, resolution_m, number, nodata, alone=False)
        for band, number in bands.items()
    }
    told = _told_offset(stem, dataset.tags(), origin.baseline)
    scene = Scene(origin.acquired, origin.mgrs_tile, files, named_baseline=origin.baseline, told_offset=told)
    found.scenes.append(scene)
    found.claimed.add(path)


def _origin(path: Path, stem: str, tags: Mapping[str, str]) -> _Origin | None:
    """The image's own id tells most, then the tags' date, then the name's."""
    texts = [stem, *(tags[key] for key in sorted(tags))]
    for text in texts:
        match = _PRODUCT.search(text)
        if match is not None:
            return _Origin(time_in_name(match[1], "%Y%m%dT%H%M%S", path), match[4], f"{match[2]}.{match[3]}")
    stated = tags.get("PROCESSING_BASELINE", "")
    baseline = stated.zfill(5) if re.fullmatch(r"\d{1,2}\.\d{2}", stated) else None
    for text in texts:
        match = _INDEX.search(text)
        if match is not None:
            return _Origin(time_in_name(match[1], "%Y%m%dT%H%M%S", path), match[2], baseline)
    tile = tags.get("MGRS_TILE", "")
    for key, text in tags.items():
        match = _TIME_START.search(f"{key}={text}")  # GDAL may part the name system:time_start at its colon
        if match is not None:
            start = datetime.fromtimestamp(int(match[1]) / 1000, UTC)
            return _Origin(start.replace(microsecond=0, tzinfo=None), tile, baseline)
    with suppress(KeyError, ValueError):
        return _Origin(datetime.fromisoformat(tags["DATE_ACQUIRED"]).replace(tzinfo=None), tile, baseline)
    days = {match[1] + match[3] + match[4] for match in _DAY.finditer(stem.replace("T", " "))}
    with suppress(ValueError):
        return _Origin(datetime.strptime("".join(days), "%Y%m%d"), tile, baseline)  # of two days, neither
    return None


def _told_offset(stem: str, tags: Mapping[str, str], baseline: str | None) -> StatedOffset | None:
    """The collection decides: the harmonised one has the offset taken off, the other has ESA's numbers."""
    texts = [stem, *tags.values()]
    if any(_HARMONIZED.search(text) for text in texts):
        return StatedOffset(0, "their Earth Engine collection")
    before = baseline is not None and offset_of_baseline(baseline) == 0
    if baseline is not None and (before or any(_AS_DISTRIBUTED.search(text) for text in texts)):
        return StatedOffset(offset_of_baseline(baseline), "their Earth Engine baseline")
    return None
