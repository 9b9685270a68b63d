"""Headless use: the real `qgis_process` with this checkout as the plugin, through scripts/qgis_process."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from qgis.core import QgsRasterLayer, QgsVectorLayer

from .conftest import ROOT, SCRIPT, WORKER


def test_the_algorithms_are_listed_and_explained(qgis_process):
    listed = qgis_process("list").stdout
    explained = qgis_process("help", "cropmap:mapcrops").stdout

    assert [line.split("\t")[1] for line in listed.splitlines() if "\tcropmap:" in line] == [
        "cropmap:buildtrainingset",
        "cropmap:classify",
        "cropmap:classifysamples",
        "cropmap:combinepredictions",
        "cropmap:compositetimeseries",
        "cropmap:computeindices",
        "cropmap:evaluatemodel",
        "cropmap:fillgaps",
        "cropmap:installruntime",
        "cropmap:mapcrops",
        "cropmap:parcelattributes",
        "cropmap:preparelabels",
        "cropmap:runtimeinfo",
        "cropmap:searchscenes",
        "cropmap:stackscenes",
        "cropmap:summarizesamples",
        "cropmap:trainmodel",
    ]
    assert "OUTPUT_PARCELS: Parcels (optional)" in explained


def test_a_job_in_json_on_standard_input(qgis_process, season, fields, bundle, tmp_path):
    job = {
        "inputs": {
            "SCENES": [str(season)],
            "PARCELS": str(fields),
            "START_DATE": "2018-01-01",
            "END_DATE": "2018-12-31",
            "MODEL": str(bundle),
            "OUTPUT_CLASSES": "map.tif",
            "OUTPUT_CONFIDENCE": "confidence.tif",
            "OUTPUT_PARCELS": "parcels.gpkg",
        }
    }

    done = qgis_process("run", "cropmap:mapcrops", "-", stdin=json.dumps(job))

    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(done.stdout)["results"]
    assert results["OUTPUT_CLASSES"] == str(tmp_path / "map.tif")
    assert {"map.tif", "map.qml", "confidence.tif", "confidence.qml", "parcels.gpkg", "parcels.qml"} <= set(
        os.listdir(tmp_path)
    )
    parcels = QgsVectorLayer(str(tmp_path / "parcels.gpkg"))
    assert all(feature["pred_crop"] for feature in parcels.getFeatures())


def test_words_on_the_command_line(qgis_process, season, tmp_path):
    done = qgis_process(
        "run", "cropmap:stackscenes", f"--SCENES={season}", "--BANDS=b02, B8A", "--RESOLUTION=20", "--OFFSET=0",
        "--START_DATE=2018-05-01", "--END_DATE=2018-05-31", "--OUTPUT=stack.tif",
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "stack.tif").exists()


def test_a_place_on_the_command_line(qgis_process, season, fields, tmp_path):
    needed = ["run", "cropmap:stackscenes", f"--SCENES={season}", "--BANDS=B04", "--OFFSET=0"]
    extent = "--EXTENT=501381,501435,5629500,5629590 [EPSG:32631]"

    runs = [
        qgis_process(*needed, f"--AREA={fields}", "--RESAMPLING=cubic", "--OUTPUT=area.tif"),
        qgis_process(*needed, extent, "--CRS=EPSG:32631", "--COVER=intersection", "--OUTPUT=extent.tif"),
        qgis_process(*needed, f"--TEMPLATE={tmp_path}/extent.tif", "--MISSING_SCL=leave_out", "--OUTPUT=as.tif"),
    ]

    assert [done.returncode for done in runs] == [0, 0, 0], [done.stdout + done.stderr for done in runs]
    sizes = [QgsRasterLayer(str(tmp_path / name), name) for name in ("extent.tif", "as.tif")]
    assert [(layer.width(), layer.height()) for layer in sizes] == [(6, 9), (6, 9)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--SCENES=nowhere"], "there is no file or folder"),
        (["--SCENES=a,b"], "To give several, repeat --SCENES= for each"),
        (["--SCENES=."], "No Sentinel-2"),
        (["--SCENES=.", "--BANDS=B02,B99"], 'BANDS cannot be "B99". Choose from B01, B02'),
        (["--SCENES=.", "--RESOLUTION=15"], 'RESOLUTION cannot be "15". Choose from 10, 20, 60.'),
        (["--SCENES=.", "--START_DATE=31.5.2018"], 'START_DATE is not a date: "31.5.2018". Write it as 2018-05-31.'),
        (["--SCENES=.", "--EXTENT=1,2,3,4"], "EXTENT has no known coordinate reference system: 1,2,3,4. Write it as"),
        (
            ["--SCENES=.", "--CRS=EPSG:1"],
            "CRS is no known coordinate reference system: EPSG:1. Write it as EPSG:32631.",
        ),
        (["--SCENES=.", "--START_DATE=2018-06-01", "--END_DATE=2018-01-01"], "is after END_DATE"),
    ],
)
def test_what_goes_wrong_is_told_and_the_exit_code_is_not_0(qgis_process, tmp_path, arguments, message):
    (tmp_path / "stack.tif").write_text("earlier")

    done = qgis_process("run", "cropmap:stackscenes", *arguments, "--OUTPUT=stack.tif")

    assert done.returncode != 0
    assert message in done.stdout + done.stderr
    assert (tmp_path / "stack.tif").read_text() == "earlier"


def test_without_a_runtime_the_command_to_run_is_told(qgis_process, season):
    done = qgis_process("run", "cropmap:stackscenes", f"--SCENES={season}", "--OUTPUT=stack.tif", CROPMAP_PYTHON="")

    assert done.returncode != 0
    assert 'run "qgis_process run cropmap:installruntime"' in done.stdout + done.stderr


@pytest.fixture(scope="module")
def large_season(tmp_path_factory) -> Path:
    """A folder with scenes that take the worker long enough to be interrupted."""
    folder = tmp_path_factory.mktemp("large")
    size = ("--width", "512", "--height", "512")
    subprocess.run([WORKER, "-m", "tests.factories", "season", *size, folder], cwd=ROOT, check=True)
    return folder


def test_the_worker_ends_and_cleans_up_when_qgis_process_is_killed(
    environment, large_season, fields, bundle, tmp_path, tmp_path_factory
):
    for name in ("map.tif", "map.qml", "parcels.gpkg"):
        (tmp_path / name).write_text("earlier")
    process = subprocess.Popen(
        [
            SCRIPT,
            "run",
            "cropmap:mapcrops",
            f"--SCENES={large_season}",
            f"--MODEL={bundle}",
            f"--PARCELS={fields}",
            "--OUTPUT_CLASSES=map.tif",
            "--OUTPUT_PARCELS=parcels",
        ],
        cwd=tmp_path,
        env={**environment, "TMPDIR": str(tmp_path_factory.mktemp("temporary"))},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_until(lambda: unfinished(tmp_path), "the worker wrote nothing")
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL

    wait_until(lambda: not unfinished(tmp_path), "the worker left its files")
    for name in ("map.tif", "map.qml", "parcels.gpkg"):
        assert (tmp_path / name).read_text() == "earlier"


def unfinished(folder: Path) -> list[Path]:
    """What a worker has begun in a folder."""
    return [path for path in folder.iterdir() if ".part" in path.name]


def wait_until(is_so, complaint: str) -> None:
    """Looks again and again, for a minute at most."""
    for _ in range(6000):
        if is_so():
            return
        time.sleep(0.01)
    pytest.fail(complaint)
