"""One grid: whatever it is taken from, every pixel of the scenes stays where it is on the ground."""

from __future__ import annotations

import re
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rasterio.vrt import WarpedVRT

from cropmap_core.inference.bundles import Bundle
from cropmap_core.io.grid import Grid
from cropmap_core.timeseries.series import NODATA, Series
from tests.core.seam import run_here, run_unchecked, stack_here, unfinished_files
from tests.core.series_in_memory import band_of, whole
from tests.core.test_chain import classify, map_in_one_pass
from tests.core.tiny_models import END, START
from tests.factories import CRS, ORIGIN, RESOLUTION_M, write_scene

EASTWARD, SOUTHWARD = {10: "B02", 20: "B11", 60: "B01"}, {10: "B03", 20: "B12", 60: "B09"}
RAMP_BANDS = [*EASTWARD.values(), *SOUTHWARD.values()]
SIDE_M = 480
NEAR_ZONE_32 = (705000.0, 5629680.0)
"""A corner in EPSG:32631, 30 km from the meridian where EPSG:32632 begins."""


def extent(left: float, top: float, right: float, bottom: float, origin: tuple[float, float] = ORIGIN) -> str:
    """An extent as QGIS writes it, from metres east and south of the scenes' corner."""
    x, y = origin
    return f"{x + left:.6f},{x + right:.6f},{y - bottom:.6f},{y - top:.6f} [{CRS}]"


def write_template(path: Path, transform: Affine, width: int = 20, height: int = 16, crs: str | None = CRS) -> Path:
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "crs": crs, "transform": transform}
    with rasterio.open(path, "w", width=width, height=height, **profile):
        return path


def centres(start_m: float, pixel_m: float, count: int) -> NDArray[np.float64]:
    return start_m + (np.arange(count) + 0.5) * pixel_m


def offsets_m(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far east (1, W) and south (H, 1) of the scenes' corner the grid's pixel centres are."""
    pixel_m = grid.transform.a
    east = centres(grid.transform.c - ORIGIN[0], pixel_m, grid.width)
    return east[None, :], centres(ORIGIN[1] - grid.transform.f, pixel_m, grid.height)[:, None]


@pytest.fixture(scope="module")
def ramps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene of 480 m whose digital numbers are 1000 + metres to the pixel's centre, one ramp east and one south."""
    values = {}
    for pixel_m in (10, 20, 60):
        count = SIDE_M // pixel_m
        values[EASTWARD[pixel_m]] = np.tile(1000 + centres(0, pixel_m, count), (count, 1))
        values[SOUTHWARD[pixel_m]] = values[EASTWARD[pixel_m]].T
    folder = tmp_path_factory.mktemp("ramps")
    write_scene(folder, width=48, height=48, values=values, scl=scl_pattern(), bands=RAMP_BANDS)
    return folder


def scl_pattern() -> NDArray[np.int64]:
    rows, cols = np.indices((24, 24))
    return 4 + (3 * rows + cols) % 4


GRIDS = [
    "of the scene",
    "an extent in it",
    "a template on its pixels",
    "a template 3 m beside",
    "a template 17 m beside",
]


def grid_parameters(name: str, resolution: int, folder: Path) -> dict[str, Any]:
    """Parameters for a grid, and the grid's size as a check of what was made."""
    if name == "of the scene":
        return {"resolution": resolution}
    if name == "an extent in it":
        return {"resolution": resolution, "extent": extent(120, 60, 420, 360)}
    shift_m = {"a template on its pixels": 0, "a template 3 m beside": 3, "a template 17 m beside": 17}[name]
    corner = (ORIGIN[0] + 60 + shift_m, ORIGIN[1] - 60 - shift_m)
    count = 360 // resolution
    transform = from_origin(*corner, resolution, resolution)
    return {"template": write_template(folder / "template.tif", transform, count, count)}


@pytest.mark.parametrize("resolution", [10, 20, 60])
@pytest.mark.parametrize("name", GRIDS)
class TestRamps:
    def test_nearest_takes_the_pixel_that_holds_the_centre(
        self, ramps: Path, tmp_path: Path, name: str, resolution: int
    ) -> None:
        """Of pixels that meet at the centre it is the lower right one, as GDAL takes it."""
        parameters = grid_parameters(name, resolution, tmp_path)
        series, _ = stack_here(ramps, tmp_path / "stack.tif", bands=RAMP_BANDS, **parameters)
        assert series.grid.resolution_m == resolution
        east, south = offsets_m(series.grid)
        for pixel_m in (10, 20, 60):
            for band, along in ((EASTWARD[pixel_m], east), (SOUTHWARD[pixel_m], south)):
                expected = 1000 + (along // pixel_m + 0.5) * pixel_m
                shape = (series.grid.height, series.grid.width)
                np.testing.assert_array_equal(band_of(series, band), np.broadcast_to(expected, shape), band)

    @pytest.mark.parametrize("resampling", ["bilinear", "cubic"])
    def test_a_linear_ramp_stays_the_same_and_classes_stay_classes(
        self, ramps: Path, tmp_path: Path, name: str, resolution: int, resampling: str
    ) -> None:
        parameters = grid_parameters(name, resolution, tmp_path)
        series, _ = stack_here(ramps, tmp_path / "stack.tif", bands=RAMP_BANDS, resampling=resampling, **parameters)
        east, south = offsets_m(series.grid)
        inner = (abs(east - SIDE_M / 2) < 100) & (abs(south - SIDE_M / 2) < 100)  # cubic reaches two pixels of 60 m
        assert inner.sum() >= 9
        for pixel_m in (10, 20, 60):
            for band, along in ((EASTWARD[pixel_m], east), (SOUTHWARD[pixel_m], south)):
                expected = np.broadcast_to(1000 + along, inner.shape)[inner]
                np.testing.assert_allclose(band_of(series, band)[inner], expected, atol=1, err_msg=band)
        rows, cols = (south // 20).astype(int), (east // 20).astype(int)
        np.testing.assert_array_equal(band_of(series, "SCL"), scl_pattern()[rows, cols])


@pytest.mark.parametrize("resampling", ["bilinear", "cubic"])
def test_nodata_never_leaks_into_values(tmp_path: Path, resampling: str) -> None:
    values = np.full((24, 24), 3000)
    values[8:12, 6:14] = 0
    write_scene(tmp_path, width=24, height=24, values={"B04": values}, bands=["B04"])
    template = write_template(tmp_path / "grid.tif", from_origin(ORIGIN[0] + 23, ORIGIN[1] - 23, 10, 10))
    series, _ = stack_here(tmp_path, tmp_path / "o.tif", bands=["B04"], template=template, resampling=resampling)
    made = band_of(series, "B04")
    assert set(np.unique(made)) == {NODATA, 3000}
    assert (made[7, 6:9] == NODATA).all()  # two pixels of the hole around them on every side


def test_a_value_that_cubic_undershoots_is_still_observed(tmp_path: Path) -> None:
    """Beside a step of 9000 cubic convolution falls below zero, and 0 means nothing measured."""
    step = np.where(np.arange(24) < 12, 2, 9000) + np.zeros((24, 1))
    write_scene(tmp_path, width=24, height=24, values={"B04": step}, bands=["B04"])
    template = write_template(tmp_path / "grid.tif", from_origin(ORIGIN[0] + 23, ORIGIN[1] - 23, 10, 10))
    series, _ = stack_here(tmp_path, tmp_path / "o.tif", bands=["B04"], template=template, resampling="cubic")
    assert whole(series)[1].all()
    assert band_of(series, "B04").max() > 9000


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic"])
@pytest.mark.parametrize(
    "parameters", [{"resolution": 60}, {"crs": "EPSG:3035"}, {"crs": "EPSG:3035", "resolution": 20}]
)
def test_the_size_of_blocks_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any], resampling: str
) -> None:
    values = np.random.default_rng(6).integers(1, 9999, (60, 60))
    write_scene(tmp_path / "s", width=60, height=60, values={"B04": values}, bands=["B04", "B11"])
    made = []
    for size in (512, 16):
        monkeypatch.setattr("cropmap_core.timeseries.files.BLOCK_SIZE", size)
        asked = {"bands": ["B04", "B11"], "resampling": resampling, **parameters}
        made.append(whole(stack_here(tmp_path / "s", tmp_path / f"{size}.tif", **asked)[0])[0])
    np.testing.assert_array_equal(*made)


class TestAgainstGdal:
    """What GDAL's own warper makes of the whole image, without approximating the transformation."""

    def by_gdal(self, scene: Path, band: str, grid: Grid, resampling: Resampling) -> NDArray[Any]:
        with (
            rasterio.open(next(scene.glob(f"*_{band}_*"))) as source,
            WarpedVRT(
                source,
                crs=grid.crs,
                transform=grid.transform,
                width=grid.width,
                height=grid.height,
                resampling=resampling,
                tolerance=1e-9,
                nodata=0,
            ) as warped,
        ):
            values: NDArray[Any] = warped.read(1).astype(int)
        return values

    @pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:3035"])
    @pytest.mark.parametrize("band", ["B04", "B11"])
    def test_nearest_is_its_pixel_or_next_to_it(self, tmp_path: Path, crs: str, band: str) -> None:
        """Every pixel of the scene has a number of its own."""
        count = 1800 // RESOLUTION_M[band]
        numbers = 1 + np.arange(count * count).reshape(count, count)
        scene = write_scene(tmp_path, width=180, height=180, values={band: numbers}, bands=[band], origin=NEAR_ZONE_32)
        series, _ = stack_here(tmp_path, tmp_path / "stack.tif", bands=[band], crs=crs)
        assert rasterio.CRS.from_string(series.grid.crs) == rasterio.CRS.from_string(crs)
        made, expected = band_of(series, band), self.by_gdal(scene, band, series.grid, Resampling.nearest)
        made = np.where(made == NODATA, 0, made).astype(int)
        assert (expected > 0).sum() > 0.99 * 180 * 180  # the grid covers the scene
        assert (made == expected).mean() >= 0.999
        both = (made > 0) & (expected > 0)
        (row, col), (wanted_row, wanted_col) = divmod(made - 1, count), divmod(expected - 1, count)
        assert abs(row - wanted_row)[both].max() <= 1
        assert abs(col - wanted_col)[both].max() <= 1

    @pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:3035"])
    @pytest.mark.parametrize("resampling", ["bilinear", "cubic"])
    def test_waves_keep_their_form(self, tmp_path: Path, crs: str, resampling: str) -> None:
        """Their slope is 15 digital numbers a metre: 10 cm would show."""
        rows, cols = np.indices((120, 120)) * (10 * 2 * np.pi / 200)
        waves = 1500 + 500 * np.sin(rows) * np.sin(cols)
        scene = write_scene(tmp_path, width=120, height=120, values={"B04": waves}, bands=["B04"], origin=NEAR_ZONE_32)
        series, _ = stack_here(tmp_path, tmp_path / "stack.tif", bands=["B04"], crs=crs, resampling=resampling)
        inner = self.by_gdal(self.ones(tmp_path), "B04", series.grid, Resampling.nearest) > 0
        assert inner.sum() > 100 * 100
        expected = self.by_gdal(scene, "B04", series.grid, Resampling[resampling])
        np.testing.assert_allclose(band_of(series, "B04")[inner], expected[inner], atol=1)

    def ones(self, folder: Path) -> Path:
        """The inner part of the waves' scene, 50 m from its edges."""
        corner = (NEAR_ZONE_32[0] + 50, NEAR_ZONE_32[1] - 50)
        return write_scene(folder / "inner", width=110, height=110, values=1, bands=["B04"], origin=corner)


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NDArray[Any]]:
    values = np.random.default_rng(5).integers(1, 9999, (24, 32))
    folder = tmp_path_factory.mktemp("noise")
    write_scene(folder, width=32, height=24, values={"B04": values}, bands=["B04"])
    return folder, values


class TestExtent:
    @pytest.mark.parametrize(
        ("asked", "rows", "cols"),
        [
            ((50, 30, 110, 90), (3, 9), (5, 11)),  # whole pixels: itself
            ((53, 37, 107, 81), (3, 9), (5, 11)),  # outwards to whole pixels
            ((53, 37, 54, 38), (3, 4), (5, 6)),  # less than a pixel: the pixel
            ((0, 0, 320, 240), (0, 24), (0, 32)),
        ],
    )
    def test_gives_the_crop_that_covers_it(
        self, noise: tuple[Path, NDArray[Any]], tmp_path: Path, asked: tuple[float, ...], rows: Any, cols: Any
    ) -> None:
        series, _ = stack_here(noise[0], tmp_path / "stack.tif", bands=["B04"], extent=extent(*asked))
        corner = (ORIGIN[0] + 10 * cols[0], ORIGIN[1] - 10 * rows[0])
        assert series.grid.transform == from_origin(*corner, 10, 10)
        np.testing.assert_array_equal(band_of(series, "B04"), noise[1][slice(*rows), slice(*cols)])

    def test_beyond_the_scene_is_nodata(self, noise: tuple[Path, NDArray[Any]], tmp_path: Path) -> None:
        series, _ = stack_here(noise[0], tmp_path / "stack.tif", bands=["B04"], extent=extent(-40, 200, 60, 300))
        expected = np.full((10, 10), NODATA)
        expected[:4, 4:] = noise[1][20:, :6]
        np.testing.assert_array_equal(band_of(series, "B04"), expected)
        np.testing.assert_array_equal(band_of(series, "SCL") == 4, expected != NODATA)

    @pytest.mark.parametrize("resolution", [10, 20])
    def test_keeps_to_the_pixels_of_scenes_whose_corner_is_no_round_number(
        self, tmp_path: Path, resolution: int
    ) -> None:
        numbers = np.arange(1, 65).reshape(8, 8)
        origin = (ORIGIN[0] + 10, ORIGIN[1] + 30)
        write_scene(tmp_path, width=16, height=16, values={"B11": numbers}, bands=["B11"], origin=origin)
        series, _ = stack_here(
            tmp_path,
            tmp_path / "stack.tif",
            bands=["B11"],
            resolution=resolution,
            resampling="cubic",
            extent=extent(25, 45, 95, 115, origin),
        )
        assert series.grid.transform == from_origin(origin[0] + 20, origin[1] - 40, resolution, resolution)
        if resolution == 20:
            np.testing.assert_array_equal(band_of(series, "B11"), numbers[2:6, 1:5])

    @pytest.mark.parametrize(
        ("crs", "box"),
        [
            ("EPSG:4326", (2.82, 50.812, 3.17, 50.81255)),  # on the central meridian its south edge sinks by 15 m
            ("EPSG:3035", (3829500.0, 3101000.0, 3831000.0, 3102000.0)),  # whose axes are north, east
        ],
    )
    def test_in_another_crs_covers_its_bent_edges(
        self, tmp_path: Path, crs: str, box: tuple[float, float, float, float]
    ) -> None:
        left, bottom, right, top = box
        along, ends = np.linspace(0, 1, 10001), np.ones(10001)
        edges_x = np.concatenate([left + along * (right - left)] * 2 + [left * ends, right * ends])
        edges_y = np.concatenate([bottom * ends, top * ends] + [bottom + along * (top - bottom)] * 2)
        x, y = Transformer.from_crs(crs, CRS, always_xy=True).transform(edges_x, edges_y)
        covered = [
            10 * f(edge / 10) for f, edge in ((floor, x.min()), (floor, y.min()), (ceil, x.max()), (ceil, y.max()))
        ]
        write_scene(tmp_path, bands=["B04"], origin=(10 * round(x.mean() / 10), 10 * round(y.mean() / 10)))
        text = f"{left},{right},{bottom},{top} [{crs}]"
        series, _ = stack_here(tmp_path, tmp_path / "stack.tif", bands=["B04"], extent=text)
        assert list(series.grid.bounds) == covered

    def test_of_the_whole_world_is_refused(self, noise: tuple[Path, NDArray[Any]], tmp_path: Path) -> None:
        job = {"scenes": [noise[0]], "bands": ["B04"], "output": tmp_path / "stack.tif"}
        outcome = run_here("stackscenes", extent="-180,180,-90,90 [EPSG:4326]", **job)
        assert outcome.code in ("JobError", "NoValidObservationError")
        assert "EXTENT -180,180,-90,90 [EPSG:4326]" in outcome.last["message"]


class TestCover:
    """Two dates, of which the second lies 40 m east and 20 m south of the first."""

    def write(self, folder: Path, shift_m: int = 40) -> tuple[NDArray[Any], NDArray[Any]]:
        first, second = np.random.default_rng(1).integers(1, 9999, (2, 8, 12))
        size = {"width": 12, "height": 8, "bands": ["B04"]}
        write_scene(folder, "2018-05-04", values={"B04": first}, **size)
        origin = (ORIGIN[0] + shift_m, ORIGIN[1] - 20)
        write_scene(folder, "2018-05-14", values={"B04": second}, origin=origin, **size)
        return first, second

    @pytest.mark.parametrize("parameters", [{}, {"cover": "union"}])
    def test_the_union_is_the_default(self, tmp_path: Path, parameters: dict[str, str]) -> None:
        values = self.write(tmp_path)
        series, _ = stack_here(tmp_path, tmp_path / "stack.tif", bands=["B04"], **parameters)
        assert (series.grid.height, series.grid.width) == (10, 16)
        assert series.grid.transform == from_origin(*ORIGIN, 10, 10)
        for time, (row, col) in enumerate([(0, 0), (2, 4)]):
            expected = np.full((10, 16), NODATA)
            expected[row : row + 8, col : col + 12] = values[time]
            np.testing.assert_array_equal(band_of(series, "B04", time), expected)
        np.testing.assert_array_equal(whole(series)[1], whole(series)[0][:, 0] != NODATA)

    def test_the_intersection(self, tmp_path: Path) -> None:
        first, second = self.write(tmp_path)
        series, _ = stack_here(tmp_path, tmp_path / "stack.tif", bands=["B04"], cover="intersection")
        assert series.grid.transform == from_origin(ORIGIN[0] + 40, ORIGIN[1] - 20, 10, 10)
        np.testing.assert_array_equal(band_of(series, "B04", 0), first[2:, 4:])
        np.testing.assert_array_equal(band_of(series, "B04", 1), second[:6, :8])

    def test_where_there_is_no_intersection_two_scenes_are_named(self, tmp_path: Path) -> None:
        self.write(tmp_path, shift_m=400)
        job = {"scenes": [tmp_path], "bands": ["B04"], "output": tmp_path / "stack.tif"}
        outcome = run_here("stackscenes", cover="intersection", **job)
        assert outcome.code in ("GridMismatchError", "NoValidObservationError", "SceneError")
        assert all(day in outcome.last["message"] for day in ("20180504T105029", "20180514T105029"))
        assert "COVER" in outcome.last["remedy"]

    def test_scenes_beside_the_area_are_left_out_and_told(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        series, outcome = stack_here(tmp_path, tmp_path / "stack.tif", bands=["B04"], extent=extent(125, 45, 155, 95))
        assert [str(day) for day in series.dates] == ["2018-05-14"]
        assert outcome.outputs["dates"] == ["2018-05-14"]
        assert "2018-05-04" in outcome.texts("log") + outcome.texts("warning")

    def test_where_no_scene_touches_the_area_both_places_are_told(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        job = {"scenes": [tmp_path], "bands": ["B04"], "output": tmp_path / "stack.tif"}
        outcome = run_here("stackscenes", extent=extent(9000, 45, 9100, 95), **job)
        assert outcome.code in ("NoValidObservationError", "SceneError")
        said = outcome.last["message"] + outcome.last["remedy"]
        assert "EXTENT" in said
        assert all(place in said for place in ("510360", "501360")), said


class TestTemplate:
    @pytest.mark.parametrize(("crs", "pixel_m"), [(CRS, 20), ("EPSG:32632", 10), ("EPSG:3035", 60)])
    def test_its_grid_is_taken_exactly(self, tmp_path: Path, crs: str, pixel_m: int) -> None:
        write_scene(tmp_path, width=60, height=60, bands=["B04"], origin=NEAR_ZONE_32)
        x, y = Transformer.from_crs(CRS, crs, always_xy=True).transform(NEAR_ZONE_32[0] + 300, NEAR_ZONE_32[1] - 300)
        transform = from_origin(x + 0.25, y + 0.125, pixel_m, pixel_m)
        template = write_template(tmp_path / "grid.tif", transform, 7, 5, crs)
        series, _ = stack_here(tmp_path, tmp_path / "stack.tif", bands=["B04"], template=template)
        assert (series.grid.transform, series.grid.width, series.grid.height) == (transform, 7, 5)
        assert rasterio.CRS.from_string(series.grid.crs) == rasterio.CRS.from_string(crs)
        assert (band_of(series, "B04")[0, 0], band_of(series, "B04").size) == (300, 35)

    @pytest.mark.parametrize(
        ("transform", "crs"),
        [
            (from_origin(*ORIGIN, 15, 15), CRS),
            (from_origin(*ORIGIN, 10, 20), CRS),
            (Affine.translation(*ORIGIN) @ Affine.rotation(5) @ Affine.scale(10, -10), CRS),
            (Affine(10, 0, ORIGIN[0], 0, 10, ORIGIN[1]), CRS),
            (from_origin(3, 50.8, 10, 10), "EPSG:4326"),
            (from_origin(*ORIGIN, 10, 10), None),
        ],
        ids=["15 m", "oblong", "rotated", "south-up", "degrees", "no CRS"],
    )
    def test_grids_that_no_series_has_are_refused(self, tmp_path: Path, transform: Affine, crs: str | None) -> None:
        write_scene(tmp_path / "scenes", bands=["B04"])
        template = write_template(tmp_path / "grid.tif", transform, crs=crs)
        outcome = run_here(
            "stackscenes", scenes=[tmp_path / "scenes"], output=tmp_path / "stack.tif", bands=["B04"], template=template
        )
        assert outcome.code in ("GridMismatchError", "JobError")
        assert "grid.tif" in outcome.last["message"]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"area": "/somewhere/area.gpkg", "extent": extent(0, 0, 50, 50)}, "AREA.*EXTENT"),
        ({"extent": extent(0, 0, 50, 50), "template": "/somewhere/grid.tif"}, "EXTENT.*TEMPLATE"),
        ({"crs": CRS, "template": "/somewhere/grid.tif"}, "CRS.*TEMPLATE|TEMPLATE.*CRS"),
        ({"cover": "both"}, "COVER.*both"),
        ({"resampling": "lanczos"}, "RESAMPLING.*lanczos"),
        ({"missing_scl": "ignore"}, "MISSING_SCL.*ignore"),
        ({"crs": "EPSG:4326"}, "CRS.*EPSG:4326"),
        ({"crs": "EPSG:2263"}, "CRS.*EPSG:2263"),  # feet
        ({"crs": "UTM 31"}, "CRS.*UTM 31"),
        ({"crs": "EPSG:999999"}, "CRS.*EPSG:999999"),
        ({"crs": "EPSG:2154x"}, "CRS.*EPSG:2154x"),
        *[
            ({"extent": text}, r"EXTENT.*\[EPSG:\d+\]")
            for text in (
                "1,2,3 [EPSG:4326]",
                "a,b,c,d [EPSG:4326]",
                "3,2,50,51 [EPSG:4326]",
                "2,3,50,51",
                "2,3,50,51 [EPSG:999999]",
                "2,nan,50,51 [EPSG:4326]",
                "2,inf,50,51 [EPSG:4326]",
                "2,2,50,51 [EPSG:4326]",
            )
        ],
    ],
)
@pytest.mark.parametrize("command", ["stackscenes", "mapcrops"])
def test_what_cannot_be_meant_is_refused(
    tmp_path: Path, hybrid_bundle: Bundle, command: str, parameters: dict[str, str], said: str
) -> None:
    write_scene(tmp_path)
    job: dict[str, Any] = {"output": tmp_path / "stack.tif", "bands": ["B04"]}
    if command == "mapcrops":
        job = {"output_classes": tmp_path / "map.tif", "model": hybrid_bundle.folder}
    outcome = run_unchecked(command, scenes=[tmp_path], **job, **parameters)
    assert outcome.code == "JobError", outcome.last
    assert outcome.last["remedy"]
    assert re.search(said, outcome.last["message"] + " " + outcome.last["remedy"]), outcome.last


class TestMaps:
    """The map in one pass is that of the chain, on any grid."""

    @pytest.mark.parametrize(
        "parameters",
        [
            {"extent": extent(60, 40, 260, 200)},
            {"extent": extent(60, 40, 260, 200), "crs": "EPSG:32632", "resampling": "bilinear"},
        ],
    )
    def test_the_chain_gives_the_same(
        self, season: Path, hybrid_bundle: Bundle, tmp_path: Path, parameters: dict[str, str]
    ) -> None:
        maps = map_in_one_pass(season, hybrid_bundle, tmp_path, **parameters)
        stack, months, full = (tmp_path / f"{name}.tif" for name in ("stack", "months", "filled"))
        dates = {"start_date": START, "end_date": END}
        bands = hybrid_bundle.reflectance_bands
        series, _ = stack_here(season, stack, bands=bands, offset="auto", **dates, **parameters)
        run_here("compositetimeseries", series=stack, output=months, **dates)
        run_here("fillgaps", series=months, output=full)
        np.testing.assert_array_equal(classify(full, hybrid_bundle, tmp_path), maps)
        with rasterio.open(tmp_path / "classes.tif") as dataset:
            assert Grid.of(dataset) == series.grid
        assert len(np.unique(maps[0])) > 1
        if "crs" not in parameters:
            assert maps[0].shape == (16, 20)
            assert series.grid.transform == from_origin(ORIGIN[0] + 60, ORIGIN[1] - 40, 10, 10)
        assert unfinished_files(tmp_path) == []


class TestRealScenes:
    """Flanders, May and June 2018."""

    def stack(self, flanders: Path, folder: Path, **parameters: Any) -> Series:
        dates = {"start_date": "2018-05-01", "end_date": "2018-06-30"}
        output = folder / f"{'_'.join(parameters) or 'everything'}.tif"
        return stack_here(flanders / "scenes", output, bands=["B04", "B11"], **dates, **parameters)[0]

    def test_an_extent_is_the_crop_of_the_whole(self, flanders: Path, tmp_path: Path) -> None:
        everything, valid = whole(self.stack(flanders, tmp_path))
        crop = self.stack(flanders, tmp_path, extent=extent(205, 195, 435, 425))
        np.testing.assert_array_equal(whole(crop)[0], everything[:, :, 19:43, 20:44])
        assert valid.any()

    @pytest.mark.parametrize("resampling", ["nearest", "cubic"])
    def test_in_another_crs_they_look_as_gdal_warps_them(self, flanders: Path, tmp_path: Path, resampling: str) -> None:
        series = self.stack(flanders, tmp_path, crs="EPSG:3035", resampling=resampling)
        for time, day in enumerate(series.dates):
            scene = next((flanders / "scenes").glob(f"{day:%Y%m%d}T*"))
            for band in ("B04", "B11"):
                expected = TestAgainstGdal().by_gdal(scene, band, series.grid, Resampling[resampling])
                made = band_of(series, band, time)
                both = (made != NODATA) & (expected > 0)
                assert both.sum() > 0.97 * 64 * 64
                assert np.corrcoef(made[both], expected[both])[0, 1] > 0.999
