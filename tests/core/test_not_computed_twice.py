"""A map of unchanged inputs is not computed again; what a mask or area says counts, and not the bytes of its file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import torch
from shapely import MultiPolygon, box

from cropmap_core.inference.bundles import Bundle
from cropmap_core.inference.classification import ClassMap, HowToMap, write_class_map
from cropmap_core.inference.map_layers import MapPaths
from tests.core.seam import Outcome, numbered_parcels, run_here
from tests.core.series_in_memory import SeriesInMemory
from tests.core.tiny_models import END, MONTHS, START, save_tiny_bundle

AGAIN = "it is not computed again"
CPU = (torch.device("cpu"),)
Mapping = Callable[..., Outcome]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A network that sees a pixel."""
    return save_tiny_bundle(tmp_path_factory.mktemp("models") / "tempcnn", "tempcnn")


@pytest.fixture
def mapcrops(season: Path, bundle: Bundle, tmp_path: Path) -> Mapping:
    """Maps the season into crops.tif."""
    given = {"scenes": [season], "model": bundle.folder, "start_date": START, "end_date": END}

    def mapcrops(**more: Any) -> Outcome:
        outcome = run_here("mapcrops", **{**given, "output_classes": tmp_path / "crops.tif", **more})
        assert outcome.status == 0, outcome.last
        return outcome

    return mapcrops


@pytest.fixture
def middle(season: Path, mapcrops: Mapping, tmp_path: Path) -> geopandas.GeoDataFrame:
    """A square in the middle of the season."""
    mapcrops()
    with rasterio.open(tmp_path / "crops.tif") as dataset:
        left, bottom, right, top = dataset.bounds
        x, y = (left + right) / 2, (bottom + top) / 2
        return geopandas.GeoDataFrame(
            {"name": ["middle"]}, geometry=[box(x - 60, y - 60, x + 60, y + 60)], crs=dataset.crs
        )


@pytest.mark.parametrize("given", ["mask", "area"])
def test_the_same_polygons_in_another_file(
    mapcrops: Mapping, middle: geopandas.GeoDataFrame, tmp_path: Path, given: str
) -> None:
    """As QGIS writes them: for each run a file of its own."""
    first, second = tmp_path / "one.gpkg", tmp_path / "two.geojson"
    middle.to_file(first)
    middle.rename(columns={"name": "other"}).to_file(second)
    made = mapcrops(**{given: first})
    assert AGAIN not in made.texts("log")
    again = mapcrops(**{given: second})
    assert AGAIN in again.texts("log")
    assert again.outputs == made.outputs


def test_other_polygons_are_another_map(mapcrops: Mapping, middle: geopandas.GeoDataFrame, tmp_path: Path) -> None:
    mask = tmp_path / "mask.gpkg"
    middle.to_file(mask)
    made = mapcrops(mask=mask)
    middle.translate(10).to_file(mask)
    moved = mapcrops(mask=mask)
    assert AGAIN not in moved.texts("log")
    assert sum(made.outputs["pixels"].values()) == sum(moved.outputs["pixels"].values())
    assert AGAIN not in mapcrops().texts("log")


def test_the_same_files_of_other_dates(season: Path, mapcrops: Mapping, tmp_path: Path) -> None:
    """Two scenes have changed their names: no byte is another, but the season is."""
    dates = {"20180506": "20180606", "20180606": "20180506"}
    same, swapped = tmp_path / "same", tmp_path / "swapped"
    for path in season.rglob("*.tif"):
        name = str(path.relative_to(season))
        found = next((day for day in dates if day in name), "")
        for target in (same / name, swapped / (name.replace(found, dates[found]) if found else name)):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    mapcrops()
    assert AGAIN in mapcrops(scenes=[same]).texts("log")
    assert AGAIN not in mapcrops(scenes=[swapped]).texts("log")


def test_a_mask_may_be_a_folder(mapcrops: Mapping, middle: geopandas.GeoDataFrame, tmp_path: Path) -> None:
    """As a File Geodatabase is."""
    middle.to_file(tmp_path / "mask.gdb", driver="OpenFileGDB")
    assert mapcrops(mask=tmp_path / "mask.gdb").outputs
    told = json.loads((tmp_path / "crops.run.json").read_text())["inputs"]["mask"]
    assert len(told) > 1
    assert all(Path(file["path"]).parent == tmp_path / "mask.gdb" for file in told)


@pytest.mark.parametrize("given", ["mask", "area"])
def test_of_a_shapefile_its_crs_counts(
    mapcrops: Mapping, middle: geopandas.GeoDataFrame, tmp_path: Path, given: str
) -> None:
    """Which stands in the .prj beside it: 30 m farther west the same coordinates mean other pixels."""
    moved = "+proj=tmerc +lon_0=3 +k=0.9996 +x_0=500030 +datum=WGS84"
    for crs in (middle.crs, moved):
        middle.set_crs(crs, allow_override=True).to_file(tmp_path / "middle.shp")
        assert AGAIN not in mapcrops(**{given: tmp_path / "middle.shp"}).texts("log")


def test_an_area_that_takes_other_scenes_is_another_map(
    mapcrops: Mapping, middle: geopandas.GeoDataFrame, tmp_path: Path
) -> None:
    """Cloud is counted in the area: a square and its corners have the same grid, and not the same dates."""
    square = middle.geometry[0]
    left, bottom, right, top = square.bounds
    corners = [box(left, top - 20, left + 20, top), box(right - 20, bottom, right, bottom + 20)]
    dates = []
    for shape in (square, MultiPolygon(corners)):
        middle.set_geometry([shape], crs=middle.crs).to_file(tmp_path / "area.gpkg")
        outcome = mapcrops(area=tmp_path / "area.gpkg", max_cloud_percent=60)
        assert AGAIN not in outcome.texts("log")
        dates.append(outcome.outputs["dates"])
    assert dates[0] != dates[1]


def test_parcels_are_described_again_and_without_them_the_map_stands(mapcrops: Mapping, tmp_path: Path) -> None:
    parcels = numbered_parcels(tmp_path / "parcels.gpkg")
    table = {"parcels": parcels, "output_parcels": tmp_path / "records.csv"}
    for _ in range(2):
        described = mapcrops(**table)
        assert AGAIN not in described.texts("log")
        assert described.outputs["parcels"] == 4
    alone = mapcrops()
    assert AGAIN in alone.texts("log")
    assert alone.outputs["output_parcels"] is None
    assert "parcels" not in alone.outputs
    assert json.loads((tmp_path / "crops.run.json").read_text())["result"]["parcels"] == 4


@pytest.fixture
def stopped(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ClassMap]:
    """Maps noise after a run that was stopped half way; `first` are the rasters that the stopped one was to write."""
    monkeypatch.setattr("cropmap_core.inference.classification._KEPT_FROM", 0)
    values = np.random.default_rng(1).integers(100, 4000, (len(MONTHS), 3, 32, 24)).astype(np.int16)
    series = SeriesInMemory(values, ("B04", "B08", "B11"), tuple(date(2018, month, 1) for month in MONTHS), "month")
    how = HowToMap(unfinished=tmp_path / "crops.tif.unfinished", fingerprint="of this", edge=8)

    def stop(fraction: float) -> None:
        if fraction > 0.5:
            raise InterruptedError

    def run(first: MapPaths, then: MapPaths, skipping: tuple[bool, bool] = (False, False)) -> ClassMap:
        with pytest.raises(InterruptedError):
            write_class_map(series, bundle, CPU, first, {}, replace(how, skip_damaged=skipping[0]), stop)
        return write_class_map(series, bundle, CPU, then, {}, replace(how, skip_damaged=skipping[1]))

    return run


def test_a_run_that_was_stopped_goes_on(stopped: Callable[..., ClassMap], tmp_path: Path) -> None:
    paths = MapPaths(tmp_path / "crops.tif")
    report = stopped(paths, paths).report
    assert report.blocks == 12
    assert 4 <= report.taken_over < 12


@pytest.mark.parametrize(("before", "after", "is_taken_over"), [(False, True, True), (True, False, False)])
def test_blocks_without_damage_serve_those_that_skip_it_and_not_the_other_way(
    stopped: Callable[..., ClassMap], tmp_path: Path, before: bool, after: bool, is_taken_over: bool
) -> None:
    paths = MapPaths(tmp_path / "crops.tif")
    assert (stopped(paths, paths, (before, after)).report.taken_over > 0) == is_taken_over


def test_blocks_that_lack_an_output_are_made_again(stopped: Callable[..., ClassMap], tmp_path: Path) -> None:
    paths = MapPaths(tmp_path / "crops.tif")
    more = replace(paths, entropy=tmp_path / "entropy.tif", probabilities=tmp_path / "probabilities.tif")
    assert stopped(paths, more).report.taken_over == 0
    with rasterio.open(tmp_path / "entropy.tif") as dataset:
        assert (dataset.read(1) <= 250).all()
