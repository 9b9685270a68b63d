"""Finding scenes: by their files' names, in whatever folder and order they come."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cropmap_core.errors import MissingBandError, NoValidObservationError, SceneError
from cropmap_core.scenes.inventory import Scene, find_scenes
from cropmap_core.scenes.stack import stack_scenes
from tests.core.repackaged import zipped
from tests.core.series_in_memory import whole
from tests.factories import TILE, write_safe, write_scene, write_season


def touch(folder: Path, *names: str) -> Path:
    """Empty files: finding scenes reads names only."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def only_scene(folder: Path) -> Scene:
    (scene,) = find_scenes([folder]).scenes
    return scene


def test_a_scene_is_known_by_the_names_of_its_files(tmp_path: Path) -> None:
    scene = only_scene(write_scene(tmp_path, "2018-05-04"))
    assert scene.name == "T31UDS_20180504T105029"
    assert scene.acquisition_date == date(2018, 5, 4)
    assert (scene.mgrs_tile, len(scene.files), scene.product) == ("31UDS", 11, None)


def test_scenes_come_by_date_from_any_depth(tmp_path: Path) -> None:
    write_season(tmp_path / "b" / "deep", times=["2018-01-03"], width=8, height=8)
    write_season(tmp_path / "a", times=["2018-09-09", "2017-12-31"], width=8, height=8)
    dates = [scene.acquisition_date for scene in find_scenes([tmp_path]).scenes]
    assert dates == [date(2017, 12, 31), date(2018, 1, 3), date(2018, 9, 9)]


def test_files_of_one_scene_may_lie_in_several_folders(tmp_path: Path) -> None:
    touch(tmp_path / "10m", "T31UDS_20180504T105029_B04_10m.tif")
    touch(tmp_path / "20m", "T31UDS_20180504T105029_SCL_20m.tif")
    assert only_scene(tmp_path).files.keys() == {("B04", 10), ("SCL", 20)}
    assert only_scene(tmp_path).place == tmp_path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.randoms(use_true_random=False))
def test_the_order_of_the_inputs_does_not_matter(season: Path, random: st.DataObject) -> None:
    files = sorted(season.rglob("*.tif"))[:55]
    shuffled = list(files)
    random.shuffle(shuffled)
    assert find_scenes(shuffled).scenes == find_scenes(files).scenes


def test_a_path_given_twice_is_read_once(tmp_path: Path) -> None:
    folder = write_scene(tmp_path)
    assert find_scenes([folder, tmp_path, *folder.iterdir()]).scenes == find_scenes([tmp_path]).scenes


@pytest.mark.parametrize(
    "name",
    [
        "T31UDS_20180504T105029_B04_10m.TIFF",
        "t31uds_20180504t105029_b04_10m.jp2",
        "L2A_T31UDS_20180504T105029_B04_10m.jp2",
    ],
)
def test_spellings_of_archives(tmp_path: Path, name: str) -> None:
    scene = only_scene(touch(tmp_path, name))
    assert (scene.mgrs_tile, set(scene.files)) == (TILE, {("B04", 10)})


def test_start_and_end_date_count(season: Path) -> None:
    scenes = find_scenes([season], date(2018, 3, 6), date(2018, 4, 6)).scenes
    assert [f"{scene.acquisition_date:%m-%d}" for scene in scenes] == ["03-06", "03-21", "04-06"]


def test_no_scene_between_the_dates_tells_those_there_are(season: Path) -> None:
    with pytest.raises(NoValidObservationError, match="from 2018-01-06 to 2018-12-21"):
        find_scenes([season], date(2019, 1, 1), None)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ((), "There is nothing in it"),
        (("readme.txt", "clouds.tif"), r"Skipped 2, for instance clouds.tif: its name is not"),
        (
            ("S2A_MSIL2A_20180504T105031_N0207_R051_T31UDS_20180504T131412.zip",),
            "a zip archive that is empty or damaged",
        ),
        (("MTD_MSIL1C.xml",), "a Level-1C product .* get its Level-2A product"),
    ],
)
def test_a_folder_without_scenes_says_what_is_there_and_what_a_scene_is(
    tmp_path: Path, names: tuple[str, ...], reason: str
) -> None:
    touch(tmp_path, *names)
    with pytest.raises(SceneError, match=reason) as refused:
        find_scenes([tmp_path])
    assert str(tmp_path) in refused.value.message
    assert "T31UDS_20180504T105029_B04_10m.tif" in refused.value.remedy


def test_what_is_skipped_beside_scenes_is_told(tmp_path: Path) -> None:
    write_scene(tmp_path)
    touch(tmp_path, "notes.txt")
    (skipped,) = find_scenes([tmp_path]).skipped
    assert skipped.path == tmp_path / "notes.txt"


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="no file or folder .*nowhere"):
        find_scenes([tmp_path / "nowhere"])


class TestProcessingsOfOneAcquisition:
    def test_the_newest_baseline_wins_and_the_other_is_listed(self, tmp_path: Path) -> None:
        write_safe(tmp_path, "2020-05-04", baseline="05.00", offset=-1000, bands=("B04",))
        older = write_safe(tmp_path, "2020-05-04", baseline="02.14", offset=None, bands=("B04",))
        found = find_scenes([tmp_path])
        assert [scene.baseline for scene in found.scenes] == ["05.00"]
        (skipped,) = found.skipped
        assert skipped.path == older
        assert skipped.reason.startswith("baseline 02.14 of an acquisition that is there with 05.00 too, in ")

    def test_the_newest_baseline_wins_though_it_states_another_second(self, tmp_path: Path) -> None:
        write_safe(tmp_path, "20200504T105030", baseline="02.14", offset=None, bands=("B04",))
        write_safe(tmp_path, "20200504T105029", baseline="05.00", offset=-1000, bands=("B04",))
        assert [scene.baseline for scene in find_scenes([tmp_path]).scenes] == ["05.00"]

    def test_of_one_baseline_the_last_one_made_wins(self, tmp_path: Path) -> None:
        early = write_safe(tmp_path, "2020-05-04", bands=("B04",))
        late = early.with_name(early.name.replace("T160000", "T230000"))
        shutil.copytree(early, late)
        assert [scene.place for scene in find_scenes([tmp_path]).scenes] == [late]

    def test_a_product_that_is_there_zipped_too_is_read_once(self, tmp_path: Path) -> None:
        safe = write_safe(tmp_path, "2020-05-04", bands=("B04",))
        zipped(safe, tmp_path / "product.zip")
        assert [scene.place for scene in find_scenes([tmp_path]).scenes] == [safe]

    def test_two_datastrips_of_a_pass_are_two_parts_of_its_tile(self, tmp_path: Path) -> None:
        """A pass that goes down to two stations: each product holds a part of the tile, and is made on its own."""
        left, right = np.zeros((8, 8)), np.zeros((8, 8))
        left[:, :4], right[:, 4:] = 2000, 3000
        for made, strip, values in (("T143000", "20230504T104511", left), ("T160500", "20230504T105019", right)):
            scl = np.where(values[::2, ::2] > 0, 4, 0)
            write_safe(tmp_path, "2023-05-04", made=made, strip=strip, bands=("B04",), values={"B04": values}, scl=scl)
        stack = stack_scenes(find_scenes([tmp_path]).scenes, ["B04"], 10, "0")
        data, valid = whole(stack)
        assert (data.shape, valid.all()) == ((1, 2, 8, 8), True)
        assert data[0, 0, 0].tolist() == [1000] * 4 + [2000] * 4

    def test_of_a_datastrip_the_newest_baseline_wins(self, tmp_path: Path) -> None:
        """Processings may differ by seconds in when it began."""
        for baseline, strip in (("04.00", "20230504T104511"), ("05.09", "20230504T104512")):
            write_safe(tmp_path, "2023-05-04", baseline=baseline, strip=strip, bands=("B04",))
        assert [scene.baseline for scene in find_scenes([tmp_path]).scenes] == ["05.09"]

    def test_an_unknown_baseline_is_neither_newer_nor_older(self, tmp_path: Path) -> None:
        write_safe(tmp_path, "2020-05-04", bands=("B04",))
        write_scene(tmp_path, "2020-05-04", bands=("B04",))
        scenes = find_scenes([tmp_path]).scenes
        with pytest.raises(SceneError, match="of the same time and area, T31UDS_20200504T105029"):
            stack_scenes(scenes, ["B04"], 10, "0")


def test_one_band_in_two_copies_is_refused(tmp_path: Path) -> None:
    write_scene(tmp_path / "original")
    write_scene(tmp_path / "copy")
    with pytest.raises(SceneError, match="the same band of the same scene"):
        find_scenes([tmp_path])


def test_a_date_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "T31UDS_20180231T105029_B04_10m.tif")
    with pytest.raises(SceneError, match="no real date and time"):
        find_scenes([tmp_path])


def test_a_safe_folder_is_one_scene_with_its_metadata(tmp_path: Path) -> None:
    safe = write_safe(tmp_path, "2023-05-04", bands=("B04",))
    masks = touch(next(safe.rglob("GRANULE/*")) / "QI_DATA", "MSK_CLDPRB_20m.jp2", "T31UDS_20230504T105029_PVI.jp2")
    found = find_scenes([tmp_path])
    (scene,) = found.scenes
    assert set(scene.files) == {("B04", 10), ("SCL", 20)}
    assert scene.product is not None
    assert (scene.product.offset, found.skipped) == (-1000, ())
    assert masks.is_dir()


class TestWhichFileOfABandIsRead:
    def scene(self, tmp_path: Path, *bands: str) -> Scene:
        return only_scene(touch(tmp_path, *(f"T31UDS_20180504T105029_{band}.jp2" for band in bands)))

    @pytest.mark.parametrize(
        ("there", "wanted_m", "read_m"),
        [
            (("B04_10m", "B04_20m", "B04_60m"), 10, 10),
            (("B04_10m", "B04_20m", "B04_60m"), 20, 20),
            (("B04_10m", "B04_20m", "B04_60m"), 60, 60),
            (("B04_10m",), 60, 10),
            (("B04_10m", "B04_20m"), 60, 20),
            (("B11_20m", "B11_60m"), 10, 20),
            (("B11_20m", "B11_60m"), 60, 60),
            (("B01_20m", "B01_60m"), 10, 20),
            (("B01_60m",), 10, 60),
        ],
    )
    def test_the_best_for_the_resolution(
        self, tmp_path: Path, there: tuple[str, ...], wanted_m: int, read_m: int
    ) -> None:
        band = there[0][:3]
        source = self.scene(tmp_path, *there).band_file(band, wanted_m)
        assert (source.file.name, source.resolution_m) == (f"T31UDS_20180504T105029_{band}_{read_m}m.jp2", read_m)

    @pytest.mark.parametrize(
        ("there", "wanted_m"), [("B04_60m", 10), ("B04_20m", 10), ("B04_60m", 20), ("B11_60m", 20), ("SCL_60m", 10)]
    )
    def test_a_coarse_copy_never_passes_for_a_finer_band(self, tmp_path: Path, there: str, wanted_m: int) -> None:
        with pytest.raises(MissingBandError, match=rf"there only at {there[4:6]} m\) in scene T31UDS_20180504T105029"):
            self.scene(tmp_path, there).band_file(there[:3], wanted_m)
