"""Scenes as a catalogue lists them, their files on a server of our own.

The QGIS half of the tests has no STAC API of its own: `python -m tests.core.remote_season FOLDER` packs the season in a
folder, says the catalogue's address, and serves until its standard input ends.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.transform import from_origin
from shapely import box, transform
from shapely.geometry import mapping

from tests.core.range_server import serving
from tests.core.repackaged import BASELINE, copied, scenes_of
from tests.core.stac_server import is_there, stac_api
from tests.factories import CRS, ORIGIN, RESOLUTION_M, TILE

EXTENT_32631 = "{0},{1},{2},{3} [EPSG:32631]"


def extent(left: float, top: float, right: float, bottom: float) -> str:
    """An EXTENT by distances in metres from the tile's corner, rightwards and downwards."""
    return EXTENT_32631.format(ORIGIN[0] + left, ORIGIN[0] + right, ORIGIN[1] - bottom, ORIGIN[1] - top)


def footprint(width_m: float, height_m: float) -> dict[str, Any]:
    """The tile's outline in longitude and latitude."""
    outline = box(ORIGIN[0], ORIGIN[1] - height_m, ORIGIN[0] + width_m, ORIGIN[1])
    to_globe = Transformer.from_crs(CRS, "OGC:CRS84", always_xy=True).transform
    return dict(mapping(transform(outline, to_globe, interleaved=False)))


def stac_item(
    time: str, hrefs: Mapping[str, str], width_m: float = 320, height_m: float = 240, **properties: Any
) -> dict[str, Any]:
    """An Item as Planetary Computer has them, of the sensing time `20180504T105029`."""
    outline = footprint(width_m, height_m)
    longitudes, latitudes = zip(*outline["coordinates"][0], strict=True)
    moment = datetime.strptime(time, "%Y%m%dT%H%M%S").isoformat()
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"S2A_MSIL2A_{time}_R051_T{TILE}",
        "collection": "sentinel-2-l2a",
        "geometry": outline,
        "bbox": [min(longitudes), min(latitudes), max(longitudes), max(latitudes)],
        "properties": {
            "datetime": f"{moment}Z",
            "grid:code": f"MGRS-{TILE}",
            "s2:processing_baseline": BASELINE,
            "eo:cloud_cover": 30.0,
            **properties,
        },
        "assets": {
            **{band: {"href": href, "roles": ["data"]} for band, href in hrefs.items()},
            "thumbnail": {"href": "https://example.com/tiny.png", "roles": ["thumbnail"]},
        },
        "links": [],
    }


def season_as_items(season: Path, folder: Path, url: str) -> list[dict[str, Any]]:
    """The scenes that `write_season` wrote, as COGs in a folder and as Items that lead there by its address."""
    items = []
    for time, files in scenes_of(season):
        for band, path in files.items():
            copied(path, folder / time / f"{band}.tif", driver="COG")
        items.append(stac_item(time, {band: f"{url}/{time}/{band}.tif" for band in files}))
    return items


def write_cog(path: Path, band: str, edge: int, seed: int = 0) -> NDArray[Any]:
    """A square COG of noise at the tile's corner, `edge` pixels of the band's own size, in blocks of 256 pixels."""
    pixels = np.random.default_rng(seed).integers(1, 12 if band == "SCL" else 10000, (edge, edge))
    pixels = pixels.astype(np.uint8 if band == "SCL" else np.uint16)
    plain = path.with_suffix(".plain.tif")
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = from_origin(*ORIGIN, RESOLUTION_M[band], RESOLUTION_M[band])
    profile = {"driver": "GTiff", "crs": CRS, "transform": grid, "dtype": pixels.dtype, "nodata": 0, "count": 1}
    with rasterio.open(plain, "w", width=edge, height=edge, **profile) as dataset:
        dataset.write(pixels, 1)
    copied(plain, path, driver="COG", BLOCKSIZE="256", COMPRESS="DEFLATE")
    plain.unlink()
    return pixels


def write_item_list(path: Path, items: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}), encoding="utf-8")
    return path


def main() -> None:
    if not is_there():
        print("there is no server", flush=True)
        return
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as files:
        items = season_as_items(Path(sys.argv[1]), files.folder, files.url)
        with stac_api(items) as url:
            print(url, flush=True)
            sys.stdin.read()


if __name__ == "__main__":
    main()
