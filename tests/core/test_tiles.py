"""Tiles decoded past GDAL: the very values that GDAL reads, or GDAL is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cropmap_core.errors import SceneError
from cropmap_core.io import rasters
from cropmap_core.io.grid import Window
from cropmap_core.io.rasters import read_bands
from cropmap_core.io.tiles import read_tiles, tile_layout

HEIGHT, WIDTH = 70, 90
PLAIN: dict[str, Any] = {"tiled": True, "blockxsize": 32, "blockysize": 16, "compress": "deflate", "predictor": 2}


def write(path: Path, values: NDArray[Any], **options: Any) -> Path:
    """A GeoTIFF of bands, shape (C, H, W)."""
    count, height, width = values.shape
    profile = {**PLAIN, **options}
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=values.dtype, **profile
    ) as file:
        file.write(values)
    return path


def numbers(dtype: str, count: int = 1, seed: int = 0) -> NDArray[Any]:
    limits = np.iinfo(dtype)
    values = np.random.default_rng(seed).integers(limits.min, limits.max, (count, HEIGHT, WIDTH), endpoint=True)
    return values.astype(dtype)


def is_decoded_here(path: Path, window: Window) -> bool:
    with rasterio.open(path) as dataset:
        layout = tile_layout(dataset)
        if layout is None:
            return False
        return read_tiles(dataset, layout, 1, window, np.empty((window.height, window.width), layout.dtype))


WHOLE = Window(0, 0, HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def raster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("tiles") / "a.tif", numbers("uint16"))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16"])
@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("count", [1, 3])
def test_values_are_those_that_were_written(dtype: str, predictor: int, count: int, tmp_path: Path) -> None:
    values = numbers(dtype, count)
    path = write(tmp_path / "a.tif", values, predictor=predictor, interleave="band")
    assert is_decoded_here(path, WHOLE)
    np.testing.assert_array_equal(read_bands(path, list(range(1, count + 1)), WHOLE), values)


@given(st.data())
def test_any_window_is_a_part_of_the_whole(raster: Path, data: st.DataObject) -> None:
    top, left = data.draw(st.integers(0, HEIGHT - 1)), data.draw(st.integers(0, WIDTH - 1))
    height, width = data.draw(st.integers(1, HEIGHT - top)), data.draw(st.integers(1, WIDTH - left))
    found = read_bands(raster, [1], Window(top, left, height, width))[0]
    np.testing.assert_array_equal(found, numbers("uint16")[0, top : top + height, left : left + width])


def test_values_go_into_an_array_with_gaps(raster: Path) -> None:
    out = np.zeros((1, 2 * HEIGHT, WIDTH), np.uint16)[:, ::2]
    assert read_bands(raster, [1], WHOLE, out) is out
    np.testing.assert_array_equal(out, numbers("uint16"))


def test_a_small_part_of_large_tiles_is_left_to_gdal_which_keeps_them(raster: Path) -> None:
    assert is_decoded_here(raster, Window(0, 0, 16, 32))
    assert not is_decoded_here(raster, Window(0, 0, 4, 4))


@pytest.mark.parametrize(
    "options",
    [
        {"compress": "zstd"},
        {"compress": "lzw"},
        {"tiled": False, "blockysize": 16, "blockxsize": WIDTH},
        {"nbits": 12, "predictor": 1},
        {"endianness": "BIG"},
    ],
    ids=str,
)
def test_files_of_another_kind_are_left_to_gdal(options: dict[str, Any], tmp_path: Path) -> None:
    values = numbers("uint16") % 4096
    path = write(tmp_path / "a.tif", values, **options)
    assert not is_decoded_here(path, WHOLE)
    np.testing.assert_array_equal(read_bands(path, [1], WHOLE), values)


def test_pixels_of_several_bands_side_by_side_are_left_to_gdal(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", numbers("uint16", 3), interleave="pixel")
    assert not is_decoded_here(path, WHOLE)
    np.testing.assert_array_equal(read_bands(path, [2], WHOLE)[0], numbers("uint16", 3)[1])


def test_tiles_that_were_never_written_are_left_to_gdal(tmp_path: Path) -> None:
    path = tmp_path / "sparse.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=1,
        height=HEIGHT,
        width=WIDTH,
        dtype="uint16",
        nodata=7,
        sparse_ok=True,
        **PLAIN,
    ) as file:
        file.write(numbers("uint16")[:, :16, :32], window=((0, 16), (0, 32)))
    assert not is_decoded_here(path, WHOLE)
    assert (read_bands(path, [1], WHOLE)[0, 16:] == 7).all()


def test_a_damaged_tile_is_an_error_and_no_number(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", numbers("uint16"))
    content = bytearray(path.read_bytes())
    with rasterio.open(path) as dataset:
        offset = int(dataset.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
    content[offset : offset + 40] = bytes(40)
    path.write_bytes(content)
    assert not is_decoded_here(path, WHOLE)
    with pytest.raises(SceneError, match="cannot be read"):
        read_bands(path, [1], WHOLE)


def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", numbers("uint16"))
    read_bands(path, [1], WHOLE)
    write(tmp_path / "b.tif", numbers("uint16", seed=1), blockxsize=16).replace(path)
    np.testing.assert_array_equal(read_bands(path, [1], WHOLE), numbers("uint16", seed=1))


def test_it_is_what_read_bands_does(raster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(rasters, "read_tiles", lambda *arguments: bool(asked.append(1)) or read_tiles(*arguments))
    read_bands(raster, [1], WHOLE)
    assert asked == [1]
