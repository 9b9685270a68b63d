"""Five steps with files between them, or one streamed pass: the same map, bit for bit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from cropmap_core.inference.bundles import Bundle
from tests.core.seam import numbered_parcels, run_here, unfinished_files
from tests.core.tiny_models import CLASSES, END, START

DATES = {"start_date": START, "end_date": END}
Maps = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@pytest.fixture(scope="module")
def cloudy_season(season: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The season with a corner of 4 x 2 pixels of 10 m that is under cloud on every date."""
    folder = tmp_path_factory.mktemp("cloudy") / "season"
    shutil.copytree(season, folder)
    for path in folder.rglob("*_SCL_20m.tif"):
        with rasterio.open(path, "r+") as dataset:
            dataset.write(np.full((1, 1, 2), 9, np.uint8), window=((0, 1), (0, 2)))
    return folder


def read(classes: Path, confidence: Path) -> Maps:
    with rasterio.open(classes) as one, rasterio.open(confidence) as other:
        return one.read(1), other.read(1)


def map_in_one_pass(scenes: Path, bundle: Bundle, folder: Path, **more: Any) -> Maps:
    outputs = {"output_classes": folder / "classes.tif", "output_confidence": folder / "confidence.tif"}
    assert run_here("mapcrops", scenes=[scenes], model=bundle.folder, **DATES, **outputs, **more).status == 0
    return read(*outputs.values())


def composites_by_steps(scenes: Path, bundle: Bundle, folder: Path) -> Path:
    """Stack, composite and fill, each with its own job and file."""
    stack, months, full = (folder / f"{name}.tif" for name in ("stack", "months", "filled"))
    for command, parameters in (
        ("stackscenes", {"scenes": [scenes], "bands": bundle.reflectance_bands, "output": stack, **DATES}),
        ("compositetimeseries", {"series": stack, "output": months, **DATES}),
        ("fillgaps", {"series": months, "output": full}),
    ):
        assert run_here(command, **parameters).status == 0
    return full


def classify(series: Path, bundle: Bundle, folder: Path) -> Maps:
    outputs = {"output_classes": folder / "by_steps.tif", "output_confidence": folder / "by_steps_confidence.tif"}
    assert run_here("classify", series=series, model=bundle.folder, **outputs).status == 0
    return read(*outputs.values())


def map_by_steps(scenes: Path, bundle: Bundle, folder: Path) -> Maps:
    full, channels = composites_by_steps(scenes, bundle, folder), folder / "indices.tif"
    assert run_here("computeindices", series=full, output=channels, indices=bundle.indices).status == 0
    return classify(channels, bundle, folder)


def in_blocks_of(patch: pytest.MonkeyPatch, size: int) -> None:
    patch.setattr("cropmap_core.inference.classification.edge_of_parts", lambda *given: size)
    patch.setattr("cropmap_core.timeseries.files.BLOCK_SIZE", size)


@pytest.mark.parametrize("block_size", [8, 512])
def test_five_steps_and_one_pass_give_the_same_map(
    cloudy_season: Path, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_size: int
) -> None:
    in_blocks_of(monkeypatch, block_size)
    classes, confidence = map_in_one_pass(cloudy_season, tiny_bundle, tmp_path)
    by_steps, confidence_by_steps = map_by_steps(cloudy_season, tiny_bundle, tmp_path)
    np.testing.assert_array_equal(by_steps, classes)
    np.testing.assert_array_equal(confidence_by_steps, confidence)
    never = np.zeros((24, 32), bool)
    never[:2, :4] = True
    np.testing.assert_array_equal(classes == 0, never)
    np.testing.assert_array_equal(confidence == 255, never)
    assert {0} < set(np.unique(classes)) <= {0, *(crop.value for crop in CLASSES)}
    assert unfinished_files(tmp_path) == []


def test_the_chain_may_leave_the_indices_to_the_model(cloudy_season: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    full = composites_by_steps(cloudy_season, tiny_bundle, tmp_path)
    np.testing.assert_array_equal(
        classify(full, tiny_bundle, tmp_path), map_in_one_pass(cloudy_season, tiny_bundle, tmp_path)
    )


def test_real_scenes_give_the_same_map(
    flanders: Path, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_blocks_of(monkeypatch, 24)
    classes, confidence = map_in_one_pass(flanders / "scenes", tiny_bundle, tmp_path)
    by_steps, confidence_by_steps = map_by_steps(flanders / "scenes", tiny_bundle, tmp_path)
    np.testing.assert_array_equal(by_steps, classes)
    np.testing.assert_array_equal(confidence_by_steps, confidence)
    assert classes.shape == (64, 64)
    assert (classes > 0).all()
    assert len(np.unique(classes)) > 1


def test_the_dates_of_the_stack_need_not_be_those_of_the_composites(
    season: Path, hybrid_bundle: Bundle, tmp_path: Path
) -> None:
    """A stack of the whole year, composited for the model's months, is the stack of these months."""
    stack, months, full = (tmp_path / f"{name}.tif" for name in ("year", "months", "filled"))
    run_here("stackscenes", scenes=[season], bands=hybrid_bundle.reflectance_bands, output=stack)
    run_here("compositetimeseries", series=stack, output=months, **DATES)
    run_here("fillgaps", series=months, output=full)
    np.testing.assert_array_equal(
        classify(full, hybrid_bundle, tmp_path), map_in_one_pass(season, hybrid_bundle, tmp_path)
    )


def test_the_order_of_the_scenes_does_not_matter(season: Path, hybrid_bundle: Bundle, tmp_path: Path) -> None:
    outputs = {"output_classes": tmp_path / "classes.tif", "output_confidence": tmp_path / "confidence.tif"}
    maps = []
    for scenes in (sorted(season.iterdir()), sorted(season.iterdir(), reverse=True)):
        assert run_here("mapcrops", scenes=scenes, model=hybrid_bundle.folder, **DATES, **outputs).status == 0
        maps.append(read(*outputs.values()))
    np.testing.assert_array_equal(*maps)


def test_digital_numbers_under_cloud_do_not_matter(season: Path, hybrid_bundle: Bundle, tmp_path: Path) -> None:
    expected = map_in_one_pass(season, hybrid_bundle, tmp_path)
    spoilt = tmp_path / "spoilt"
    shutil.copytree(season, spoilt)
    for scene in spoilt.iterdir():
        with rasterio.open(next(scene.glob("*_SCL_*"))) as dataset:
            cloud = dataset.read(1) == 9
        for path in (path for path in scene.iterdir() if "_SCL_" not in path.name):
            with rasterio.open(path, "r+") as dataset:
                repeat = dataset.height // cloud.shape[0]
                under_cloud = cloud.repeat(repeat, axis=0).repeat(repeat, axis=1)
                dataset.write(np.where(under_cloud, np.uint16(60000), dataset.read(1)), 1)
    np.testing.assert_array_equal(map_in_one_pass(spoilt, hybrid_bundle, tmp_path), expected)


def test_kept_classes_reach_the_composites(season: Path, hybrid_bundle: Bundle, tmp_path: Path) -> None:
    usual = map_in_one_pass(season, hybrid_bundle, tmp_path)
    with_clouds = map_in_one_pass(
        season, hybrid_bundle, tmp_path, keep_classes=["vegetation", "bare_soil", "cloud_high"]
    )
    assert (usual[0] != with_clouds[0]).any()


def test_parcels_are_described_alike_in_the_pass_and_after_it(
    season: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    parcels, probabilities = numbered_parcels(tmp_path / "parcels.gpkg"), tmp_path / "probabilities.tif"
    tables = {"parcels": parcels, "output_parcels": tmp_path / "in_the_pass.csv"}
    map_in_one_pass(season, tiny_bundle, tmp_path, **tables, output_probabilities=probabilities)
    described = run_here(
        "parcelattributes",
        parcels=parcels,
        classes=tmp_path / "classes.tif",
        confidence=tmp_path / "confidence.tif",
        probabilities=probabilities,
        output=tmp_path / "after_it.csv",
    ).outputs
    table = (tmp_path / "after_it.csv").read_text()
    assert (tmp_path / "in_the_pass.csv").read_text() == table
    assert (described["parcels"], described["classified"], len(table.splitlines())) == (4, 4, 5)


def test_parcels_do_not_depend_on_which_maps_are_asked_for(season: Path, hybrid_bundle: Bundle, tmp_path: Path) -> None:
    parcels = numbered_parcels(tmp_path / "parcels.gpkg")
    tables = []
    for name, more in (("with", {"output_confidence": tmp_path / "confidence.tif"}), ("without", {})):
        outputs = {"output_classes": tmp_path / "classes.tif", "output_parcels": tmp_path / f"{name}.csv", **more}
        job = {"scenes": [season], "model": hybrid_bundle.folder, "parcels": parcels, **DATES, **outputs}
        assert run_here("mapcrops", **job).status == 0
        tables.append((tmp_path / f"{name}.csv").read_text())
    assert tables[0] == tables[1]
    assert unfinished_files(tmp_path) == []


def test_a_map_has_its_styles_beside_it(season: Path, hybrid_bundle: Bundle, tmp_path: Path) -> None:
    map_in_one_pass(season, hybrid_bundle, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "classes.qml",
        "classes.run.json",
        "classes.stac.json",
        "classes.tif",
        "classes.tif.aux.xml",
        "confidence.qml",
        "confidence.tif",
    ]
