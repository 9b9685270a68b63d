"""How indices of parcels run through the season."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import rasterio

from cropmap_core.errors import GridMismatchError, MissingBandError, SeriesError
from cropmap_core.parcels import Maps
from cropmap_core.parcels.profiles import largest_falls
from tests.core.parcel_cases import class_raster, described, layer, pixel_box, raster

DAYS = ("2018-05-01", "2018-06-01", "2018-07-01")
RED = [[[1000, 1000, 500]], [[500, 1000, 500]], [[2000, -32768, 500]]]
INFRARED = [[[3000, 1000, 1500]], [[4500, 3000, 1500]], [[3000, 3000, 1500]]]
# NDVI                0.5, 0, 0.5       0.8, 0.5, 0.5       0.2, -, 0.5


def series(path: Path, bands: Sequence[tuple[str, list[list[list[int]]]]] = (("B04", RED), ("B08", INFRARED))) -> Path:
    values = np.concatenate([np.array(numbers)[time] for time in range(3) for _, numbers in bands])
    raster(path, values.reshape(-1, 1, 3), -32768, "int16")
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = [f"{day} {name}" for day in DAYS for name, _ in bands]
    return path


@pytest.fixture
def maps(tmp_path: Path) -> Maps:
    return Maps(class_raster(tmp_path / "c.tif", [[1, 1, 2]]), series=series(tmp_path / "series.tif"))


def test_profile_is_the_weighted_mean_of_pixels_with_a_value(maps: Maps, tmp_path: Path) -> None:
    parcels = layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 1.5, 1), pixel_box(2, 0, 3, 1)])
    described(parcels, maps, profiles=tmp_path / "profiles.csv")
    with (tmp_path / "profiles.csv").open() as file:
        head, *rows = csv.reader(file)
    assert head == ["parcel", "date", "n_pixels", "NDVI"]
    assert rows[:3] == [
        ["10", "2018-05-01", "1.5", str(round((0.5 + 0) / 1.5, 4))],
        ["10", "2018-06-01", "1.5", str(round((0.8 + 0.25) / 1.5, 4))],
        ["10", "2018-07-01", "1.0", "0.2"],
    ]
    assert [row[0] for row in rows[3:]] == ["11"] * 3


def test_the_largest_fall_tells_when(maps: Maps, tmp_path: Path) -> None:
    """The first parcel falls from 0.7 to 0.2 in July; the second is always at 0.5."""
    parcels = layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 1.5, 1), pixel_box(2, 0, 3, 1)])
    mown, steady = described(parcels, maps)
    assert (mown.ndvi_fall, mown.ndvi_fall_date) == (0.5, "2018-07-01")
    assert (steady.ndvi_fall, steady.ndvi_fall_date) == (0.0, None)


def test_indices_and_bands_may_be_asked_for(maps: Maps, tmp_path: Path) -> None:
    parcels = layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 1, 1)])
    (record,) = described(parcels, maps, indices=("B08", "SAVI"), profiles=tmp_path / "profiles.csv")
    head, first = (tmp_path / "profiles.csv").read_text().splitlines()[:2]
    assert head == "parcel,date,n_pixels,B08,SAVI"
    assert first == f"10,2018-05-01,1.0,0.3,{round(1.5 * 0.2 / 0.9, 4)}"
    assert not hasattr(record, "ndvi_fall")


def test_a_parcel_across_blocks_has_one_profile(maps: Maps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parcels = layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 3, 1)])
    described(parcels, maps, profiles=tmp_path / "whole.csv")
    monkeypatch.setattr("cropmap_core.parcels.describing._BLOCK", 1)
    described(parcels, maps, profiles=tmp_path / "pieced.csv")
    assert (tmp_path / "pieced.csv").read_text() == (tmp_path / "whole.csv").read_text()


@pytest.mark.parametrize(
    ("values", "fall", "at"),
    [
        ([0.2, 0.8, 0.3, 0.1], 0.5, 2),
        ([0.9, np.nan, np.nan, 0.4], 0.5, 3),  # it had fallen by then
        ([0.1, 0.2, 0.3, 0.4], -0.1, np.nan),
        ([0.5, 0.5, 0.5, 0.5], 0.0, np.nan),
        ([np.nan, 0.5, np.nan, np.nan], np.nan, np.nan),
    ],
)
def test_falls(values: list[float], fall: float, at: float) -> None:
    found, position = largest_falls(np.array([values]))
    assert found[0] == pytest.approx(fall, nan_ok=True)
    assert position[0] == pytest.approx(at, nan_ok=True)


class TestRefusals:
    @pytest.fixture
    def parcels(self, tmp_path: Path) -> Path:
        return layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 1, 1)])

    def test_a_series_on_another_grid(self, maps: Maps, tmp_path: Path, parcels: Path) -> None:
        other = Maps(class_raster(tmp_path / "other.tif", [[1, 1]]), series=maps.series)
        with pytest.raises(GridMismatchError, match="class and series rasters of one run"):
            described(parcels, other)

    def test_a_series_without_ndvi(self, maps: Maps, tmp_path: Path, parcels: Path) -> None:
        red = series(tmp_path / "red.tif", [("B04", RED)])
        with pytest.raises(SeriesError, match="Name the INDICES"):
            described(parcels, maps._replace(series=red))
        with pytest.raises(MissingBandError, match="B08"):
            described(parcels, maps._replace(series=red), indices=("NDVI",))
