"""The rasters of a map: which are asked for, in which order they lie, and the command that makes them again."""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path

import pytest
from qgis.core import (
    QgsFeature,
    QgsGeometry,
    QgsProcessing,
    QgsProcessingException,
    QgsProcessingFeatureSourceDefinition,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
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


def test_there_is_no_command_with_a_layer_that_is_in_memory_alone(classified, tmp_path):
    layer = QgsVectorLayer("Polygon?crs=EPSG:32631", "drawn", "memory")
    feature = QgsFeature()
    feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(400000, 5500000, 500000, 5700000)))
    layer.dataProvider().addFeature(feature)
    assert classified(MASK=layer, OUTPUT_CLASSES=str(tmp_path / "map.tif"))["replay"] == ""


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


def checksums(manifest: Path) -> dict[str, tuple[str, str]]:
    """What a manifest says of the outputs beside it, and what they are."""
    told = json.loads(manifest.read_text())["outputs"]
    return {
        name: (output["sha256"], hashlib.sha256(Path(output["path"]).read_bytes()).hexdigest())
        for name, output in told.items()
    }


def test_the_command_of_a_manifest_makes_the_same_map_again(run, worker, qgis_process, season, bundle, tmp_path):
    made = run(
        "mapcrops",
        {
            "SCENES": [str(season)],
            "MODEL": str(bundle),
            "SURE_FROM": 0.4,
            "OUTPUT_CLASSES": str(tmp_path / "crops.tif"),
            "OUTPUT_PROBABILITIES": QgsProcessing.TEMPORARY_OUTPUT,
        },
    )
    manifest = tmp_path / "crops.run.json"
    before = checksums(manifest)
    assert set(before) == {"output_classes", "output_probabilities"}
    assert all(told == found for told, found in before.values())
    command = shlex.split(json.loads(manifest.read_text())["replay"])
    for path in (*made.values(), manifest):
        Path(path).unlink()

    assert command[0] == "qgis_process"
    again = qgis_process(*command[1:])

    assert again.returncode == 0, again.stdout + again.stderr
    assert checksums(manifest) == before


def test_a_map_knows_the_names_of_its_values_and_its_scales(run, worker, season, bundle, tmp_path):
    made = run(
        "mapcrops",
        {
            "SCENES": [str(season)],
            "MODEL": str(bundle),
            **{f"OUTPUT_{name}": str(tmp_path / f"{name}.tif") for name in ("CLASSES", "ENTROPY", "PROBABILITIES")},
        },
    )
    legend = {
        item["value"]: item["title"]
        for item in json.loads((bundle / "item.json").read_text())["properties"]["mlm:output"][0][
            "classification:classes"
        ]
    }
    classes = QgsRasterLayer(made["OUTPUT_CLASSES"], "classes")
    named = {item.value: item.label for item in classes.dataProvider().colorTable(1) if item.label}
    assert legend.items() <= named.items()
    probabilities = QgsRasterLayer(made["OUTPUT_PROBABILITIES"], "probabilities")
    names = [probabilities.bandName(band).partition(": ")[2] for band in range(1, probabilities.bandCount() + 1)]
    assert names == list(legend.values())
    centre = probabilities.extent().center()
    shares = [probabilities.dataProvider().sample(centre, band)[0] for band in range(1, len(names) + 1)]
    assert sum(shares) == pytest.approx(1, abs=0.002 * len(names))
    layer = QgsRasterLayer(made["OUTPUT_ENTROPY"], "entropy")
    entropy, known = layer.dataProvider().sample(centre, 1)
    assert known
    assert 0 < entropy <= 1
