"""Cloud-optimised GeoTIFF: tiles and overviews in one file, its index first, so that viewers read little of it.

References:
    OGC 21-026, Cloud Optimized GeoTIFF Standard 1.0; GDAL's driver COG, which writes the files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # copying raises GDAL's errors as they are
from rasterio.errors import RasterioError
from rasterio.io import DatasetWriter

from cropmap_core.io.grid import Grid, Window
from cropmap_core.io.outputs import GDAL_CACHE, cannot_write, check_complete, create_raster, tile_edge

Overviews = Literal["mode", "nearest", "average"]
"""What a pixel of an overview shows of those beneath it: the most frequent value, one of them, or their mean."""
_ON_THE_WAY = (".tiles.tif", ".tiles.tif.aux.xml", ".ovr.tmp")  # the last one is GDAL's
_LEAST_EDGE = 128  # of tiles, in pixels: GDAL's driver complains of smaller ones
_LEAST_CACHE = 64 * 2**20  # bytes
_LEVEL = 1  # of ZSTD: higher ones take much longer and gain little


class CogWriter:
    """A raster in the making.

    Args:
        dataset: Its tiles on the way, in whatever order they come.
    """

    def __init__(self, dataset: DatasetWriter) -> None:
        self._dataset = dataset

    def write(self, window: Window, values: NDArray[Any]) -> None:
        """Writes a window of all bands; windows of whole tiles are quickest.

        Args:
            window: Inside the raster.
            values: Of the raster's type, shape (count, window.height, window.width).
        """
        self._dataset.write(values, window=window.bounds_rc)

    def tag(self, tags: Mapping[str, str]) -> None:
        """Adds to the file's tags what is known by now."""
        self._dataset.update_tags(**tags)


@contextmanager
def create_cog(
    path: Path,
    grid: Grid,
    count: int,
    dtype: str,
    nodata: float | None,
    *,
    overviews: Overviews,
    colours: Mapping[int, str] | None = None,
    descriptions: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
    scales: Sequence[float] | None = None,
) -> Iterator[CogWriter]:
    """Creates a cloud-optimised GeoTIFF and checks, once it is closed, that all of it reached the disk.

    It has tiles of 512 pixels, compressed with ZSTD, and overviews inside. Its tiles are written beside it first, where
    there has to be room for about as much again. What is not written is nodata. Overviews leave nodata out: a pixel of
    one is nodata only where all beneath it are.

    Args:
        path: The file; what stands there is replaced once all blocks are written.
        grid: Where its pixels are.
        count: Number of bands.
        dtype: Type of its values.
        nodata: The value of what is not known.
        overviews: What overviews show.
        colours: `#rrggbb` of values, for one band of uint8 or uint16.
        descriptions: Names of the bands.
        tags: Of the file.
        scales: What each band's values are multiplied by to give what they mean.

    Raises:
        OutputError: The file cannot be written or is incomplete.
    """
    tiles = path.with_name(f"{path.name}.tiles.tif")
    try:
        with create_raster(tiles, grid, count, dtype, nodata) as dataset:
            if colours is not None:
                dataset.write_colormap(1, {value: _rgba(colour) for value, colour in colours.items()})
            for band, name in enumerate(descriptions, 1):
                dataset.set_band_description(band, name)
            if scales is not None:
                dataset.scales = tuple(scales)
            writer = CogWriter(dataset)
            writer.tag(tags or {})
            yield writer
        _arrange(tiles, path, grid, overviews)
    finally:
        for ending in _ON_THE_WAY:
            path.with_name(path.name + ending).unlink(missing_ok=True)


def _arrange(tiles: Path, path: Path, grid: Grid, overviews: Overviews) -> None:
    edge = max(_LEAST_EDGE, tile_edge(max(grid.width, grid.height)))
    try:
        with rasterio.open(tiles) as dataset:
            row_of_tiles = edge * grid.width * sum(np.dtype(kind).itemsize for kind in dataset.dtypes)
        cache = min(GDAL_CACHE, max(_LEAST_CACHE, 3 * row_of_tiles // 2))  # less and tiles are decoded twice
        with rasterio.Env(GDAL_CACHEMAX=cache):
            rasterio.shutil.copy(
                str(tiles),
                str(path),
                driver="COG",
                compress="ZSTD",
                level=_LEVEL,
                predictor="YES",
                blocksize=edge,
                overview_resampling=overviews,
                bigtiff="IF_SAFER",  # no num_threads: with them copying to a full disk raises nothing
            )
        check_complete(path)
    except (RasterioError, CPLE_BaseError, OSError) as error:
        path.unlink(missing_ok=True)
        raise cannot_write(path, error) from error


def _rgba(colour: str) -> tuple[int, int, int, int]:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return red, green, blue, 255
