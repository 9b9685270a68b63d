"""Smoothing, the smallest area and the mask of a map, on their way to the worker."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from qgis.core import QgsProcessingException, QgsRasterLayer, QgsVectorLayer

from .conftest import ROOT, square

SCHEMA = json.loads((ROOT / "docs" / "job.schema.json").read_text())


@pytest.fixture
def classify(run, fake_worker, bundle, class_raster, tmp_path):
    """Runs classify on a worker that does nothing; gives the job's parameters."""

    def classify(**care) -> dict:
        output = str(tmp_path / "map.tif")
        given = {"SERIES": str(class_raster), "MODEL": str(bundle), "OUTPUT_CLASSES": output}
        fake_worker.plays(["result", {}])
        run("classify", {**given, **care})
        Draft202012Validator({**SCHEMA, "$ref": "#/$defs/job"}).validate(fake_worker.job)
        return fake_worker.job["parameters"]

    return classify


def test_a_map_is_left_as_it_is_unless_asked(classify):
    job = classify()
    assert (job["smoothing"], job["minimum_area_ha"], job["mask"]) == (0, 0, None)


def test_how_much_reaches_the_job(classify):
    job = classify(SMOOTHING=1.5, MINIMUM_AREA="0.3")
    assert (job["smoothing"], job["minimum_area_ha"]) == (1.5, 0.3)


def test_a_raster_is_a_mask(classify, class_raster):
    assert classify(MASK=str(class_raster))["mask"] == str(class_raster)
    assert classify(MASK=QgsRasterLayer(str(class_raster), "crops"))["mask"] == str(class_raster)


def test_polygons_are_a_mask_while_the_worker_runs(run, fake_worker, bundle, class_raster, layer_of, tmp_path):
    """Their filter counts, and their CRS is kept."""
    layer = layer_of(square(0, 0), square(20, 0), square(40, 0), values=["a", "b", "a"])
    seen = tmp_path / "seen.gpkg"
    fake_worker.plays(["copy", "mask", str(seen)], ["result", {}])
    layer.setSubsetString("farmer = 'a'")
    given = {"SERIES": str(class_raster), "MODEL": str(bundle), "OUTPUT_CLASSES": str(tmp_path / "map.tif")}
    run("classify", {**given, "MASK": layer})

    polygons = QgsVectorLayer(str(seen))
    assert polygons.crs().authid() == "EPSG:31370"
    assert [feature.geometry().boundingBox().xMinimum() for feature in polygons.getFeatures()] == [0, 40]
    assert not Path(fake_worker.job["parameters"]["mask"]).exists()


def test_only_the_parcels_are_mapped(run, worker, season, fields, bundle, tmp_path):
    """Fields in the Belgian grid, scenes in UTM."""
    scenes = {"SCENES": [str(season)], "MODEL": str(bundle)}
    run("mapcrops", {**scenes, "OUTPUT_CLASSES": str(tmp_path / "all.tif")})
    care = {"MASK": str(fields), "SMOOTHING": 0.5, "MINIMUM_AREA": 0.03}
    run("mapcrops", {**scenes, **care, "OUTPUT_CLASSES": str(tmp_path / "fields.tif")})

    counts = []
    for name in ("all.tif", "fields.tif"):
        layer = QgsRasterLayer(str(tmp_path / name))
        block = layer.dataProvider().block(1, layer.extent(), layer.width(), layer.height())
        counts.append(sum(block.value(row, col) > 0 for row in range(layer.height()) for col in range(layer.width())))
    assert counts[0] == 32 * 24
    assert 4 * 14 * 10 <= counts[1] < 4 * 16 * 12


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ({"kind": "Point"}, "MASK .parcels. is of type point. Give a layer of polygons"),
        ({"crs": ""}, "has no coordinate reference system"),
        ({"nothing": True}, "holds no polygon"),
    ],
)
def test_what_is_no_mask_is_refused_before_the_worker_starts(
    run, fake_worker, bundle, class_raster, layer_of, tmp_path, layer, said
):
    shapes = [] if layer.pop("nothing", False) else ["Point (1 1)" if "kind" in layer else square(0, 0)]
    given = {"SERIES": str(class_raster), "MODEL": str(bundle), "OUTPUT_CLASSES": str(tmp_path / "map.tif")}
    with pytest.raises(QgsProcessingException, match=said):
        run("classify", {**given, "MASK": layer_of(*shapes, **layer)})
    assert not (fake_worker.folder / "job.json").exists()


def test_a_mask_is_not_overwritten(run, fake_worker, season, bundle, class_raster, tmp_path):
    mask = class_raster.rename(class_raster.with_suffix(".tif"))
    with pytest.raises(QgsProcessingException, match="OUTPUT_CLASSES would overwrite MASK"):
        run("mapcrops", {"SCENES": [str(season)], "MODEL": str(bundle), "MASK": str(mask), "OUTPUT_CLASSES": str(mask)})
