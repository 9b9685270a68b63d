"""Reading rasters, many files at once: each thread keeps its own open files."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePath
from typing import Any, TypeVar

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from cropmap_core.errors import SceneError
from cropmap_core.io.grid import Window
from cropmap_core.io.tiles import TileLayout, read_tiles, tile_layout

THREADS = max(1, min(8, os.cpu_count() or 1))
_MOST_HANDLES = 4096
"""Open files over all threads. A year of a tile has some 800 files, and each thread opens those that it reads."""
_OTHER_FILES = 256  # what else the process may have open
_DRIVERS = {".tif": "GTiff", ".tiff": "GTiff", ".jp2": "JP2OpenJPEG", ".nc": "netCDF"}

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_Identity = tuple[int, int, int] | None
_local = threading.local()


def in_threads(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """Applies a function to all items on the reading threads; results in order, the first error raised."""
    return list(_pool().map(function, items))


def open_raster(path: str | Path) -> DatasetReader:
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


def read_bands(
    path: str | Path, numbers: Sequence[int], window: Window, out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Reads a window of several bands of one file.

    Args:
        path: A raster.
        numbers: Band numbers, from 1.
        window: Inside the raster.
        out: Gets the values, of their shape and the raster's type; need not be contiguous.

    Returns:
        The values, shape (len(numbers), window.height, window.width).

    Raises:
        SceneError: The file cannot be read.
    """
    dataset, layout = _opened(path)
    if layout is not None:
        shape = len(numbers), window.height, window.width
        decoded = np.empty(shape, layout.dtype) if out is None else out
        if all(read_tiles(dataset, layout, number, window, decoded[at]) for at, number in enumerate(numbers)):
            return decoded
    try:
        values: NDArray[Any] = dataset.read(numbers, window=window.bounds_rc, out=out)
    except RasterioError as error:
        raise unreadable(path, error) from error
    return values


def unreadable(path: str | Path, error: Exception) -> SceneError:
    """The error for a file that should be a raster and is not, or is cut short."""
    return SceneError(
        f"{path} cannot be read: {reason_of(error)}.",
        "The file is damaged or incomplete: get it again, or leave it out.",
    )


def reason_of(error: Exception) -> str:
    """What GDAL said, where rasterio only points to it."""
    return str(error.__cause__ or error).rstrip(".")


def opened(path: str | Path) -> DatasetReader:
    """An open dataset of this thread; GDAL's handles must not be shared between threads."""
    return _opened(path)[0]


def _opened(path: str | Path) -> tuple[DatasetReader, TileLayout | None]:
    """The same, and the layout of its tiles if they are of a kind that is decoded here."""
    handles: OrderedDict[str | Path, tuple[_Identity, DatasetReader, TileLayout | None]] | None
    handles = getattr(_local, "handles", None)
    if handles is None:
        handles = _local.handles = OrderedDict()
    identity = _identity(path)
    if path in handles and handles[path][0] == identity:
        handles.move_to_end(path)
        return handles[path][1:]
    if path in handles:
        handles.pop(path)[1].close()
    while len(handles) >= max(1, _handles() // THREADS):
        handles.popitem(last=False)[1][1].close()
    dataset = open_raster(path)
    layout = tile_layout(dataset)
    handles[path] = identity, dataset, layout
    return dataset, layout


@cache
def _handles() -> int:
    """How many files may be open: as many as the system allows the process to allow itself."""
    try:
        import resource  # not on Windows, where GDAL's files have no such limit
    except ImportError:
        return _MOST_HANDLES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_HANDLES + _OTHER_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        with suppress(ValueError, OSError):  # what the system does not give after all
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
            soft = allowed
    most = allowed if soft == resource.RLIM_INFINITY else min(soft, allowed)
    return max(THREADS, most - _OTHER_FILES)


def _identity(path: str | Path) -> _Identity:
    """Tells a file from one that replaced it; nothing of what is part of a file."""
    with suppress(OSError):
        status = os.stat(path)  # noqa: PTH116  (GDAL's paths are not all paths)
        return status.st_ino, status.st_mtime_ns, status.st_size
    return None


_pool_lock = threading.Lock()
_shared_pool: ThreadPoolExecutor | None = None


def _pool() -> ThreadPoolExecutor:
    global _shared_pool  # one pool a process: its threads keep their open files between blocks
    with _pool_lock:
        if _shared_pool is None:
            _shared_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="read")
        return _shared_pool
