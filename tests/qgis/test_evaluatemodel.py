"""Models are judged in QGIS: a page, the numbers beside it and a layer of errors."""

import csv
import json
import shutil

import pytest
from qgis.core import QgsProcessingException, QgsProcessingOutputHtml, QgsVectorLayer

from .conftest import Ear


@pytest.fixture
def samples(run, worker, tmp_path):
    """Forty samples 2 km apart of two crops that the untrained model knows, monthly over a year."""
    table = tmp_path / "table.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sample_id", "date", "B02", "B04", "B08", "label", "x", "y"])
        for number in range(40):
            crop, place = ("Maize", "Grass")[number % 2], (3 + number % 8 * 0.03, 51 + number // 8 * 0.02)
            for month in range(1, 13):
                green = 100 * month if crop == "Maize" else 100 * (13 - month)
                writer.writerow([f"s{number}", f"2021-{month:02}-01", 500, 1500 - green, 2000 + green, crop, *place])
    path = tmp_path / "set.h5"
    run("buildtrainingset", {"TABLE": str(table), "BLOCK_SIZE_KM": 2, "FOLDS": 3, "OUTPUT": str(path)})
    return path


def test_models_become_a_page_with_numbers_and_errors(run, bundle, samples, tmp_path):
    ear, other = Ear(), tmp_path / "other"
    shutil.copytree(bundle, other)
    page, layer = str(tmp_path / "report.html"), str(tmp_path / "errors.gpkg")
    parameters = {"MODEL": str(bundle), "OTHER_MODELS": f" {other};", "SAMPLES": str(samples)}

    outputs = run("evaluatemodel", {**parameters, "OUTPUT_HTML": page, "OUTPUT_ERRORS": layer}, ear)

    numbers = str(tmp_path / "report.json")
    assert outputs == {"OUTPUT_HTML": page, "OUTPUT_JSON": numbers, "OUTPUT_ERRORS": layer}
    assert "Labels are declarations" in (tmp_path / "report.html").read_text()
    with open(numbers) as file:
        told = json.load(file)
    assert [model["id"] for model in told["models"]] == ["untrained", "untrained (2)"]
    assert "warning: The bundle of untrained does not say what the model has seen" in ear.text
    assert "pixels of the set test: OA 0." in ear.text
    wrong = round((1 - told["models"][0]["pixels"]["overall_accuracy"]) * told["samples"]["pixels"])
    assert QgsVectorLayer(layer, "errors").featureCount() == 2 * wrong


def test_the_page_is_shown_in_the_results(algorithm):
    """What is declared as HTML appears in the results viewer."""
    outputs = {output.name(): output for output in algorithm("evaluatemodel").outputDefinitions()}
    assert isinstance(outputs["OUTPUT_HTML"], QgsProcessingOutputHtml)


def test_the_job_holds_what_was_chosen(run, fake_worker, bundle, tmp_path):
    fake_worker.plays(["result", {}])
    page = str(tmp_path / "r.html")
    (tmp_path / "s.h5").touch()
    parameters = {"MODEL": str(bundle), "SAMPLES": str(tmp_path / "s.h5"), "OUTPUT_HTML": page}
    run("evaluatemodel", {**parameters, "SET": "all", "ALLOW_SEEN": True, "GROUP": "zone", "SEED": 7})
    assert fake_worker.job["parameters"] == {
        "models": [str(bundle)],
        "samples": str(tmp_path / "s.h5"),
        "set": "all",
        "allow_seen": True,
        "group": "zone",
        "seed": 7,
        "temperatures": None,
        "device": "auto",
        "output_html": page,
        "output_json": str(tmp_path / "r.json"),
        "output_errors": None,
    }


def test_the_folder_of_fold_models_is_a_model_too(run, fake_worker, bundle, tmp_path):
    fake_worker.plays(["result", {}])
    shutil.copytree(bundle, tmp_path / "maize" / "maize-fold0")
    (tmp_path / "s.h5").touch()
    given = {"MODEL": str(tmp_path / "maize"), "SAMPLES": str(tmp_path / "s.h5")}
    run("evaluatemodel", {**given, "OUTPUT_HTML": str(tmp_path / "r.html")})
    assert fake_worker.job["parameters"]["models"] == [str(tmp_path / "maize")]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"OTHER_MODELS": "no-such-model"}, '"no-such-model" is neither a bundled model nor a folder'),
        ({"SAMPLES": "none.h5"}, r"SAMPLES: there is no file .*none.h5"),
        ({"OUTPUT_HTML": "report.pdf"}, r"end its name in .html"),
        ({"OUTPUT_ERRORS": "errors.shp"}, r"end its name in .gpkg or .geojson"),
    ],
)
def test_mistakes_are_told_before_the_run(run, fake_worker, bundle, tmp_path, monkeypatch, given, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.h5").touch()
    parameters = {"MODEL": str(bundle), "SAMPLES": "s.h5", "OUTPUT_HTML": "r.html", **given}
    with pytest.raises(QgsProcessingException, match=message):
        run("evaluatemodel", parameters)


def test_what_the_worker_refuses_is_told(run, bundle, samples, tmp_path):
    samples.write_bytes(samples.read_bytes()[:-4000])
    parameters = {"MODEL": str(bundle), "SAMPLES": str(samples), "OUTPUT_HTML": str(tmp_path / "r.html")}
    with pytest.raises(QgsProcessingException, match="it is cut short"):
        run("evaluatemodel", parameters)
