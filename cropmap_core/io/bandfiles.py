"""Reading windows of single-band files on a finer, equal or coarser grid, many files at once."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath
from typing import Any, TypeVar

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from cropmap_core.errors import SceneError
from cropmap_core.io.grid import Grid, Window
from cropmap_core.scenes.scene import BandSource

THREADS = max(1, min(8, os.cpu_count() or 1))
_HANDLES = 384  # open files over all threads: below the usual limit of 1024 with room for the rest of the process
_DRIVERS = {".tif": "GTiff", ".tiff": "GTiff", ".jp2": "JP2OpenJPEG", ".nc": "netCDF"}

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_local = threading.local()


def in_threads(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """Applies a function to all items on the reading threads; results in order, the first error raised."""
    return list(_pool().map(function, items))


def open_band(path: str | Path) -> DatasetReader:
    """Opens a raster for reading, as what its name says: a text named .tif must not make GDAL read what it describes.

    Args:
        path: As GDAL takes it.

    Raises:
        SceneError: It cannot be read as a raster.
    """
    name = str(path)
    driver = "netCDF" if name.startswith("netcdf:") else _DRIVERS.get(PurePath(name).suffix.lower())
    try:
        return rasterio.open(name, driver=driver)
    except RasterioError as error:
        raise unreadable(path, error) from error


def read_band(source: BandSource, resolution_m: int, window: Window) -> NDArray[Any]:
    """Reads a window of a band, resampled to the nearest pixel where the resolutions differ.

    Args:
        source: A raster whose corner is the grid's corner.
        resolution_m: The pixel size of the window; it or the source's must be a multiple of the other.
        window: Inside the grid, in pixels of `resolution_m`.

    Returns:
        The values, 0 where nothing was measured, shape (window.height, window.width).

    Raises:
        SceneError: The file cannot be read.
    """
    file_resolution_m = source.resolution_m
    if file_resolution_m == resolution_m:
        return _read(source, window)
    if file_resolution_m > resolution_m:
        factor = file_resolution_m // resolution_m
        first_row, first_col = window.row // factor, window.col // factor
        end_row = -(-(window.row + window.height) // factor)
        end_col = -(-(window.col + window.width) // factor)
        coarse = _read(source, Window(first_row, first_col, end_row - first_row, end_col - first_col))
        fine = coarse.repeat(factor, axis=0).repeat(factor, axis=1)
        rows, cols = window.slices_within(Window(first_row * factor, first_col * factor, fine.shape[0], fine.shape[1]))
        return fine[rows, cols]
    factor = resolution_m // file_resolution_m
    fine = _read(
        source,
        Window(window.row * factor, window.col * factor, window.height * factor, window.width * factor),
    )
    middle = factor // 2  # the pixel that holds the centre of the coarse one, as GDAL's nearest takes it
    return fine[middle::factor, middle::factor]


def read_bands(path: str | Path, numbers: Sequence[int], window: Window) -> NDArray[Any]:
    """Reads a window of several bands of one file.

    Args:
        path: A raster.
        numbers: Band numbers, from 1.
        window: Inside the raster.

    Returns:
        The values, shape (len(numbers), window.height, window.width).

    Raises:
        SceneError: The file cannot be read.
    """
    try:
        values: NDArray[Any] = _handle(path).read(numbers, window=window.bounds_rc)
    except RasterioError as error:
        raise unreadable(path, error) from error
    return values


def grid_of(source: BandSource, reflectance: bool) -> Grid:
    """The grid of a band that holds reflectance, or classes.

    Raises:
        SceneError: The raster cannot be read, holds other bands too, or is an 8-bit picture.
    """
    with open_band(source.path) as dataset:
        if source.alone and dataset.count != 1:
            raise SceneError(f"{source.file} has {dataset.count} bands where one is expected.", "Give per-band files.")
        dtype = dataset.dtypes[source.number - 1]
        if dtype.startswith(("float", "complex")):
            raise SceneError(
                f"{source.file} holds {dtype} values, no digital numbers.",
                "Give the band as distributed: reflectance x 10000 in 16-bit integers.",
            )
        if reflectance and dtype in ("uint8", "int8"):
            raise SceneError(
                f"{source.file} holds 8-bit values: a picture, no reflectance.",
                "Give the band's own file, 16-bit digital numbers as distributed.",
            )
        return Grid.of(dataset)


def unreadable(path: str | Path, error: Exception) -> SceneError:
    """The error for a file that should be a raster and is not, or is cut short."""
    return SceneError(
        f"{path} cannot be read: {reason_of(error)}.",
        "The file is damaged or incomplete: get it again, or leave it out.",
    )


def reason_of(error: Exception) -> str:
    """What GDAL said, where rasterio only points to it."""
    return str(error.__cause__ or error).rstrip(".")


def _read(source: BandSource, window: Window) -> NDArray[Any]:
    values: NDArray[Any] = read_bands(source.path, [source.number], window)[0]
    if values.shape != (window.height, window.width):
        raise SceneError(f"{source.file} is smaller than the scene it belongs to.", "Download it again.")
    for nodata in {source.nodata, _handle(source.path).nodatavals[source.number - 1]} - {0, None}:
        values[values == nodata] = 0
    return values


def _handle(path: str | Path) -> DatasetReader:
    """An open dataset of this thread; GDAL's handles must not be shared between threads."""
    handles: OrderedDict[str | Path, DatasetReader] | None = getattr(_local, "handles", None)
    if handles is None:
        handles = _local.handles = OrderedDict()
    if path in handles:
        handles.move_to_end(path)
        return handles[path]
    while len(handles) >= _HANDLES // THREADS:
        handles.popitem(last=False)[1].close()
    handles[path] = open_band(path)
    return handles[path]


_pool_lock = threading.Lock()
_shared_pool: ThreadPoolExecutor | None = None


def _pool() -> ThreadPoolExecutor:
    global _shared_pool  # one pool a process: its threads keep their open files between blocks
    with _pool_lock:
        if _shared_pool is None:
            _shared_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="read")
        return _shared_pool


def to_reflectance_numbers(digital_numbers: NDArray[Any], offset: int, nodata: int) -> NDArray[np.int16]:
    """Digital numbers of an L2A file as int16 reflectance x 10000.

    Args:
        digital_numbers: As stored, 0 where nothing was measured, any shape.
        offset: Added before scaling, 0 or -1000.
        nodata: Stands in the result where nothing was measured.

    Returns:
        int16 of the same shape; what exceeds 32767 saturates there.
    """
    shifted = digital_numbers.astype(np.int32)
    shifted += offset
    np.clip(shifted, nodata + 1, np.iinfo(np.int16).max, out=shifted)
    shifted[digital_numbers == 0] = nodata
    return shifted.astype(np.int16)
