"""What was declared, against what is predicted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from shapely.geometry.base import BaseGeometry

from cropmap_core.errors import LegendError
from cropmap_core.parcels import Maps, describe_parcels, grid_of_file, place_parcels, write_summary
from cropmap_core.parcels.declared import match_declared
from tests.core.parcel_cases import class_raster, described, layer, pixel_box, probability_raster, rows_of

SHAPES: list[BaseGeometry | None] = [
    pixel_box(0, 0, 1, 1),
    pixel_box(1, 0, 2, 1),
    pixel_box(2, 0, 3, 1),
    pixel_box(3, 0, 4, 1),
    None,
]


@pytest.fixture
def maps(tmp_path: Path) -> Maps:
    """Maize, grass, grass, and a pixel that was never observed."""
    percent = [[[70, 20, 30, 255]], [[20, 60, 60, 255]], [[10, 20, 10, 255]]]
    classes = class_raster(tmp_path / "c.tif", [[1, 2, 2, 0]])
    return Maps(classes, probabilities=probability_raster(tmp_path / "p.tif", percent))


def declared(path: Path, crops: list[object]) -> Path:
    return layer(path / "declared.gpkg", SHAPES, parcel=[1, 2, 3, 4, 5], crop=crops)


def test_a_declared_crop_is_confirmed_or_not(maps: Maps, tmp_path: Path) -> None:
    parcels = declared(tmp_path, ["Maize", " maize", "2", "Grass", "Grass"])
    records = described(parcels, maps, declared_field="crop")
    assert [record.declared_agrees for record in records] == [1, 0, 1, None, None]
    assert [record.declared_prob for record in records] == [0.7, 0.2, 0.6, None, None]


def test_without_probabilities_the_support_of_the_declared_crop_counts(maps: Maps, tmp_path: Path) -> None:
    parcels = layer(tmp_path / "d.gpkg", [pixel_box(0, 0, 2.5, 1)], parcel=[1], crop=["Maize"])
    (record,) = described(parcels, Maps(maps.classes), declared_field="crop")
    assert (record.pred_crop, record.declared_agrees, record.declared_prob) == ("Grass", 0, 0.4)


def test_codes_mean_what_a_legend_says(maps: Maps, tmp_path: Path) -> None:
    """A code may be of a class that the map has, of one that it has not, of none, or unknown."""
    legend = tmp_path / "codes.csv"
    legend.write_text("code,value,name\n1200,1,Maize\n9120,2,grass\n300,3,Rye\n600,,\n", encoding="utf-8")
    parcels = declared(tmp_path, [1200, 9120, 300, 600, 77])
    records = described(parcels, maps, declared_field="crop", source_legend=str(legend))
    assert [record.declared_agrees for record in records] == [1, 1, None, None, None]


def test_a_name_may_mean_several_classes() -> None:
    """`wheat` in the legend of names: any of the map's wheats agrees, and their probabilities add up."""
    names = ("Winter soft wheat", "Durum wheat", "Winter barley")
    legend = [{"value": value, "name": name, "color": "#112233"} for value, name in enumerate(names, start=1)]
    found = match_declared(["wheat", "winter wheat", "", "moon"], legend, "names")
    meant = {text: sorted(codes) for text, codes in zip(found.texts, found.codes, strict=True)}
    assert meant == {"wheat": [1, 2], "winter wheat": [1], "": [], "moon": []}
    agrees, probability = found.compare(
        np.arange(4), np.array([2.0, 2.0, 2.0, 2.0]), (1, 2, 3), np.tile([0.3, 0.5, 0.2], (4, 1))
    )
    np.testing.assert_allclose(agrees, [1, 0, np.nan, np.nan])
    np.testing.assert_allclose(probability, [0.8, 0.3, np.nan, np.nan])


def test_crops_that_are_no_classes_are_told(maps: Maps, tmp_path: Path) -> None:
    placed = place_parcels(
        declared(tmp_path, ["Rye", "Rye", "Oats", None, "Maize"]), grid_of_file(maps.classes), 0, "crop"
    )
    records = describe_parcels(placed, maps)
    assert records.declared is not None
    assert records.declared.warnings() == (
        "The declared crops of 3 parcels are no classes of the map: Rye (2), Oats (1). They are not compared.",
    )
    assert [row.declared_agrees for row in rows_of(records)] == [None] * 5


def test_hectares_are_summed_up(maps: Maps, tmp_path: Path) -> None:
    """Each parcel is a pixel of 0.01 ha, but for UTM's scale; the last has no area."""
    placed = place_parcels(
        declared(tmp_path, ["Maize", "maize", "Rye", "Grass", "Grass"]), grid_of_file(maps.classes), 0, "crop"
    )
    write_summary(describe_parcels(placed, maps), tmp_path / "summary.csv")
    assert (tmp_path / "summary.csv").read_text().splitlines() == [
        "declared,parcels,Maize,Grass,Potatoes,not classified,total",
        "Grass,2,0.0,0.0,0.0,0.01,0.01",
        "Maize,2,0.01,0.01,0.0,0.0,0.02",
        "Rye,1,0.0,0.01,0.0,0.0,0.01",
    ]


def test_a_legend_that_is_not_there(maps: Maps, tmp_path: Path) -> None:
    with pytest.raises(LegendError, match="no legend nowhere.csv"):
        described(declared(tmp_path, ["1"] * 5), maps, declared_field="crop", source_legend="nowhere.csv")
