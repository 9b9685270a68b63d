"""Care for maps: probabilities smoothed, small regions merged, and masks."""

from __future__ import annotations

import math
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from scipy.ndimage import label

from cropmap_core.classes import CropClass
from cropmap_core.errors import CropMapError, GridMismatchError, JobError, ParcelError
from cropmap_core.hierarchy import hierarchy_of
from cropmap_core.inference.map_care import Care, halo, probability_of, smooth
from cropmap_core.inference.map_masks import MapMask, open_mask
from cropmap_core.inference.sieving import sieve, smallest_region
from cropmap_core.io.grid import Grid, Window

CRS = "EPSG:32631"
GRID = Grid(CRS, Affine(10, 0, 500_000, 0, -10, 5_600_000), 20, 16)


def scene(height: int, width: int, classes: int = 3, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Probabilities that add up to 1, and where they are observed; elsewhere they are no numbers."""
    random = np.random.default_rng(seed)
    probabilities = random.random((classes, height, width), dtype=np.float32)
    observed = random.random((height, width)) > 0.2
    probabilities /= probabilities.sum(axis=0)
    probabilities[:, ~observed] = np.nan
    return probabilities, observed


class TestSmoothing:
    def test_is_the_mean_of_observed_neighbours_by_their_distance(self) -> None:
        probabilities, observed = scene(9, 11)
        sigma, reach = 1.2, 4
        assert halo(sigma) == reach
        expected = np.zeros_like(probabilities)
        for row, col in np.argwhere(observed):
            total = 0.0
            for other in range(max(0, row - reach), min(9, row + reach + 1)):
                for beside in range(max(0, col - reach), min(11, col + reach + 1)):
                    if observed[other, beside]:
                        weight = math.exp(-((other - row) ** 2 + (beside - col) ** 2) / (2 * sigma**2))
                        expected[:, row, col] += weight * probabilities[:, other, beside]
                        total += weight
            expected[:, row, col] /= total
        np.testing.assert_allclose(smooth(probabilities, observed, sigma), expected, atol=1e-6)

    def test_what_was_never_observed_gets_nothing(self) -> None:
        probabilities, observed = scene(12, 10)
        smoothed = smooth(probabilities, observed, 1.0)
        assert (smoothed[:, ~observed] == 0).all()
        np.testing.assert_allclose(smoothed.sum(axis=0)[observed], 1, atol=1e-5)

    def test_without_a_width_nothing_changes(self) -> None:
        probabilities, observed = scene(6, 7)
        assert halo(0) == 0
        assert (smooth(probabilities, observed, 0)[:, observed] == probabilities[:, observed]).all()

    @pytest.mark.parametrize("sigma", [0.4, 1.0, 2.5])
    @pytest.mark.parametrize("edge", [7, 16, 33])
    def test_blocks_with_their_halo_are_the_map_to_the_last_bit(self, sigma: float, edge: int) -> None:
        probabilities, observed = scene(61, 53, seed=1)
        whole = smooth(probabilities, observed, sigma)
        grid = Grid(CRS, GRID.transform, 53, 61)
        for window in grid.blocks(edge):
            around = window.expanded(halo(sigma)).clipped(61, 53)
            rows, cols = around.slices_within(grid.window())
            part = smooth(probabilities[:, rows, cols].copy(), observed[rows, cols].copy(), sigma)
            inside = window.slices_within(around)
            expected = whole[(slice(None), *window.slices_within(grid.window()))]
            assert part[(slice(None), *inside)].tobytes() == expected.tobytes()

    def test_less_than_its_halo_would_not_do(self) -> None:
        probabilities, observed = scene(40, 40, seed=2)
        cut = slice(10, 40)
        short = smooth(probabilities[:, cut].copy(), observed[cut].copy(), 1.0)[:, halo(1.0) - 1 :]
        assert (short != smooth(probabilities, observed, 1.0)[:, 10 + halo(1.0) - 1 :]).any()

    def test_a_lone_pixel_takes_the_class_around_it(self) -> None:
        probabilities = np.full((2, 7, 7), 0.1, np.float32)
        probabilities[0] = 0.9
        probabilities[:, 3, 3] = 0.4, 0.6
        smoothed = smooth(probabilities, np.ones((7, 7), bool), 1.0)
        assert (smoothed.argmax(axis=0) == 0).all()


def regions(classes: NDArray[np.uint8]) -> list[NDArray[np.bool_]]:
    """The pixels of every region, found by another hand."""
    found = []
    for value in np.unique(classes[classes != 0]):
        numbers, count = label(classes == value)
        found += [numbers == number for number in range(1, count + 1)]
    return found


def neighbours(classes: NDArray[np.uint8], region: NDArray[np.bool_]) -> set[int]:
    """The classes that share an edge with a region; nodata is none."""
    padded, inside = np.pad(classes, 1), np.pad(region, 1)
    around = set()
    for axis in (0, 1):
        for step in (-1, 1):
            around |= set(padded[np.roll(inside, step, axis) & ~inside].tolist())
    return around - {0}


class TestSieving:
    def test_a_small_region_takes_the_class_of_most_of_its_border(self) -> None:
        classes = np.array([[1, 1, 2, 2], [1, 3, 2, 2], [1, 1, 2, 2], [1, 1, 2, 2]], np.uint8)
        assert sieve(classes, 2).tolist() == [[1, 1, 2, 2]] * 4

    def test_the_larger_neighbour_is_taken_only_where_borders_are_equally_long(self) -> None:
        classes = np.array([[1, 1, 3, 2, 2, 2]], np.uint8)
        assert sieve(classes, 2).tolist() == [[1, 1, 2, 2, 2, 2]]
        assert sieve(classes[:, :5].copy(), 2).tolist() == [[1, 1, 1, 2, 2]]

    def test_borders_with_several_regions_of_a_class_count_together(self) -> None:
        classes = np.array([[2, 1, 2], [3, 4, 3], [3, 2, 3], [3, 3, 3]], np.uint8)
        assert sieve(classes, 2)[1].tolist() == [3, 3, 3]

    def test_what_grew_together_counts_as_one(self) -> None:
        """Speckle of regions that are all too small: GDAL leaves it as it is."""
        classes = np.random.default_rng(0).integers(1, 5, (30, 30)).astype(np.uint8)
        sieved = sieve(classes, 12)
        assert min(region.sum() for region in regions(sieved)) >= 12

    def test_nodata_never_changes_and_islands_in_it_stay(self) -> None:
        classes = np.array([[0, 0, 0, 2], [0, 1, 0, 2], [0, 0, 0, 2], [3, 0, 2, 2]], np.uint8)
        assert sieve(classes, 3).tolist() == classes.tolist()

    def test_pixels_that_meet_at_a_corner_are_two_regions(self) -> None:
        classes = np.array([[2, 1, 1], [1, 2, 1], [1, 1, 1]], np.uint8)
        assert (sieve(classes, 2) == 1).all()

    def test_large_values_and_another_nodata(self) -> None:
        classes = np.array([[700, 700, 5], [700, 9, 700], [65535, 700, 700]], np.uint16)
        assert sieve(classes, 2, nodata=65535).tolist() == [[700] * 3, [700] * 3, [65535, 700, 700]]

    @pytest.mark.parametrize("smallest", [0, 1])
    def test_a_pixel_is_large_enough(self, smallest: int) -> None:
        classes = np.random.default_rng(0).integers(0, 5, (9, 9)).astype(np.uint8)
        assert (sieve(classes, smallest) == classes).all()

    def test_what_is_larger_than_the_map_is_one_class(self) -> None:
        assert (sieve(np.array([[1, 2], [2, 2]], np.uint8), 10**9) == 2).all()
        assert sieve(np.zeros((0, 4), np.uint8), 5).shape == (0, 4)

    @given(
        arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 3)),
        st.integers(2, 9),
    )
    def test_nothing_that_has_a_neighbour_is_too_small(self, classes: NDArray[np.uint8], smallest: int) -> None:
        sieved = sieve(classes, smallest)
        assert ((sieved == 0) == (classes == 0)).all()
        assert (sieve(classes, smallest) == sieved).all()
        assert (sieve(sieved, smallest) == sieved).all()
        for region in regions(sieved):
            assert region.sum() >= smallest or not neighbours(sieved, region)
        for region in regions(classes):  # what is large enough loses nothing
            assert region.sum() < smallest or len(np.unique(sieved[region])) == 1
            assert region.sum() < smallest or (sieved[region] == classes[region]).all()

    def test_hectares_in_pixels(self) -> None:
        assert [smallest_region(area, 10) for area in (0, 0.05, 0.051, 0.3, 1)] == [0, 5, 6, 30, 100]
        assert smallest_region(1, 20) == 25


def test_a_pixel_is_as_sure_as_its_class_of_now_is_probable() -> None:
    probabilities = np.array([[[200, 10]], [[40, 40]], [[10, 200]]], np.uint8)
    meanings = {1: [[0]], 2: [[1]], 5: [[2]], 9: [[1, 2]], 10: [[0], [1, 2]]}
    for classes, expected in (([2, 9], [40, 240]), ([0, 5], [0, 200]), ([10, 10], [200, 240])):
        assert probability_of(np.array([classes], np.uint8), probabilities, meanings).tolist() == [expected]


def test_groups_mean_their_crops_and_undecided_any_of_the_coarsest() -> None:
    crops = [("Wheat", ("cereals", "arable")), ("Maize", ("cereals", "arable")), ("Grass", ("grass", "green"))]
    classes = [CropClass(value, name, "#111111", parents=parents) for value, (name, parents) in enumerate(crops, 1)]
    hierarchy = hierarchy_of(classes)
    assert [stop.value for stop in hierarchy.stops()] == [4, 5]
    assert hierarchy.meanings() == {1: ((0,),), 2: ((1,),), 3: ((2,),), 4: ((0, 1),), 5: ((0, 1), (2,))}
    random = np.random.default_rng(0).dirichlet([0.4] * 3, 200).T.astype(np.float32)
    values, sure = hierarchy.decide(random, 0.8)
    np.testing.assert_allclose(probability_of(values, random, hierarchy.meanings()), sure, atol=1e-6)


@pytest.mark.parametrize("wrong", [{"smoothing": -1}, {"smoothing": 21}, {"minimum_area_ha": -0.1}])
def test_care_of_no_size_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(JobError, match="Give 0 for none"):
        Care(**wrong)


def mask_raster(path: Path, values: NDArray[np.generic], grid: Grid = GRID, nodata: float | None = None) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", dtype=values.dtype, count=1, nodata=nodata, width=values.shape[1],
        height=values.shape[0], crs=grid.crs or None, transform=grid.transform,
    ) as dataset:  # fmt: skip
        dataset.write(values, 1)
    return path


def polygons(path: Path, *shapes: shapely.Geometry, crs: str | None = CRS, to: str | None = None) -> Path:
    layer = geopandas.GeoDataFrame(geometry=list(shapes), crs=crs)
    (layer.to_crs(to) if to else layer).to_file(path)
    return path


def pixels(row: float, col: float, height: float, width: float) -> shapely.Polygon:
    """A rectangle in pixels of the grid."""
    left, top = 500_000 + 10 * col, 5_600_000 - 10 * row
    return shapely.box(left, top - 10 * height, left + 10 * width, top)


def shown(mask: MapMask) -> NDArray[np.bool_]:
    return mask.read(GRID.window())


class TestMasks:
    def test_values_above_0_of_a_raster_count(self, tmp_path: Path) -> None:
        values = np.zeros((16, 20), np.int16)
        values[3, 4:9] = 1, -5, 300, 99, 0
        mask = open_mask(mask_raster(tmp_path / "mask.tif", values, nodata=99), GRID)
        assert np.argwhere(shown(mask)).tolist() == [[3, 4], [3, 6]]
        assert mask.pixels == 2

    def test_a_raster_of_another_grid_gives_each_pixel_its_nearest(self, tmp_path: Path) -> None:
        coarse = Grid(CRS, Affine(30, 0, 500_000, 0, -30, 5_600_000), 3, 3)
        values = np.array([[0, 0, 0], [0, 7, 0], [0, 0, 0]], np.uint8)
        mask = open_mask(mask_raster(tmp_path / "mask.tif", values, coarse), GRID)
        expected = np.zeros((16, 20), bool)
        expected[3:6, 3:6] = True
        assert (shown(mask) == expected).all()

    def test_a_raster_in_degrees(self, tmp_path: Path) -> None:
        """Nodata around what counts must not come to count when the raster is turned."""
        left, _, right, top = rasterio.warp.transform_bounds(CRS, 4326, *GRID.bounds)
        size = (right - left) / 10
        degrees = Grid("EPSG:4326", Affine(size, 0, left + 3 * size, 0, -size, top), 4, 3)
        mask = open_mask(mask_raster(tmp_path / "mask.tif", np.full((3, 4), 5, np.uint8), degrees, 255), GRID)
        cols = np.flatnonzero(shown(mask).any(axis=0))
        assert (cols[0], cols[-1]) == (6, 13)
        rows = np.flatnonzero(shown(mask).any(axis=1))
        assert (rows[0], rows[-1]) == (0, 8)  # a degree of latitude is longer than one of longitude

    @pytest.mark.parametrize("to", [None, "EPSG:4326", "EPSG:31370"])
    def test_polygons_in_any_crs(self, tmp_path: Path, to: str | None) -> None:
        path = polygons(tmp_path / "fields.gpkg", pixels(2.1, 3.1, 3.8, 4.8), pixels(12.4, 17.4, 9, 9), to=to)
        touched, inside = (shown(open_mask(path, GRID, all_touched)) for all_touched in (True, False))
        expected = np.zeros((16, 20), bool)
        expected[2:6, 3:8] = expected[12:, 17:] = True
        assert (touched == expected).all()
        assert (inside == expected).all()

    def test_pixels_that_a_polygon_touches_or_whose_middle_it_holds(self, tmp_path: Path) -> None:
        path = polygons(tmp_path / "fields.gpkg", pixels(2.6, 3.6, 2.2, 2.8))
        touched, inside = (open_mask(path, GRID, all_touched).pixels for all_touched in (True, False))
        assert (touched, inside) == (3 * 4, 2 * 2)

    def test_any_window_may_be_read(self, tmp_path: Path) -> None:
        values = (np.random.default_rng(0).random((16, 20)) > 0.9).astype(np.uint8)
        mask = open_mask(mask_raster(tmp_path / "mask.tif", values), GRID)
        padded = np.pad(values, 30).astype(bool)
        for window in (Window(0, 0, 16, 20), Window(3, 5, 4, 9), Window(-6, -3, 40, 17), Window(15, 19, 1, 1)):
            expected = padded[30 + window.row :, 30 + window.col :][: window.height, : window.width]
            assert (mask.read(window) == expected).all()
            assert mask.touches(window) == expected.any()
        assert not mask.touches(Window(20, 0, 5, 5))
        assert not mask.read(Window(20, 0, 5, 5)).any()

    def test_a_mask_of_many_blocks(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cropmap_core.inference.map_masks._BLOCK", 8)
        path = polygons(tmp_path / "fields.gpkg", pixels(2.1, 3.1, 9.8, 14.8))
        told: list[float] = []
        mask = open_mask(path, GRID, progress=told.append)
        assert mask.pixels == 10 * 15
        assert told == [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1]

    def test_an_invalid_polygon_is_repaired(self, tmp_path: Path) -> None:
        bow = shapely.Polygon([(500_040, 5_599_960), (500_080, 5_599_920), (500_080, 5_599_960), (500_040, 5_599_920)])
        assert open_mask(polygons(tmp_path / "bow.gpkg", bow), GRID).pixels >= 8


def elsewhere(folder: Path) -> Path:
    return polygons(folder / "mask.gpkg", shapely.box(0, 0, 10, 10))


def nothing_wanted(folder: Path) -> Path:
    return mask_raster(folder / "mask.tif", np.zeros((16, 20), np.uint8))


def raster_elsewhere(folder: Path) -> Path:
    there = Grid(CRS, Affine(10, 0, 600_000, 0, -10, 5_600_000), 4, 4)
    return mask_raster(folder / "mask.tif", np.ones((4, 4), np.uint8), there)


def raster_without_crs(folder: Path) -> Path:
    return mask_raster(folder / "mask.tif", np.ones((4, 4), np.uint8), Grid("", GRID.transform, 4, 4))


def layer_without_crs(folder: Path) -> Path:
    return polygons(folder / "mask.gpkg", pixels(0, 0, 5, 5), crs=None)


def points(folder: Path) -> Path:
    return polygons(folder / "mask.gpkg", shapely.Point(500_050, 5_599_950))


def empty_layer(folder: Path) -> Path:
    path = folder / "mask.gpkg"
    geopandas.GeoDataFrame(geometry=[], crs=CRS).to_file(path, geometry_type="Polygon")
    return path


def no_mask_at_all(folder: Path) -> Path:
    (folder / "mask.txt").write_text("cropland")
    return folder / "mask.txt"


def several_bands(folder: Path) -> Path:
    path = folder / "mask.tif"
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint8", count=3, width=4, height=4, crs=CRS, transform=GRID.transform
    ):
        return path


@pytest.mark.parametrize(
    ("make", "kind", "told"),
    [
        (elsewhere, GridMismatchError, "lies on the map"),
        (raster_elsewhere, GridMismatchError, "lies on the map"),
        (nothing_wanted, GridMismatchError, "values above 0 count"),
        (raster_without_crs, GridMismatchError, "has no coordinate reference system. Give it one."),
        (layer_without_crs, ParcelError, "has no coordinate reference system"),
        (points, ParcelError, "holds no polygon with an area"),
        (empty_layer, ParcelError, "has no polygons. Give a layer of polygons"),
        (no_mask_at_all, ParcelError, "neither as a raster nor as a layer"),
        (several_bands, GridMismatchError, "has 3 bands. Give a raster of one band"),
    ],
)
def test_masks_that_are_none_are_refused_by_name(make: object, kind: type, told: str, tmp_path: Path) -> None:
    path = make(tmp_path)  # type: ignore[operator]
    with pytest.raises(CropMapError) as refused:
        open_mask(path, GRID)
    assert type(refused.value) is kind
    assert told in str(refused.value)
    assert str(path) in str(refused.value)
