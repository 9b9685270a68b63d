"""Deflated GeoTIFF tiles, decoded past GDAL: it takes three times as long for what archives of Sentinel-2 hold.

Where the tiles lie GDAL tells. What is not of the plain kind described here, or does not decode, is left to GDAL, whose
word on damaged files stands.

References:
    Adobe (1992), TIFF Revision 6.0, sections 14 (differencing predictor) and 15 (tiled images); Intel ISA-L, igzip.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from rasterio.io import DatasetReader

from cropmap_core.io.grid import Window

_DECODING_ERROR: Any = isal_zlib.error
_LEAST_USED = 0.5  # of the tiles that a window touches: of less GDAL, which keeps tiles, has the better of it


@dataclass(frozen=True)
class TileLayout:
    """How the tiles of a file are kept."""

    path: str
    height: int
    width: int
    rows: int
    """Of a tile."""
    cols: int
    dtype: np.dtype[Any]
    differences: bool
    """Whether each row holds differences (predictor 2)."""


def tile_layout(dataset: DatasetReader) -> TileLayout | None:
    """The layout of a file whose tiles can be decoded here; None of any other.

    Args:
        dataset: Open in this thread.
    """
    path = dataset.name
    if dataset.driver != "GTiff" or not os.path.isfile(path):  # noqa: PTH113  (GDAL's names are not all paths)
        return None
    structure = dataset.tags(ns="IMAGE_STRUCTURE")
    rows, cols = dataset.block_shapes[0]
    dtype = np.dtype(dataset.dtypes[0])
    predictor = structure.get("PREDICTOR", "1")
    plain = (
        structure.get("COMPRESSION") == "DEFLATE"
        and predictor in ("1", "2")
        and (dataset.count == 1 or structure.get("INTERLEAVE") == "BAND")
        and dtype.kind in "iu"
        and dtype.itemsize in (1, 2)
        and len(set(dataset.dtypes)) == 1
        and cols != dataset.width  # else it may be of strips
        and "NBITS" not in dataset.tags(1, ns="IMAGE_STRUCTURE")
        and _is_little_endian(path)
    )
    if not plain:
        return None
    return TileLayout(path, dataset.height, dataset.width, rows, cols, dtype, predictor == "2")


def read_tiles(dataset: DatasetReader, layout: TileLayout, band: int, window: Window, out: NDArray[Any]) -> bool:
    """Decodes a window of a band.

    Args:
        dataset: The file, open in this thread.
        layout: Of its tiles.
        band: Number, from 1.
        window: Inside the raster.
        out: Gets the values, of the file's type, shape (window.height, window.width); need not be contiguous.

    Returns:
        False where that is better left to GDAL, or must be: `out` is then of no meaning.
    """
    from cropmap_core.io.differences import undo_differences  # numba: whoever only looks at scenes does without

    (top, bottom), (left, right) = window.bounds_rc
    tiles = [
        (row, col)
        for row in range(top // layout.rows, -(-bottom // layout.rows))
        for col in range(left // layout.cols, -(-right // layout.cols))
    ]
    if out.dtype != layout.dtype or out.size < _LEAST_USED * len(tiles) * layout.rows * layout.cols:
        return False
    places = [_place(dataset, band, row, col) for row, col in tiles]
    if None in places:
        return False
    expected = layout.rows * layout.cols * layout.dtype.itemsize
    file = os.open(layout.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        for (row, col), place in zip(tiles, places, strict=True):
            offset, size = place or (0, 0)
            try:
                found = isal_zlib.decompress(_bytes_at(file, offset, size), bufsize=expected)
            except _DECODING_ERROR:
                return False
            if len(found) != expected:
                return False
            tile = np.frombuffer(found, layout.dtype).reshape(layout.rows, layout.cols)
            first_row, first_col = row * layout.rows, col * layout.cols
            rows = max(top, first_row), min(bottom, first_row + layout.rows)
            cols = max(left, first_col), min(right, first_col + layout.cols)
            part = out[rows[0] - top : rows[1] - top, cols[0] - left : cols[1] - left]
            if layout.differences:
                undo_differences(tile, part, rows[0] - first_row, cols[0] - first_col)
            else:
                part[...] = tile[rows[0] - first_row : rows[1] - first_row, cols[0] - first_col : cols[1] - first_col]
    finally:
        os.close(file)
    return True


def _place(dataset: DatasetReader, band: int, row: int, col: int) -> tuple[int, int] | None:
    """Offset and size of a tile in the file; None where it is not there, for what was never written has no tile."""
    offset = dataset.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=band)
    size = dataset.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=band)
    return (int(offset), int(size)) if offset and size else None


def _bytes_at(file: int, offset: int, size: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(file, size, offset)
    os.lseek(file, offset, os.SEEK_SET)  # Windows has no pread; the file is this call's own
    return os.read(file, size)


def _is_little_endian(path: str) -> bool:
    with open(path, "rb") as file:  # noqa: PTH123
        return file.read(2) == b"II" and np.little_endian
