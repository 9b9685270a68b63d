"""The five steps as a graphical model: built, saved as .model3, read back and run."""

from pathlib import Path

import pytest
from qgis.core import (
    Qgis,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildAlgorithm,
    QgsProcessingModelChildParameterSource,
    QgsProcessingModelOutput,
    QgsProcessingModelParameter,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterString,
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
