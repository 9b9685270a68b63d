"""A made season of one MGRS tile, as large and about as compressible as real ones; its files are made once and kept."""

from __future__ import annotations

import os
import tempfile
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_origin

from tests.factories import CRS, RESOLUTION_M, write_safe, write_scene

FULL_TILE = 10980
"""Edge of an MGRS tile in 10 m pixels."""
BANDS = ("B02", "B03", "B04", "B08")
_ORIGIN = (499980.0, 5700000.0)
_PATTERN = 2048
_OPTIONS = {
    "jp2": {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"},
    "cog": {
        "driver": "COG",
        "compress": "DEFLATE",
        "predictor": 2,
        "blocksize": 1024,
        "num_threads": "ALL_CPUS",
        "nodata": 0,
    },
}


def folder() -> Path:
    """Where benchmarks keep what they made: $CROPMAP_BENCH, or a folder of the system's temporary one."""
    return Path(os.environ.get("CROPMAP_BENCH") or Path(tempfile.gettempdir()) / "cropmap-bench")


def season(packaging: str, dates: int, width: int = FULL_TILE, height: int = FULL_TILE) -> Path:
    """Scenes every five days: one set of images, linked under the names of all dates.

    Args:
        packaging: `jp2` for SAFE folders with lossless JPEG 2000, `cog` for one GeoTIFF per band as in the AWS archive.
        dates: Number of scenes.
        width: In 10 m pixels, even.
        height: In 10 m pixels, even.

    Returns:
        The folder of the scenes.
    """
    made = folder() / f"{packaging}-{width}x{height}-{dates}"
    if made.exists():
        return made
    unfinished = made.with_name(f".{made.name}.{os.getpid()}")
    images = {resolution: _image(packaging, resolution, width, height) for resolution in (10, 20)}
    for number in range(dates):
        sensed = date(2023, 1, 3) + timedelta(days=5 * number)
        write = write_safe if packaging == "jp2" else write_scene
        scene = write(unfinished, sensed, bands=BANDS)
        for path in (*scene.rglob("*.jp2"), *scene.rglob("*.tif")):
            band = path.stem.split("_")[2]
            path.unlink()
            path.hardlink_to(images[RESOLUTION_M[band]])
    unfinished.rename(made)
    return made


def rasters(scenes: Path) -> list[list[Path]]:
    """The band files of each scene by date, SCL last: what a stack of them is made of."""
    found = [path for path in scenes.rglob("T*") if path.suffix in (".jp2", ".tif")]
    by_date: dict[str, dict[str, Path]] = {}
    for path in found:
        _, sensed, band, _ = path.stem.split("_")
        by_date.setdefault(sensed, {})[band] = path
    return [[by_date[sensed][band] for band in (*BANDS, "SCL")] for sensed in sorted(by_date)]


def _image(packaging: str, resolution_m: int, width: int, height: int) -> Path:
    """The image of reflectance (10 m) or SCL (20 m) that all dates share."""
    path = folder() / "images" / f"{width}x{height}-{resolution_m}m.{'jp2' if packaging == 'jp2' else 'tif'}"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    cell = resolution_m // 10
    pattern = _reflectance() if resolution_m == 10 else _classes()
    rows, cols = height // cell, width // cell
    pixels = np.tile(pattern, (-(-rows // _PATTERN), -(-cols // _PATTERN)))[:rows, :cols]
    unfinished = path.with_name(f"{os.getpid()}-{path.name}")
    transform = from_origin(*_ORIGIN, resolution_m, resolution_m)
    shape = {"width": cols, "height": rows, "count": 1}
    with rasterio.open(
        unfinished, "w", **shape, dtype=pixels.dtype, crs=CRS, transform=transform, **_OPTIONS[packaging]
    ) as dataset:
        dataset.write(pixels, 1)
    unfinished.rename(path)
    return path


def _reflectance() -> NDArray[np.uint16]:
    """Fields of 320 m with rows and noise: 6 bits a pixel as lossless JPEG 2000; genuine band files have 5 to 7."""
    random = np.random.default_rng(0)
    fields = random.integers(1300, 4500, (_PATTERN // 32, _PATTERN // 32)).repeat(32, axis=0).repeat(32, axis=1)
    return (fields + random.normal(0, 12, fields.shape)).round().astype(np.uint16)


def _classes() -> NDArray[np.uint8]:
    """Mostly vegetation (4), under clouds (9) of 640 m here and there."""
    random = np.random.default_rng(1)
    cloud = random.random((_PATTERN // 32, _PATTERN // 32)) < 0.2
    return np.where(cloud, 9, 4).astype(np.uint8).repeat(32, axis=0).repeat(32, axis=1)
