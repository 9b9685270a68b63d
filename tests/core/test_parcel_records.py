"""What the fields of a parcel record hold, worked out by hand."""

from __future__ import annotations

import json
from math import log
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from affine import Affine
from exactextract import exact_extract
from exactextract.raster import RasterioRasterSource
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import MultiPolygon, Polygon, box

from cropmap_core.errors import GridMismatchError, JobError, ParcelError, SeriesError
from cropmap_core.inference.bundles import Bundle
from cropmap_core.io.grid import Grid, Window
from cropmap_core.io.outputs import create_raster
from cropmap_core.parcels import Maps, RecordOptions, describe_parcels, grid_of_file, place_parcels
from cropmap_core.parcels.coverage import covered_cells
from cropmap_core.timeseries.gaps import PROVENANCE
from tests.core.parcel_cases import (
    class_raster,
    described,
    layer,
    on_pixels,
    pixel_box,
    probability_raster,
    raster,
    rows_of,
)
from tests.core.seam import numbered_parcels, run_here
from tests.core.series_in_memory import grid

CLASSES = [
    [1, 1, 2, 2],
    [1, 1, 2, 2],
    [0, 3, 3, 2],
    [3, 3, 3, 2],
]
# Maize, grass and potatoes in percent; in the first row grass is nowhere first but on the whole.
PROBABILITIES = np.array(
    [
        [[40, 40, 10, 0], [90, 90, 0, 0], [255, 0, 0, 0], [0, 0, 0, 0]],
        [[35, 35, 80, 100], [5, 5, 100, 100], [255, 0, 0, 100], [0, 0, 0, 100]],
        [[25, 25, 10, 0], [5, 5, 0, 0], [255, 100, 100, 0], [100, 100, 100, 0]],
    ]
)

DATES = {"start_date": "2018-04-01", "end_date": "2018-08-31"}


@pytest.fixture
def maps(tmp_path: Path) -> Maps:
    return Maps(
        class_raster(tmp_path / "classes.tif", CLASSES),
        probabilities=probability_raster(tmp_path / "probabilities.tif", PROBABILITIES),
    )


class TestTheClass:
    def test_is_that_of_the_highest_mean_probability(self, maps: Maps, tmp_path: Path) -> None:
        """Two pixels of maize at 0.4 and one of grass at 0.8: maize covers more, grass is more probable."""
        parcels = layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 3, 1)])
        (record,) = described(parcels, maps)
        assert (record.pred_code, record.pred_crop, record.pred_prob) == (2, "Grass", 0.5)  # (0.35 + 0.35 + 0.8) / 3
        assert (record.pred2_code, record.pred2_crop, record.pred2_prob) == (1, "Maize", 0.3)  # (0.4 + 0.4 + 0.1) / 3
        assert record.margin == 0.2
        assert record.purity == 0.6667
        expected = -(0.5 * log(0.5) + 0.3 * log(0.3) + 0.2 * log(0.2)) / log(3)
        assert record.entropy == pytest.approx(expected, abs=1e-4)

    def test_is_that_of_most_pixels_where_majority_is_asked_for(self, maps: Maps, tmp_path: Path) -> None:
        """Its probability is then its mean probability too."""
        parcels = layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 3, 1)])
        (record,) = described(parcels, maps, options=RecordOptions("majority"))
        assert (record.pred_crop, record.pred_prob, record.pred2_crop, record.pred2_prob) == (
            "Maize",
            0.3,
            "Grass",
            0.5,
        )
        assert record.margin == -0.2

    def test_without_probabilities_has_a_runner_up_of_its_support(self, tmp_path: Path) -> None:
        classes = class_raster(tmp_path / "c.tif", [[1, 1, 1, 2]])
        confidence = raster(tmp_path / "confidence.tif", [[80, 90, 70, 60]], 255)
        (record,) = described(layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 4, 1)]), Maps(classes, confidence))
        assert (record.pred_prob, record.pred2_crop, record.pred2_prob) == (0.6, "Grass", 0.15)
        assert (record.margin, record.purity, record.entropy) == (0.45, 0.75, None)

    def test_of_one_crop_alone_has_no_runner_up(self, tmp_path: Path) -> None:
        classes = class_raster(tmp_path / "c.tif", [[2, 2]])
        (record,) = described(layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 2, 1)]), Maps(classes))
        assert (record.pred2_code, record.pred2_crop, record.pred2_prob, record.margin) == (None, None, None, 1.0)

    def test_of_a_sure_parcel_has_no_entropy_and_of_an_even_one_all(self, tmp_path: Path) -> None:
        classes = class_raster(tmp_path / "c.tif", [[1, 2]])
        probabilities = probability_raster(tmp_path / "p.tif", [[[100, 50]], [[0, 50]]], ("Maize", "Grass"))
        parcels = layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 1, 1), pixel_box(1, 0, 2, 1)])
        sure, even = described(parcels, Maps(classes, probabilities=probabilities))
        assert (sure.entropy, even.entropy) == (0.0, 1.0)
        assert even.pred_code == 2  # of equal ones that which covers more


class TestFieldsOfClasses:
    def test_are_there_when_they_are_asked_for(self, maps: Maps, tmp_path: Path) -> None:
        parcels = layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 2.5, 1), pixel_box(0, 2, 1, 3)])
        options = RecordOptions(with_probabilities=True, with_shares=True)
        seen, never = described(parcels, maps, options=options)
        assert (seen.share_maize, seen.share_grass, seen.share_potatoes) == pytest.approx((0.8, 0.2, 0.0))
        assert (seen.prob_maize, seen.prob_grass) == pytest.approx((0.34, 0.44))  # 0.4 + 0.4 + 0.1 / 2 by 2.5
        assert seen.prob_potatoes == pytest.approx((0.25 + 0.25 + 0.05) / 2.5)
        assert (never.share_maize, never.prob_maize) == (None, None)

    def test_have_names_that_every_format_takes(self, tmp_path: Path) -> None:
        names = {7: "Blé d'hiver (tendre)", 9: "Ble d hiver tendre"}
        legend = json.dumps([{"value": value, "name": name, "color": "#112233"} for value, name in names.items()])
        classes = raster(tmp_path / "c.tif", [[7, 9, 11]], 0, CROPMAP_CLASSES=legend)
        placed = place_parcels(layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 3, 1)]), grid_of_file(classes))
        records = describe_parcels(placed, Maps(classes), options=RecordOptions(with_shares=True))
        shares = {field.name: field.short for field in records.fields if field.name.startswith("share")}
        assert shares == {"share_ble_d_hiver_tendre": "s_7", "share_ble_d_hiver_tendre_9": "s_9", "share_11": "s_11"}
        assert all(len(field.short) <= 10 for field in records.fields)
        (record,) = rows_of(records)
        assert record.share_11 == pytest.approx(1 / 3, abs=1e-4)


class TestPixels:
    def test_near_the_border_do_not_decide_with_a_buffer(self, tmp_path: Path) -> None:
        """A field of 5 x 5 pixels, all borders grass: within 10 m of them 9 pixels of maize are left."""
        classes = np.full((5, 5), 2)
        classes[1:4, 1:4] = 1
        maps = Maps(class_raster(tmp_path / "c.tif", classes))
        parcels = layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 5, 5)])
        (whole,), (inner,) = described(parcels, maps), described(parcels, maps, buffer_m=10)
        assert (whole.pred_crop, whole.n_pixels, whole.inner_pixels, whole.purity) == ("Grass", 25, 25, 0.64)
        assert (inner.pred_crop, inner.n_pixels, inner.inner_pixels, inner.purity) == ("Maize", 25, 9, 1.0)

    def test_all_decide_where_the_buffer_leaves_too_few(self, tmp_path: Path) -> None:
        maps = Maps(class_raster(tmp_path / "c.tif", np.full((6, 4), 2)))
        (record,) = described(layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 2, 6)]), maps, buffer_m=10)
        assert (record.pred_crop, record.n_pixels, record.inner_pixels) == ("Grass", 12, 0)
        assert "TOO_SMALL" in record.doubt_reason

    def test_observation_is_told_of_by_fill_provenance(self, maps: Maps, tmp_path: Path) -> None:
        """Of pixels that lie in the parcel by half the extremes are taken: the third, a tenth of it, has none."""
        bands = np.full((3, 4, 4), np.nan)
        bands[:, 0, :3] = [[6, 4, 1], [0.0, 0.5, 0.9], [0, 30, 150]]
        provenance = raster(tmp_path / "provenance.tif", bands, np.nan, "float32")
        with rasterio.open(provenance, "r+") as dataset:
            dataset.descriptions = PROVENANCE
        parcels = layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 2.1, 1), pixel_box(2.6, 0, 3, 1), pixel_box(3, 0, 4, 1)])
        inside, sliver, unknown = described(parcels, maps._replace(provenance=provenance))
        assert (inside.clear_dates_min, inside.longest_gap_days) == (4, 30)
        assert inside.clear_dates_mean == round((6 + 4 + 0.1) / 2.1, 2)
        assert inside.filled_share == round((0.5 + 0.09) / 2.1, 4)
        assert (sliver.clear_dates_min, sliver.longest_gap_days) == (1, 150)
        assert (unknown.clear_dates_min, unknown.clear_dates_mean, unknown.filled_share) == (None, None, None)

    @given(st.integers(0, 2**32 - 1))
    def test_are_shared_as_exactextract_shares_them(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        shape = on_pixels(*random.uniform(-1, 9, (5, 2)).tolist()).convex_hull
        cells = covered_cells([shapely.to_wkb(shape)], grid(8, 8))
        area = shapely.area(shapely.intersection(shape, pixel_box(0, 0, 8, 8)))
        assert cells.share.sum() * 100 == pytest.approx(area, rel=1e-5, abs=1e-3)
        for pixel, share in zip(cells.pixel.tolist(), cells.share.tolist(), strict=True):
            row, col = divmod(pixel, 8)
            inside = shapely.area(shapely.intersection(shape, pixel_box(col, row, col + 1, row + 1))) / 100
            assert share == pytest.approx(inside, abs=1e-5)

    def test_of_a_window_are_counted_from_its_corner(self) -> None:
        cells = covered_cells([b"", shapely.to_wkb(pixel_box(3, 2, 4, 3.5))], grid(8, 8).cut(Window(2, 2, 4, 4)))
        assert (cells.starts.tolist(), cells.pixel.tolist(), cells.share.tolist()) == ([0, 0, 2], [1, 5], [1.0, 0.5])

    def test_means_are_those_of_exactextract(self, tmp_path: Path) -> None:
        random = np.random.default_rng(3)
        classes = class_raster(tmp_path / "c.tif", random.integers(1, 4, (40, 40)))
        percent = random.integers(0, 101, (3, 40, 40))
        probabilities = probability_raster(tmp_path / "probabilities.tif", percent)
        shapes = [
            shapely.convex_hull(
                shapely.multipoints([[(501360 + 400 * x, 5629680 - 400 * y) for x, y in random.random((6, 2))]])
            )[0]
            for _ in range(20)
        ]
        parcels = layer(tmp_path / "p.gpkg", shapes)
        records = described(
            parcels, Maps(classes, probabilities=probabilities), options=RecordOptions(with_probabilities=True)
        )
        with rasterio.open(probabilities) as file:
            sources = [RasterioRasterSource(file, band, name=f"b{band}") for band in (1, 2, 3)]
            expected = exact_extract(sources, geopandas.read_file(parcels), ["mean"], output="pandas")
        found = [(record.prob_maize, record.prob_grass, record.prob_potatoes) for record in records]
        np.testing.assert_allclose(found, expected.to_numpy(), atol=6e-5)


class TestSizes:
    @pytest.mark.parametrize("crs", ["EPSG:32631", "EPSG:31370", "EPSG:4326"])
    def test_are_those_of_the_ground(self, maps: Maps, tmp_path: Path, crs: str) -> None:
        """UTM enlarges by 0.9996 at its central meridian: 100 m on the map are 100.04 m."""
        parcels = layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 4, 4) - pixel_box(1, 1, 2, 2)], crs)
        (record,) = described(parcels, maps)
        scale = 0.9996
        assert record.area_ha == pytest.approx(0.15 / scale**2, rel=2e-5)
        assert record.perimeter_m == pytest.approx(200 / scale, rel=2e-5)
        assert record.compactness == pytest.approx(4 * np.pi * 1500 / 200**2, abs=1e-4)

    def test_of_parcels_at_the_antimeridian(self, tmp_path: Path) -> None:
        """Cut in two, going on beyond 180 degrees, or wrapped around the world: the same piece of ground."""
        at_sea = Grid("EPSG:32760", Affine(10, 0, 819_200, 0, -10, 8_118_200), 64, 64)
        with create_raster(tmp_path / "c.tif", at_sea, 1, "uint8", 0) as dataset:
            dataset.write(np.full((64, 64), 2, np.uint8), 1)
        cut = MultiPolygon([box(179.999, -17.002, 180, -17), box(-180, -17.002, -179.999, -17)])
        beyond = box(179.999, -17.002, 180.001, -17)
        wrapped = Polygon([(179.999, -17.002), (-179.999, -17.002), (-179.999, -17), (179.999, -17)])
        geopandas.GeoDataFrame({"parcel": [1, 2, 3]}, geometry=[cut, beyond, wrapped], crs=4326).to_file(
            tmp_path / "p.gpkg", driver="GPKG"
        )
        records = described(tmp_path / "p.gpkg", Maps(tmp_path / "c.tif"))
        assert [record.n_pixels for record in records] == pytest.approx([records[0].n_pixels] * 3, rel=1e-4)
        assert [record.area_ha for record in records] == pytest.approx([records[1].area_ha] * 3, rel=1e-6)
        assert records[0].n_pixels == pytest.approx(471, abs=2)  # 213 m by 221 m
        assert records[0].perimeter_m == pytest.approx(records[1].perimeter_m + 2 * 221.3, abs=1)  # its seam


class TestLargeLayers:
    def test_blocks_change_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Parcels within a block, across some, over all and beyond the raster; two on each other across a border."""
        random = np.random.default_rng(1)
        maps = Maps(
            class_raster(tmp_path / "c.tif", random.integers(0, 4, (24, 24))),
            ood=raster(tmp_path / "ood.tif", random.integers(0, 2, (24, 24)), 255),
            probabilities=probability_raster(tmp_path / "p.tif", random.integers(0, 101, (3, 24, 24))),
        )
        shapes = [
            pixel_box(0.5, 0.5, 3.2, 3.1), pixel_box(2, 2, 13.3, 9.7), pixel_box(-3, -3, 30, 30),
            on_pixels((1, 1), (22.5, 3), (9, 20.2)), pixel_box(12.3, 12.1, 17.9, 17), pixel_box(12.3, 12.1, 17.9, 17),
            MultiPolygon([pixel_box(0, 20, 1, 21), pixel_box(22, 1, 23.5, 2)]),
        ]  # fmt: skip
        parcels = layer(tmp_path / "p.gpkg", shapes)
        options = RecordOptions(with_probabilities=True, with_shares=True)
        tables = {}
        for block, cells in ((1024, 2**22), (8, 2**22), (5, 30)):
            monkeypatch.setattr("cropmap_core.parcels.describing._BLOCK", block)
            monkeypatch.setattr("cropmap_core.parcels.describing._CELLS", cells)
            for buffer_m in (0.0, 8.0):
                tables[block, buffer_m] = described(parcels, maps, buffer_m, options=options)
        for buffer_m in (0.0, 8.0):
            for block in (8, 5):
                for whole, pieced in zip(tables[1024, buffer_m], tables[block, buffer_m], strict=True):
                    assert vars(pieced) == pytest.approx(vars(whole), abs=1.1e-4)
        assert tables[1024, 0.0][5].doubt_reason.endswith("OVERLAP")

    def test_a_class_that_later_blocks_bring(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cropmap_core.parcels.describing._BLOCK", 2)
        maps = Maps(class_raster(tmp_path / "c.tif", [[3, 3, 1, 1, 1], [3, 3, 1, 1, 2]]))
        (record,) = described(layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 5, 2)]), maps)
        assert (record.pred_code, record.pred2_code, record.pred2_prob, record.purity) == (1, 3, 0.4, 0.5)

    def test_a_class_without_a_name_that_later_blocks_bring(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The first parcel, whose record is complete by then, has none of it; the last was never observed."""
        monkeypatch.setattr("cropmap_core.parcels.describing._BLOCK", 2)
        maps = Maps(class_raster(tmp_path / "c.tif", [[1, 1, 9, 0]]))
        boxes = [pixel_box(0, 0, 2, 1), pixel_box(2, 0, 3, 1), pixel_box(3, 0, 4, 1)]
        records = described(layer(tmp_path / "p.gpkg", boxes), maps, options=RecordOptions(with_shares=True))
        assert [record.share_9 for record in records] == [0.0, 1.0, None]


class TestRefusals:
    @pytest.fixture
    def parcels(self, tmp_path: Path) -> Path:
        return layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 2, 2)])

    def test_probabilities_of_another_legend(self, maps: Maps, tmp_path: Path, parcels: Path) -> None:
        other = probability_raster(tmp_path / "o.tif", PROBABILITIES, ("Maize", "Grass", "Rye"))
        with pytest.raises(SeriesError, match="not named after classes: Rye"):
            described(parcels, maps._replace(probabilities=other))

    def test_probabilities_of_another_grid(self, maps: Maps, tmp_path: Path, parcels: Path) -> None:
        other = probability_raster(tmp_path / "o.tif", PROBABILITIES[:, :3])
        with pytest.raises(GridMismatchError, match="class and probabilities rasters of one run"):
            described(parcels, maps._replace(probabilities=other))

    def test_what_is_no_fill_provenance(self, maps: Maps, tmp_path: Path, parcels: Path) -> None:
        other = raster(tmp_path / "o.tif", np.zeros((3, 4, 4)), None, "float32")
        with pytest.raises(SeriesError, match="no fill provenance"):
            described(parcels, maps._replace(provenance=other))

    @pytest.mark.parametrize("options", [RecordOptions("mean"), RecordOptions(with_probabilities=True)])
    def test_probabilities_that_are_not_there(self, maps: Maps, parcels: Path, options: RecordOptions) -> None:
        with pytest.raises(JobError, match="PROBABILITIES"):
            described(parcels, Maps(maps.classes), options=options)

    def test_a_method_that_there_is_not(self, maps: Maps, parcels: Path) -> None:
        with pytest.raises(JobError, match="METHOD is 'best'"):
            described(parcels, maps, options=RecordOptions("best"))

    def test_a_declared_field_that_is_not_there(self, maps: Maps, parcels: Path) -> None:
        with pytest.raises(ParcelError, match="no field `crop`"):
            described(parcels, maps, declared_field="crop")


def test_records_of_a_real_run_take_its_probabilities(season: Path, hybrid_bundle: Bundle, tmp_path: Path) -> None:
    """What mapcrops writes fits together: the mean probabilities of a parcel add up to 1, the greatest one wins."""
    parcels = numbered_parcels(tmp_path / "parcels.gpkg")
    maps = {name: tmp_path / f"{name}.tif" for name in ("classes", "confidence", "probabilities", "ood")}
    outputs = {f"output_{name}": path for name, path in maps.items()}
    assert run_here("mapcrops", scenes=[season], model=hybrid_bundle.folder, **DATES, **outputs).status == 0
    output = tmp_path / "records.csv"
    outcome = run_here("parcelattributes", parcels=parcels, **maps, class_probabilities=True, output=output)
    names = [field["name"] for field in outcome.outputs["fields"]]
    table = pd.read_csv(output)
    assert list(table) == ["parcel", *names]
    probabilities = table.filter(regex="^prob_")
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=0.01)  # they are stored in steps of 0.004
    np.testing.assert_allclose(probabilities.max(axis=1), table["pred_prob"])
    assert table["entropy"].between(0, 1).all()
    assert outcome.outputs["doubted"].get("NOT_COVERED", 0) == 0
