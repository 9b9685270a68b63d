"""Training zones: counted by hand on a land cover of 10 m pixels, zones of 20 m to 40 m."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import ArrayLike

from cropmap_core.samples.zones import propose_zones
from tests.core.label_cases import write_series
from tests.core.seam import run_here, unfinished_files
from tests.core.series_in_memory import grid
from tests.factories import CRS, ORIGIN

TREES, CROPS = 10, 40
LAND = np.array(
    [
        [40, 40, 40, 10, 10, 10, 40, 40],
        [40, 40, 10, 10, 10, 10, 40, 10],
        [10, 10, 10, 10, 40, 40, 10, 10],
        [10, 10, 10, 10, 40, 10, 10, 10],
        [40, 10, 10, 10, 10, 10, 40, 40],
        [40, 40, 10, 10, 10, 10, 40, 40],
    ]
)
"""Cropland of the squares of 2 x 2 pixels: 1, 1/4, 0, 3/4; 0, 0, 3/4, 0; 3/4, 0, 0, 1."""


def write_land(path: Path, values: ArrayLike = LAND, nodata: int | None = 0, **options: Any) -> Path:
    land = np.asarray(values, dtype=np.uint8)
    height, width = land.shape
    profile = {"crs": CRS, "transform": Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1]), **options}
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=1, dtype="uint8", nodata=nodata, **profile
    ) as dataset:
        dataset.write(land, 1)
    return path


def places(zones: Any) -> list[tuple[float, float, float]]:
    """Column and row of the squares of 20 m, and their share."""
    return [((zone.bounds[0] - ORIGIN[0]) / 20, (ORIGIN[1] - zone.bounds[3]) / 20, zone.share) for zone in zones.zones]


def test_the_best_comes_first_and_then_always_the_farthest(tmp_path: Path) -> None:
    """From (0, 0) the farthest is (3, 2); then (0, 2) is 2 and 3 away, (3, 0) 3 and 2: the first of both."""
    zones = propose_zones(write_land(tmp_path / "land.tif"), 0.02, 4, 0.7)
    assert places(zones) == [(0, 0, 1.0), (3, 2, 1.0), (3, 0, 0.75), (0, 2, 0.75)]
    assert zones.candidates == 5


def test_fewer_where_there_are_not_enough(tmp_path: Path) -> None:
    zones = propose_zones(write_land(tmp_path / "land.tif"), 0.02, 10, 0.8)
    assert places(zones) == [(0, 0, 1.0), (3, 2, 1.0)]


def test_which_classes_are_cropland_can_be_said(tmp_path: Path) -> None:
    zones = propose_zones(write_land(tmp_path / "land.tif"), 0.02, 1, 0.9, (TREES,))
    assert places(zones) == [(2, 0, 1.0)]


def test_land_that_is_not_there_does_not_count(tmp_path: Path) -> None:
    """A square of 4 pixels of which 2 are nodata lies at the edge and is no candidate, whatever the others are."""
    land = LAND.copy()
    land[0, :2] = 0
    zones = propose_zones(write_land(tmp_path / "land.tif", land), 0.02, 1, 0.9)
    assert places(zones) == [(3, 2, 1.0)]


def test_zones_lie_within_the_time_series(tmp_path: Path) -> None:
    zones = propose_zones(write_land(tmp_path / "land.tif"), 0.02, 9, 0.1, within=grid(4, 6))
    assert places(zones) == [(0, 0, 1.0), (2, 1, 0.75), (1, 0, 0.25)]


def test_blocks_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    land = write_land(tmp_path / "land.tif")
    whole = propose_zones(land, 0.02, 9, 0.1)
    monkeypatch.setattr("cropmap_core.samples.zones._BLOCK", 3)
    assert propose_zones(land, 0.02, 9, 0.1) == whole


def test_large_zones_are_counted_on_some_of_their_pixels(tmp_path: Path) -> None:
    """Zones of 400 pixels are looked at every 4th: vertical halves of cropland are still halves."""
    land = np.full((400, 800), TREES)
    land[:, 600:] = CROPS
    zones = propose_zones(write_land(tmp_path / "land.tif", land), 4, 2, 0.4)
    assert [(zone.bounds[0] - ORIGIN[0], zone.share) for zone in zones.zones] == [(4000, 0.5)]


def test_a_land_cover_in_degrees_gives_zones_in_metres_of_its_utm_zone(tmp_path: Path) -> None:
    land = np.full((200, 300), TREES)
    land[:, :150] = CROPS
    path = write_land(tmp_path / "land.tif", land, crs="EPSG:4326", transform=Affine(1e-4, 0, 3.0, 0, -1e-4, 51.0))
    zones = propose_zones(path, 0.5, 1, 0.99)
    assert zones.crs == "EPSG:32631"
    (zone,) = geopandas.GeoSeries.from_wkt(
        [f"POINT ({(zone.bounds[0] + zone.bounds[2]) / 2} {zone.bounds[1] + 250})" for zone in zones.zones],
        crs=zones.crs,
    ).to_crs("EPSG:4326")
    assert 3.0 < zone.x < 3.015
    assert 50.98 < zone.y < 51.0


def test_the_command_writes_a_layer_and_needs_no_parcels(tmp_path: Path) -> None:
    target = tmp_path / "zones.gpkg"
    outcome = run_here(
        "preparelabels", land_cover=write_land(tmp_path / "land.tif"), zone_size_km=0.02, zone_count=3,
        min_cropland_percent=75, output_zones=target,
    )  # fmt: skip
    assert outcome.outputs["zones"] == 3
    assert "3 zones, chosen of 5 with at least 75 % of cropland." in outcome.texts("log")
    layer = geopandas.read_file(target)
    assert layer.crs == CRS
    assert layer[["zone", "share"]].to_numpy().tolist() == [[1, 1.0], [2, 1.0], [3, 0.75]]
    assert layer.geometry.area.tolist() == [400.0] * 3
    assert unfinished_files(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"land_cover": None}, "JobError", "There is no LAND_COVER"),
        ({"output_zones": "zones.shp"}, "JobError", "is not named as a GeoPackage"),
        ({"zone_size_km": 1.0}, "GridMismatchError", "smaller than a zone of 1 km"),
        ({"cropland_classes": [99]}, "NoValidObservationError", "No zone of 0.02 km has 50% of cropland"),
        ({"series": "series.tif"}, "GridMismatchError", "smaller than a zone of 0.02 km"),
    ],
)
def test_is_refused(tmp_path: Path, change: dict[str, Any], code: str, said: str) -> None:
    write_series(tmp_path / "series.tif", 1, 1)
    change = {name: tmp_path / value if isinstance(value, str) else value for name, value in change.items()}
    given = {"land_cover": write_land(tmp_path / "land.tif"), "output_zones": tmp_path / "zones.gpkg"}
    outcome = run_here("preparelabels", **{**given, "zone_size_km": 0.02, **change})
    assert outcome.code == code
    assert said in outcome.last["message"]
    assert unfinished_files(tmp_path) == []
    assert not (tmp_path / "zones.gpkg").exists()
