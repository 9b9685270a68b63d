"""Labels through `processing.run`, with the real worker: what reaches it, what comes back, what is refused before."""

import csv
import json
import subprocess

import pytest
from cropmap.processing_provider import vocabulary
from jsonschema import Draft202012Validator
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsProcessing,
    QgsProcessingException,
    QgsProcessingFeatureSourceDefinition,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)

from .conftest import ROOT, square

SCHEMA = json.loads((ROOT / "docs" / "job.schema.json").read_text(encoding="utf-8"))
LEGEND = "code,value,name,color\nearly,1,Early crop,#f4c430\nlate,2,Late crop,#4caf50\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tmp_path_factory.mktemp("made")


@pytest.fixture
def series(run, worker, season, made):
    """A time series of the season, stacked once."""
    path = made / "series.tif"
    if not path.exists():
        given = {"START_DATE": "2018-05-01", "END_DATE": "2018-05-31", "BANDS": ["B04"]}
        run("stackscenes", {"SCENES": [str(season)], **given, "OUTPUT": str(path)})
    return str(path)


@pytest.fixture
def legend(tmp_path):
    path = tmp_path / "legend.csv"
    path.write_text(LEGEND)
    return str(path)


def table(path) -> list[dict]:
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_parcels_in_another_crs_become_styled_labels_numbers_and_a_table(run, series, fields, legend, tmp_path, ear):
    """The four fields of 14 x 10 pixels, two of each crop, less 20 m on all sides: 10 x 6."""
    targets = {"OUTPUT_LABELS": "labels.tif", "OUTPUT_PARCELS": "numbers.tif", "OUTPUT_TABLE": "table.csv"}
    targets = {name: str(tmp_path / file) for name, file in targets.items()}
    given = {"SERIES": series, "PARCELS": str(fields), "FIELD": "crop_name", "LEGEND": legend, "BUFFER": 20}

    outputs = run("preparelabels", {**given, **targets}, ear)

    assert outputs == targets
    labels = QgsRasterLayer(targets["OUTPUT_LABELS"])
    assert [(entry.value, entry.label) for entry in labels.renderer().classes()] == [
        (1, "Early crop"),
        (2, "Late crop"),
    ]
    assert (labels.width(), labels.height()) == (32, 24)
    assert QgsRasterLayer(targets["OUTPUT_PARCELS"]).isValid()
    rows = table(targets["OUTPUT_TABLE"])
    assert [(row["parcel"], row["code"], row["pixels"], row["status"]) for row in rows] == [
        ("1", "early", "60", "used"),
        ("2", "late", "60", "used"),
        ("3", "late", "60", "used"),
        ("4", "early", "60", "used"),
    ]
    assert "Labelled pixels: Early crop 120, Late crop 120." in ear.text


def test_only_selected_parcels_are_used(run, series, fields, legend, tmp_path, ear):
    layer = QgsVectorLayer(str(fields), "fields", "ogr")
    layer.selectByExpression("crop_name = 'late'")
    QgsProject.instance().addMapLayer(layer)
    target = str(tmp_path / "labels.tif")
    source = QgsProcessingFeatureSourceDefinition(layer.id(), True)
    given = {"SERIES": series, "PARCELS": source, "FIELD": "crop_name", "LEGEND": legend, "OUTPUT_LABELS": target}
    run("preparelabels", given, ear)

    assert "Parcels: 2 used." in ear.text
    QgsProject.instance().clear()


def test_what_the_layer_says_reaches_the_worker_as_the_schema_has_it(
    run, fake_worker, layer_of, class_raster, legend, tmp_path
):
    fake_worker.plays(["result", {}])
    source = layer_of(square(0, 0), None, field="culture:integer", values=(1200, 7))
    given = {"PARCELS": source, "FIELD": "culture", "LEGEND": "names", "SERIES": str(class_raster), "LABEL_YEAR": 2018}
    run("preparelabels", {**given, "OUTPUT_LABELS": str(tmp_path / "labels.tif"), "CROPLAND": "40, 50"})

    job = fake_worker.job
    Draft202012Validator({"$ref": "#/$defs/job", "$defs": SCHEMA["$defs"]}).validate(job)
    asked = job["parameters"]
    assert (asked["field"], asked["name_field"], asked["legend"]) == ("code", None, "names")
    assert (asked["label_year"], asked["cropland_classes"], asked["buffer_m"]) == (2018, [40, 50], 10)
    assert asked["output_labels"] == str(tmp_path / "labels.tif")
    assert asked["output_table"] is None


def test_codes_names_and_parcels_without_a_geometry_are_written_for_the_worker(
    run, fake_worker, layer_of, tmp_path, monkeypatch
):
    from cropmap.algorithms import preparelabels

    seen = {}

    def look(self, command, parameters, feedback, outputs):
        layer = QgsVectorLayer(parameters["parcels"], "", "ogr")
        seen["fields"] = [field.name() for field in layer.fields()]
        seen["rows"] = [(f["parcel"], f["code"], f["name"], f.geometry().isEmpty()) for f in layer.getFeatures()]
        seen["crs"] = layer.crs().authid()
        return {}

    monkeypatch.setattr(preparelabels.PrepareLabels, "run_job", look)
    source = layer_of(square(0, 0), None, field="culture:integer", values=(1200, 7))
    given = {"PARCELS": source, "FIELD": "culture", "NAME_FIELD": "culture"}
    run("preparelabels", {**given, "OUTPUT_DRAFT": str(tmp_path / "draft.csv")})

    assert seen == {
        "fields": ["fid", "parcel", "code", "name"],
        "rows": [(1, 1200, 1200, False), (2, 7, 7, True)],
        "crs": "EPSG:31370",
    }


def test_a_draft_needs_no_time_series(run, worker, layer_of, tmp_path):
    source = layer_of(square(0, 0), square(20, 0), field="culture:string", values=("Potatoes", "Maize"))
    target = str(tmp_path / "draft.csv")

    outputs = run(
        "preparelabels",
        {
            "PARCELS": source,
            "FIELD": "culture",
            "OUTPUT_DRAFT": target,
            "OUTPUT_LABELS": QgsProcessing.TEMPORARY_OUTPUT,
        },
    )

    assert outputs == {"OUTPUT_DRAFT": target}
    assert [(row["code"], row["name"]) for row in table(target)] == [("Potatoes", "Potatoes"), ("Maize", "")]


def test_zones_come_from_a_land_cover_alone(run, worker, tmp_path):
    land = tmp_path / "land.asc"
    rows = "\n".join(["40 40 10 10", "40 40 10 10", "10 10 10 40", "10 10 40 40"])
    land.write_text(f"ncols 4\nnrows 4\nxllcorner 500000\nyllcorner 5600000\ncellsize 500\nNODATA_value 0\n{rows}\n")
    land.with_suffix(".prj").write_text(QgsCoordinateReferenceSystem("EPSG:32631").toWkt())
    given = {"LAND_COVER": str(land), "ZONE_SIZE": 1, "ZONE_COUNT": 2, "MIN_CROPLAND": 70}

    outputs = run("preparelabels", {**given, "OUTPUT_ZONES": str(tmp_path / "zones.gpkg")})

    zones = QgsVectorLayer(outputs["OUTPUT_ZONES"])
    assert [(zone["zone"], zone["share"]) for zone in zones.getFeatures()] == [(1, 1.0), (2, 0.75)]
    assert zones.crs().authid() == "EPSG:32631"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"FIELD": None}, "FIELD is empty"),
        ({"CROPLAND": "crops"}, 'CROPLAND is "crops"'),
        ({"OUTPUT_ZONES": "zones.shp"}, "OUTPUT_ZONES must be a GeoPackage"),
        ({"OUTPUT_LABELS": "labels.png"}, "OUTPUT_LABELS must be a GeoTIFF"),
    ],
)
def test_is_refused_before_it_runs(run, fake_worker, layer_of, class_raster, tmp_path, changes, said):
    source = layer_of(square(0, 0), field="culture:string")
    given = {"PARCELS": source, "FIELD": "culture", "LEGEND": "names", "SERIES": str(class_raster)}
    outputs = {"OUTPUT_LABELS": str(tmp_path / "labels.tif")}
    changes = {name: str(tmp_path / v) if name.startswith("OUTPUT") else v for name, v in changes.items()}

    with pytest.raises(QgsProcessingException, match=said):
        run("preparelabels", {**given, **outputs, **changes})
    assert not (fake_worker.folder / "job.json").exists()


def test_the_legends_on_offer_are_those_of_the_worker(worker):
    code = "from cropmap_core.samples.legend import BUILT_IN; print(*BUILT_IN)"
    said = subprocess.run([worker, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert said.split() == vocabulary.LEGENDS
