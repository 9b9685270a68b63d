"""Legends: built-in ones hold together, users' own are read or refused with the line that is wrong."""

from __future__ import annotations

import csv
from collections import Counter
from importlib import resources
from pathlib import Path

import pytest

from cropmap_core.classes import CropClass
from cropmap_core.errors import LegendError
from cropmap_core.samples.legend import BUILT_IN, NAMES, load_legend
from tests.core.conftest import data_folder

CROPS, FAMILIES, GROUPS = "rpg-2023-crops", "rpg-2023-families", "rpg-2023-groups"


def write(path: Path, text: str, encoding: str = "utf-8") -> str:
    path.write_bytes(text.encode(encoding))
    return str(path)


def names_of(text: str) -> list[str]:
    return [each.name for each in load_legend(NAMES).candidates(text)]


class TestRpg:
    @pytest.mark.parametrize(
        ("code", "crop", "family", "group"),
        [
            ("BTH", "Winter soft wheat", "Wheat", "Cereals"),
            ("MIE", "Silage maize", "Maize", "Cereals"),
            ("LU7", "Lucerne", "Fodder legumes", "Grassland, fodder and fallow"),
            ("J6P", "Fallow", "Fallow", "Grassland, fodder and fallow"),
            ("VRC", "Vineyards", "Vineyards", "Permanent crops"),
            ("PTF", "Potatoes", "Root, fibre and other industrial crops", "Oilseeds, pulses and industrial crops"),
        ],
    )
    def test_a_code_has_a_crop_a_family_and_a_group(self, code: str, crop: str, family: str, group: str) -> None:
        found = [load_legend(level).class_of(code) for level in (CROPS, FAMILIES, GROUPS)]
        assert [each.name for each in found if each] == [crop, family, group]
        assert [each.parents for each in found if each] == [(family, group), (group,), ()]

    @pytest.mark.parametrize("code", ["ZZZ", "BOR", "SNA", "bth", "XYZ", ""])
    def test_what_is_no_crop_and_what_is_no_code_is_unmapped(self, code: str) -> None:
        assert [load_legend(level).class_of(code) for level in (CROPS, FAMILIES, GROUPS)] == [None] * 3

    def test_every_code_of_the_register_is_mapped_at_all_levels_or_listed_as_no_crop(self) -> None:
        path = data_folder("legends") / "rpg_ref_cultures_groupes.csv"
        with path.open(encoding="utf-8") as stream:
            codes = [row["CODE_CULTURE"] for row in csv.DictReader(stream, delimiter=";")]
        legends = [load_legend(level) for level in (CROPS, FAMILIES, GROUPS)]
        assert len(codes) == 351
        assert all(set(legend.codes) == set(codes) for legend in legends)
        mapped = [sum(legend.class_of(code) is not None for legend in legends) for code in codes]
        assert Counter(mapped) == {3: 331, 0: 20}

    def test_every_row_says_what_it_means_and_where_it_is_from(self) -> None:
        text = resources.files("cropmap_core.samples").joinpath("legends/rpg-2023.csv").read_text(encoding="utf-8")
        rows = list(csv.DictReader(text.splitlines()))
        assert all(row["meaning"] and row["source"].startswith("RPG 2023 code list (IGN), group ") for row in rows)
        assert len({row["code"] for row in rows}) == len(rows)


class TestHierarchy:
    def test_sizes(self) -> None:
        assert [len(load_legend(level).classes) for level in (CROPS, FAMILIES, GROUPS)] == [58, 18, 5]

    def test_a_crop_is_of_one_family_and_a_family_of_one_group(self) -> None:
        families = {each.name: each for each in load_legend(FAMILIES).classes}
        groups = {each.name for each in load_legend(GROUPS).classes}
        for crop in load_legend(CROPS).classes:
            family, group = crop.parents
            assert families[family].parents == (group,)
            assert group in groups
        assert {crop.parents[0] for crop in load_legend(CROPS).classes} == set(families)

    @pytest.mark.parametrize("legend", BUILT_IN)
    def test_values_names_and_colours_are_each_once(self, legend: str) -> None:
        classes = load_legend(legend).classes
        assert [each.value for each in classes] == list(range(1, len(classes) + 1))
        assert len({each.name for each in classes}) == len({each.color for each in classes}) == len(classes)

    def test_the_year_is_that_of_the_name(self) -> None:
        assert [load_legend(legend).year for legend in BUILT_IN] == [2023, 2023, 2023, None]


class TestNames:
    @pytest.mark.parametrize(
        ("text", "crop"),
        [
            ("Blé tendre d’hiver", "Winter soft wheat"),
            ("BLE TENDRE D'HIVER", "Winter soft wheat"),
            ("Winterweizen", "Winter soft wheat"),
            ("Wheat, winter (organic)", "Winter soft wheat"),
            ("snijmaïs", "Silage maize"),
            ("Maíz forrajero", "Silage maize"),
            ("Zuckerrüben", "Sugar beet"),
            ("Permanent grass crops", "Permanent grassland"),
            ("Soybeans", "Soya"),
            ("Sweet Corn", "Sweet maize"),
        ],
    )
    def test_a_name_means_a_crop(self, text: str, crop: str) -> None:
        assert names_of(text) == [crop]
        meant = load_legend(NAMES).class_of(text)
        assert meant is not None
        assert meant.name == crop

    @pytest.mark.parametrize(
        ("text", "crops"),
        [
            ("Wheat", ["Winter soft wheat", "Spring soft wheat", "Durum wheat"]),
            ("Maize", ["Grain maize", "Silage maize"]),
            ("Potatoes and hemp", ["Potatoes", "Hemp"]),
        ],
    )
    def test_an_ambiguous_name_is_unmapped_and_its_meanings_are_known(self, text: str, crops: list[str]) -> None:
        assert names_of(text) == crops
        assert load_legend(NAMES).class_of(text) is None

    @pytest.mark.parametrize("text", ["", "?", "1200", "Wheatley", "car park", "Lin non textile d’hiver", "not maize"])
    def test_other_texts_are_unmapped(self, text: str) -> None:
        assert names_of(text) == []

    def test_names_agree_with_the_table_of_the_register(self) -> None:
        """Two of 351 differ: an orchard overseas is not of the tropics by its name, nor a vineyard without vines."""
        with (data_folder("legends") / "rpg_ref_cultures_groupes.csv").open(encoding="utf-8") as stream:
            names = {row["CODE_CULTURE"]: row["LIBELLE_CULTURE"] for row in csv.DictReader(stream, delimiter=";")}
        by_name, by_code = load_legend(NAMES), load_legend(CROPS)
        found = {code: by_name.class_of(name) for code, name in names.items()}
        assert sum(each is not None for each in found.values()) == 181
        assert [code for code, each in found.items() if each and each != by_code.class_of(code)] == ["VGD", "RVI"]


class TestOwnLegend:
    def test_codes_share_classes_and_an_empty_value_is_no_class(self, tmp_path: Path) -> None:
        text = (
            "code,value,name,color,family\n1,2,Maize,#FFCC00,Cereals\n2,2,Maize,#ffcc00,Cereals\n3,,,,\n4,300,Hay,,\n"
        )
        legend = load_legend(write(tmp_path / "mine.csv", text))
        maize, hay = legend.classes
        assert maize == CropClass(2, "Maize", "#ffcc00", parents=("Cereals",))
        assert (hay.value, hay.name, hay.parents) == (300, "Hay", ())
        assert [legend.class_of(code) for code in ("1", "2", "3", "4", "5")] == [maize, maize, None, hay, None]

    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    def test_separators_a_byte_order_mark_and_windows_line_ends(self, tmp_path: Path, separator: str) -> None:
        text = "\ufeffname,value,code\r\nHay,1,H\r\n".replace(",", separator)
        legend = load_legend(write(tmp_path / "mine.csv", text))
        assert [each.name for each in legend.classes] == ["Hay"]
        assert legend.codes == {"H": 1}

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "has no column code, value, name"),
            ("code,name\nH,Hay\n", "has no column value"),
            ("code,value,name,name\nH,1,Hay,Hay\n", "has a column twice"),
            ("code,value,name\nH,1,Hay\nH,1,Hay\n", "line 3: the code H is there twice"),
            ("code,value,name\nH,0,Hay\n", "line 2: the value '0' is no whole number from 1 to 65535"),
            ("code,value,name\nH,65536,Hay\n", "the value '65536'"),
            ("code,value,name\nH,1.5,Hay\n", "the value '1.5'"),
            ("code,value,name\nH,٣,Hay\n", "the value '٣'"),
            ("code,value,name\nH,-1,Hay\n", "the value '-1'"),
            ("code,value,name\nH,1,\n", "the class 1 has no name"),
            ("code,value,name\n,1,Hay\n", "the code is empty"),
            ("code,value,name\nH,1,Hay\nG,1,Grass\n", "line 3: the class 1 is 'Grass' here and 'Hay' above"),
            ("code,value,name\nH,1,Hay\nG,2,Hay\n", "'Hay' has another value above"),
            ("code,value,name,color\nH,1,Hay,red\n", "the color 'red' is none"),
            ("code,value,name\nH,1,Hay,more\n", "line 2: it has more cells than the head"),
            ('code,value,name\nH,1,"Hay\n', "unexpected end of data"),
            ("code,value,name\nH,,\n", "gives no code a value"),
        ],
    )
    def test_a_wrong_table_is_refused_with_what_is_wrong(self, tmp_path: Path, text: str, said: str) -> None:
        with pytest.raises(LegendError) as caught:
            load_legend(write(tmp_path / "mine.csv", text))
        assert said in str(caught.value)
        assert "mine.csv" in str(caught.value)

    def test_a_table_that_is_not_utf_8_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(LegendError, match="mine.csv is not UTF-8 text"):
            load_legend(write(tmp_path / "mine.csv", "code,value,name\n1,1,Blé\n", encoding="latin-1"))

    def test_a_legend_that_does_not_exist_is_refused_with_those_that_do(self) -> None:
        with pytest.raises(LegendError, match="There is no legend rpg-1999.* rpg-2023-crops, rpg-2023-families"):
            load_legend("rpg-1999")
