"""Graphical models, of the five steps and of an ensemble: built, saved as .model3, read back and run."""

from pathlib import Path

import pytest
from qgis.core import (
    Qgis,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildAlgorithm,
    QgsProcessingModelChildParameterSource,
    QgsProcessingModelOutput,
    QgsProcessingModelParameter,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsVectorLayer,
)

from .test_algorithms import pixels

STEPS = ("stackscenes", "compositetimeseries", "fillgaps", "computeindices", "classify")


@pytest.fixture
def saved_chain(plugin, tmp_path) -> Path:
    """scenes and model in, class raster out."""
    model = QgsProcessingModelAlgorithm("Five steps", "chain")
    for definition in (
        QgsProcessingParameterMultipleLayers("SCENES", "Scenes", Qgis.ProcessingSourceType.File),
        QgsProcessingParameterString("MODEL", "Crop model"),
    ):
        model.addModelParameter(definition, QgsProcessingModelParameter(definition.name()))
    model_input = QgsProcessingModelChildParameterSource.fromModelParameter
    value = QgsProcessingModelChildParameterSource.fromStaticValue
    own = {
        "stackscenes": {"SCENES": model_input("SCENES"), "BANDS": value(["B02", "B04", "B08"])},
        "computeindices": {"INDICES": value(["NDVI"])},
        "classify": {"MODEL": model_input("MODEL")},
    }
    for before, name in zip((None, *STEPS[:-1]), STEPS, strict=True):
        child = QgsProcessingModelChildAlgorithm(f"cropmap:{name}")
        child.setChildId(name)
        sources = dict(own.get(name, {}))
        if before:
            sources["SERIES"] = QgsProcessingModelChildParameterSource.fromChildOutput(before, "OUTPUT")
        for parameter, source in sources.items():
            child.addParameterSources(parameter, [source])
        model.addChildAlgorithm(child)
    output = QgsProcessingModelOutput("classes", "Crop classes")
    output.setChildId("classify")
    output.setChildOutputName("OUTPUT_CLASSES")
    last = model.childAlgorithm("classify")
    last.setModelOutputs({"classes": output})
    model.setChildAlgorithm(last)
    model.updateDestinationParameters()
    path = tmp_path / "chain.model3"
    assert model.toFile(str(path))
    return path


def test_the_saved_chain_gives_the_class_raster_of_mapcrops(saved_chain, run, worker, season, bundle, tmp_path, ear):
    import processing

    chain = QgsProcessingModelAlgorithm()
    assert chain.fromFile(str(saved_chain))
    chain.initAlgorithm()
    whole = tmp_path / "whole.tif"
    run("mapcrops", {"SCENES": [str(season)], "MODEL": str(bundle), "OUTPUT_CLASSES": str(whole)})

    destination = chain.destinationParameterDefinitions()[0].name()
    parameters = {"SCENES": [str(season)], "MODEL": str(bundle), destination: str(tmp_path / "chained.tif")}
    result = processing.run(chain, parameters, feedback=ear)

    assert result[destination] == str(tmp_path / "chained.tif")
    assert pixels(tmp_path / "chained.tif") == pixels(whole)
    assert (tmp_path / "chained.qml").exists()


def child_of(model: QgsProcessingModelAlgorithm, child_id: str, name: str, **sources) -> None:
    """Adds a step; each parameter has one source or a list of them."""
    child = QgsProcessingModelChildAlgorithm(f"cropmap:{name}")
    child.setChildId(child_id)
    for parameter, source in sources.items():
        child.addParameterSources(parameter, source if isinstance(source, list) else [source])
    model.addChildAlgorithm(child)


@pytest.fixture
def saved_ensemble(plugin, tmp_path) -> Path:
    """Composites, parcels and a model in; parcels out that two predictions have been combined for."""
    model = QgsProcessingModelAlgorithm("Combined", "ensemble")
    for definition in (
        QgsProcessingParameterRasterLayer("SERIES", "Composites"),
        QgsProcessingParameterFeatureSource("PARCELS", "Parcels", [Qgis.ProcessingSourceType.VectorPolygon]),
        QgsProcessingParameterString("MODEL", "Crop model"),
    ):
        model.addModelParameter(definition, QgsProcessingModelParameter(definition.name()))
    given = QgsProcessingModelChildParameterSource.fromModelParameter
    made = QgsProcessingModelChildParameterSource.fromChildOutput
    value = QgsProcessingModelChildParameterSource.fromStaticValue
    child_of(model, "filled", "fillgaps", SERIES=given("SERIES"))
    for step, smoothing in (("plain", 0), ("smooth", 1)):
        child_of(
            model, step, "classify",
            SERIES=made("filled", "OUTPUT"), MODEL=given("MODEL"), SMOOTHING=value(smoothing),
            PRECISION=value("float32"),
        )  # fmt: skip
        predictions = QgsProcessingModelOutput(f"{step}_probabilities", f"{step} probabilities")
        predictions.setChildOutputName("OUTPUT_PROBABILITIES")
        predictions.setChildId(step)
        child = model.childAlgorithm(step)
        child.setModelOutputs({predictions.name(): predictions})
        model.setChildAlgorithm(child)
    predictions = [made(step, "OUTPUT_PROBABILITIES") for step in ("plain", "smooth")]
    child_of(model, "combined", "combinepredictions", PREDICTIONS=predictions, METHOD=value("entropy_weighted"))
    child_of(
        model, "described", "parcelattributes",
        PARCELS=given("PARCELS"), CLASSES=made("combined", "OUTPUT_CLASSES"),
        CONFIDENCE=made("combined", "OUTPUT_CONFIDENCE"),
    )  # fmt: skip
    for step, name, of_step in (("combined", "confidence", "OUTPUT_CONFIDENCE"), ("described", "parcels", "OUTPUT")):
        output = QgsProcessingModelOutput(name, name)
        output.setChildId(step)
        output.setChildOutputName(of_step)
        child = model.childAlgorithm(step)
        child.setModelOutputs({name: output})
        model.setChildAlgorithm(child)
    model.updateDestinationParameters()
    path = tmp_path / "ensemble.model3"
    assert model.toFile(str(path))
    return path


def test_predictions_are_combined_and_parcels_described(
    saved_ensemble, run, worker, season, fields, bundle, tmp_path, ear
):
    import processing

    chain = QgsProcessingModelAlgorithm()
    assert chain.fromFile(str(saved_ensemble))
    chain.initAlgorithm()
    months = tmp_path / "months.tif"
    bands = ["B02", "B04", "B08"]
    stack = run("stackscenes", {"SCENES": [str(season)], "BANDS": bands, "OUTPUT": str(tmp_path / "stack.tif")})
    run("compositetimeseries", {"SERIES": stack["OUTPUT"], "OUTPUT": str(months)})
    targets = {definition.name(): definition.description() for definition in chain.destinationParameterDefinitions()}
    files = {
        name: str(tmp_path / f"{text}{'.gpkg' if text == 'parcels' else '.tif'}") for name, text in targets.items()
    }

    result = processing.run(
        chain, {"SERIES": str(months), "PARCELS": str(fields), "MODEL": str(bundle), **files}, feedback=ear
    )

    assert {name: result[name] for name in files} == files
    assert sorted(targets.values()) == ["confidence", "parcels", "plain probabilities", "smooth probabilities"]
    parcels = list(QgsVectorLayer(str(tmp_path / "parcels.gpkg")).getFeatures())
    assert len(parcels) == 4
    assert all(feature["pred_crop"] in ("Maize", "Grass", "Potatoes") for feature in parcels)
    assert all(0 < feature["pred_prob"] <= 1 for feature in parcels)
