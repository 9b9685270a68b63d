"""The radiometric offset: the product's XML, then the parameter, then the clear pixels of the whole series."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cropmap_core.errors import BaselineError, JobError
from cropmap_core.scenes.inventory import Scene, find_scenes
from cropmap_core.scenes.offset import Offsets, decide_offsets, doubts
from cropmap_core.scenes.safe import Product
from cropmap_core.scenes.stack import stack_scenes
from tests.core.series_in_memory import whole
from tests.factories import write_safe, write_scene, write_season


def scene(day: int, product_offset: int | None = None) -> Scene:
    product = None if product_offset is None else Product(Path("SAFE"), "05.09", product_offset)
    return Scene(datetime(2018, 5, day), "31UDS", {}, product)


def decide_by(**darkest: int) -> Offsets:
    """The decision for one scene without XML whose bands hold 200 clear pixels of one digital number each."""

    def clear_pixels(scenes: Sequence[Scene], band: str) -> NDArray[np.uint16]:
        return np.full(200, darkest[band], dtype=np.uint16)

    return decide_offsets([scene(1)], "auto", clear_pixels)


def never(scenes: Sequence[Scene], band: str) -> NDArray[np.uint16]:
    raise AssertionError("the pixels were asked though they need not be")


@pytest.mark.parametrize(
    ("darkest", "offset"),
    [
        ({"B02": 1, "B04": 778}, 0),
        ({"B02": 849, "B04": 849}, 0),
        ({"B02": 901, "B04": 901}, -1000),
        ({"B02": 948, "B04": 1016}, -1000),
    ],
)
def test_clear_pixels_tell_the_offset(darkest: Mapping[str, int], offset: int) -> None:
    decided = decide_by(**darkest)
    assert decided.values == (offset,)
    assert f"1st percentile of B02 {darkest['B02']}" in decided.evidence


@pytest.mark.parametrize("darkest", [{"B02": 850, "B04": 100}, {"B02": 100, "B04": 900}, {"B02": 875, "B04": 875}])
def test_pixels_between_the_two_are_ambiguous(darkest: Mapping[str, int]) -> None:
    with pytest.raises(BaselineError, match="parameter OFFSET: 0, or -1000"):
        decide_by(**darkest)


@pytest.mark.parametrize("darkest", [{"B02": 100, "B04": 1100}, {"B02": 1100, "B04": 100}])
def test_bands_that_contradict_each_other_decide_nothing(darkest: Mapping[str, int]) -> None:
    with pytest.raises(BaselineError, match="cannot be told"):
        decide_by(**darkest)


def test_one_pixel_in_a_hundred_may_be_darker() -> None:
    sample = np.array([5] * 2 + [1500] * 298, dtype=np.uint16)
    assert decide_offsets([scene(1)], "auto", lambda scenes, band: sample).values == (-1000,)


def test_too_few_clear_pixels_decide_nothing() -> None:
    with pytest.raises(BaselineError, match="99 clear ones in B02 of 1 scenes"):
        decide_offsets([scene(1)], "auto", lambda scenes, band: np.full(99, 300, dtype=np.uint16))


def test_the_xml_of_each_product_stands_for_its_own_scene() -> None:
    decided = decide_offsets([scene(1, -1000), scene(2, 0), scene(3, -1000)], "auto", never)
    assert decided.values == (-1000, 0, -1000)
    assert "3 scenes by their product XML (-1000, 0)" in decided.evidence


@pytest.mark.parametrize(("parameter", "offset"), [("0", 0), ("-1000", -1000)])
def test_the_parameter_stands_for_scenes_without_xml(parameter: str, offset: int) -> None:
    assert decide_offsets([scene(1), scene(2)], parameter, never).values == (offset, offset)


def test_the_parameter_does_not_overrule_the_xml_and_says_so() -> None:
    decided = decide_offsets([scene(1, -1000), scene(2)], "0", never)
    assert decided.values == (-1000, 0)
    assert decided.warnings == ("OFFSET=0 is not used for scenes whose offset is stated by their product XML.",)


def test_the_parameter_that_agrees_with_the_xml_warns_of_nothing() -> None:
    assert decide_offsets([scene(1, -1000), scene(2)], "-1000", never).warnings == ()


def test_pixels_are_asked_of_scenes_without_xml_only() -> None:
    asked = []

    def clear_pixels(scenes: Sequence[Scene], band: str) -> NDArray[np.uint16]:
        asked.append([scene.acquired.day for scene in scenes])
        return np.full(200, 300, dtype=np.uint16)

    assert decide_offsets([scene(1, -1000), scene(2), scene(3, 0)], "auto", clear_pixels).values == (-1000, 0, 0)
    assert {day for days in asked for day in days} == {2}


def test_another_parameter_is_refused() -> None:
    with pytest.raises(JobError, match="OFFSET is '1000'"):
        decide_offsets([scene(1)], "1000", never)


def test_a_season_reads_the_same_with_and_without_offset(tmp_path: Path) -> None:
    days = ["2018-05-04", "2018-06-13", "2018-07-08"]
    stacks = {
        offset: stack_scenes(
            find_scenes([write_season(tmp_path / str(offset), seed=7, times=days, offset=offset)]).scenes,
            ["B02", "B04"],
            10,
            "auto",
        )
        for offset in (0, 1000)
    }
    assert [stacks[offset].offsets.values for offset in (0, 1000)] == [(0, 0, 0), (-1000, -1000, -1000)]
    np.testing.assert_array_equal(whole(stacks[0])[0], whole(stacks[1000])[0])


def test_clouds_and_nodata_are_no_evidence(tmp_path: Path) -> None:
    """A dark half that is nodata or cloud shadow must not make a series with offset look as one without."""
    values = np.full((16, 16), 1300)
    values[:, :4] = 0
    values[:, 4:8] = 200
    scl = np.full((8, 8), 4)
    scl[:, 2:4] = 3
    write_scene(tmp_path, values={"B02": values, "B04": values}, bands=("B02", "B04"), scl=scl, width=16, height=16)
    assert stack_scenes(find_scenes([tmp_path]).scenes, ["B02", "B04"], 10, "auto").offsets.values == (-1000,)


def test_without_blue_and_red_the_parameter_has_to_say(tmp_path: Path) -> None:
    write_scene(tmp_path, bands=("B08",), width=16, height=16)
    scenes = find_scenes([tmp_path]).scenes
    with pytest.raises(BaselineError, match="OFFSET"):
        stack_scenes(scenes, ["B08"], 10, "auto")
    assert stack_scenes(scenes, ["B08"], 10, "0").offsets.values == (0,)


def test_mixed_baselines_in_one_series_harmonise(tmp_path: Path) -> None:
    """Of the same ground: a product with offset, an older one without, and repackaged files without."""
    ground = np.random.default_rng(1).integers(250, 600, (16, 16))
    same = {"bands": ("B02", "B04"), "width": 16, "height": 16}
    after = {"B02": ground + 1000, "B04": ground + 1000}
    before = {"B02": ground, "B04": ground}
    write_safe(tmp_path, "2022-05-04", baseline="04.00", offset=-1000, values=after, **same)
    write_safe(tmp_path, "2021-05-04", baseline="02.14", offset=None, values=before, **same)
    write_scene(tmp_path, "2020-05-04", values=before, **same)
    stack = stack_scenes(find_scenes([tmp_path]).scenes, ["B02", "B04"], 10, "auto")
    assert stack.offsets.values == (0, 0, -1000)
    data, _ = whole(stack)
    for date in data:
        np.testing.assert_array_equal(date[0], ground)


REAL_XML = (
    ("S2A_MSIL2A_20190212T192651_N0212", 0),
    ("esa_S2B_MSIL2A_20210122T133229_N0214", 0),
    ("S2B_MSIL2A_20220413T150759_N0400", -1000),
    ("S2A_MSIL2A_20230625T234621_N0509", -1000),
)


def test_products_under_the_real_xml_of_four_baselines_harmonise(l2a_products: Path, tmp_path: Path) -> None:
    """The same ground four times, with the offset in its digital numbers where the XML says so."""
    ground = np.random.default_rng(1).integers(250, 600, (16, 16))
    for year, (product, offset) in enumerate(REAL_XML, start=2019):
        values = {"B02": ground - offset, "B04": ground - offset}
        safe = write_safe(tmp_path, f"{year}-05-04", values=values, bands=("B02", "B04"), width=16, height=16)
        (xml,) = (l2a_products / "metadata_only").glob(f"{product}*/MTD_MSIL2A.xml")
        shutil.copy(xml, safe)
    found = find_scenes([tmp_path])
    assert [scene.baseline for scene in found.scenes] == ["02.12", "02.14", "04.00", "05.09"]
    stack = stack_scenes(found.scenes, ["B02", "B04"], 10, "auto")
    assert stack.offsets.values == tuple(offset for _, offset in REAL_XML)
    assert stack.offsets.warnings == ()
    for date in whole(stack)[0]:
        np.testing.assert_array_equal(date[:2], [ground, ground])


def all_clear(scene: Scene, band: str) -> float:
    return 1.0


class TestPlausibility:
    """Whatever an offset was decided by, the darkest clear pixels must make sense with it."""

    @pytest.mark.parametrize(
        ("stored", "value", "told"),
        [
            (300, 0, None),
            (1300, -1000, None),
            (300, -1000, "The offset -1000 seems wrong for 1 scenes: .*below 0: T31UDS_20180501T000000 .-0.070 in B02"),
            (1300, 0, "The offset 0 seems wrong for 1 scenes: .*far above 0: T31UDS_20180501T000000 .0.130 in B02"),
            (849, -1000, "seems wrong"),
            (850, -1000, None),
            (900, 0, None),
            (901, 0, "seems wrong"),
        ],
    )
    def test_one_scene(self, stored: int, value: int, told: str | None) -> None:
        found = doubts([scene(1)], [value], lambda scenes, band: np.full(200, stored, dtype=np.uint16), all_clear)
        assert len(found) == (told is not None)
        assert all(re.search(told or "", warning) for warning in found)

    def test_one_dark_band_or_few_pixels_are_no_reason_to_doubt(self) -> None:
        def one_dark_band(scenes: Sequence[Scene], band: str) -> NDArray[np.uint16]:
            return np.full(200, 300 if band == "B02" else 1300, dtype=np.uint16)

        assert doubts([scene(1)], [-1000], one_dark_band, all_clear) == []
        assert doubts([scene(1)], [0], one_dark_band, all_clear) == []
        assert doubts([scene(1)], [-1000], lambda scenes, band: np.full(99, 300, dtype=np.uint16), all_clear) == []

    @pytest.mark.parametrize(
        ("scl", "doubted"), [([[4, 4], [9, 4]], True), ([[4, 9], [9, 4]], True), ([[9, 9], [9, 4]], False)]
    )
    def test_between_clouds_what_counts_as_clear_may_be_haze(
        self, tmp_path: Path, scl: list[list[int]], doubted: bool
    ) -> None:
        classes = np.kron(scl, np.ones((8, 8), int))
        values = {"B02": 1300, "B04": 1300}
        write_scene(tmp_path, values=values, bands=("B02", "B04"), scl=classes, width=32, height=32)
        stack = stack_scenes(find_scenes([tmp_path]).scenes, ["B04"], 10, "0")
        assert bool(stack.offsets.warnings) == doubted

    def test_a_real_year_under_clouds_gives_no_reason_to_doubt(self, flanders: Path) -> None:
        stack = stack_scenes(find_scenes([flanders / "scenes"]).scenes, ["B02", "B04"], 10, "auto")
        assert (set(stack.offsets.values), stack.offsets.warnings) == ({0}, ())

    def test_a_real_year_with_the_wrong_offset_is_doubted(self, flanders: Path) -> None:
        stack = stack_scenes(find_scenes([flanders / "scenes"]).scenes, ["B02", "B04"], 10, "-1000")
        (warning,) = stack.offsets.warnings
        assert "The offset -1000 seems wrong for" in warning

    def test_the_scene_that_its_catalogue_mislabels_is_named(self, tmp_path: Path) -> None:
        """Of three products that state -1000, one has had it taken off already."""
        for day, number in (("2023-05-04", 1300), ("2023-05-14", 300), ("2023-05-24", 1350)):
            values = {"B02": number, "B04": number}
            write_safe(tmp_path, day, values=values, bands=("B02", "B04"), width=16, height=16)
        (warning,) = stack_scenes(find_scenes([tmp_path]).scenes, ["B04", "B02"], 10, "auto").offsets.warnings
        assert "1 scenes" in warning
        assert "T31UDS_20230514T105029" in warning

    def test_the_parameter_is_doubted_too(self, tmp_path: Path) -> None:
        write_scene(tmp_path, values={"B02": 400, "B04": 300}, bands=("B02", "B04"), width=16, height=16)
        (warning,) = stack_scenes(find_scenes([tmp_path]).scenes, ["B04"], 10, "-1000").offsets.warnings
        assert "-0.060 in B02 and -0.070 in B04" in warning
