"""Time series files: what is written is read again, and what is no time series is refused."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from cropmap_core.errors import MissingBandError, SceneError, SeriesError
from cropmap_core.io.grid import Window
from cropmap_core.timeseries.files import open_time_series, write_time_series
from cropmap_core.timeseries.indices import with_indices
from cropmap_core.timeseries.series import NODATA, SelectedBands, SelectedDates, present, read_bands
from tests.core.series_in_memory import SeriesInMemory, pixel_series, whole
from tests.factories import CRS

MAY, JUNE, JULY = (date(2018, month, 1) for month in (5, 6, 7))


def example(height: int = 3, width: int = 4, period: str | None = "month") -> SeriesInMemory:
    """Two dates of two bands whose values tell where they stand: 1000 x date + 100 x band + pixel."""
    pixels = np.arange(height * width).reshape(height, width)
    values = np.array([[[1000 * time + 100 * band] for band in (4, 8)] for time in (5, 6)])[..., None] + pixels
    return SeriesInMemory(values.astype(np.int16), ("B04", "B08"), (MAY, JUNE), period)


def test_bands_run_date_by_date_and_say_so(tmp_path: Path) -> None:
    path = tmp_path / "series.tif"
    write_time_series(example(), path, {})
    with rasterio.open(path) as dataset:
        assert dataset.descriptions == ("2018-05-01 B04", "2018-05-01 B08", "2018-06-01 B04", "2018-06-01 B08")
        assert dataset.read()[:, 0, 0].tolist() == [5400, 5800, 6400, 6800]


def test_a_file_is_a_tiled_compressed_geotiff_with_scale_and_nodata(tmp_path: Path) -> None:
    path = tmp_path / "series.tif"
    stack = pixel_series(("B04", "SCL"), [(500, 4)], ["2018-05-04"])
    write_time_series(stack, path, {"command": "stackscenes"})
    with rasterio.open(path) as dataset:
        assert dataset.profile["tiled"]
        assert (dataset.profile["compress"], dataset.dtypes[0], dataset.nodata) == ("zstd", "int16", NODATA)
        assert dataset.scales == (0.0001, 1.0)
        assert dataset.crs.to_string() == CRS
        tags = dataset.tags()
    assert json.loads(tags["CROPMAP_DATES"]) == ["2018-05-04"]
    assert json.loads(tags["CROPMAP_BANDS"]) == ["B04", "SCL"]
    assert json.loads(tags["CROPMAP_PROVENANCE"]) == {"command": "stackscenes"}
    assert "CROPMAP_PERIOD" not in tags


def test_all_that_a_series_is_comes_back(tmp_path: Path) -> None:
    series = SelectedDates(example(), date(2018, 4, 15), date(2018, 6, 30))
    write_time_series(series, tmp_path / "series.tif", {"scenes": ["a", "b"]})
    again = open_time_series(tmp_path / "series.tif")
    assert (again.grid, again.dates, again.bands, again.dtype) == (series.grid, (MAY, JUNE), ("B04", "B08"), np.int16)
    assert (again.period, again.span) == ("month", (date(2018, 4, 15), date(2018, 6, 30)))
    assert again.provenance == {"scenes": ["a", "b"]}
    np.testing.assert_array_equal(whole(again)[0], example().values)


def test_nodata_comes_back_as_not_valid(tmp_path: Path) -> None:
    series = pixel_series(
        ("B04", "B08"), [(1, 2), (3, NODATA), (NODATA, NODATA)], ["2018-05-01", "2018-06-01", "2018-07-01"]
    )
    write_time_series(series, tmp_path / "series.tif", {})
    assert whole(open_time_series(tmp_path / "series.tif"))[1].ravel().tolist() == [True, False, False]


def test_float_series_keep_nan_and_every_bit(tmp_path: Path) -> None:
    series = with_indices(example(), ["NDVI"])
    series.source.values[0, :, 0, 0] = NODATA
    write_time_series(series, tmp_path / "series.tif", {})
    again = open_time_series(tmp_path / "series.tif")
    assert again.dtype == np.float32
    np.testing.assert_array_equal(whole(again)[0], whole(series)[0])
    assert np.isnan(whole(again)[0][0, :, 0, 0]).all()


def test_what_is_not_finite_is_not_valid() -> None:
    """Fast forms of networks rely on it."""
    values = np.array([[0.1, np.nan, np.inf, -np.inf], [0.1, 0.1, 0.1, 0.1]], np.float32).reshape(1, 2, 2, 2)
    assert present(values, ("B04", "NDVI")).ravel().tolist() == [True, False, False, False]


block_sizes = st.integers(1, 20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12)
@given(
    size=block_sizes,
    values=arrays.arrays(np.int16, (2, 2, 17, 19), elements=st.integers(NODATA, 32767)),
)
def test_the_size_of_the_blocks_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, size: int, values: NDArray[np.int16]
) -> None:
    path = tmp_path_factory.mktemp("blocks") / "series.tif"
    series = SeriesInMemory(values, ("B04", "B08"), (MAY, JUNE), "month")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cropmap_core.timeseries.files.BLOCK_SIZE", size)
        write_time_series(series, path, {})
    np.testing.assert_array_equal(whole(open_time_series(path))[0], values)


def test_a_window_of_a_file_is_the_part_of_the_whole_and_nothing_beyond(tmp_path: Path) -> None:
    write_time_series(example(), tmp_path / "series.tif", {})
    block = open_time_series(tmp_path / "series.tif").read(Window(row=1, col=2, height=3, width=5))
    np.testing.assert_array_equal(block.data[:, :, :2, :2], example().values[:, :, 1:, 2:])
    assert block.valid[0].tolist() == [[True, True, False, False, False]] * 2 + [[False] * 5]
    assert (block.data[:, :, 2:] == NODATA).all()


def test_some_bands_of_some_dates_can_be_read_alone(tmp_path: Path) -> None:
    write_time_series(example(), tmp_path / "series.tif", {})
    june = SelectedDates(open_time_series(tmp_path / "series.tif"), JUNE, JULY)
    assert read_bands(june, Window(-1, 0, 2, 2), ["B08"]).tolist() == [[[[NODATA, NODATA], [6800, 6801]]]]


def test_a_series_that_cannot_read_bands_alone_gives_them_too() -> None:
    assert read_bands(example(), Window(0, 0, 1, 2), ["B08", "B04"])[0].tolist() == [[[5800, 5801]], [[5400, 5401]]]


def test_progress_runs_from_0_to_1_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cropmap_core.timeseries.files.BLOCK_SIZE", 2)
    heard: list[float] = []
    write_time_series(example(height=4, width=4), tmp_path / "series.tif", {}, heard.append)
    assert heard == [0, 0.25, 0.5, 0.75, 1]


def test_bands_can_be_chosen_in_any_order() -> None:
    data, valid = whole(SelectedBands(pixel_series(("B04", "B08"), [(7, NODATA)], ["2018-05-01"]), ("B08", "B04")))
    assert data.ravel().tolist() == [NODATA, 7]
    assert not valid.any()


def test_a_pixel_is_valid_by_the_chosen_bands_alone() -> None:
    _, valid = whole(SelectedBands(pixel_series(("B04", "B08"), [(7, NODATA)], ["2018-05-01"]), ("B04",)))
    assert valid.all()


def test_a_band_that_cannot_be_chosen_is_named() -> None:
    with pytest.raises(MissingBandError, match=r"Missing band B11 .*It holds B04, B08"):
        SelectedBands(example(), ("B04", "B11"))


def raster(path: Path, *names: str, dtype: str = "int16", **options: Any) -> Path:
    """A raster whose bands have these names."""
    profile = {"crs": CRS, "transform": example().grid.transform, **options}
    with rasterio.open(
        path, "w", driver="GTiff", width=4, height=3, count=len(names), dtype=dtype, **profile
    ) as dataset:
        dataset.descriptions = names
    return path


class TestRefusals:
    @pytest.mark.parametrize(
        ("names", "options", "reason"),
        [
            (("",), {}, "a band named ''"),
            (("elevation",), {}, "a band named 'elevation'"),
            (("2018-13-45 B04",), {}, "a band named '2018-13-45 B04'"),
            (("2018-06-01 B04", "2018-05-01 B04"), {}, "date by date"),
            (("2018-05-01 B04", "2018-05-01 B04"), {}, "date by date"),
            (("2018-05-01 B04", "2018-06-01 B04", "2018-05-01 B08", "2018-06-01 B08"), {}, "date by date"),
            (("2018-05-01 B04",), {"dtype": "uint16"}, "holds uint16 values"),
            (("2018-05-01 B04",), {"crs": None}, "no coordinate reference system"),
        ],
    )
    def test_rasters_that_are_no_time_series(
        self, tmp_path: Path, names: tuple[str, ...], options: dict[str, Any], reason: str
    ) -> None:
        path = raster(tmp_path / "raster.tif", *names, **options)
        with pytest.raises(SeriesError, match=f"raster.tif .*{reason}"):
            open_time_series(path)

    def test_a_band_missing_on_one_date(self, tmp_path: Path) -> None:
        path = raster(tmp_path / "raster.tif", "2018-05-01 B04", "2018-05-01 B08", "2018-06-01 B04")
        with pytest.raises(MissingBandError, match="2018-06-01 B08"):
            open_time_series(path)

    @pytest.mark.parametrize("tag", ["CROPMAP_SPAN", "CROPMAP_PROVENANCE"])
    def test_damaged_tags(self, tmp_path: Path, tag: str) -> None:
        path = raster(tmp_path / "raster.tif", "2018-05-01 B04")
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(**{tag: '["2018-05'})
        with pytest.raises(SeriesError, match="raster.tif"):
            open_time_series(path)

    @pytest.mark.parametrize("content", [None, b"", b"no raster at all"])
    def test_files_that_are_no_raster(self, tmp_path: Path, content: bytes | None) -> None:
        path = tmp_path / "raster.tif"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SeriesError, match="raster.tif cannot be read"):
            open_time_series(path)

    def test_a_file_that_is_cut_short(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 9999, (1, 1, 64, 64)).astype(np.int16)
        path = tmp_path / "series.tif"
        write_time_series(SeriesInMemory(noise, ("B04",), (MAY,)), path, {})
        path.write_bytes(path.read_bytes()[:-2000])
        with pytest.raises(SceneError, match="series.tif cannot be read"):
            whole(open_time_series(path))
