"""Training in QGIS: a training set becomes a model that maps at once, by name or as the output of another step."""

import json

import pytest
from qgis.core import QgsProcessingException

from .conftest import Ear
from .test_training_sets import SPLIT, table  # noqa: F401  (a fixture)

QUICK = {"EPOCHS": 2, "HYPER_PARAMETERS": "hidden=8,8,8; dense=16", "DEVICE": "cpu"}


@pytest.fixture
def samples(run, worker, table, tmp_path):  # noqa: F811
    path = str(tmp_path / "set.h5")
    run("buildtrainingset", {"TABLE": str(table), **SPLIT, "OUTPUT": path})
    return path


def test_a_training_set_becomes_a_model(run, samples, tmp_path):
    ear = Ear()
    model = str(tmp_path / "maize-wheat")
    parameters = {"SAMPLES": samples, "CHANNELS": "B04, NDVI", "AUGMENTATION": "dates=0.2, clouds=0", **QUICK}
    assert run("trainmodel", {**parameters, "OUTPUT": model}, ear) == {"OUTPUT": model}
    assert "tempcnn: all epochs are done; best epoch" in ear.text
    item = json.loads((tmp_path / "maize-wheat" / "item.json").read_text())
    assert item["id"] == "maize-wheat"
    assert item["properties"]["mlm:input"][0]["bands"] == ["B04", "NDVI"]
    variation = json.loads((tmp_path / "maize-wheat" / "training.json").read_text())["recipe"]["variation"]
    assert (variation["dates"], variation["clouds"], variation["jitter"]) == (0.2, 0, 0.05)


def test_an_ensemble_is_trained(run, samples, tmp_path):
    parameters = {"SAMPLES": samples, "ENSEMBLE": ["random_forest"], "EPOCHS": 1, "DEVICE": "cpu"}
    run("trainmodel", {**parameters, "OUTPUT": str(tmp_path / "both")})
    properties = json.loads((tmp_path / "both" / "item.json").read_text())["properties"]
    members = properties["mlm:hyperparameters"]["members"]
    assert [member["architecture"] for member in members] == ["tempcnn", "tree_ensemble"]


def test_a_model_that_was_trained_is_gone_on_from(run, samples, tmp_path):
    model = str(tmp_path / "first")
    run("trainmodel", {"SAMPLES": samples, **QUICK, "OUTPUT": model})
    parameters = {"SAMPLES": samples, "FROM_MODEL": model, "EPOCHS": 1, "OUTPUT": str(tmp_path / "second")}
    assert run("trainmodel", parameters) == {"OUTPUT": str(tmp_path / "second")}


def test_a_folder_of_something_else_stays_as_it_is(run, samples, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("all of it")
    with pytest.raises(QgsProcessingException, match="is no model bundle"):
        run("trainmodel", {"SAMPLES": samples, **QUICK, "OUTPUT": str(tmp_path / "thesis")})
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "all of it"
