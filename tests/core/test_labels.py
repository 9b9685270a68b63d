"""Labels of parcels and of crop inventories, worked out by hand on 6 x 8 pixels of 10 m."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import ArrayLike
from shapely.geometry import LineString, MultiPolygon, Polygon

from cropmap_core.classes import CLASSES_TAG
from cropmap_core.commands import COMMANDS
from cropmap_core.errors import JobError
from cropmap_core.parameters import bind
from cropmap_core.samples.legend import load_legend
from tests.core.label_cases import label, on_pixels, pixel_box, pixels, write_layer, write_series
from tests.core.seam import run_here, unfinished_files
from tests.factories import CRS, ORIGIN


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "table.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def statuses(folder: Path) -> list[str]:
    return [row["status"] for row in table(folder)]


class TestParcels:
    def test_pixels_get_the_class_and_the_number_of_the_parcel_their_centre_lies_in(self, tmp_path: Path) -> None:
        shapes = [("M", pixel_box(0, 0, 2.6, 2)), ("G", pixel_box(4, 1, 8, 3)), ("M2", pixel_box(0, 4, 1, 6))]
        outcome = label(tmp_path, shapes)
        assert pixels(tmp_path / "labels.tif").tolist() == [
            [1, 1, 1, 0, 0, 0, 0, 0],
            [1, 1, 1, 0, 2, 2, 2, 2],
            [0, 0, 0, 0, 2, 2, 2, 2],
            [0, 0, 0, 0, 0, 0, 0, 0],
            [1, 0, 0, 0, 0, 0, 0, 0],
            [1, 0, 0, 0, 0, 0, 0, 0],
        ]
        numbers = pixels(tmp_path / "numbers.tif")
        assert numbers.dtype == np.int32
        assert numbers[:, 0].tolist() == [1, 1, 0, 0, 3, 3]
        assert numbers[1].tolist() == [1, 1, 1, 0, 2, 2, 2, 2]
        assert table(tmp_path) == [
            dict(zip(table(tmp_path)[0], row.split(","), strict=True))
            for row in ("1,M,1,Maize,0.052,6,used", "2,G,2,Grass,0.08,8,used", "3,M2,1,Maize,0.02,2,used")
        ]
        assert outcome.outputs["pixels"] == {"Maize": 8, "Grass": 8}
        assert outcome.outputs["parcels"]["used"] == 3

    def test_the_raster_carries_its_classes_colours_and_style(self, tmp_path: Path) -> None:
        outcome = label(tmp_path, [("M", pixel_box(0, 0, 2, 2)), ("G", pixel_box(4, 0, 6, 2))])
        with rasterio.open(tmp_path / "labels.tif") as dataset:
            assert (dataset.dtypes, dataset.nodata, dataset.crs) == (("uint8",), 0, rasterio.CRS.from_string(CRS))
            assert json.loads(dataset.tags()[CLASSES_TAG]) == outcome.outputs["classes"]
            assert dataset.colormap(1)[1] == (0xF4, 0xC4, 0x30, 255)
            assert json.loads(dataset.tags()["CROPMAP_PROVENANCE"])["parcels"] == "parcels.gpkg"
        assert outcome.outputs["classes"][1] == {"value": 2, "name": "Grass", "color": "#4caf50", "parents": []}
        assert 'label="Grass"' in (tmp_path / "labels.qml").read_text(encoding="utf-8")

    def test_class_values_above_255_make_it_uint16(self, tmp_path: Path) -> None:
        legend = tmp_path / "large.csv"
        legend.write_text("code,value,name\nM,1200,Maize\nG,9120,Grass\n")
        shapes = [("M", pixel_box(0, 0, 2, 2)), ("G", pixel_box(4, 0, 6, 2))]
        assert label(tmp_path, shapes, legend=str(legend)).status == 0
        assert pixels(tmp_path / "labels.tif").dtype == np.uint16
        assert pixels(tmp_path / "labels.tif")[0].tolist() == [1200, 1200, 0, 0, 9120, 9120, 0, 0]

    def test_the_buffer_narrows_parcels(self, tmp_path: Path) -> None:
        """6 x 6 pixels less 10 m on all sides are 4 x 4; 2 x 6 are none."""
        shapes = [("M", pixel_box(0, 0, 6, 6)), ("G", pixel_box(6, 0, 8, 6))]
        assert label(tmp_path, shapes, buffer_m=10).status == 0
        labels = pixels(tmp_path / "labels.tif")
        assert labels[1:5, 1:5].tolist() == [[1] * 4] * 4
        assert labels.sum() == 16
        assert statuses(tmp_path) == ["used", "too_small"]
        assert [row["area_ha"] for row in table(tmp_path)] == ["0.36", "0.12"]

    @pytest.mark.parametrize(("least", "status"), [(4, ["used", "used"]), (5, ["used", "too_small"])])
    def test_parcels_with_fewer_pixels_are_left_out(self, tmp_path: Path, least: int, status: list[str]) -> None:
        shapes = [("M", pixel_box(0, 0, 3, 2)), ("G", pixel_box(4, 0, 6, 2))]
        assert label(tmp_path, shapes, min_pixels=least).status == 0
        assert statuses(tmp_path) == status
        assert (pixels(tmp_path / "labels.tif") == 2).sum() == (pixels(tmp_path / "numbers.tif") == 2).sum()
        assert (pixels(tmp_path / "labels.tif") == 2).sum() == (4 if least == 4 else 0)

    def test_a_hole_is_not_labelled_and_parts_are_one_parcel(self, tmp_path: Path) -> None:
        ring = Polygon(pixel_box(0, 0, 3, 3).exterior, [pixel_box(1, 1, 2, 2).exterior])
        parts = MultiPolygon([pixel_box(4, 0, 5, 1), pixel_box(6, 4, 8, 5)])
        assert label(tmp_path, [("M", ring), ("G", parts)], min_pixels=3).status == 0
        assert pixels(tmp_path / "labels.tif").tolist() == [
            [1, 1, 1, 0, 2, 0, 0, 0],
            [1, 0, 1, 0, 0, 0, 0, 0],
            [1, 1, 1, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 2, 2],
            [0, 0, 0, 0, 0, 0, 0, 0],
        ]

    def test_a_bow_tie_is_repaired_and_named(self, tmp_path: Path) -> None:
        """Two triangles that meet in the middle of 4 x 4 pixels, from the left and the right side."""
        bow_tie = on_pixels((0, -0.2), (4, 4.2), (4, -0.2), (0, 4.2))
        outcome = label(tmp_path, [("G", pixel_box(5, 0, 7, 2)), ("M", bow_tie)])
        assert "Invalid geometries that were repaired: 1 (parcel 2)." in outcome.texts("warning")
        assert statuses(tmp_path) == ["used", "used"]
        assert pixels(tmp_path / "labels.tif")[:4, :4].tolist() == [[1, 0, 0, 1], [1] * 4, [1] * 4, [1, 0, 0, 1]]

    def test_what_has_no_area_is_invalid(self, tmp_path: Path) -> None:
        line = LineString([(ORIGIN[0], ORIGIN[1]), (ORIGIN[0] + 50, ORIGIN[1] - 50)])
        assert label(tmp_path, [("M", None), ("M", Polygon()), ("M", line), ("M", pixel_box(0, 0, 2, 2))]).status == 0
        assert statuses(tmp_path) == ["invalid", "invalid", "invalid", "used"]
        assert table(tmp_path)[0]["area_ha"] == ""

    def test_parcels_in_another_crs_land_on_the_same_pixels(self, tmp_path: Path) -> None:
        shapes = [("M", pixel_box(0, 0, 3, 3)), ("G", pixel_box(4, 1, 8, 5))]
        assert label(tmp_path, shapes).status == 0
        there = pixels(tmp_path / "labels.tif")
        for crs in ("EPSG:31370", "EPSG:4326"):
            assert label(tmp_path, shapes, parcels=write_layer(tmp_path / "moved.gpkg", shapes, crs=crs)).status == 0
            assert np.array_equal(pixels(tmp_path / "labels.tif"), there), crs

    def test_numbers_come_from_the_field_parcel(self, tmp_path: Path) -> None:
        shapes = [("M", pixel_box(0, 0, 2, 2)), ("G", pixel_box(4, 0, 6, 2))]
        layer = write_layer(tmp_path / "numbered.gpkg", shapes, parcel=np.array([70, 30], dtype=np.int32))
        assert label(tmp_path, shapes, parcels=layer).status == 0
        assert pixels(tmp_path / "numbers.tif")[0].tolist() == [70, 70, 0, 0, 30, 30, 0, 0]
        assert [row["parcel"] for row in table(tmp_path)] == ["70", "30"]

    def test_blocks_join_without_a_seam(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        shapes = [("M", on_pixels((0, 0), (7.3, 1), (4, 5.6))), ("G", pixel_box(0, 2, 4.2, 6))]
        assert label(tmp_path, shapes).status == 0
        files = ("labels.tif", "numbers.tif")
        whole, said = [pixels(tmp_path / name) for name in files], table(tmp_path)
        monkeypatch.setattr("cropmap_core.samples.labels._BLOCK", 3)
        assert label(tmp_path, shapes).status == 0
        assert all(np.array_equal(pixels(tmp_path / name), one) for name, one in zip(files, whole, strict=True))
        assert table(tmp_path) == said

    @pytest.mark.parametrize("seed", range(4))
    def test_random_parcels_are_labelled_as_one_would_do_it_pixel_by_pixel(self, tmp_path: Path, seed: int) -> None:
        """12 quadrilaterals on 30 x 40 pixels, narrowed by 3 m, at least 6 pixels each."""
        chance = np.random.default_rng(seed)
        codes = [str(code) for code in chance.choice(["M", "M2", "G", "X"], 12)]
        middles, corners = chance.uniform(3, [37, 27], (12, 1, 2)), chance.uniform(-6, 6, (12, 4, 2))
        shapes = [shapely.convex_hull(on_pixels(*each)) for each in (middles + corners).tolist()]
        write_series(tmp_path / "series.tif", 30, 40)
        outcome = label(tmp_path, list(zip(codes, shapes, strict=True)), buffer_m=3, min_pixels=6)
        assert outcome.status == 0

        cols, rows = np.meshgrid(ORIGIN[0] + 10 * (np.arange(40) + 0.5), ORIGIN[1] - 10 * (np.arange(30) + 0.5))
        inside = np.array([shapely.contains_xy(shape.buffer(-3, join_style="mitre"), cols, rows) for shape in shapes])
        value = np.array([{"M": 1, "M2": 1, "G": 2, "X": 0}[code] for code in codes])
        inside[value == 0] = False
        dispute = (inside & (value == 1)[:, None, None]).any(axis=0) & (inside & (value == 2)[:, None, None]).any(
            axis=0
        )
        first = np.where(inside.any(axis=0) & ~dispute, inside.argmax(axis=0) + 1, 0)
        enough = [0, *(np.count_nonzero(first == number) >= 6 for number in range(1, 13))]
        numbers = first * np.array(enough)[first]
        assert np.array_equal(pixels(tmp_path / "numbers.tif"), numbers)
        assert np.array_equal(pixels(tmp_path / "labels.tif"), np.array([0, *value])[numbers])
        in_dispute = [bool((each & dispute).any()) for each in inside]
        assert [status == "overlap_conflict" for status in statuses(tmp_path)] == in_dispute


class TestOverlaps:
    def test_where_classes_differ_no_pixel_is_labelled_and_both_are_reported(self, tmp_path: Path) -> None:
        shapes = [("M", pixel_box(0, 0, 4, 2)), ("G", pixel_box(3, 0, 6, 2)), ("G", pixel_box(0, 4, 2, 6))]
        outcome = label(tmp_path, shapes)
        assert pixels(tmp_path / "labels.tif")[0].tolist() == [1, 1, 1, 0, 2, 2, 0, 0]
        assert pixels(tmp_path / "numbers.tif")[0].tolist() == [1, 1, 1, 0, 2, 2, 0, 0]
        assert statuses(tmp_path) == ["overlap_conflict", "overlap_conflict", "used"]
        assert [row["pixels"] for row in table(tmp_path)] == ["6", "4", "4"]
        assert "2 parcels overlap others of another class and have no labels there (parcel 1, 2)." in outcome.texts(
            "warning"
        )

    def test_a_parcel_between_two_of_one_class_is_found_too(self, tmp_path: Path) -> None:
        label(tmp_path, [(code, pixel_box(0, 0, 2, 2)) for code in ("M", "G", "M2")] + [("M", pixel_box(4, 0, 6, 2))])
        assert statuses(tmp_path) == ["overlap_conflict"] * 3 + ["used"]
        assert pixels(tmp_path / "labels.tif")[0].tolist() == [0, 0, 0, 0, 1, 1, 0, 0]

    def test_of_one_class_the_first_parcel_counts(self, tmp_path: Path) -> None:
        assert label(tmp_path, [("M", pixel_box(0, 0, 4, 2)), ("M2", pixel_box(2, 0, 6, 2))]).status == 0
        assert pixels(tmp_path / "labels.tif")[0].tolist() == [1, 1, 1, 1, 1, 1, 0, 0]
        assert pixels(tmp_path / "numbers.tif")[0].tolist() == [1, 1, 1, 1, 2, 2, 0, 0]
        assert statuses(tmp_path) == ["used", "used"]

    def test_parcels_that_share_a_border_do_not_overlap(self, tmp_path: Path) -> None:
        assert label(tmp_path, [("M", pixel_box(0, 0, 2.5, 2)), ("G", pixel_box(2.5, 0, 5, 2))]).status == 0
        assert statuses(tmp_path) == ["used", "used"]

    def test_an_unmapped_parcel_takes_nothing_from_another(self, tmp_path: Path) -> None:
        assert label(tmp_path, [("X", pixel_box(0, 0, 4, 2)), ("M", pixel_box(2, 0, 4, 2))]).status == 0
        assert statuses(tmp_path) == ["unmapped", "used"]
        assert pixels(tmp_path / "labels.tif")[0].tolist() == [0, 0, 1, 1, 0, 0, 0, 0]


class TestUnmapped:
    def test_codes_are_listed_with_their_counts_and_ignored(self, tmp_path: Path) -> None:
        shapes: list[tuple[str | None, Any]] = [("M", pixel_box(0, 0, 2, 2))]
        shapes += [(code, pixel_box(4 + at, 0, 5 + at, 1)) for at, code in enumerate(("Q", "Q", "X", None))]
        outcome = label(tmp_path, shapes)
        said = outcome.texts("warning")
        assert "Unmapped codes are ignored (4 parcels): Q: 2; X: 1; (empty): 1." in said
        assert "1 of the unmapped parcels have a code that the legend knows as no class." in outcome.texts("log")
        assert outcome.outputs["unmapped"] == {"Q": 2, "X": 1, "": 1}
        assert statuses(tmp_path) == ["used"] + ["unmapped"] * 4
        assert pixels(tmp_path / "labels.tif").sum() == 4

    def test_whole_numbers_are_codes_however_the_file_stores_them(self, tmp_path: Path) -> None:
        legend = tmp_path / "numbers.csv"
        legend.write_text("code,value,name\n1200,1,Maize\n")
        shapes = [("", pixel_box(0, 0, 2, 2)), ("", pixel_box(4, 0, 6, 2))]
        for codes in (np.array([1200, 7]), np.array([1200.0, np.nan])):
            layer = write_layer(tmp_path / "codes.gpkg", shapes, number=codes)
            outcome = label(tmp_path, shapes, parcels=layer, field="number", legend=str(legend))
            assert outcome.outputs["pixels"] == {"Maize": 4}

    def test_parcels_elsewhere_are_outside_and_their_codes_of_no_interest(self, tmp_path: Path) -> None:
        shapes = [("M", pixel_box(0, 0, 2, 2)), ("Q", pixel_box(100, 0, 110, 9)), ("M", pixel_box(7, 0, 20, 2))]
        outcome = label(tmp_path, shapes)
        assert statuses(tmp_path) == ["used", "outside", "used"]
        assert outcome.outputs["unmapped"] == {}

    def test_names_are_looked_at_where_the_legend_is_keyed_on_them(self, tmp_path: Path) -> None:
        shapes = [("95", pixel_box(0, 0, 2, 2)), ("96", pixel_box(4, 0, 6, 2))]
        names = np.array(["Potatoes", "Maize"], dtype=object)
        layer = write_layer(tmp_path / "named.gpkg", shapes, what=names)
        outcome = label(tmp_path, shapes, parcels=layer, name_field="what", legend="names")
        assert outcome.outputs["pixels"] == {"Potatoes": 4}
        assert "Unmapped codes are ignored (1 parcels): 96 Maize: 1." in outcome.texts("warning")

    def test_a_draft_is_a_legend_that_waits_to_be_completed(self, tmp_path: Path) -> None:
        shapes = [(code, pixel_box(at, 0, at + 1, 1)) for at, code in enumerate(("95", "96", "95", "x;y", ""))]
        names = np.array(["Potatoes", "Maize", "Potatoes", "Überraschung", "none"], dtype=object)
        layer = write_layer(tmp_path / "named.gpkg", shapes, what=names)
        draft = tmp_path / "draft.csv"
        outcome = run_here("preparelabels", parcels=layer, field="crop", name_field="what", output_draft=draft)
        assert (outcome.outputs["codes"], outcome.outputs["filled"]) == (3, 1)
        rows = list(csv.reader(draft.read_text(encoding="utf-8").splitlines()))[1:]
        (potatoes,) = (each for each in load_legend("names").classes if each.name == "Potatoes")
        assert rows[0] == [
            "95", "Potatoes", "2", str(potatoes.value), "Potatoes", potatoes.color, *potatoes.parents, "",
        ]  # fmt: skip
        assert rows[1] == ["96", "Maize", "1", "", "", "", "", "", "could be: Grain maize, Silage maize"]
        assert rows[2] == ["x;y", "Überraschung", "1", "", "", "", "", "", "not known"]
        assert load_legend(str(draft)).codes == {"95": potatoes.value, "96": None, "x;y": None}


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "code", "said"),
        [
            ({"field": "culture"}, "ParcelError", "has no field `culture`. Its fields are crop."),
            ({"field": None}, "JobError", "FIELD is empty."),
            ({"legend": None}, "JobError", "Labels need LEGEND."),
            ({"series": None}, "JobError", "Labels need SERIES."),
            ({"parcels": None, "output_parcels": None, "output_table": None}, "JobError", "nothing to make labels of"),
            ({"output_labels": None}, "JobError", "Nothing is to be written."),
            ({"label_year": 2021}, "JobError", "The labels are of 2021, but"),
            ({"legend": "rpg-2023-crops"}, "ParcelError", "No pixel got a label; the parcels are 2 unmapped."),
            ({"output_labels": "here.png"}, "OutputError", "is not named as a GeoTIFF"),
        ],
    )
    def test_is_refused_and_leaves_nothing(self, tmp_path: Path, change: dict[str, Any], code: str, said: str) -> None:
        if isinstance(change.get("output_labels"), str):
            change = {"output_labels": tmp_path / change["output_labels"]}
        outcome = label(tmp_path, [("M", pixel_box(0, 0, 2, 2)), ("G", pixel_box(4, 0, 6, 2))], **change)
        assert outcome.code == code
        assert said in f"{outcome.last['message']} {outcome.last['remedy']}"
        assert unfinished_files(tmp_path) == []
        assert not any((tmp_path / name).exists() for name in ("labels.tif", "labels.qml", "numbers.tif", "table.csv"))

    def test_parcels_elsewhere(self, tmp_path: Path) -> None:
        outcome = label(tmp_path, [("M", pixel_box(900, 0, 902, 2))])
        assert outcome.code == "ParcelError"
        assert outcome.last["message"].startswith("No parcel lies on the time series")

    def test_a_buffer_that_leaves_nothing(self, tmp_path: Path) -> None:
        outcome = label(tmp_path, [("M", pixel_box(0, 0, 2, 2))], buffer_m=10)
        assert outcome.last["message"] == "No pixel got a label; the parcels are 1 too_small."

    def test_one_class_only_is_warned_of(self, tmp_path: Path) -> None:
        assert "All labels are of one class" in label(tmp_path, [("M", pixel_box(0, 0, 2, 2))]).texts("warning")

    def test_a_legend_of_another_year_is_warned_of_unless_the_year_is_given(self, tmp_path: Path) -> None:
        shapes = [("BTH", pixel_box(0, 0, 2, 2)), ("MIS", pixel_box(4, 0, 6, 2))]
        said = label(tmp_path, shapes, legend="rpg-2023-families").texts("warning")
        assert "The legend rpg-2023-families is of 2023, the time series of 2018" in said
        assert label(tmp_path, shapes, legend="rpg-2023-families", label_year=2018).texts("warning") == ""
        write_series(tmp_path / "series.tif", years=(2022, 2023))
        outcome = label(tmp_path, shapes, legend="rpg-2023-families", label_year=2023)
        assert outcome.texts("warning") == ""
        with rasterio.open(outcome.outputs["output_labels"]) as dataset:
            assert dataset.tags()["CROPMAP_LABEL_YEAR"] == "2023"

    @pytest.mark.parametrize("buffer_m", ["wide", "nan", True, None])
    def test_a_buffer_that_is_no_number(self, buffer_m: Any) -> None:
        with pytest.raises(JobError, match="buffer_m is"):
            bind(COMMANDS["preparelabels"], {"buffer_m": buffer_m})
        assert bind(COMMANDS["preparelabels"], {"buffer_m": "2.5"}) == {"buffer_m": 2.5}

    def test_an_input_is_never_an_output(self, tmp_path: Path) -> None:
        series = write_series(tmp_path / "series.tif")
        outcome = label(tmp_path, [("M", pixel_box(0, 0, 2, 2))], output_labels=series)
        assert outcome.code == "OutputError"
        assert "is an input of the job" in outcome.last["message"]


def write_inventory(path: Path, *bands: ArrayLike, edge: float, crs: str = CRS, nodata: int | None = None) -> Path:
    values = np.asarray(bands, dtype=np.uint8)
    transform = Affine(edge, 0, ORIGIN[0], 0, -edge, ORIGIN[1])
    options = {"crs": crs, "transform": transform, "nodata": nodata, "dtype": "uint8", "driver": "GTiff"}
    with rasterio.open(
        path, "w", count=len(values), height=values.shape[1], width=values.shape[2], **options
    ) as dataset:
        dataset.write(values)
    return path


def label_inventory(folder: Path, inventory: Path, **parameters: Any) -> Any:
    legend = folder / "codes.csv"
    legend.write_text("code,value,name\n1,5,Corn\n5,6,Soya\n176,,\n")
    series = write_series(folder / "series.tif", 4, 4)
    given = {"series": series, "inventory": inventory, "legend": str(legend), "output_labels": folder / "labels.tif"}
    return run_here("preparelabels", **{**given, **parameters})


class TestInventory:
    def test_coarser_pixels_are_labelled_by_the_nearest(self, tmp_path: Path) -> None:
        """2 x 2 pixels of 20 m under 4 x 4 of 10 m; 176 is no class, 9 is not listed."""
        inventory = write_inventory(tmp_path / "cdl.tif", [[1, 5], [176, 9]], edge=20)
        outcome = label_inventory(tmp_path, inventory)
        assert pixels(tmp_path / "labels.tif").tolist() == [[5, 5, 6, 6]] * 2 + [[0, 0, 0, 0]] * 2
        assert outcome.outputs["pixels"] == {"Corn": 4, "Soya": 4}
        assert outcome.outputs["unmapped"] == {"9": 1, "176": 1}
        assert outcome.outputs["resampling"] == "nearest"

    def test_finer_pixels_are_counted_and_the_most_frequent_class_labels(self, tmp_path: Path) -> None:
        """Pixels of 3.33 m, 3 x 3 in one of 10 m: 5 of 9 corn; 5 of 9 no class though corn is the only crop."""
        fine = np.full((12, 12), 5)
        fine[:3, :3] = [[1, 1, 1], [1, 1, 5], [5, 5, 5]]
        fine[:3, 3:6] = [[1, 1, 1], [1, 9, 9], [9, 9, 9]]
        outcome = label_inventory(tmp_path, write_inventory(tmp_path / "fine.tif", fine, edge=10 / 3))
        assert outcome.outputs["resampling"] == "mode"
        assert pixels(tmp_path / "labels.tif")[:2].tolist() == [[5, 0, 6, 6], [6, 6, 6, 6]]

    def test_codes_of_one_class_are_counted_together(self, tmp_path: Path) -> None:
        """3 of 9 soya against 2 + 2 + 2 of three codes that are all corn."""
        legend = tmp_path / "merged.csv"
        legend.write_text("code,value,name\n1,5,Corn\n2,5,Corn\n3,5,Corn\n5,6,Soya\n")
        fine = np.tile([[1, 1, 2], [2, 3, 3], [5, 5, 5]], (4, 4))
        inventory = write_inventory(tmp_path / "fine.tif", fine, edge=10 / 3)
        assert label_inventory(tmp_path, inventory, legend=str(legend)).status == 0
        assert set(pixels(tmp_path / "labels.tif").ravel().tolist()) == {5}

    def test_a_pixel_that_the_inventory_is_unsure_of_is_not_labelled(self, tmp_path: Path) -> None:
        codes, sureness = [[1, 5], [5, 1]], [[90, 59], [60, 90]]
        labels = [[5, 5, 0, 0]] * 2 + [[6, 6, 5, 5]] * 2
        both = write_inventory(tmp_path / "both.tif", codes, sureness, edge=20)
        assert label_inventory(tmp_path, both, min_confidence=60).status == 0
        assert pixels(tmp_path / "labels.tif").tolist() == labels
        alone = write_inventory(tmp_path / "alone.tif", codes, edge=20)
        confidence = write_inventory(tmp_path / "confidence.tif", sureness, edge=20)
        assert label_inventory(tmp_path, alone, confidence=confidence, min_confidence=60).status == 0
        assert pixels(tmp_path / "labels.tif").tolist() == labels

    def test_where_its_confidence_is_unknown_it_is_not_labelled(self, tmp_path: Path) -> None:
        both = write_inventory(tmp_path / "both.tif", [[1, 5]], [[255, 90]], edge=20, nodata=255)
        assert label_inventory(tmp_path, both, min_confidence=60).status == 0
        assert pixels(tmp_path / "labels.tif")[0].tolist() == [0, 0, 6, 6]

    def test_nodata_is_no_code_and_what_it_does_not_cover_stays_unlabelled(self, tmp_path: Path) -> None:
        inventory = write_inventory(tmp_path / "cdl.tif", [[1, 0, 0]], edge=20, nodata=0)
        outcome = label_inventory(tmp_path, inventory)
        assert outcome.outputs["unmapped"] == {}
        assert pixels(tmp_path / "labels.tif").tolist() == [[5, 5, 0, 0]] * 2 + [[0] * 4] * 2

    def test_another_crs_and_blocks_make_no_difference(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A checkerboard of 30 m in EPSG:3035 around the series: each pixel has the code under its centre."""
        codes = np.where(np.indices((40, 40)).sum(axis=0) % 2, 1, 5).astype(np.uint8)
        centre = geopandas.GeoSeries([pixel_box(2, 2, 2.001, 2.001)], crs=CRS).to_crs("EPSG:3035").iloc[0].centroid
        transform = Affine(30, 0, centre.x - 607, 0, -30, centre.y + 611)
        inventory = tmp_path / "laea.tif"
        with rasterio.open(
            inventory, "w", driver="GTiff", crs="EPSG:3035", transform=transform, width=40, height=40, count=1,
            dtype="uint8",
        ) as dataset:  # fmt: skip
            dataset.write(codes, 1)
        x, y = np.meshgrid(ORIGIN[0] + 10 * (np.arange(4) + 0.5), ORIGIN[1] - 10 * (np.arange(4) + 0.5))
        there = geopandas.GeoSeries.from_xy(x.ravel(), y.ravel(), crs=CRS).to_crs("EPSG:3035")
        cols, rows = ~transform * np.array([there.x, there.y])
        expected = np.where(codes[rows.astype(int), cols.astype(int)] == 1, 5, 6).reshape(4, 4)
        for block in (512, 3):
            monkeypatch.setattr("cropmap_core.samples.inventory._BLOCK", block)
            assert label_inventory(tmp_path, inventory).status == 0
            assert pixels(tmp_path / "labels.tif").tolist() == expected.tolist()

    @pytest.mark.parametrize(
        ("change", "code", "said"),
        [
            ({"min_confidence": 50}, "SeriesError", "has no band 2"),
            ({"confidence": "other"}, "GridMismatchError", "has another grid than"),
            ({"inventory": "elsewhere"}, "GridMismatchError", "does not cover the time series"),
            ({"inventory": "missing.tif"}, "SceneError", "cannot be read"),
            ({"legend": "names"}, "ParcelError", "No pixel got a label"),
            ({"parcels": "other"}, "JobError", "both PARCELS and an INVENTORY"),
            ({"output_table": "other.csv"}, "JobError", "go with the labels of parcels"),
        ],
    )
    def test_is_refused(self, tmp_path: Path, change: dict[str, Any], code: str, said: str) -> None:
        inventory = write_inventory(tmp_path / "cdl.tif", [[1, 5], [1, 5]], edge=20)
        other = write_inventory(tmp_path / "other", [[1, 5], [1, 5]], edge=10)
        write_inventory(tmp_path / "elsewhere", [[1, 5], [1, 5]], edge=20, crs="EPSG:32633")
        change = {
            name: value if isinstance(value, int) or value == "names" else other.with_name(value)
            for name, value in change.items()
        }
        outcome = label_inventory(tmp_path, change.pop("inventory", inventory), **change)
        assert outcome.code == code
        assert said in outcome.last["message"]
        assert not (tmp_path / "labels.tif").exists()


def test_the_real_parcels_of_flanders_agree_with_its_crop_raster(flanders: Path, tmp_path: Path) -> None:
    """The parcels were made from the raster: without a buffer all but two loose pixels come back."""
    scene = flanders / "scenes"
    series = tmp_path / "series.tif"
    may = {"start_date": "2018-05-01", "end_date": "2018-05-31"}
    assert run_here("stackscenes", scenes=[scene], bands=["B04"], **may, output=series).status == 0
    legend = tmp_path / "legend.csv"
    codes = [line.split(",") for line in (flanders / "legend.csv").read_text(encoding="utf-8").splitlines()[1:]]
    legend.write_text("code,value,name\n" + "".join(f"{code},{code},{name}\n" for code, name in codes))
    truth = pixels(flanders / "crop_type.tif")
    given = {"series": series, "parcels": flanders / "parcels.gpkg", "field": "crop_code", "legend": str(legend)}
    for buffer_m, least, labelled in ((0, 1, 2234), (10, 4, 1320)):
        output = tmp_path / f"labels-{buffer_m}.tif"
        assert run_here("preparelabels", **given, buffer_m=buffer_m, min_pixels=least, output_labels=output).status == 0
        labels = pixels(output)
        assert np.count_nonzero(labels) == labelled
        assert np.array_equal(labels[labels > 0], truth[labels > 0])
    assert np.count_nonzero(truth) == 2236
