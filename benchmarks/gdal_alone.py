"""What GDAL alone needs, through rasterio: to decode the rasters of a season, and to write them into one file.

`python -m benchmarks.gdal_alone decode FOLDER` or `... rewrite FOLDER FILE`. It does nothing to the numbers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.windows import Window

from benchmarks.full_tile import rasters

THREADS = os.cpu_count() or 1
_BLOCK = 2048  # in 10 m pixels: every source block is decoded once, those of 20 m too
_local = local()


def decode(scenes: Path) -> None:
    """Reads every block of every raster once, a raster a task."""

    def read(path: Path) -> None:
        with rasterio.open(path) as dataset:
            for _, window in dataset.block_windows(1):
                dataset.read(1, window=window)

    with rasterio.Env(GDAL_NUM_THREADS="1"), ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(read, [path for scene in rasters(scenes) for path in scene]))


def rewrite(scenes: Path, output: Path) -> None:
    """Reads window by window on all threads, the next one while GDAL's threads compress and write this one."""
    files = [path for scene in rasters(scenes) for path in scene]
    with rasterio.open(files[0]) as first:
        profile = {name: first.profile[name] for name in ("crs", "transform", "width", "height")}
    options = {
        "driver": "GTiff",
        "count": len(files),
        "dtype": "int16",
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "interleave": "band",
        "compress": "ZSTD",
        "zstd_level": 1,
        "predictor": 2,
        "bigtiff": "YES",
        "num_threads": THREADS,
    }
    windows = list(_windows(profile["width"], profile["height"]))
    with (
        rasterio.Env(GDAL_NUM_THREADS="1"),
        ThreadPoolExecutor(THREADS) as pool,
        ThreadPoolExecutor(1) as ahead,
        rasterio.open(output, "w", **profile, **options) as dataset,
    ):
        coming = ahead.submit(_read, pool, files, windows[0])
        for number, window in enumerate(windows):
            values = coming.result()
            if number + 1 < len(windows):
                coming = ahead.submit(_read, pool, files, windows[number + 1])
            dataset.write(values, window=window)


def _read(pool: ThreadPoolExecutor, files: list[Path], window: Window) -> NDArray[np.int16]:
    values = np.empty((len(files), window.height, window.width), dtype=np.int16)

    def read(number: int) -> None:
        dataset = _opened(files[number])
        cell = round(dataset.transform.a / 10)
        part = Window(window.col_off / cell, window.row_off / cell, window.width / cell, window.height / cell)
        dataset.read(1, window=part, out=values[number], resampling=Resampling.nearest)

    list(pool.map(read, range(len(files))))
    return values


def _opened(path: Path) -> rasterio.DatasetReader:
    handles = _local.__dict__.setdefault("handles", {})
    if path not in handles:
        handles[path] = rasterio.open(path)
    return handles[path]


def _windows(width: int, height: int) -> Iterator[Window]:
    for row in range(0, height, _BLOCK):
        for col in range(0, width, _BLOCK):
            yield Window(col, row, min(_BLOCK, width - col), min(_BLOCK, height - row))


if __name__ == "__main__":
    {"decode": decode, "rewrite": rewrite}[sys.argv[1]](*map(Path, sys.argv[2:]))
