"""The rasters of a map: which are asked for, in which order they lie, and the command that makes them again."""

from __future__ import annotations

import shlex

import pytest
from qgis.core import (
    QgsProcessing,
    QgsProcessingException,
    QgsProcessingFeatureSourceDefinition,
    QgsProject,
    QgsRasterLayer,
)


@pytest.fixture
def classified(run, fake_worker, class_raster, bundle):
    """Runs classify on a worker that only listens, and gives the job's parameters."""

    def classified(**parameters) -> dict:
        fake_worker.plays(["result", {}])
        run("classify", {"SERIES": str(class_raster), "MODEL": str(bundle), **parameters})
        return fake_worker.job["parameters"]

    return classified


@pytest.mark.parametrize("name", ["classify", "mapcrops"])
def test_only_classes_and_confidence_are_made_unasked(algorithm, name):
    made = [
        definition.name()
        for definition in algorithm(name).destinationParameterDefinitions()
        if definition.createByDefault() and definition.name() != "OUTPUT_PARCELS"
    ]
    assert made == ["OUTPUT_CLASSES", "OUTPUT_CONFIDENCE"]


def test_what_is_not_asked_for_is_not_in_the_job(classified, tmp_path):
    job = classified(OUTPUT_CLASSES=str(tmp_path / "map.tif"), OUTPUT_MARGIN=str(tmp_path / "margin.tif"))
    assert job["output_margin"] == str(tmp_path / "margin.tif")
    assert (job["output_entropy"], job["output_probabilities"], job["output_ood"]) == (None, None, None)


def test_the_command_names_the_files_that_are_written(classified, class_raster, bundle, tmp_path):
    job = classified(
        SERIES=str(class_raster),
        OUTPUT_CLASSES=QgsProcessing.TEMPORARY_OUTPUT,
        OUTPUT_ENTROPY=str(tmp_path / "it's entropy.tif"),
        SURE_FROM=0.5,
    )
    words = shlex.split(job["replay"])
    assert words[:3] == ["qgis_process", "run", "cropmap:classify"]
    assert {
        f"--SERIES={class_raster}",
        f"--MODEL={bundle}",
        "--SURE_FROM=0.5",
        f"--OUTPUT_CLASSES={job['output_classes']}",
        f"--OUTPUT_ENTROPY={tmp_path}/it's entropy.tif",
    } <= set(words)
    assert QgsProcessing.TEMPORARY_OUTPUT not in job["replay"]
    assert "OUTPUT_MARGIN" not in job["replay"]


def test_the_command_names_the_file_of_a_layer(classified, class_raster, tmp_path):
    layer = QgsRasterLayer(str(class_raster), "my series")
    QgsProject.instance().addMapLayer(layer)
    try:
        job = classified(SERIES=layer.id(), OUTPUT_CLASSES=str(tmp_path / "map.tif"))
    finally:
        QgsProject.instance().clear()
    assert f"--SERIES={class_raster}" in shlex.split(job["replay"])


def test_a_map_with_parcels_can_be_called_again(run, fake_worker, season, fields, bundle, tmp_path):
    fake_worker.plays(["exit", 1])
    parameters = {
        "SCENES": [str(season)],
        "PARCELS": QgsProcessingFeatureSourceDefinition(str(fields)),
        "MODEL": str(bundle),
        "MONTHS": ["4", "5"],
        "OUTPUT_CLASSES": str(tmp_path / "map.tif"),
        "OUTPUT_PARCELS": str(tmp_path / "parcels.gpkg"),
    }
    with pytest.raises(QgsProcessingException, match="ended during mapcrops"):
        run("mapcrops", parameters)
    words = shlex.split(fake_worker.job["parameters"]["replay"])
    assert {f"--SCENES={season}", f"--PARCELS={fields}", "--MONTHS=4", "--MONTHS=5"} <= set(words)
    assert f"--OUTPUT_PARCELS={tmp_path / 'parcels.gpkg'}" in words
