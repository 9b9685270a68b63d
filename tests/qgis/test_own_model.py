"""From scenes and parcels to a model, its map and a report, by the four commands that the guide names."""

import json
import os
from pathlib import Path

import pytest

from .conftest import ROOT

YEAR = {"START_DATE": "2018-01-01", "END_DATE": "2018-12-31"}


@pytest.fixture
def flanders():
    """The real patch of 2018, where it is there."""
    folder = Path(os.environ.get("CROPMAP_DATA", ROOT.parent / "shared" / "data")) / "flanders_2018"
    if not folder.is_dir():
        pytest.skip(f"real data not found: {folder} (set CROPMAP_DATA)")
    return folder


def test_four_commands_lead_from_real_parcels_to_a_map_and_a_report(qgis_process, flanders, tmp_path):
    samples, model = tmp_path / "samples.h5", tmp_path / "my-model"
    scenes, parcels = flanders / "scenes", flanders / "parcels.gpkg"

    def run(name: str, **parameters: object) -> str:
        done = qgis_process("run", f"cropmap:{name}", *(f"--{key}={value}" for key, value in parameters.items()))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    built = run(
        "buildtrainingset", SCENES=scenes, PARCELS=parcels, FIELD="crop_code", NAME_FIELD="crop_name", **YEAR,
        SPLIT="parcel", FOLDS=3, BUFFER=0, PIXELS_PER_PARCEL=0, OUTPUT=samples,
    )  # fmt: skip
    assert "Maize 1249" in built
    trained = run("trainmodel", SAMPLES=samples, CHANNELS="B04,B08,B11,NDVI", EPOCHS=6, OUTPUT=model)
    assert "best epoch" in trained
    run(
        "mapcrops", SCENES=scenes, PARCELS=parcels, MODEL=model, **YEAR,
        OUTPUT_CLASSES=tmp_path / "crops.tif", OUTPUT_PARCELS=tmp_path / "mapped.gpkg",
    )  # fmt: skip
    run("evaluatemodel", MODEL=model, SAMPLES=samples, OUTPUT_HTML=tmp_path / "report.html")

    assert (tmp_path / "crops.tif").is_file()
    judged = json.loads((tmp_path / "report.json").read_text())
    assert judged["samples"]["set"] == "test"
    assert judged["samples"]["pixels"] > 300
    assert "Maize" in (tmp_path / "report.html").read_text()
