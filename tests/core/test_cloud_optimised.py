"""Cloud-optimised GeoTIFF: index first, overviews that show what there is most of, whole or not at all."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from cropmap_core.errors import OutputError
from cropmap_core.io.cloud_optimised import create_cog
from cropmap_core.io.grid import Grid, Window
from cropmap_core.io.outputs import Outputs
from tests.core.disks import small_disk_at
from tests.core.series_in_memory import grid

JOB = "0123456789ab"
Blocks = Iterator[tuple[Window, NDArray[Any]]]


def blocks_of(values: NDArray[Any], size: int = 512) -> Blocks:
    """An array of shape (count, height, width) in windows."""
    whole = grid(*values.shape[1:])
    for window in whole.blocks(size):
        rows, cols = window.slices_within(whole.window())
        yield window, values[:, rows, cols]


def write_cog(
    path: Path, where: Grid, count: int, dtype: str, nodata: float | None, blocks: Blocks, **more: Any
) -> None:
    with create_cog(path, where, count, dtype, nodata, **more) as cog:
        for window, values in blocks:
            cog.write(window, values)


def noise(count: int, height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 255, (count, height, width)).astype(np.uint8)


def directories(path: Path) -> list[tuple[int, list[int]]]:
    """Of every image in a classic TIFF: where its directory stands, and where its tiles begin."""
    content = path.read_bytes()
    assert content[:4] == b"II*\0"
    found = []
    (at,) = struct.unpack_from("<I", content, 4)
    while at:
        (entries,) = struct.unpack_from("<H", content, at)
        for entry in range(entries):
            tag, kind, count, value = struct.unpack_from("<HHII", content, at + 2 + 12 * entry)
            if tag == 324:  # TileOffsets
                assert kind == 4
                offsets = [value] if count == 1 else list(struct.unpack_from(f"<{count}I", content, value))
        found.append((at, offsets))
        (at,) = struct.unpack_from("<I", content, at + 2 + 12 * entries)
    return found


class TestLayout:
    @pytest.mark.parametrize("count", [1, 3])
    def test_the_index_comes_first_and_the_smallest_overview_next(self, tmp_path: Path, count: int) -> None:
        values = noise(count, 1300, 2100)
        path = tmp_path / "map.tif"
        write_cog(path, grid(1300, 2100), count, "uint8", None, blocks_of(values), overviews="nearest")
        with rasterio.open(path) as dataset:
            assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert dataset.profile["compress"] == "zstd"
            assert (dataset.overviews(1), dataset.block_shapes[0]) == ([2, 4, 8], (512, 512))
            assert (dataset.read() == values).all()
        images = directories(path)
        assert len(images) == 4
        assert [at for at, _ in images] == sorted(at for at, _ in images)
        firsts = [min(offsets) for _, offsets in images]
        assert firsts == sorted(firsts, reverse=True), "the data of smaller overviews stand before those of larger ones"
        assert max(at for at, _ in images) < min(firsts), "all directories stand before all data"
        assert all(offsets == sorted(offsets) for _, offsets in images)

    def test_a_small_raster_is_one_tile_without_overviews(self, tmp_path: Path) -> None:
        write_cog(tmp_path / "map.tif", grid(20, 40), 1, "uint8", 0, blocks_of(noise(1, 20, 40)), overviews="mode")
        with rasterio.open(tmp_path / "map.tif") as dataset:
            assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert (dataset.overviews(1), dataset.block_shapes) == ([], [(128, 128)])

    def test_blocks_need_not_be_tiles_and_what_is_not_written_is_nodata(self, tmp_path: Path) -> None:
        values = noise(1, 700, 900)
        values[:, 650:] = 255
        blocks = (block for block in blocks_of(values, 130) if block[0].row < 650)
        write_cog(tmp_path / "map.tif", grid(700, 900), 1, "uint8", 255, blocks, overviews="average")
        with rasterio.open(tmp_path / "map.tif") as dataset:
            assert (dataset.read() == values).all()

    @pytest.mark.parametrize("dtype", ["uint8", "uint16"])
    def test_it_says_what_it_holds(self, tmp_path: Path, dtype: str) -> None:
        highest = int(np.iinfo(dtype).max)
        values = np.full((1, 600, 600), highest, dtype)
        with create_cog(
            tmp_path / "map.tif", grid(600, 600), 1, dtype, 0,
            overviews="mode", colours={1: "#ff8000", highest: "#0000ff"}, descriptions=["crop class"], tags={"A": "1"},
        ) as cog:  # fmt: skip
            for block in blocks_of(values):
                cog.write(*block)
            cog.tag({"B": "2"})
        for options in ({}, {"overview_level": 0}):
            with rasterio.open(tmp_path / "map.tif", **options) as dataset:
                colours = dataset.colormap(1)
                assert (colours[1], colours[highest]) == ((255, 128, 0, 255), (0, 0, 255, 255))
                assert (dataset.dtypes, dataset.nodata) == ((dtype,), 0)
        with rasterio.open(tmp_path / "map.tif") as dataset:
            assert {"A": "1", "B": "2"}.items() <= dataset.tags().items()
            assert dataset.descriptions == ("crop class",)
            assert Grid.of(dataset) == grid(600, 600)
        assert [path.name for path in tmp_path.iterdir()] == ["map.tif"]

    def test_scales_and_names_are_those_of_the_bands(self, tmp_path: Path) -> None:
        path = tmp_path / "map.tif"
        blocks = blocks_of(noise(2, 600, 600))
        write_cog(
            path, grid(600, 600), 2, "uint8", 255, blocks,
            overviews="average", descriptions=["Maize", "Wheat"], scales=[0.004, 0.004],
        )  # fmt: skip
        with rasterio.open(path) as dataset:
            assert (dataset.descriptions, dataset.scales) == (("Maize", "Wheat"), (0.004, 0.004))


class TestOverviews:
    def test_of_classes_show_the_most_frequent_one(self, tmp_path: Path) -> None:
        values = np.zeros((1, 1024, 1024), np.uint8)
        values[0, 0:2, 0:6] = [[3, 3, 0, 0, 0, 0], [3, 9, 0, 5, 0, 0]]
        assert overview(tmp_path, values, 0, "mode")[0, 0, :3].tolist() == [3, 5, 0]

    def test_of_numbers_show_their_mean_without_nodata(self, tmp_path: Path) -> None:
        values = np.full((1, 1024, 1024), 255, np.uint8)
        values[0, 0:2, 0:6] = [[10, 20, 255, 80, 255, 255], [30, 40, 60, 255, 255, 255]]
        assert overview(tmp_path, values, 255, "average")[0, 0, :3].tolist() == [25, 70, 255]

    def test_of_several_bands_leave_out_nodata_of_each(self, tmp_path: Path) -> None:
        values = np.full((2, 1024, 1024), 255, np.uint8)
        values[0, 0, 0:2], values[1, 0, 0] = [100, 200], 7
        assert overview(tmp_path, values, 255, "average")[:, 0, 0].tolist() == [150, 7]


def overview(folder: Path, values: NDArray[np.uint8], nodata: int, kind: Any) -> NDArray[np.uint8]:
    """The first overview of a raster."""
    path = folder / "map.tif"
    write_cog(path, grid(*values.shape[1:]), len(values), "uint8", nodata, blocks_of(values), overviews=kind)
    with rasterio.open(path, overview_level=0) as dataset:
        found: NDArray[np.uint8] = dataset.read()
    assert found.shape == (len(values), 512, 512)
    return found


def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "map.tif").write_text("old")

    def failing() -> Blocks:
        yield next(blocks_of(noise(1, 600, 600)))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_cog(tmp_path / "map.tif", grid(600, 600), 1, "uint8", 0, failing(), overviews="mode")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("map.tif", "old")]


def test_a_job_that_is_stopped_in_the_middle_leaves_no_tiles(tmp_path: Path) -> None:
    """As where its process ends while another thread still writes."""
    with Outputs(JOB) as outputs:
        part = outputs.stage(tmp_path / "map.tif")
        (tmp_path / f"{part.name}.tiles.tif").write_text("half")
        (tmp_path / f"{part.name}.ovr.tmp").write_text("half")
        assert outputs.discard()
        assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    with small_disk_at(tmp_path / "disk", 4) as disk:
        yield disk


@pytest.mark.parametrize("free_kb", [4, 900, 1100, 1300, 1400, 1800, 2300, 2500, 2700])
def test_what_does_not_fit_on_the_disk_is_no_output(small_disk: Path, free_kb: int) -> None:
    """Tiles of 1 MB, overviews of 0.3 MB on the way, the file of 1.3 MB: however far it comes."""
    target = small_disk / "map.tif"
    target.write_bytes(b"x" * (4 * 2**20 - free_kb * 1024))

    def write() -> None:
        with Outputs(JOB) as outputs:
            blocks = blocks_of(noise(1, 1024, 1024))
            write_cog(outputs.stage(target), grid(1024, 1024), 1, "uint8", None, blocks, overviews="average")
            outputs.commit()

    before = target.read_bytes()
    if free_kb < 2600:
        with pytest.raises(OutputError, match=r"map.tif cannot be written.*MB are free on its disk: make room"):
            write()
        assert target.read_bytes() == before
    else:
        write()
    assert [path.name for path in small_disk.iterdir()] == ["map.tif"]
