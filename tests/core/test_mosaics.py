"""Mosaics: scenes of one day, over several MGRS tiles and UTM zones, as one image."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from pyproj import Transformer

from cropmap_core.io.rasters import THREADS
from cropmap_core.scenes.inventory import find_scenes
from cropmap_core.scenes.stack import stack_scenes
from cropmap_core.timeseries.blocks import plan_blocks
from cropmap_core.timeseries.series import NODATA, Series
from tests.core.seam import stack_here
from tests.core.series_in_memory import band_of, whole
from tests.factories import ORIGIN, write_safe, write_scene

BANDS = ("B04", "B11")
DAY = "20180504T105029"
FINE = np.random.default_rng(0).integers(1, 9999, (8, 20))
"""B04 of the ground under two tiles: the western has columns 0 to 11, the eastern 8 to 19."""
COARSE = np.random.default_rng(1).integers(1, 9999, (4, 10))
CLASSES = 4 + np.arange(40).reshape(4, 10) % 4
TILES = {"31UDS": 0, "31UES": 8}
WEST, EAST = TILES
OVERLAP = slice(8, 12)
ZONES = {"EPSG:32631": "31UGS", "EPSG:32632": "32ULB"}

Numbers = Mapping[str, NDArray[Any]]


def ground(tile: str) -> dict[str, NDArray[Any]]:
    """What there is of the ground in a tile."""
    left = TILES[tile]
    cols, coarse_cols = slice(left, left + 12), slice(left // 2, left // 2 + 6)
    return {"B04": FINE[:, cols].copy(), "B11": COARSE[:, coarse_cols].copy(), "SCL": CLASSES[:, coarse_cols].copy()}


def plain(b04: int, b11: int, scl: int, width: int = 12) -> dict[str, NDArray[Any]]:
    coarse = (4, width // 2)
    return {"B04": np.full((8, width), b04), "B11": np.full(coarse, b11), "SCL": np.full(coarse, scl)}


def write_tile(folder: Path, tile: str, numbers: Numbers, sensed: str = DAY) -> Path:
    origin = (ORIGIN[0] + 10 * TILES[tile], ORIGIN[1])
    values = {band: numbers[band] for band in BANDS}
    size = {"width": 12, "height": 8, "bands": BANDS}
    return write_scene(folder / tile, sensed, tile=tile, values=values, scl=numbers["SCL"], origin=origin, **size)


def pixels(series: Series, time: int = 0) -> NDArray[np.int16]:
    """(B04, B11, SCL) of every pixel, shape (H, W, 3)."""
    return np.stack([band_of(series, band, time) for band in (*BANDS, "SCL")], axis=-1)


def repeated(coarse: NDArray[Any]) -> NDArray[Any]:
    return coarse.repeat(2, axis=0).repeat(2, axis=1)


class TestOneZone:
    def test_neighbours_of_one_day_are_seamless(self, tmp_path: Path) -> None:
        for tile in TILES:
            write_tile(tmp_path, tile, ground(tile))
        series, outcome = stack_here(tmp_path, tmp_path / "stack.tif", bands=BANDS)
        assert outcome.outputs["dates"] == ["2018-05-04"]
        expected = np.stack([FINE, repeated(COARSE), repeated(CLASSES)], axis=-1)
        np.testing.assert_array_equal(pixels(series), expected)
        assert whole(series)[1].all()

    @pytest.mark.parametrize("spoilt", TILES)
    @pytest.mark.parametrize("how", ["nodata", "nodata in B11 only", "cloud", "cirrus"])
    def test_where_one_tile_saw_nothing_or_cloud_the_other_one_counts(
        self, tmp_path: Path, spoilt: str, how: str
    ) -> None:
        """The western tile is (100, 110, 4), the eastern (200, 210, 5); half of their overlap is spoilt in one."""
        numbers = {WEST: plain(100, 110, 4), EAST: plain(200, 210, 5)}
        cols = slice(8, 12) if spoilt == WEST else slice(0, 4)
        fine, coarse = (slice(0, 4), cols), (slice(0, 2), slice(cols.start // 2, cols.stop // 2))
        for band, value in {
            "nodata": {"B04": 0, "B11": 0, "SCL": 0},
            "nodata in B11 only": {"B11": 0},
            "cloud": {"B04": 6500, "B11": 6500, "SCL": 9},
            "cirrus": {"SCL": 10},
        }[how].items():
            numbers[spoilt][band][fine if band == "B04" else coarse] = value
        for tile in TILES:
            write_tile(tmp_path, tile, numbers[tile])
        made = pixels(stack_here(tmp_path, tmp_path / "stack.tif", bands=BANDS)[0])
        west, east = (100, 110, 4), (200, 210, 5)
        assert (made[:4, OVERLAP] == (east if spoilt == WEST else west)).all()
        assert (made[:, :8] == west).all()
        assert (made[:, 12:] == east).all()
        assert {tuple(map(int, pixel)) for pixel in made.reshape(-1, 3)} == {west, east}

    def test_where_both_saw_cloud_a_pixel_is_of_one_of_them(self, tmp_path: Path) -> None:
        write_tile(tmp_path, WEST, plain(6100, 6110, 8))
        write_tile(tmp_path, EAST, plain(6200, 6210, 9))
        made = pixels(stack_here(tmp_path, tmp_path / "stack.tif", bands=BANDS)[0])
        assert {tuple(map(int, pixel)) for pixel in made.reshape(-1, 3)} == {(6100, 6110, 8), (6200, 6210, 9)}

    def test_a_date_of_one_tile_is_nodata_in_the_other(self, tmp_path: Path) -> None:
        for tile in TILES:
            write_tile(tmp_path, tile, ground(tile))
        write_tile(tmp_path, EAST, plain(200, 210, 5), "20180509T105029")
        series, _ = stack_here(tmp_path, tmp_path / "stack.tif", bands=BANDS)
        assert [str(day) for day in series.dates] == ["2018-05-04", "2018-05-09"]
        made = pixels(series, time=1)
        assert (made[:, 8:] == (200, 210, 5)).all()
        assert (made[:, :8, :2] == NODATA).all()
        assert (made[:, :8, 2] <= 0).all()
        assert not whole(series)[1][1, :, :8].any()

    def test_offsets_are_taken_off_scene_by_scene(self, tmp_path: Path) -> None:
        for tile, baseline, offset in ((WEST, "05.09", -1000), (EAST, "02.12", None)):
            numbers = ground(tile)
            write_safe(
                tmp_path,
                DAY,
                baseline=baseline,
                offset=offset,
                tile=tile,
                width=12,
                values={band: numbers[band] - (offset or 0) for band in BANDS},
                bands=BANDS,
                origin=(ORIGIN[0] + 10 * TILES[tile], ORIGIN[1]),
            )
        series, outcome = stack_here(tmp_path, tmp_path / "stack.tif", bands=BANDS, offset="auto")
        assert outcome.outputs["offset"] == [-1000, 0]
        np.testing.assert_array_equal(band_of(series, "B04"), FINE)
        np.testing.assert_array_equal(band_of(series, "B11"), repeated(COARSE))

    def test_two_acquisitions_of_one_tile_and_day_become_one(self, tmp_path: Path) -> None:
        """Of the first only columns 0 to 5 were in the swath, of the second, six minutes later, the others."""
        for sensed, (start, stop) in ((DAY, (6, 12)), ("20180504T105629", (0, 6))):
            numbers = ground(WEST)
            numbers["B04"][:, start:stop] = 0
            for band in ("B11", "SCL"):
                numbers[band][:, start // 2 : stop // 2] = 0
            write_tile(tmp_path, WEST, numbers, sensed)
        series, outcome = stack_here(tmp_path, tmp_path / "stack.tif", bands=BANDS)
        assert outcome.outputs["dates"] == ["2018-05-04"]
        expected = [FINE[:, :12], repeated(COARSE[:, :6]), repeated(CLASSES[:, :6])]
        np.testing.assert_array_equal(pixels(series), np.stack(expected, axis=-1))

    def test_what_no_classes_tell_of_is_nodata_in_blocks_of_any_size(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """At the edge of a swath, SCL may end before the bands do."""
        for tile, sensed, seen in ((WEST, DAY, slice(4, 6)), (EAST, "20180504T105044", slice(0, 0))):
            numbers = plain(100, 110, 0, 24)
            numbers["SCL"][:, seen] = 4
            values = {band: numbers[band] for band in BANDS}
            folder = tmp_path / "s" / tile
            write_scene(folder, sensed, tile=tile, width=24, height=8, values=values, scl=numbers["SCL"], bands=BANDS)
        monkeypatch.setattr("cropmap_core.timeseries.blocks.TILE_SIZE", 4)
        for size in (32, 4):
            monkeypatch.setattr("cropmap_core.timeseries.files.BLOCK_SIZE", size)
            series, _ = stack_here(tmp_path / "s", tmp_path / f"{size}.tif", bands=BANDS)
            expected = np.full((8, 24), NODATA)
            expected[:, 8:12] = 100
            np.testing.assert_array_equal(band_of(series, "B04"), expected)


class TestTwoZones:
    """Near 6 degrees east: one scene of zone 31, and one of zone 32 that lies about 120 m east of it."""

    WIDTH = 24

    @staticmethod
    def corner(crs: str) -> tuple[float, float]:
        x, y = 705000.0, 5629680.0
        if crs == "EPSG:32631":
            return x, y
        east, north = Transformer.from_crs("EPSG:32631", crs, always_xy=True).transform(x + 120, y)
        return 20 * round(east / 20), 20 * round(north / 20)

    def write(self, folder: Path, days: Mapping[str, tuple[str, ...]], seed: int | None = None) -> list[Path]:
        """Scenes by CRS and days, of 1500 everywhere, or of noise; their files."""
        random = np.random.default_rng(seed)
        for crs, sensed in days.items():
            for day in sensed:
                numbers = 1500 if seed is None else random.integers(1, 9999, (self.WIDTH, self.WIDTH))
                write_scene(
                    folder / ZONES[crs],
                    day,
                    tile=ZONES[crs],
                    width=self.WIDTH,
                    height=self.WIDTH,
                    values={"B04": numbers},
                    scl=random.choice([4, 5, 9], (self.WIDTH // 2, self.WIDTH // 2)) if seed is not None else 4,
                    bands=["B04"],
                    crs=crs,
                    origin=self.corner(crs),
                )
        return sorted(folder.rglob("*.tif"))

    @pytest.mark.parametrize("crs", [None, "EPSG:32632", "EPSG:3035"])
    @pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic"])
    def test_are_one_image_without_a_seam(self, tmp_path: Path, crs: str | None, resampling: str) -> None:
        files = self.write(tmp_path / "s", {"EPSG:32631": ("2018-05-04",), "EPSG:32632": ("2018-05-04",)})
        parameters = {"bands": ["B04"], "crs": crs, "resampling": resampling}
        series, outcome = stack_here(files, tmp_path / "stack.tif", **parameters)
        grid, made = series.grid, band_of(series, "B04")
        if crs is not None:
            assert rasterio.CRS.from_string(grid.crs) == rasterio.CRS.from_string(crs)
        assert outcome.outputs["dates"] == ["2018-05-04"]
        cols, rows = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
        x, y = grid.transform * (cols, rows)
        depth = np.full(made.shape, -np.inf)
        for zone in ZONES:
            left, top = self.corner(zone)
            east, north = Transformer.from_crs(grid.crs, zone, always_xy=True).transform(x, y)
            side = 10 * self.WIDTH
            inside = np.minimum.reduce([east - left, left + side - east, top - north, north - top + side])
            depth = np.maximum(depth, inside)
        assert (depth > 0).sum() > 1.3 * self.WIDTH**2
        assert (made[depth > 0.5] == 1500).all()
        assert (made[depth < -0.5] == NODATA).all()

    @pytest.mark.parametrize(
        ("days_31", "days_32", "crs"),
        [
            (("2018-05-04", "2018-05-14"), ("2018-05-04",), "EPSG:32631"),
            (("2018-05-04",), ("2018-05-04", "2018-05-14"), "EPSG:32632"),
        ],
    )
    def test_the_grid_is_in_the_zone_of_most_scenes(
        self, tmp_path: Path, days_31: tuple[str, ...], days_32: tuple[str, ...], crs: str
    ) -> None:
        files = self.write(tmp_path / "s", {"EPSG:32631": days_31, "EPSG:32632": days_32})
        series, _ = stack_here(files, tmp_path / "stack.tif", bands=["B04"])
        assert rasterio.CRS.from_string(series.grid.crs) == rasterio.CRS.from_string(crs)

    def test_scenes_beside_the_area_do_not_choose_its_zone(self, tmp_path: Path) -> None:
        for day in ("2018-05-04", "2018-05-14"):
            write_scene(tmp_path / "beside", day, bands=("B04",))
        values = np.arange(64).reshape(8, 8) + 1
        write_scene(
            tmp_path / "there", tile="33UUU", bands=("B04",), values={"B04": values}, crs="EPSG:32633",
            origin=(399960, 5900040),
        )  # fmt: skip
        area = "399960,400040,5899960,5900040 [EPSG:32633]"
        series, _ = stack_here(tmp_path, tmp_path / "stack.tif", bands=["B04"], extent=area, offset="0")
        assert series.grid.crs == "EPSG:32633"
        np.testing.assert_array_equal(band_of(series, "B04"), values)

    @pytest.mark.parametrize("resampling", ["nearest", "cubic"])
    @pytest.mark.parametrize("crs", [None, "EPSG:3035"])
    def test_neither_the_order_of_files_nor_the_size_of_blocks_matters(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crs: str | None, resampling: str
    ) -> None:
        days = ("2018-05-04", "2018-05-14")
        files = self.write(tmp_path / "s", {"EPSG:32631": days, "EPSG:32632": days}, seed=3)
        parameters = {"bands": ["B04"], "crs": crs, "resampling": resampling}
        expected, _ = stack_here(files, tmp_path / "expected.tif", **parameters)
        backwards, _ = stack_here(files[::-1], tmp_path / "backwards.tif", **parameters)
        monkeypatch.setattr("cropmap_core.timeseries.files.BLOCK_SIZE", 16)
        in_blocks, _ = stack_here(files, tmp_path / "in_blocks.tif", **parameters)
        for series in (backwards, in_blocks):
            assert series.grid == expected.grid
            np.testing.assert_array_equal(whole(series)[0], whole(expected)[0])


@pytest.mark.parametrize(
    "numbers", [(plain(100, 110, 4), plain(200, 210, 5)), (plain(100, 110, 9), plain(200, 210, 9))]
)
def test_the_order_of_files_decides_nothing_where_two_scenes_differ(
    tmp_path: Path, numbers: tuple[Numbers, Numbers]
) -> None:
    for tile, of_tile in zip(TILES, numbers, strict=True):
        write_tile(tmp_path / "s", tile, of_tile)
        write_tile(tmp_path / "s", tile, of_tile, "20180504T105629")
    files = sorted((tmp_path / "s").rglob("*.tif"))
    random = np.random.default_rng(2)
    orders = [files, files[::-1], [files[index] for index in random.permutation(len(files))]]
    made = [
        pixels(stack_here(order, tmp_path / f"{number}.tif", bands=BANDS)[0]) for number, order in enumerate(orders)
    ]
    assert made[0].tobytes() == made[1].tobytes() == made[2].tobytes()


def test_the_plan_counts_the_memory_that_merging_takes(tmp_path: Path) -> None:
    """Three tiles that lie on one another: all their bands are in memory at once, besides the block."""
    edge, bands = 512, ("B02", "B03", "B04", "B08")
    for tile in ("31UDS", "31UES", "31UDT"):
        write_scene(tmp_path / tile, DAY, tile=tile, width=edge, height=edge, bands=bands)
    stack = stack_scenes(find_scenes([tmp_path]).scenes, bands, 10, "0")
    window = stack.grid.window()
    stack.read(window)  # opens the files
    tracemalloc.start()
    stack.read(window)
    peak = tracemalloc.get_traced_memory()[1] / edge**2
    tracemalloc.stop()
    block, on_its_way = (len(bands) + 1) * 2 + 1, THREADS * 4  # each reading thread holds what it has just read
    assert block + on_its_way < peak < block + stack.working_bytes(1) + on_its_way
    plan = plan_blocks(stack, edge, 2**30)
    assert plan.bytes_per_pixel == block + plan.ahead * (block + stack.working_bytes(1))
