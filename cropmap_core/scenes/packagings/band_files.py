"""Per-band files: named as ESA, CDSE and Planetary Computer do, or lying as in the archives on AWS."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cropmap_core.scenes.packagings.found import Bands, Found, add_band, suffixed, time_in_name
from cropmap_core.scenes.packagings.images import BAND_IMAGE
from cropmap_core.scenes.safe import baseline_in_name, offset_of_baseline
from cropmap_core.scenes.scene import NATIVE_RESOLUTION_M, BandSource, Scene, StatedOffset

_COG_FOLDER = re.compile(
    r"^S2[A-D]_(?:(?P<tile>\d{1,2}[A-Z]{3})_(?P<day>\d{8})_\d+|T(?P<c1_tile>\d{2}[A-Z]{3})_(?P<time>\d{8}T\d{6}))_L2A$"
)
_COG_BAND = re.compile(r"^(B\d[\dA]|SCL)\.tiff?$", re.IGNORECASE)
_TILE_PATH = re.compile(
    r"/(?P<zone>\d{1,2})/(?P<square>[C-X]/[A-Z]{2})/(?P<day>\d{4}/\d{1,2}/\d{1,2})/\d+"
    r"/R(?P<resolution>\d{2})m/(?P<band>B\d[\dA]|SCL)\.jp2$"
)


@dataclass(frozen=True)
class _Name:
    """What the name and folders of a band file tell."""

    mgrs_tile: str
    acquired: datetime
    band: str
    resolution_m: int
    folder: Path | None
    """Where the scene's other files must lie; None where their names say that they belong together."""
    baseline: str | None


def find(candidates: Iterable[Path]) -> Found:
    """Makes scenes of the band files among the candidates."""
    found = Found()
    scenes: dict[tuple[str, datetime, Path | None, str | None], Bands] = {}
    for path, name in _named(suffixed(candidates, ".tif", ".tiff", ".jp2")):
        bands = scenes.setdefault((name.mgrs_tile, name.acquired, name.folder, name.baseline), {})
        add_band(bands, name.band, BandSource(str(path), path, name.resolution_m))
        found.claimed.add(path)
    for (tile, time, _, baseline), bands in scenes.items():
        told = None
        if baseline is not None:
            told = StatedOffset(offset_of_baseline(baseline), "their products' names")
        found.scenes.append(Scene(time, tile, bands, named_baseline=baseline, told_offset=told))
    return found


def _named(candidates: Iterable[Path]) -> Iterator[tuple[Path, _Name]]:
    for path in candidates:
        name = _esa_name(path) or _cog_name(path) or _tile_path_name(path)
        if name is not None:
            yield path, name


def _esa_name(path: Path) -> _Name | None:
    match = BAND_IMAGE.match(path.name)
    if match is None:
        return None
    time = time_in_name(match["time"], "%Y%m%dT%H%M%S", path)
    baseline = baseline_in_name(path.absolute())
    return _Name(match["tile"].upper(), time, match["band"].upper(), int(match["resolution"]), None, baseline)


def _cog_name(path: Path) -> _Name | None:
    band, folder = _COG_BAND.match(path.name), _COG_FOLDER.match(path.absolute().parent.name)
    if band is None or folder is None or band[1].upper() not in NATIVE_RESOLUTION_M:
        return None
    if folder["time"]:
        tile, time = folder["c1_tile"], time_in_name(folder["time"], "%Y%m%dT%H%M%S", path)
    else:
        tile, time = folder["tile"].zfill(5), time_in_name(folder["day"], "%Y%m%d", path)
    resolution_m = NATIVE_RESOLUTION_M[band[1].upper()]
    return _Name(tile, time, band[1].upper(), resolution_m, path.absolute().parent, None)


def _tile_path_name(path: Path) -> _Name | None:
    match = _TILE_PATH.search(path.absolute().as_posix())
    if match is None:
        return None
    tile = f"{match['zone'].zfill(2)}{match['square'].replace('/', '')}"
    time = time_in_name(match["day"], "%Y/%m/%d", path)
    folder = path.absolute().parent.parent
    return _Name(tile, time, match["band"], int(match["resolution"]), folder, None)
