"""An area of interest: the grid covers it, clouds count inside it only; and scenes without the classes to count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
from numpy.typing import NDArray
from rasterio.transform import from_origin
from shapely.geometry import Point, Polygon, box

from cropmap_core.timeseries.series import NODATA
from tests.core.seam import run_here, stack_here
from tests.core.series_in_memory import band_of
from tests.factories import CRS, ORIGIN, TILE, write_parcels, write_scene


def square(left: float, top: float, right: float, bottom: float) -> Polygon:
    """A rectangle from metres east and south of the scenes' corner."""
    return box(ORIGIN[0] + left, ORIGIN[1] - bottom, ORIGIN[0] + right, ORIGIN[1] - top)


def write_area(path: Path, *polygons: Polygon, crs: str = "EPSG:31370") -> Path:
    return write_parcels(path, polygons=polygons, crs=crs)


@pytest.mark.parametrize("crs", [CRS, "EPSG:4326", "EPSG:31370"])
def test_the_grid_covers_the_polygons_of_an_area_in_any_crs(tmp_path: Path, crs: str) -> None:
    values = np.random.default_rng(4).integers(1, 9999, (24, 32))
    write_scene(tmp_path / "s", width=32, height=24, values={"B04": values}, bands=["B04"])
    area = write_area(tmp_path / "a.gpkg", square(53, 37, 78, 81), square(94, 42, 107, 76), crs=crs)
    series, _ = stack_here(tmp_path / "s", tmp_path / "stack.tif", bands=["B04"], area=area)
    assert series.grid.transform == from_origin(ORIGIN[0] + 50, ORIGIN[1] - 30, 10, 10)
    np.testing.assert_array_equal(band_of(series, "B04"), values[3:9, 5:11])


class TestCloud:
    """Scenes of 160 m, of which two quarters, north-west and south-east, are of interest."""

    QUARTERS = (square(1, 1, 79, 79), square(81, 81, 159, 159))

    def scl(self, *, cloud_inside: bool) -> NDArray[np.uint8]:
        inside = np.zeros((8, 8), bool)
        inside[:4, :4] = inside[4:, 4:] = True
        return np.where(inside == cloud_inside, 9, 4).astype(np.uint8)

    def test_counts_inside_the_polygons_only(self, tmp_path: Path) -> None:
        size: dict[str, Any] = {"width": 16, "height": 16, "bands": ["B04"]}
        write_scene(tmp_path / "s", "2018-05-04", scl=self.scl(cloud_inside=False), **size)
        write_scene(tmp_path / "s", "2018-05-14", scl=self.scl(cloud_inside=True), **size)
        area = write_area(tmp_path / "area.gpkg", *self.QUARTERS)
        limits = {"bands": ["B04"], "max_cloud_percent": 10}
        series, outcome = stack_here(tmp_path / "s", tmp_path / "stack.tif", area=area, **limits)
        assert [str(day) for day in series.dates] == ["2018-05-04"]
        assert "2018-05-14 (100 %)" in outcome.texts("log")
        assert (band_of(series, "SCL") == 9).sum() == 128  # the area masks nothing

    def test_counts_on_the_grid_where_there_are_no_polygons(self, tmp_path: Path) -> None:
        """North-west is clear on the first date, cloudy on the second."""
        size: dict[str, Any] = {"width": 16, "height": 16, "bands": ["B04"]}
        write_scene(tmp_path, "2018-05-04", scl=self.scl(cloud_inside=False), **size)
        write_scene(tmp_path, "2018-05-14", scl=self.scl(cloud_inside=True), **size)
        x, y = ORIGIN
        quarter = f"{x},{x + 80},{y - 80},{y} [{CRS}]"
        limits = {"bands": ["B04"], "max_cloud_percent": 10}
        series, _ = stack_here(tmp_path, tmp_path / "stack.tif", extent=quarter, **limits)
        assert [str(day) for day in series.dates] == ["2018-05-04"]

    @pytest.mark.parametrize(("limit", "days"), [(60, ["2018-05-04", "2018-05-14"]), (40, ["2018-05-14"])])
    @pytest.mark.parametrize("with_area", [True, False])
    def test_of_a_mosaic_is_counted_over_all_its_tiles(
        self, tmp_path: Path, limit: int, days: list[str], with_area: bool
    ) -> None:
        """On 4 May one of two tiles, side by side, is all cloud: half of the mosaic."""
        for tile, left, first in (("31UDS", 0, 9), ("31UES", 80, 4)):
            place: dict[str, Any] = {"tile": tile, "origin": (ORIGIN[0] + left, ORIGIN[1]), "bands": ["B04"]}
            write_scene(tmp_path / "s" / tile, "2018-05-04", scl=first, **place)
            write_scene(tmp_path / "s" / tile, "2018-05-14", **place)
        parameters: dict[str, Any] = {"bands": ["B04"], "max_cloud_percent": limit}
        if with_area:
            parameters["area"] = write_area(tmp_path / "area.gpkg", square(20.5, 0.5, 139.5, 79.5))
        series, _ = stack_here(tmp_path / "s", tmp_path / "stack.tif", **parameters)
        assert [str(day) for day in series.dates] == days
        if limit == 60:
            assert {int(value) for value in np.unique(band_of(series, "SCL", 0))} == {4, 9}


class TestAreasThatAreNone:
    def stack_over(self, area: Path, folder: Path) -> str:
        write_scene(folder / "scenes", bands=["B04"])
        outcome = run_here(
            "stackscenes", scenes=[folder / "scenes"], bands=["B04"], output=folder / "stack.tif", area=area
        )
        assert outcome.code in ("ParcelError", "JobError"), outcome.last
        assert outcome.last["remedy"]
        return str(outcome.last["message"])

    @pytest.mark.parametrize("what", ["points", "nothing", "no CRS", "text", "missing"])
    def test_are_refused_by_name(self, tmp_path: Path, what: str) -> None:
        path = tmp_path / ("area.shp" if what == "no CRS" else "area.gpkg")
        if what == "points":
            geopandas.GeoDataFrame(geometry=[Point(*ORIGIN)], crs=CRS).to_file(path)
        elif what == "nothing":
            write_area(path)
        elif what == "no CRS":
            geopandas.GeoDataFrame({"field": [1]}, geometry=[square(10, 10, 50, 50)]).to_file(path)
        elif what == "text":
            path.write_text("no layer")
        assert path.name in self.stack_over(path, tmp_path)


class TestMissingScl:
    """Of two scenes the second has lost its SCL; its western half was not measured."""

    @pytest.fixture
    def scenes(self, tmp_path: Path) -> Path:
        folder = tmp_path / "scenes"
        write_scene(folder, "2018-05-04", bands=["B04"])
        half = np.full((8, 8), 500)
        half[:, :4] = 0
        scene = write_scene(folder, "2018-05-14", values={"B04": half}, bands=["B04"])
        next(scene.glob("*_SCL_*")).unlink()
        return folder

    @pytest.mark.parametrize("parameters", [{}, {"missing_scl": "refuse"}])
    def test_is_refused_unless_chosen(self, scenes: Path, tmp_path: Path, parameters: dict[str, str]) -> None:
        outcome = run_here(
            "stackscenes", scenes=[scenes], bands=["B04"], output=tmp_path / "stack.tif", offset="0", **parameters
        )
        assert outcome.code == "MissingBandError"
        assert f"T{TILE}_20180514T105029" in outcome.last["message"]
        assert "MISSING_SCL" in outcome.last["remedy"]

    def test_leaves_the_scene_out_and_tells(self, scenes: Path, tmp_path: Path) -> None:
        series, outcome = stack_here(scenes, tmp_path / "stack.tif", bands=["B04"], missing_scl="leave_out")
        assert [str(day) for day in series.dates] == ["2018-05-04"]
        assert "2018-05-14" in outcome.texts("log") + outcome.texts("warning")

    def test_leaves_nothing(self, scenes: Path, tmp_path: Path) -> None:
        outcome = run_here(
            "stackscenes",
            scenes=[scenes],
            bands=["B04"],
            output=tmp_path / "stack.tif",
            missing_scl="leave_out",
            start_date="2018-05-10",
        )
        assert outcome.code in ("NoValidObservationError", "SceneError", "MissingBandError")

    @pytest.mark.parametrize("parameters", [{}, {"max_cloud_percent": 0}, {"crs": "EPSG:3035"}])
    def test_counts_what_was_measured_as_clear(self, scenes: Path, tmp_path: Path, parameters: dict[str, Any]) -> None:
        options = {"bands": ["B04"], "missing_scl": "as_clear", **parameters}
        series, outcome = stack_here(scenes, tmp_path / "stack.tif", **options)
        assert [str(day) for day in series.dates] == ["2018-05-04", "2018-05-14"]
        values, scl = band_of(series, "B04", 1), band_of(series, "SCL", 1)
        np.testing.assert_array_equal(scl == 7, values == 500)
        assert (values == 500).sum() >= 24
        assert (values == NODATA).sum() >= 32
        if "crs" not in parameters:
            np.testing.assert_array_equal(scl, np.where(np.arange(8) < 4, 0, 7) + np.zeros((8, 1)))
            assert (band_of(series, "SCL", 0) == 4).all()
        assert "2018-05-14" in outcome.texts("warning") or "20180514" in outcome.texts("warning")
