"""Stacking: scenes of several resolutions and baselines as one series on one grid."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.transform import from_origin

from cropmap_core.errors import GridMismatchError, JobError, MissingBandError, SceneError
from cropmap_core.io.grid import Window
from cropmap_core.scenes.bands import to_reflectance_numbers
from cropmap_core.scenes.inventory import find_scenes
from cropmap_core.scenes.stack import SceneStack, stack_scenes
from cropmap_core.timeseries.series import NODATA
from tests.core.series_in_memory import pixel_series, whole
from tests.factories import CRS, ORIGIN, write_scene

NO_OFFSET = "0"


def stacked(folder: Path, *bands: str, resolution_m: int = 10) -> SceneStack:
    return stack_scenes(find_scenes([folder]).scenes, bands, resolution_m, NO_OFFSET)


def band_of(stack: SceneStack, band: str, date: int = 0) -> NDArray[np.int16]:
    pixels: NDArray[np.int16] = whole(stack)[0][date, stack.bands.index(band)]
    return pixels


def band_file(scene: Path, band: str) -> Path:
    return next(scene.glob(f"*_{band}_*"))


def test_bands_come_in_the_sensors_order_with_scl_last(tmp_path: Path) -> None:
    write_scene(tmp_path)
    assert stacked(tmp_path, "B12", "B8A", "B02", "B11", "B08").bands == ("B02", "B08", "B8A", "B11", "B12", "SCL")


def test_values_are_reflectance_times_10000(tmp_path: Path) -> None:
    ramp = np.arange(1, 65).reshape(8, 8)
    write_scene(tmp_path, values={"B04": ramp, "B08": 3100})
    stack = stacked(tmp_path, "B08", "B04")
    np.testing.assert_array_equal(band_of(stack, "B04"), ramp)
    assert (band_of(stack, "B08") == 3100).all()
    assert stack.dtype == np.int16


def test_20_m_bands_are_repeated_at_10_m(tmp_path: Path) -> None:
    ramp = np.arange(1, 17).reshape(4, 4)
    write_scene(tmp_path, values={"B11": ramp}, scl=ramp % 12)
    stack = stacked(tmp_path, "B11")
    np.testing.assert_array_equal(band_of(stack, "B11"), np.kron(ramp, np.ones((2, 2))))
    np.testing.assert_array_equal(band_of(stack, "SCL"), np.kron(ramp % 12, np.ones((2, 2))))


@pytest.mark.parametrize(("resolution_m", "picked"), [(20, [1, 3, 5, 7, 9, 11]), (60, [3, 9])])
def test_10_m_bands_give_the_pixel_that_holds_the_middle_of_the_coarse_one(
    tmp_path: Path, resolution_m: int, picked: list[int]
) -> None:
    """The middle of 2 x 2 or 6 x 6 pixels is a corner; of the four that meet there it is the lower right one."""
    ramp = np.arange(1, 145).reshape(12, 12)
    write_scene(tmp_path, values={"B04": ramp}, width=12, height=12)
    stack = stacked(tmp_path, "B04", resolution_m=resolution_m)
    np.testing.assert_array_equal(band_of(stack, "B04"), ramp[np.ix_(picked, picked)])


def test_20_m_bands_at_60_m_give_their_middle_pixel(tmp_path: Path) -> None:
    ramp = np.arange(1, 37).reshape(6, 6)
    write_scene(tmp_path, values={"B11": ramp}, width=12, height=12)
    np.testing.assert_array_equal(band_of(stacked(tmp_path, "B11", resolution_m=60), "B11"), ramp[1::3, 1::3])


@pytest.mark.parametrize(
    ("stored", "offset", "reflectance"),
    [
        (0, 0, NODATA),
        (0, -1000, NODATA),
        (1, 0, 1),
        (1, -1000, -999),
        (1000, -1000, 0),
        (32767, 0, 32767),
        (32768, 0, 32767),
        (33767, -1000, 32767),
        (33768, -1000, 32767),
        (65535, 0, 32767),
    ],
)
def test_digital_numbers(stored: int, offset: int, reflectance: int) -> None:
    for dtype in (np.uint16, np.int32):
        made = np.zeros((1, 1), np.int16)
        to_reflectance_numbers(np.array([[stored]], dtype), offset, NODATA, made)
        assert made.item() == reflectance


def test_nodata_in_one_band_makes_a_pixel_invalid_but_keeps_the_others(tmp_path: Path) -> None:
    values = np.full((8, 8), 500)
    values[2, 3] = 0
    write_scene(tmp_path, values={"B04": values, "B08": 3000})
    data, valid = whole(stacked(tmp_path, "B04", "B08"))
    assert data[0, :, 2, 3].tolist() == [NODATA, 3000, 4]
    assert np.argwhere(~valid).tolist() == [[0, 2, 3]]


def test_scl_does_not_decide_whether_there_is_a_value() -> None:
    """What SCL says is the composite's business."""
    _, valid = whole(pixel_series(("B04", "SCL"), [(500, NODATA), (NODATA, 4)], ["2018-05-04", "2018-05-14"]))
    assert valid.ravel().tolist() == [True, False]


@given(row=st.integers(-9, 28), col=st.integers(-9, 36), height=st.integers(1, 30), width=st.integers(1, 30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_a_window_is_the_part_of_the_whole_and_beyond_the_grid_nothing_is_valid(
    season_stack: SceneStack, row: int, col: int, height: int, width: int
) -> None:
    window = Window(row, col, height, width)
    block = season_stack.read(window)
    data, valid = whole(season_stack)
    inner = window.clipped(season_stack.grid.height, season_stack.grid.width)
    rows, cols = inner.slices_within(window)
    own_rows, own_cols = inner.slices_within(season_stack.grid.window())
    np.testing.assert_array_equal(block.data[:, :, rows, cols], data[:, :, own_rows, own_cols])
    np.testing.assert_array_equal(block.valid[:, rows, cols], valid[:, own_rows, own_cols])
    outside = np.ones((height, width), bool)
    outside[rows, cols] = False
    assert not block.valid[:, outside].any()
    assert (block.data[:, :, outside] == NODATA).all()


@pytest.fixture(scope="module", params=[10, 20])
def season_stack(request: pytest.FixtureRequest, season: Path) -> SceneStack:
    """Three scenes, of which one resolution or the other has to be resampled."""
    stack = stack_scenes(find_scenes([season]).scenes[:3], ["B04", "B11"], request.param, NO_OFFSET)
    assert (stack.grid.height, stack.grid.width) == (240 / request.param, 320 / request.param)
    return stack


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10)
@given(st.randoms(use_true_random=False))
def test_neither_the_order_of_files_nor_of_bands_matters(season: Path, random: Random) -> None:
    files = sorted(season.glob("201805*/*"))
    bands = ["B02", "B04", "B8A", "B11"]
    expected = stack_scenes(find_scenes(files).scenes, bands, 10, NO_OFFSET)
    random.shuffle(files)
    random.shuffle(bands)
    shuffled = stack_scenes(find_scenes(files).scenes, bands, 10, NO_OFFSET)
    assert (shuffled.bands, shuffled.dates) == (expected.bands, expected.dates)
    np.testing.assert_array_equal(whole(shuffled)[0], whole(expected)[0])


def test_span_is_what_was_asked_for_or_what_there_is(season: Path) -> None:
    scenes = find_scenes([season]).scenes
    asked = stack_scenes(scenes, ["B04"], 10, NO_OFFSET, start=scenes[0].acquisition_date.replace(day=1))
    assert [f"{day}" for day in asked.span] == ["2018-01-01", "2018-12-21"]


class TestRefusals:
    def test_a_band_missing_on_one_date(self, tmp_path: Path) -> None:
        write_scene(tmp_path, "2018-05-04")
        band_file(write_scene(tmp_path, "2018-06-13"), "B11").unlink()
        with pytest.raises(MissingBandError, match="B11 in scene T31UDS_20180613T105029 in .*20180613T105029"):
            stacked(tmp_path, "B04", "B11")

    def test_scl_missing_on_one_date(self, tmp_path: Path) -> None:
        band_file(write_scene(tmp_path), "SCL").unlink()
        with pytest.raises(MissingBandError, match="SCL"):
            stacked(tmp_path, "B04")

    def test_bands_of_a_scene_that_cover_two_areas_are_both_named(self, tmp_path: Path) -> None:
        scene = write_scene(tmp_path, bands=("B04",))
        shutil.copy(band_file(write_scene(tmp_path / "elsewhere", bands=("B08",), width=16), "B08"), scene)
        shutil.rmtree(tmp_path / "elsewhere")
        with pytest.raises(GridMismatchError, match=r"Two areas in scene T31UDS_20180504T105029 .*_B08_10m.tif has"):
            stacked(tmp_path, "B04", "B08")

    def test_a_grid_that_differs_in_the_last_digits_only_is_the_same(self, tmp_path: Path) -> None:
        write_scene(tmp_path, "2018-05-04")
        write_scene(tmp_path, "2018-06-13", origin=(ORIGIN[0] + 1e-7, ORIGIN[1]))
        assert len(stacked(tmp_path, "B04").dates) == 2

    def test_a_pixel_that_is_cut_by_the_edge_has_the_value_at_its_centre(self, tmp_path: Path) -> None:
        """64 pixels of 10 m are 10 2/3 of 60 m: the last pixel's centre is the corner of pixels 62 and 63."""
        ramp = np.arange(64) + np.ones((64, 1))
        write_scene(tmp_path, values={"B04": ramp}, width=64, height=64)
        pixels = band_of(stacked(tmp_path, "B04", resolution_m=60), "B04")
        assert pixels.shape == (11, 11)
        assert pixels[10].tolist() == [4, 10, 16, 22, 28, 34, 40, 46, 52, 58, 64]

    @pytest.mark.parametrize("keep_bytes", [0, 40, 1500])
    def test_a_file_that_is_empty_or_cut_short(self, tmp_path: Path, keep_bytes: int) -> None:
        noise = np.random.default_rng(0).integers(1, 9999, (64, 64))
        damaged = band_file(write_scene(tmp_path, values={"B04": noise}, width=64, height=64), "B04")
        damaged.write_bytes(damaged.read_bytes()[:keep_bytes])
        with pytest.raises(SceneError, match=f"{damaged.name} cannot be read"):
            whole(stacked(tmp_path, "B04"))

    def test_a_text_file_named_like_a_band(self, tmp_path: Path) -> None:
        damaged = band_file(write_scene(tmp_path), "B04")
        damaged.write_text("404 not found")
        with pytest.raises(SceneError, match=f"{damaged.name} cannot be read.*get it again"):
            stacked(tmp_path, "B04")

    def test_a_name_that_states_another_resolution(self, tmp_path: Path) -> None:
        scene = write_scene(tmp_path)
        shutil.copy(band_file(scene, "B08"), band_file(scene, "B11"))
        with pytest.raises(GridMismatchError, match=r"B11_20m.tif is named as 20 m but its grid is .* 10 m"):
            stacked(tmp_path, "B11")

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"count": 3, "crs": CRS}, SceneError),
            ({"count": 1}, GridMismatchError),
            ({"count": 1, "crs": CRS, "transform": from_origin(*ORIGIN, 10, 20)}, GridMismatchError),
        ],
    )
    def test_rasters_that_are_no_band(self, tmp_path: Path, options: dict[str, Any], error: type[Exception]) -> None:
        path = band_file(write_scene(tmp_path), "B04")
        profile = {"transform": from_origin(*ORIGIN, 10, 10), **options}
        with rasterio.open(path, "w", driver="GTiff", width=8, height=8, dtype="uint16", **profile):
            pass
        with pytest.raises(error, match="B04_10m.tif"):
            stacked(tmp_path, "B04")

    @pytest.mark.parametrize("bands", [("B10",), ("SCL",), ("NDVI",), ("B04", "B04")])
    def test_bands_that_are_none_or_named_twice(self, tmp_path: Path, bands: tuple[str, ...]) -> None:
        write_scene(tmp_path)
        with pytest.raises(JobError, match="Choose each once from B01, B02"):
            stacked(tmp_path, *bands)
