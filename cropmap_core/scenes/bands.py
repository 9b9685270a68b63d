"""Reading windows of the bands of scenes on a finer, equal or coarser grid."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import SceneError
from cropmap_core.io.grid import Grid, Window
from cropmap_core.io.rasters import open_raster, opened, read_bands
from cropmap_core.scenes.scene import BandSource


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


def grid_of(source: BandSource, reflectance: bool) -> Grid:
    """The grid of a band that holds reflectance, or classes.

    Raises:
        SceneError: The raster cannot be read, holds other bands too, or is an 8-bit picture.
    """
    with open_raster(source.path) as dataset:
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


def _read(source: BandSource, window: Window) -> NDArray[Any]:
    values: NDArray[Any] = read_bands(source.path, [source.number], window)[0]
    if values.shape != (window.height, window.width):
        raise SceneError(f"{source.file} is smaller than the scene it belongs to.", "Download it again.")
    for nodata in {source.nodata, opened(source.path).nodatavals[source.number - 1]} - {0, None}:
        values[values == nodata] = 0
    return values


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
