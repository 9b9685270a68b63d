"""Reading windows of the bands of scenes onto any grid."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.warp import Resampling, reproject, transform_bounds

from cropmap_core.errors import SceneError
from cropmap_core.io.grid import Grid, Window
from cropmap_core.io.rasters import open_raster, opened, read_bands
from cropmap_core.scenes.scene import BandSource

# rasterio says so of every array that it warps, though its transform is given.
warnings.filterwarnings("ignore", message="Dataset has no geotransform", module="rasterio.warp")

NEAREST = "nearest"
RESAMPLINGS = (NEAREST, "bilinear", "cubic")

_ON_A_PIXEL = 1e-4
"""Share of a pixel by which two grids may miss each other and still have the same pixels: a millimetre."""
_HALF_UP = 0.502
"""Added before rounding down. Bilinear weights of 10 and 20 m pixels give many exact halves, which float32 holds to
about 0.001: with a little more than a half they are rounded alike whatever window they are computed in."""
_NOTHING = -32768.0
_CHUNK = 256
"""Edge of what is warped at once, in pixels. GDAL approximates coordinates along each row that it warps, so the same
chunks are always warped, whatever window is read."""
_ROWS = 64
_DENSE = 21  # points a side when bounds are transformed


@dataclass(frozen=True)
class PlacedBand:
    """A band and where its pixels are."""

    source: BandSource
    grid: Grid


def read_on(band: PlacedBand, target: Grid, window: Window, resampling: str = NEAREST) -> NDArray[Any]:
    """Reads a band onto a window of a grid.

    Nearest takes the pixel that holds the centre of the target's pixel; where that is a corner of four, the lower right
    one, as GDAL does. Within one CRS it is exact. What is between CRSs, bilinear and cubic is GDAL's warper, which
    leaves out missing pixels from its weights.

    Args:
        band: What to read.
        target: The grid.
        window: In pixels of `target`.
        resampling: One of `RESAMPLINGS`.

    Returns:
        The digital numbers, 0 where nothing was measured or the band does not reach, shape (height, width).

    Raises:
        SceneError: The file cannot be read.

    References:
        GDAL, gdalwarp, resampling methods.
    """
    same_crs = in_same_crs(band.grid, target)
    if same_crs and (resampling == NEAREST or _same_pixels(band.grid, target)):
        return _read_nearest(band, target, window)
    return _read_warped(band, target, window, resampling)


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


def in_same_crs(one: Grid, other: Grid) -> bool:
    """Whether two grids have one coordinate reference system, however it is written."""
    return one.crs == other.crs or crs_of(one.crs) == crs_of(other.crs)


@lru_cache(maxsize=64)
def crs_of(text: str) -> CRS:
    """The CRS that a text stands for."""
    return CRS.from_user_input(text)


@lru_cache(maxsize=4096)
def bounds_in(grid: Grid, crs: str) -> tuple[float, float, float, float]:
    """(left, bottom, right, top) of the smallest upright rectangle of a CRS that holds a grid."""
    if crs == grid.crs or crs_of(crs) == crs_of(grid.crs):
        return grid.bounds
    left, bottom, right, top = transform_bounds(crs_of(grid.crs), crs_of(crs), *grid.bounds, densify_pts=_DENSE)
    return left, bottom, right, top


def _same_pixels(one: Grid, other: Grid) -> bool:
    size = other.resolution_m
    steps = (one.transform.c - other.transform.c) / size, (one.transform.f - other.transform.f) / size
    return abs(one.resolution_m - size) < 1e-6 and all(abs(step - round(step)) < _ON_A_PIXEL for step in steps)


def _read_nearest(band: PlacedBand, target: Grid, window: Window) -> NDArray[Any]:
    grid = band.grid
    rows, to_rows = _nearest(
        grid.transform.f - target.transform.f, target.resolution_m, grid.resolution_m, window.row, window.height,
        grid.height,
    )  # fmt: skip
    cols, to_cols = _nearest(
        target.transform.c - grid.transform.c, target.resolution_m, grid.resolution_m, window.col, window.width,
        grid.width,
    )  # fmt: skip
    if not rows.size or not cols.size:
        return np.zeros((window.height, window.width), np.uint16)
    first_row, first_col = int(rows[0]), int(cols[0])
    there = Window(first_row, first_col, int(rows[-1]) + 1 - first_row, int(cols[-1]) + 1 - first_col)
    values = _picked(_picked(_read(band.source, there), cols - first_col, axis=1), rows - first_row, axis=0)
    if values.shape == (window.height, window.width):
        return values
    whole = np.zeros((window.height, window.width), values.dtype)
    whole[to_rows, to_cols] = values
    return whole


def _nearest(
    shift_m: float, target_m: float, source_m: float, start: int, count: int, size: int
) -> tuple[NDArray[np.intp], slice]:
    """Along one axis: the source's pixels that hold the target's centres, and which of the target's these are.

    Args:
        shift_m: From the source's first edge to the target's.
        target_m: Pixel size of the target.
        source_m: Pixel size of the source.
        start: First pixel of the target.
        count: Pixels of the target.
        size: Pixels of the source.
    """
    centres = (shift_m + (np.arange(start, start + count) + 0.5) * target_m) / source_m
    pixels = np.floor(centres + _ON_A_PIXEL).astype(np.intp)
    first, end = np.searchsorted(pixels, [0, size])
    return pixels[first:end], slice(int(first), int(end))


def _picked(values: NDArray[Any], positions: NDArray[np.intp], axis: int) -> NDArray[Any]:
    """Rows or columns of an array, without a copy where they are evenly spaced."""
    steps = np.diff(positions)
    step = int(steps[0]) if steps.size else 1
    if step and (steps == step).all():
        return values[::step] if axis == 0 else values[:, ::step]
    picked: NDArray[Any] = values.take(positions, axis=axis)
    return picked


def _read_warped(band: PlacedBand, target: Grid, window: Window, resampling: str) -> NDArray[Any]:
    rows = range(window.row // _CHUNK * _CHUNK, window.row + window.height, _CHUNK)
    cols = range(window.col // _CHUNK * _CHUNK, window.col + window.width, _CHUNK)
    chunks = [Window(row, col, _CHUNK, _CHUNK) for row in rows for col in cols]
    warped = [_warp(band, target, chunk, resampling) for chunk in chunks]
    whole = np.zeros((window.height, window.width), np.result_type(*warped))
    for chunk, values in zip(chunks, warped, strict=True):
        both = Window(chunk.row - window.row, chunk.col - window.col, _CHUNK, _CHUNK)
        both = both.clipped(window.height, window.width)
        inside = Window(both.row + window.row, both.col + window.col, both.height, both.width)
        whole[inside.slices_within(window)] = values[inside.slices_within(chunk)]
    return whole


def _warp(band: PlacedBand, target: Grid, window: Window, resampling: str) -> NDArray[Any]:
    wanted = target.cut(window)
    there = _beneath(wanted, band.grid)
    if not there.height or not there.width:
        return np.zeros((window.height, window.width), np.uint8)
    values = _read(band.source, there)
    source = band.grid.cut(there)
    is_nearest = resampling == NEAREST
    nothing = 0 if is_nearest else _NOTHING
    # GDAL would guess it from the windows, and smooth what is only rotated.
    scale = str(min(1.0, source.resolution_m / wanted.resolution_m))
    warped = np.full((window.height, window.width), nothing, values.dtype if is_nearest else np.float32)
    reproject(
        values if is_nearest else values.astype(np.float32),
        warped,
        src_transform=source.transform,
        src_crs=crs_of(source.crs),
        src_nodata=0,
        dst_transform=wanted.transform,
        dst_crs=crs_of(wanted.crs),
        dst_nodata=nothing,
        resampling=Resampling[resampling],
        XSCALE=scale,
        YSCALE=scale,
    )
    if is_nearest:
        return warped
    rounded = np.maximum(np.floor(warped + _HALF_UP), 1)  # cubic undershoots, and 0 would mean nothing measured
    rounded[warped == _NOTHING] = 0
    return np.minimum(rounded, np.iinfo(values.dtype).max).astype(values.dtype)


def _beneath(wanted: Grid, grid: Grid) -> Window:
    """The pixels of a grid that a target's pixels may be interpolated from."""
    left, bottom, right, top = bounds_in(wanted, grid.crs)
    margin = 4 * max(1.0, wanted.resolution_m / grid.resolution_m)  # cubic reaches two pixels of the coarser grid
    size = grid.resolution_m
    row, end_row = (grid.transform.f - top) / size - margin, (grid.transform.f - bottom) / size + margin
    col, end_col = (left - grid.transform.c) / size - margin, (right - grid.transform.c) / size + margin
    first_row, first_col = int(np.floor(row)), int(np.floor(col))
    window = Window(first_row, first_col, int(np.ceil(end_row)) - first_row, int(np.ceil(end_col)) - first_col)
    return window.clipped(grid.height, grid.width)


def _read(source: BandSource, window: Window) -> NDArray[Any]:
    values: NDArray[Any] = read_bands(source.path, [source.number], window)[0]
    if values.shape != (window.height, window.width):
        raise SceneError(f"{source.file} is smaller than the scene it belongs to.", "Download it again.")
    for nodata in {source.nodata, opened(source.path).nodatavals[source.number - 1]} - {0, None}:
        values[values == nodata] = 0
    return values


def to_reflectance_numbers(digital_numbers: NDArray[Any], offset: int, nodata: int, out: NDArray[np.int16]) -> None:
    """Digital numbers of an L2A file as int16 reflectance x 10000; what exceeds 32767 saturates there.

    Args:
        digital_numbers: As stored, 0 where nothing was measured, shape (H, W).
        offset: Added before scaling, 0 or -1000.
        nodata: Stands in the result where nothing was measured.
        out: Gets the result, same shape.
    """
    highest = np.iinfo(np.int16).max
    for row in range(0, len(out), _ROWS):  # so few that they stay in the cache from one step to the next
        numbers, shifted = digital_numbers[row : row + _ROWS], out[row : row + _ROWS]
        if numbers.dtype == np.uint16:  # arithmetic of 16 bits, which wraps to the right negative numbers
            np.minimum(numbers, np.uint16(highest - offset), out=shifted.view(np.uint16))
            np.add(shifted, np.int16(offset), out=shifted)
        else:
            wide = numbers.astype(np.int32) + offset
            np.clip(wide, nodata + 1, highest, out=shifted, casting="unsafe")
        np.copyto(shifted, nodata, where=numbers == 0)
