"""What a class raster says about parcels: shares of pixels, worked out by hand on 4 x 4 pixels."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import shapely
from shapely.geometry import LineString, MultiPolygon, Point, Polygon
from shapely.geometry.base import BaseGeometry

from cropmap_core.classes import CLASSES_TAG
from cropmap_core.errors import GridMismatchError, OutputError, ParcelError, SeriesError
from cropmap_core.parcels import (
    Maps,
    describe_parcels,
    grid_of_file,
    legend_of_file,
    place_parcels,
    write_records,
)
from tests.core.parcel_cases import class_raster, layer, on_pixels, pixel_box, raster, rows_of
from tests.factories import CRS, ORIGIN

CLASSES = [
    [1, 1, 2, 2],
    [1, 1, 2, 2],
    [0, 3, 3, 2],
    [3, 3, 3, 2],
]
PERCENT = [
    [80, 60, 90, 90],
    [80, 60, 90, 90],
    [255, 50, 50, 70],
    [50, 50, 50, 70],
]


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("maps")
    classes = class_raster(folder / "classes.tif", CLASSES)
    return classes, raster(folder / "confidence.tif", PERCENT, 255)


def on_maps(parcels: Path, classes: Path, confidence: Path | None) -> tuple[list[SimpleNamespace], list[str]]:
    placed = place_parcels(parcels, grid_of_file(classes))
    return rows_of(describe_parcels(placed, Maps(classes, confidence))), list(placed.warnings)


def describe(
    maps: tuple[Path, Path], tmp_path: Path, *shapes: BaseGeometry | None, crs: str = CRS, confidence: bool = True
) -> tuple[list[SimpleNamespace], list[str]]:
    parcels = layer(tmp_path / "parcels.gpkg", shapes, crs)
    return on_maps(parcels, maps[0], maps[1] if confidence else None)


def only(described: tuple[list[SimpleNamespace], list[str]]) -> tuple[int | None, str | None, float | None, float]:
    ((record,), _) = described
    return record.pred_code, record.pred_crop, record.pred_prob, record.n_pixels


@pytest.mark.parametrize(
    ("shape", "record"),
    [
        (pixel_box(0, 0, 2, 2), (1, "Maize", 0.7, 4.0)),
        (pixel_box(1.5, 0, 3, 1), (2, "Grass", 0.6, 1.5)),  # half a pixel of maize, one of grass: 0.9 / 1.5
        (pixel_box(1, 0, 2.25, 1), (1, "Maize", 0.48, 1.25)),  # 0.6 / 1.25
        (pixel_box(0.2, 0.4, 0.7, 0.8), (1, "Maize", 0.8, 0.2)),  # within one pixel
        (pixel_box(0, 2, 2, 3), (3, "Potatoes", 0.5, 1.0)),  # beside it a pixel that was never observed
        (pixel_box(-1, -1, 1, 1), (1, "Maize", 0.8, 1.0)),  # the rest lies beyond the raster
        (pixel_box(1, 0, 3, 2), (2, "Grass", 0.45, 4.0)),  # two pixels each: the surer one, 1.8 / 4
        (on_pixels((0, 0), (2, 0), (0, 2)), (1, "Maize", 0.75, 2.0)),  # (0.8 + 0.6 / 2 + 0.8 / 2) / 2
        (MultiPolygon([pixel_box(0, 0, 1, 1), pixel_box(2, 2, 3, 4)]), (3, "Potatoes", 0.3333, 3.0)),
        (pixel_box(0, 0, 4, 4) - pixel_box(0, 0, 2, 2), (2, "Grass", 0.4545, 11.0)),
    ],
)
def test_the_class_that_covers_most(
    maps: tuple[Path, Path], tmp_path: Path, shape: BaseGeometry, record: tuple[int, str, float, float]
) -> None:
    assert only(describe(maps, tmp_path, shape)) == record


def test_a_parcel_without_an_observed_pixel_has_no_class(maps: tuple[Path, Path], tmp_path: Path) -> None:
    assert only(describe(maps, tmp_path, pixel_box(0, 2, 1, 3))) == (None, None, None, 0)


def test_without_confidence_the_share_speaks_for_the_class(maps: tuple[Path, Path], tmp_path: Path) -> None:
    assert only(describe(maps, tmp_path, pixel_box(1.5, 0, 3, 1), confidence=False)) == (2, "Grass", 0.6667, 1.5)


def test_of_equal_shares_without_confidence_the_lower_value_is_taken(maps: tuple[Path, Path], tmp_path: Path) -> None:
    assert only(describe(maps, tmp_path, pixel_box(1, 0, 3, 2), confidence=False)) == (1, "Maize", 0.5, 4)


def test_the_larger_class_wins_though_the_smaller_is_surer(tmp_path: Path) -> None:
    classes = raster(tmp_path / "classes.tif", [[1, 1, 2]], 0)
    confidence = raster(tmp_path / "confidence.tif", [[30, 30, 100]], 255)
    ((record,), _) = on_maps(layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 3, 1)]), classes, confidence)
    assert (record.pred_code, record.pred_prob) == (1, 0.2)


def test_pred_prob_is_a_lower_bound_of_the_mean_probability(tmp_path: Path) -> None:
    """Where another class won, the class's own probability is anything from 0 to the winner's: it counts as 0."""
    classes = raster(tmp_path / "classes.tif", [[1, 1, 1, 2]], 0)
    confidence = raster(tmp_path / "confidence.tif", [[90, 70, 80, 55]], 255)
    ((record,), _) = on_maps(layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 4, 1)]), classes, confidence)
    assert record.pred_prob == pytest.approx((0.9 + 0.7 + 0.8 + 0) / 4)


@pytest.mark.parametrize("crs", ["EPSG:31370", "EPSG:4326", "EPSG:3035"])
def test_parcels_in_another_crs_lie_where_they_lie(maps: tuple[Path, Path], tmp_path: Path, crs: str) -> None:
    code, crop, probability, pixels = only(describe(maps, tmp_path, pixel_box(0.1, 0.1, 1.9, 1.9), crs=crs))
    assert (code, crop) == (1, "Maize")
    assert probability == pytest.approx(0.7, abs=0.01)
    assert pixels == pytest.approx(1.8 * 1.8, abs=0.02)


def test_a_polygon_that_crosses_itself_is_repaired_for_counting(maps: tuple[Path, Path], tmp_path: Path) -> None:
    """Two triangles of one pixel's area each, tip to tip."""
    bow_tie = on_pixels((0, 0), (2, 2), (2, 0), (0, 2))
    assert not bow_tie.is_valid
    (record,), warnings = describe(maps, tmp_path, bow_tie)
    assert (record.pred_code, record.pred_prob, record.n_pixels) == (1, 0.7, 2)
    assert warnings == ["1 invalid geometries were repaired for counting (parcel 10)."]


def test_a_repaired_polygon_may_keep_a_loose_line(maps: tuple[Path, Path], tmp_path: Path) -> None:
    spiked = on_pixels((0, 0), (2, 0), (3.5, 0), (2, 0), (2, 2), (0, 2))
    assert shapely.make_valid(spiked).geom_type == "GeometryCollection"
    assert only(describe(maps, tmp_path, spiked)) == (1, "Maize", 0.7, 4)


@pytest.mark.parametrize("shape", [None, Polygon(), on_pixels((0, 0), (1, 1), (0, 0))])
def test_a_parcel_without_an_area_stays_without_a_class(
    maps: tuple[Path, Path], tmp_path: Path, shape: BaseGeometry | None
) -> None:
    (first, second), warnings = describe(maps, tmp_path, shape, pixel_box(0, 0, 1, 1))
    assert (first.parcel, first.pred_code, first.pred_prob, first.n_pixels, first.area_ha) == (10, None, None, 0, None)
    assert second.pred_code == 1
    assert warnings[-1] == "1 parcels without a usable area stay without a class."


def test_a_parcel_outside_stays_without_a_class_and_is_told(maps: tuple[Path, Path], tmp_path: Path) -> None:
    (outside, inside), warnings = describe(maps, tmp_path, pixel_box(9, 9, 12, 12), pixel_box(0, 0, 1, 1))
    assert (outside.parcel, outside.pred_code, outside.pred_prob, outside.n_pixels) == (10, None, None, 0)
    assert outside.area_ha == pytest.approx(0.09, rel=1e-3)
    assert inside.pred_code == 1
    assert warnings == ["1 of 2 parcels lie outside the raster; they stay without a class."]


def test_records_come_in_the_order_of_the_parcels(maps: tuple[Path, Path], tmp_path: Path) -> None:
    shapes = [pixel_box(2, 0, 3, 1), None, pixel_box(0, 0, 1, 1), pixel_box(1, 3, 2, 4)]
    parcels = layer(tmp_path / "parcels.gpkg", shapes, parcel=[7, 2, 5, 3])
    records, _ = on_maps(parcels, *maps)
    assert [(record.parcel, record.pred_code) for record in records] == [(7, 2), (2, None), (5, 1), (3, 3)]


def test_overlapping_parcels_each_count_for_themselves(maps: tuple[Path, Path], tmp_path: Path) -> None:
    (one, other), _ = describe(maps, tmp_path, pixel_box(0, 0, 2, 2), pixel_box(0, 0, 2, 2))
    assert one.n_pixels == other.n_pixels == 4


def test_more_parcels_than_are_read_at_once(
    maps: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cropmap_core.parcels.placing._AT_ONCE", 3)
    cells = [pixel_box(col, row, col + 1, row + 1) for row in range(4) for col in range(4)]
    records, _ = describe(maps, tmp_path, *cells)
    assert [record.pred_code or 0 for record in records] == np.ravel(CLASSES).tolist()


def test_a_class_that_the_legend_does_not_name_is_known_by_its_value(tmp_path: Path) -> None:
    classes = raster(tmp_path / "classes.tif", [[5]], 0)
    ((record,), _) = on_maps(layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 1, 1)]), classes, None)
    assert (record.pred_code, record.pred_crop) == (5, "5")


UNLIKE = [
    [1, 0, 0, 0],
    [0, 0, 1, 1],
    [255, 0, 1, 1],
    [0, 0, 0, 0],
]


@pytest.mark.parametrize(
    ("shape", "share"),
    [
        (pixel_box(0, 0, 2, 2), 0.25),
        (pixel_box(0.5, 0, 2, 1), 0.3333),  # half a pixel that is, one that is not
        (pixel_box(0, 2, 2, 3), 0.0),  # beside it a pixel that was never observed
        (pixel_box(2, 1, 4, 3), 1.0),
        (pixel_box(0, 2, 1, 3), None),  # never observed
    ],
)
def test_share_of_pixels_unlike_training(
    maps: tuple[Path, Path], tmp_path: Path, shape: BaseGeometry, share: float | None
) -> None:
    unlike = raster(tmp_path / "ood.tif", UNLIKE, 255)
    placed = place_parcels(layer(tmp_path / "parcels.gpkg", [shape]), grid_of_file(maps[0]))
    (record,) = rows_of(describe_parcels(placed, Maps(maps[0], maps[1], unlike)))
    assert record.ood == share
    (without,) = rows_of(describe_parcels(placed, Maps(*maps)))
    assert without.ood is None


def test_share_is_unknown_where_the_model_has_no_test(maps: tuple[Path, Path], tmp_path: Path) -> None:
    unknown = raster(tmp_path / "ood.tif", np.full((4, 4), 255), 255)
    placed = place_parcels(layer(tmp_path / "parcels.gpkg", [pixel_box(0, 0, 2, 2)]), grid_of_file(maps[0]))
    (record,) = rows_of(describe_parcels(placed, Maps(maps[0], None, unknown)))
    assert (record.pred_code, record.ood) == (1, None)


def test_records_as_csv(maps: tuple[Path, Path], tmp_path: Path) -> None:
    placed = place_parcels(layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 1, 1), None]), grid_of_file(maps[0]))
    write_records(describe_parcels(placed, Maps(*maps)), tmp_path / "parcels.csv")
    head, first, second = (tmp_path / "parcels.csv").read_text(encoding="utf-8").splitlines()
    assert head.split(",")[:7] == [
        "parcel",
        "pred_code",
        "pred_crop",
        "pred_prob",
        "pred2_code",
        "pred2_crop",
        "pred2_prob",
    ]
    assert first.startswith("10,1,Maize,0.8,,,,0.8,,1.0,1.0,1.0,0.01")
    assert second == "11,,,,,,,,,,0.0,0.0,,,,,,,,,1,NOT_COVERED"


class TestRefusals:
    def test_parcels_that_all_lie_elsewhere(self, maps: tuple[Path, Path], tmp_path: Path) -> None:
        with pytest.raises(ParcelError, match="No parcel lies on the raster.*501560 .* 501360 "):
            describe(maps, tmp_path, pixel_box(20, 20, 22, 22))

    @pytest.mark.parametrize("shape", [Point(ORIGIN), LineString([ORIGIN, (ORIGIN[0] + 30, ORIGIN[1])])])
    def test_points_and_lines(self, maps: tuple[Path, Path], tmp_path: Path, shape: BaseGeometry) -> None:
        with pytest.raises(ParcelError, match="No parcel has an area. Give a layer of polygons"):
            describe(maps, tmp_path, shape)

    def test_no_parcels(self, maps: tuple[Path, Path], tmp_path: Path) -> None:
        with pytest.raises(ParcelError, match="has no features"):
            describe(maps, tmp_path)

    @pytest.mark.filterwarnings("ignore:.crs. was not provided")
    def test_a_layer_without_crs(self, maps: tuple[Path, Path], tmp_path: Path) -> None:
        with pytest.raises(ParcelError, match="no coordinate reference system"):
            on_maps(layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 1, 1)], crs=None), *maps)

    def test_a_layer_without_numbers(self, maps: tuple[Path, Path], tmp_path: Path) -> None:
        parcels = layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 1, 1)], field_id=[1])
        with pytest.raises(ParcelError, match=r"p.gpkg has no field `parcel`"):
            on_maps(parcels, *maps)

    @pytest.mark.parametrize("numbers", [[1, 1], ["a", "b"], [1.5, 2.5], [1, None]])
    def test_numbers_that_are_none_of_a_parcels_own(
        self, maps: tuple[Path, Path], tmp_path: Path, numbers: list[Any]
    ) -> None:
        parcels = layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 1, 1)] * 2, parcel=numbers)
        with pytest.raises(ParcelError, match=r"`parcel` of .*p.gpkg"):
            on_maps(parcels, *maps)

    def test_a_table_without_geometry(self, maps: tuple[Path, Path], tmp_path: Path) -> None:
        pd.DataFrame({"parcel": [1]}).to_csv(tmp_path / "p.csv", index=False)
        with pytest.raises(ParcelError, match="p.csv has no geometries"):
            on_maps(tmp_path / "p.csv", *maps)

    @pytest.mark.parametrize("content", [None, b"", b"no layer"])
    def test_a_file_that_is_no_layer(self, maps: tuple[Path, Path], tmp_path: Path, content: bytes | None) -> None:
        if content is not None:
            (tmp_path / "p.gpkg").write_bytes(content)
        with pytest.raises(ParcelError, match="p.gpkg cannot be read"):
            on_maps(tmp_path / "p.gpkg", *maps)

    def test_rasters_of_two_runs(self, maps: tuple[Path, Path], tmp_path: Path) -> None:
        smaller = raster(tmp_path / "confidence.tif", [[50]], 255)
        with pytest.raises(GridMismatchError, match="confidence.tif has another grid than .*classes.tif"):
            on_maps(layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 1, 1)]), maps[0], smaller)

    def test_a_class_raster_that_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(SeriesError, match="classes.tif cannot be read"):
            on_maps(layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 1, 1)]), tmp_path / "classes.tif", None)

    @pytest.mark.parametrize("legend", ["[", '{"value": 1}', '[{"value": 1}]', "[1]", "3"])
    def test_a_legend_that_is_damaged(self, tmp_path: Path, legend: str) -> None:
        classes = raster(tmp_path / "classes.tif", CLASSES, 0, **{CLASSES_TAG: legend})
        with pytest.raises(SeriesError, match="classes.tif has a damaged legend"):
            legend_of_file(classes)

    def test_a_table_that_cannot_be_written(self, maps: tuple[Path, Path], tmp_path: Path) -> None:
        placed = place_parcels(layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 1, 1)]), grid_of_file(maps[0]))
        records = describe_parcels(placed, Maps(*maps))
        with pytest.raises(OutputError, match="parcels.csv cannot be written"):
            write_records(records, tmp_path / "nowhere" / "parcels.csv")
