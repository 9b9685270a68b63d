"""Inputs that look right and are not: each is refused or told, none becomes a wrong map in silence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import rasterio

from cropmap_core.errors import SeriesError
from cropmap_core.inference.bundles import Bundle
from cropmap_core.scenes.inventory import find_scenes
from cropmap_core.scenes.stack import stack_scenes
from cropmap_core.timeseries.files import open_time_series
from tests.core.seam import numbered_parcels, run_here
from tests.core.series_in_memory import whole
from tests.core.tiny_models import END, START
from tests.factories import write_safe, write_scene, write_season

DATES = {"start_date": START, "end_date": END}


def rewritten(path: Path, add: int = 0, **profile: object) -> None:
    """Writes a raster again with a number added, under another profile."""
    with rasterio.open(path) as dataset:
        values, kept = dataset.read(), {**dataset.profile, **profile}
    with rasterio.open(path, "w", **kept) as dataset:
        dataset.write((values.astype(np.int64) + add).astype(kept["dtype"]))


def reflectance_files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*.tif") if "SCL" not in path.name)


def test_a_season_that_carries_the_offset_from_some_day_on_is_refused(tmp_path: Path) -> None:
    season = write_season(tmp_path / "season", cloud_share=0.0)
    for path in reflectance_files(season):
        if path.parent.name >= "20180601":
            rewritten(path, add=1000)
    outcome = run_here("stackscenes", scenes=[season], bands=["B02", "B04"], output=tmp_path / "stack.tif")
    assert outcome.code == "BaselineError"
    assert "(2018-06-06 to 2018-12-21) still have it" in outcome.last["message"]
    assert "OFFSET" in outcome.last["remedy"]


def test_the_nodata_value_that_a_file_declares_counts(tmp_path: Path) -> None:
    scene = write_scene(tmp_path)
    path = scene / "T31UDS_20180504T105029_B04_10m.tif"
    rewritten(path, dtype="int16", nodata=-9999)
    with rasterio.open(path, "r+") as dataset:
        values = dataset.read(1)
        values[0, 0] = -9999
        dataset.write(values, 1)
    _, valid = whole(stack_scenes(find_scenes([tmp_path]).scenes, ["B04"], 10, "0"))
    assert (valid[0, 0, 0], valid.sum()) == (False, valid.size - 1)


def test_a_series_of_another_nodata_value_is_refused(steps: Mapping[str, Path], tmp_path: Path) -> None:
    with rasterio.open(steps["months"]) as source:
        profile = {**source.profile, "nodata": -9999}
        with rasterio.open(tmp_path / "months.tif", "w", **profile) as target:
            target.descriptions = source.descriptions
    with pytest.raises(SeriesError, match="nodata value -9999, not -32768"):
        open_time_series(tmp_path / "months.tif")


def test_reflectance_as_floats_is_refused_with_what_to_give(tmp_path: Path) -> None:
    scene = write_scene(tmp_path)
    rewritten(scene / "T31UDS_20180504T105029_B04_10m.tif", dtype="float32")
    outcome = run_here("stackscenes", scenes=[tmp_path], bands=["B04"], offset="0", output=tmp_path / "stack.tif")
    assert outcome.code == "SceneError"
    assert "holds float32 values" in outcome.last["message"]


def test_months_without_a_scene_are_told(steps: Mapping[str, Path], tmp_path: Path, hybrid_bundle: Bundle) -> None:
    season = write_season(tmp_path / "season", times=["2018-04-06", "2018-05-06", "2018-07-06", "2018-08-06"])
    outcome = run_here(
        "mapcrops", scenes=[season], model=hybrid_bundle.folder, output_classes=tmp_path / "c.tif", **DATES
    )
    assert outcome.status == 0
    assert "No acquisition in 2018-06" in outcome.texts("warning")


def test_a_season_that_is_mostly_not_there_is_refused(tmp_path: Path, hybrid_bundle: Bundle) -> None:
    season = write_season(tmp_path / "season", times=["2018-05-04", "2018-05-06"])
    outcome = run_here(
        "mapcrops", scenes=[season], model=hybrid_bundle.folder, output_classes=tmp_path / "c.tif", **DATES
    )
    assert outcome.code == "NoValidObservationError"
    assert "4 of 5 periods have no acquisition" in outcome.last["message"]
    assert not (tmp_path / "c.tif").exists()


def test_a_series_that_is_not_filled_is_told(steps: Mapping[str, Path], tmp_path: Path, hybrid_bundle: Bundle) -> None:
    of_months, of_filled = (
        run_here("classify", series=steps[name], model=hybrid_bundle.folder, output_classes=tmp_path / f"{name}.tif")
        for name in ("months", "filled")
    )
    assert "not filled" in of_months.texts("warning")
    assert of_filled.texts("warning") == ""


@pytest.mark.parametrize(
    ("classes", "confidence", "told"),
    [
        ("stack", None, "no crop classes"),
        ("confidence", None, "confidence or ood raster, no class raster"),
        ("classes", "classes", "no confidence raster"),
    ],
)
def test_parcels_are_described_by_class_rasters_only(
    steps: Mapping[str, Path], tmp_path: Path, classes: str, confidence: str | None, told: str
) -> None:
    more = {"confidence": steps[confidence]} if confidence else {}
    parcels = numbered_parcels(tmp_path / "parcels.gpkg")
    outcome = run_here(
        "parcelattributes", parcels=parcels, classes=steps[classes], output=tmp_path / "records.csv", **more
    )
    assert outcome.code == "SeriesError"
    assert told in outcome.last["message"]


def test_no_output_replaces_a_band_of_its_scenes(season: Path, tmp_path: Path, hybrid_bundle: Bundle) -> None:
    scenes = copytree(season, tmp_path / "season")
    band = next(reflectance_files(scenes))
    before = band.read_bytes()
    outcome = run_here("mapcrops", scenes=[scenes], model=hybrid_bundle.folder, output_classes=band, **DATES)
    assert outcome.code == "OutputError"
    assert "is an input of the job" in outcome.last["message"]
    assert band.read_bytes() == before


def test_no_output_replaces_its_series(steps: Mapping[str, Path]) -> None:
    before = steps["months"].read_bytes()
    assert run_here("fillgaps", series=steps["months"], output=steps["months"]).code == "OutputError"
    assert steps["months"].read_bytes() == before


def test_a_raster_is_not_written_under_another_format_s_name(steps: Mapping[str, Path], tmp_path: Path) -> None:
    outcome = run_here("fillgaps", series=steps["months"], output=tmp_path / "filled.jpg")
    assert outcome.code == "OutputError"
    assert "ends in .tif" in outcome.last["remedy"]


def test_products_of_2018_name_their_quantification_otherwise(tmp_path: Path) -> None:
    product = write_safe(tmp_path, baseline="02.09", offset=None)
    xml = product / "MTD_MSIL2A.xml"
    xml.write_text(xml.read_text().replace("BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE"))
    (scene,) = find_scenes([product]).scenes
    assert (scene.baseline, scene.stated_offset.value if scene.stated_offset else None) == ("02.09", 0)


def test_links_to_scene_folders_are_followed_and_loops_end(tmp_path: Path) -> None:
    write_scene(tmp_path / "elsewhere")
    links = tmp_path / "links"
    links.mkdir()
    (links / "scene").symlink_to(tmp_path / "elsewhere" / "20180504T105029", target_is_directory=True)
    (links / "loop").symlink_to(links, target_is_directory=True)
    assert [scene.acquired for scene in find_scenes([links]).scenes] == [datetime(2018, 5, 4, 10, 50, 29)]


def test_a_missing_scl_is_said_in_its_own_words(tmp_path: Path) -> None:
    scene = write_scene(tmp_path)
    next(scene.glob("*SCL*")).unlink()
    outcome = run_here("stackscenes", scenes=[tmp_path], output=tmp_path / "stack.tif")
    assert outcome.code == "MissingBandError"
    assert "Add its SCL file" in outcome.last["remedy"]


@pytest.mark.parametrize("start", ["0218-01-01", "1999-01-01"])
def test_a_year_before_sentinel_2_is_a_slip_of_the_finger(
    steps: Mapping[str, Path], tmp_path: Path, start: str
) -> None:
    outcome = run_here("compositetimeseries", series=steps["stack"], start_date=start, output=tmp_path / "m.tif")
    assert outcome.code == "JobError"
    assert f"START_DATE is {start}" in outcome.last["message"]


def test_a_start_after_the_series_is_told_as_such(steps: Mapping[str, Path], tmp_path: Path) -> None:
    outcome = run_here("compositetimeseries", series=steps["stack"], start_date="2019-05-01", output=tmp_path / "m.tif")
    assert outcome.code == "NoValidObservationError"
    assert "The time series runs from 2018-04-06" in outcome.last["remedy"]


def test_an_output_whose_name_looks_unfinished_is_named_as_it_is(steps: Mapping[str, Path]) -> None:
    outcome = run_here("fillgaps", series=steps["months"], output=Path("/proc/field.parts.tif"))
    assert outcome.code == "OutputError"
    assert outcome.last["message"].startswith("/proc/field.parts.tif cannot be written")


def test_scenes_are_not_looked_for_between_dates_in_the_wrong_order(tmp_path: Path) -> None:
    write_scene(tmp_path)
    outputs = {"output": str(tmp_path / "stack.tif")}
    dates = {"start_date": "2018-09-01", "end_date": "2018-05-01"}
    stacked = run_here("stackscenes", scenes=[str(tmp_path)], **dates, **outputs)
    searched = run_here(
        "searchscenes", url="http://127.0.0.1:9", extent="3,3.1,50,50.1 [EPSG:4326]", **dates, **outputs
    )
    for outcome in (stacked, searched):
        assert outcome.code == "JobError"
        assert outcome.last["message"] == "END_DATE 2018-05-01 lies before START_DATE 2018-09-01."


@pytest.mark.parametrize(("metres", "told"), [(0, []), (15, ["DILATE_CLOUD", "SPECK"]), (20, ["SPECK"]), (21, [])])
def test_distances_within_a_pixel_are_told_to_change_nothing(metres: int, told: list[str], tmp_path: Path) -> None:
    write_scene(tmp_path / "scenes")
    stacked = {"output": str(tmp_path / "stack.tif"), "bands": ["B04"], "offset": "0"}
    run_here("stackscenes", scenes=[str(tmp_path / "scenes")], resolution=20, **stacked)
    outcome = run_here(
        "compositetimeseries",
        series=str(tmp_path / "stack.tif"),
        output=str(tmp_path / "composites.tif"),
        dilate_cloud=metres,
        speck=metres,
    )
    assert outcome.status == 0, outcome.last
    warnings = outcome.texts("warning").splitlines()
    assert [text.split()[0] for text in warnings if "changes nothing" in text] == told
