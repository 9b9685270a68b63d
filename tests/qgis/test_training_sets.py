"""Training sets in QGIS: a table becomes one, and a page and a layer tell of it."""

import csv

import pytest
from qgis.core import QgsFeature, QgsGeometry, QgsProcessingException, QgsRectangle, QgsVectorLayer

from .conftest import Ear, square

SPLIT = {"SPLIT": "blocks", "BLOCK_SIZE_KM": 2, "FOLDS": 3}


@pytest.fixture
def table(tmp_path):
    """Forty samples 2 km apart of two crops, four months each."""
    path = tmp_path / "table.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sample_id", "date", "B04", "B08", "label", "x", "y"])
        for number in range(40):
            crop = ("maize", "wheat")[number % 2]
            for month in range(4, 8):
                green = 100 * month if crop == "maize" else 100 * (11 - month)
                x, y = 3 + number % 8 * 0.03, 51 + number // 8 * 0.02
                writer.writerow([f"s{number}", f"2021-{month:02}-01", 1200 - green, 2000 + green + number, crop, x, y])
    return path


def test_a_table_becomes_a_training_set_and_a_page_and_a_layer_tell_of_it(run, worker, table, tmp_path):
    ear = Ear()
    samples = str(tmp_path / "set.h5")
    assert run("buildtrainingset", {"TABLE": str(table), **SPLIT, "OUTPUT": samples}, ear) == {"OUTPUT": samples}
    assert "40 samples: maize 20, wheat 20." in ear.text
    assert "Leakage check" in ear.text

    page, layer = str(tmp_path / "set.html"), str(tmp_path / "suspicious.gpkg")
    outputs = run("summarizesamples", {"SAMPLES": samples, "OUTPUT_HTML": page, "OUTPUT_SUSPICIOUS": layer})
    assert outputs == {"OUTPUT_HTML": page, "OUTPUT_SUSPICIOUS": layer}
    assert "maize" in (tmp_path / "set.html").read_text()
    assert QgsVectorLayer(layer, "suspicious").isValid()


def test_parcels_of_any_layer_are_judged(run, worker, table, layer_of, tmp_path):
    """The first of forty samples is labelled wrongly."""
    lines = table.read_text().replace("maize,3.0,51.0", "wheat,3.0,51.0")
    table.write_text(lines)
    samples, layer = str(tmp_path / "set.h5"), str(tmp_path / "parcels.gpkg")
    run("buildtrainingset", {"TABLE": str(table), **SPLIT, "OUTPUT": samples})
    squares = [square(2.99 + 0.03 * number, 50.99, 0.02) for number in range(8)]
    parameters = {
        "SAMPLES": samples,
        "PARCELS": layer_of(*squares, crs="EPSG:4326"),
        "OUTPUT_HTML": str(tmp_path / "set.html"),
        "OUTPUT_PARCELS": layer,
    }
    assert run("summarizesamples", parameters)["OUTPUT_PARCELS"] == layer
    first = next(QgsVectorLayer(layer, "suspicious").getFeatures())
    assert (first["farmer"], first["share"], first["looks_name"]) == ("farmer 1", 1.0, "maize")


def test_parcels_to_write_need_parcels(run, tmp_path):
    samples = tmp_path / "set.h5"
    samples.touch()
    parameters = {"SAMPLES": str(samples), "OUTPUT_HTML": "set.html", "OUTPUT_PARCELS": str(tmp_path / "p.gpkg")}
    with pytest.raises(QgsProcessingException, match="OUTPUT_PARCELS needs PARCELS"):
        run("summarizesamples", parameters)


def test_zones_of_any_layer_split(run, worker, table, tmp_path):
    zones = QgsVectorLayer("Polygon?crs=EPSG:4326&field=name:string", "zones", "memory")
    for place, name in enumerate(("train", "validation", "test")):
        feature = QgsFeature(zones.fields())
        feature.setAttributes([name])
        left = 2.99 + place * 0.09
        feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(left, 50, left + 0.09, 52)))
        zones.dataProvider().addFeature(feature)
    ear = Ear()
    parameters = {"TABLE": str(table), "SPLIT": "zone", "ZONES": zones, "ZONE_FIELD": "name"}
    run("buildtrainingset", {**parameters, "OUTPUT": str(tmp_path / "set.h5")}, ear)
    assert "Split by zone: train 15, validation 15, test 10" in ear.text


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({}, "Give one of TABLE, SERIES and SCENES."),
        ({"TABLE": "table", "SCENES": ["folder"]}, "not TABLE and SCENES"),
        ({"SCENES": ["folder"]}, "SCENES needs either LABELS"),
        ({"TABLE": "table", "EXTENT": "0,1,0,1 [EPSG:4326]"}, "AREA and EXTENT are of SCENES with PARCELS"),
        ({"TABLE": "table", "SPLIT": "random"}, "set CONFIRM_RANDOM"),
        ({"TABLE": "table", "ZONE_FIELD": "name"}, "both ZONES and ZONE_FIELD"),
        ({"TABLE": "table", "TEST_FOLDS": "one"}, 'TEST_FOLDS is "one"'),
    ],
)
def test_what_does_not_go_together_is_refused_before_the_run(run, table, tmp_path, parameters, complaint):
    files = {"table": str(table), "folder": str(tmp_path)}
    given = {name: files.get(value, value) if isinstance(value, str) else value for name, value in parameters.items()}
    if "SCENES" in given:
        given["SCENES"] = [str(tmp_path)]
    with pytest.raises(QgsProcessingException, match=complaint):
        run("buildtrainingset", {**given, "OUTPUT": str(tmp_path / "set.h5")})


def test_the_place_of_scenes_reaches_the_job(run, fake_worker, season, fields, tmp_path):
    fake_worker.plays(["result", {}])
    parameters = {"SCENES": [str(season)], "PARCELS": str(fields), "FIELD": "crop_name", "LEGEND": "names"}
    parameters.update(AREA=str(fields), MISSING_SCL="leave_out", OUTPUT=str(tmp_path / "set.h5"))
    run("buildtrainingset", parameters)
    job = fake_worker.job["parameters"]
    assert job["area"].endswith("area.gpkg")
    assert (job["extent"], job["missing_scl"]) == (None, "leave_out")
    run("buildtrainingset", {**parameters, "AREA": None, "EXTENT": "3,4,51,52 [EPSG:4326]"})
    assert fake_worker.job["parameters"]["extent"] == "3.0,4.0,51.0,52.0 [EPSG:4326]"


def test_parcels_and_scenes_become_a_training_set(run, worker, season, fields, tmp_path):
    legend = tmp_path / "legend.csv"
    legend.write_text("code,value,name\nearly,1,Wheat\nlate,2,Maize\n")
    ear = Ear()
    run(
        "buildtrainingset",
        {
            "SCENES": [str(season)],
            "PARCELS": str(fields),
            "FIELD": "crop_name",
            "LEGEND": str(legend),
            "BUFFER": 0,
            "MIN_PIXELS": 1,
            "BANDS": ["B04", "B08"],
            "SPLIT": "parcel",
            "FOLDS": 3,
            "OUTPUT": str(tmp_path / "set.h5"),
        },
        ear,
    )
    assert (tmp_path / "set.h5").is_file()
    assert "Parcels: 4 used." in ear.text
    assert "shared parcels 0" in ear.text
