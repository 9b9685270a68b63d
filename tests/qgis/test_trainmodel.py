"""Training in QGIS: a training set becomes a model that maps at once, by name or as the output of another step."""

import json

import pytest
from qgis.core import (
    QgsProcessingException,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildAlgorithm,
    QgsProcessingModelChildParameterSource,
    QgsProcessingModelOutput,
    QgsProcessingModelParameter,
    QgsProcessingParameterFile,
)

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


def test_a_graphical_model_leads_from_a_table_to_a_report(plugin, worker, table, tmp_path, ear):  # noqa: F811
    """The folder of the trained model goes on to the next steps as their MODEL."""
    import processing

    chain = QgsProcessingModelAlgorithm("Own model", "chain")
    definition = QgsProcessingParameterFile("TABLE", "Table")
    chain.addModelParameter(definition, QgsProcessingModelParameter("TABLE"))
    given = QgsProcessingModelChildParameterSource.fromModelParameter("TABLE")
    value = QgsProcessingModelChildParameterSource.fromStaticValue
    made_by = QgsProcessingModelChildParameterSource.fromChildOutput
    samples, model = made_by("buildtrainingset", "OUTPUT"), made_by("trainmodel", "OUTPUT")
    children = {
        "buildtrainingset": {"TABLE": given, **{name: value(what) for name, what in SPLIT.items()}},
        "trainmodel": {"SAMPLES": samples, **{name: value(what) for name, what in QUICK.items()}},
        "evaluatemodel": {"MODEL": model, "SAMPLES": samples},
        "classifysamples": {"MODEL": model, "INPUT": given},
    }
    for name, sources in children.items():
        child = QgsProcessingModelChildAlgorithm(f"cropmap:{name}")
        child.setChildId(name)
        for parameter, source in sources.items():
            child.addParameterSources(parameter, [source])
        kind = {"evaluatemodel": "OUTPUT_HTML", "classifysamples": "OUTPUT"}.get(name)
        if kind:
            output = QgsProcessingModelOutput(name, name)
            output.setChildId(name)
            output.setChildOutputName(kind)
            child.setModelOutputs({name: output})
        chain.addChildAlgorithm(child)
    chain.updateDestinationParameters()
    chain.initAlgorithm()

    page, classes = tmp_path / "report.html", tmp_path / "classes.csv"
    targets = {"evaluatemodel": str(page), "classifysamples": str(classes)}
    names = {each.name(): targets[each.description()] for each in chain.destinationParameterDefinitions()}
    processing.run(chain, {"TABLE": str(table), **names}, feedback=ear)

    assert "maize" in page.read_text()
    assert len(classes.read_text().splitlines()) == 41
