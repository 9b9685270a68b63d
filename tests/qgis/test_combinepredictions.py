"""Class probabilities of several runs are combined in QGIS."""

import json
import subprocess
from pathlib import Path

import pytest
from qgis.core import QgsProcessingException, QgsRasterLayer

from .conftest import ROOT, WORKER, Ear

WRITE = """
import json, sys
import numpy as np
import rasterio
path, bands = sys.argv[1], json.loads(sys.argv[2])
values = {"Maize": 1, "Grass": 2}
tag = json.dumps([{"value": values[name], "name": name, "color": "#4caf50"} for name in bands])
with rasterio.open(path, "w", driver="GTiff", dtype="uint8", count=len(bands), width=2, height=2, nodata=255,
                   crs="EPSG:32631", transform=rasterio.Affine(10, 0, 500000, 0, -10, 5600000)) as dataset:
    dataset.write(np.array(list(bands.values()), "uint8").reshape(-1, 2, 2))
    dataset.scales = (0.004,) * len(bands)
    dataset.update_tags(CROPMAP_CLASSES=tag, CROPMAP_MODEL="made")
    for number, name in enumerate(bands, 1):
        dataset.set_band_description(number, name)
"""
SURE = {"Maize": [250, 250, 25, 255], "Grass": [0, 0, 225, 255]}
OTHER = {"Grass": [200, 100, 250, 255], "Maize": [50, 150, 0, 255]}


def probabilities_of(path: Path, bands: dict) -> Path:
    subprocess.run([WORKER, "-c", WRITE, path, json.dumps(bands)], cwd=ROOT, check=True)
    return path


@pytest.fixture
def rasters(tmp_path) -> list:
    return [probabilities_of(tmp_path / "sure.tif", SURE), probabilities_of(tmp_path / "other.tif", OTHER)]


def pixels(path, band=1) -> list:
    layer = QgsRasterLayer(str(path))
    block = layer.dataProvider().block(band, layer.extent(), 2, 2)
    return [None if block.isNoData(row, col) else block.value(row, col) for row in (0, 1) for col in (0, 1)]


def test_rasters_become_one_map(run, worker, rasters, tmp_path):
    targets = {
        name: str(tmp_path / f"{name}.tif") for name in ("OUTPUT_CLASSES", "OUTPUT_CONFIDENCE", "OUTPUT_PROBABILITIES")
    }
    assert run("combinepredictions", {"PREDICTIONS": [str(path) for path in rasters], **targets}) == targets

    assert pixels(targets["OUTPUT_CLASSES"]) == [1, 1, 2, None]
    assert pixels(targets["OUTPUT_CONFIDENCE"]) == [60, 80, 95, None]
    maize = pixels(targets["OUTPUT_PROBABILITIES"])
    assert maize == [pytest.approx(0.6), pytest.approx(0.8), pytest.approx(0.048), None]  # 12.5 steps are 12
    layer = QgsRasterLayer(targets["OUTPUT_CLASSES"])
    assert [entry.label for entry in layer.renderer().classes()] == ["Maize", "Grass"]


def test_layers_of_the_project_and_weights_reach_the_job(run, fake_worker, rasters, tmp_path):
    fake_worker.plays(["result", {}])
    layers = [QgsRasterLayer(str(path), path.stem) for path in rasters]
    output = str(tmp_path / "map.tif")
    run(
        "combinepredictions",
        {"PREDICTIONS": layers, "METHOD": "Weighted", "WEIGHTS": "2, 0.5", "OUTPUT_CLASSES": output},
    )
    assert fake_worker.job["parameters"] == {
        "predictions": [str(path) for path in rasters],
        "method": "weighted",
        "weights": [2.0, 0.5],
        "output_classes": output,
        "output_confidence": None,
        "output_probabilities": None,
    }


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"METHOD": "weighted"}, "WEIGHTS is empty: give one number for each raster"),
        ({"METHOD": "weighted", "WEIGHTS": "1,2,3"}, "one number above 0 for each of the 2 rasters"),
        ({"METHOD": "weighted", "WEIGHTS": "1,0"}, "WEIGHTS is 1,0: give one number above 0"),
        ({"METHOD": "weighted", "WEIGHTS": "1,nan"}, "WEIGHTS is 1,nan: give one number above 0"),
        ({"METHOD": "weighted", "WEIGHTS": "inf,1"}, "WEIGHTS is inf,1: give one number above 0"),
        ({"METHOD": "weighted", "WEIGHTS": "1;a"}, "WEIGHTS is 1;a. Write numbers with a point"),
        ({"WEIGHTS": "1,2"}, "There are WEIGHTS, but METHOD is mean"),
        ({"METHOD": "median"}, 'METHOD cannot be "median". Choose from mean, weighted, entropy_weighted'),
        ({"PREDICTIONS": ["/nowhere/a.tif", "/nowhere/b.tif"]}, "Incorrect parameter value for PREDICTIONS"),
        ({"OUTPUT_CLASSES": "other.tif"}, "OUTPUT_CLASSES would overwrite PREDICTIONS"),
    ],
)
def test_mistakes_are_refused_before_the_worker_starts(run, fake_worker, rasters, tmp_path, changes, said):
    given = {"PREDICTIONS": [str(path) for path in rasters], "OUTPUT_CLASSES": "map.tif", **changes}
    given["OUTPUT_CLASSES"] = str(tmp_path / given["OUTPUT_CLASSES"])
    with pytest.raises(QgsProcessingException, match=said):
        run("combinepredictions", given)
    assert not (fake_worker.folder / "job.json").exists()


def test_one_raster_is_no_ensemble(run, fake_worker, rasters, tmp_path):
    with pytest.raises(QgsProcessingException, match="PREDICTIONS holds one raster: give two or more"):
        run("combinepredictions", {"PREDICTIONS": [str(rasters[0])], "OUTPUT_CLASSES": str(tmp_path / "map.tif")})
    assert not (fake_worker.folder / "job.json").exists()


def test_what_a_run_does_not_know_is_told(run, worker, rasters, tmp_path):
    lone = probabilities_of(tmp_path / "lone.tif", {"Grass": [250, 250, 250, 250]})
    ear = Ear()
    given = {"PREDICTIONS": [str(rasters[0]), str(lone)], "OUTPUT_CLASSES": str(tmp_path / "map.tif")}
    run("combinepredictions", given, ear)
    assert "warning: lone.tif does not know Maize: these count 0 there." in ear.text
    assert pixels(tmp_path / "map.tif")[3] == 2  # seen by one run only


def test_on_the_command_line(qgis_process, rasters, tmp_path):
    done = qgis_process(
        "run", "cropmap:combinepredictions", f"--PREDICTIONS={rasters[0]}", f"--PREDICTIONS={rasters[1]}",
        "--METHOD=entropy_weighted", "--OUTPUT_CLASSES=map.tif",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert pixels(tmp_path / "map.tif") == [1, 1, 2, None]
