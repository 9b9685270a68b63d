"""Every algorithm through `processing.run`, with the real worker on a small season; and what each refuses."""

import contextlib
import gc
import json
import os
import signal
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from qgis.core import (
    NULL,
    QgsApplication,
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingOutputLayerDefinition,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QDate

from .conftest import ROOT, Ear, square

SCHEMA = json.loads((ROOT / "docs" / "job.schema.json").read_text())
MONTHS = 12


def raster(path) -> QgsRasterLayer:
    layer = QgsRasterLayer(str(path), "raster")
    assert layer.isValid(), path
    return layer


def pixels(path) -> bytes:
    layer = raster(path)
    block = layer.dataProvider().block(1, layer.extent(), layer.width(), layer.height())
    return bytes(block.data())


@pytest.fixture
def chain(run, worker, season, bundle, tmp_path):
    """The five steps, each with its file."""

    def chain() -> dict[str, Path]:
        files = {name: tmp_path / f"{name}.tif" for name in ("stack", "composite", "filled", "indices", "classes")}
        path = {name: str(file) for name, file in files.items()}
        run("stackscenes", {"SCENES": [str(season)], "BANDS": ["B02", "B04", "B08"], "OUTPUT": path["stack"]})
        run("compositetimeseries", {"SERIES": path["stack"], "OUTPUT": path["composite"]})
        run("fillgaps", {"SERIES": path["composite"], "OUTPUT": path["filled"]})
        run("computeindices", {"SERIES": path["filled"], "INDICES": ["NDVI"], "OUTPUT": path["indices"]})
        run("classify", {"SERIES": path["indices"], "MODEL": str(bundle), "OUTPUT_CLASSES": path["classes"]})
        return files

    return chain


def test_the_five_steps_and_mapcrops_give_the_same_class_raster(chain, run, season, bundle, tmp_path):
    files = chain()
    whole = run(
        "mapcrops",
        {"SCENES": [str(season)], "MODEL": str(bundle), "OUTPUT_CLASSES": str(tmp_path / "whole.tif")},
    )

    assert whole == {"OUTPUT_CLASSES": str(tmp_path / "whole.tif")}
    assert raster(files["stack"]).bandCount() == 24 * 4
    assert raster(files["composite"]).bandCount() == MONTHS * 3
    assert raster(files["filled"]).bandCount() == MONTHS * 3
    assert raster(files["indices"]).bandCount() == MONTHS * 4
    assert pixels(files["classes"]) == pixels(tmp_path / "whole.tif")
    assert set(pixels(files["classes"])) <= {0, 1, 2, 3}


@pytest.fixture
def mapped(run, worker, season, fields, bundle, tmp_path):
    """All outputs of mapcrops, and what its feedback heard."""
    feedback = Ear()
    outputs = run(
        "mapcrops",
        {
            "SCENES": str(season),
            "PARCELS": str(fields),
            "START_DATE": QDate(2018, 1, 1),
            "END_DATE": "2018-12-31",
            "MODEL": str(bundle),
            "OUTPUT_CLASSES": str(tmp_path / "map.tif"),
            "OUTPUT_CONFIDENCE": str(tmp_path / "confidence.tif"),
            "OUTPUT_OOD": str(tmp_path / "ood.tif"),
            "OUTPUT_PROBABILITIES": str(tmp_path / "probabilities.tif"),
            "OUTPUT_PARCELS": str(tmp_path / "map.gpkg"),
        },
        feedback,
    )
    return outputs, feedback


def test_mapcrops_maps_scenes_and_parcels_in_another_crs(mapped):
    outputs, _ = mapped

    parcels = QgsVectorLayer(outputs["OUTPUT_PARCELS"])
    assert [(feature["parcel_id"], feature["crop_name"]) for feature in parcels.getFeatures()] == [
        (1, "early"),
        (2, "late"),
        (3, "late"),
        (4, "early"),
    ]
    assert parcels.crs().authid() == "EPSG:31370"
    for feature in parcels.getFeatures():
        assert feature["pred_crop"] in ("Maize", "Grass", "Potatoes")
        assert 0 < feature["pred_prob"] <= 1
        assert feature["n_pixels"] == pytest.approx(14 * 10, rel=0.02)
        assert 0 <= feature["ood"] <= 1
    assert raster(outputs["OUTPUT_CONFIDENCE"]).crs().authid() == "EPSG:32631"


def test_what_is_unlike_training_is_told_in_the_log_and_mapped(mapped):
    outputs, feedback = mapped

    unlike = raster(outputs["OUTPUT_OOD"])
    assert (unlike.crs().authid(), unlike.renderer().type()) == ("EPSG:32631", "paletted")
    assert set(pixels(outputs["OUTPUT_OOD"])) <= {0, 1}
    assert "of the pixels are unlike what the model untrained learnt of their class" in feedback.text


def test_all_outputs_of_mapcrops_are_styled_even_where_two_share_a_name(mapped):
    outputs, _ = mapped

    classes = raster(outputs["OUTPUT_CLASSES"])
    assert classes.renderer().type() == "paletted"
    assert [(entry.value, entry.label, entry.color.name()) for entry in classes.renderer().classes()] == [
        (1, "Maize", "#f4c430"),
        (2, "Grass", "#4caf50"),
        (3, "Potatoes", "#8d5524"),
    ]
    parcels = QgsVectorLayer(outputs["OUTPUT_PARCELS"])
    assert [category.label() for category in parcels.renderer().categories()] == [
        "Maize",
        "Grass",
        "Potatoes",
        "not classified",
    ]


def test_progress_of_mapcrops_rises_to_the_end(mapped):
    _, feedback = mapped

    assert feedback.progress_heard == sorted(feedback.progress_heard)
    assert len(feedback.progress_heard) > 3
    assert "4 of 4 parcels have a class." in feedback.text


def test_parcelattributes_gives_the_same_records_as_mapcrops(mapped, run, fields):
    outputs, _ = mapped

    alone = run(
        "parcelattributes",
        {
            "PARCELS": str(fields),
            "CLASSES": outputs["OUTPUT_CLASSES"],
            "CONFIDENCE": outputs["OUTPUT_CONFIDENCE"],
            "OOD": outputs["OUTPUT_OOD"],
            "PROBABILITIES": outputs["OUTPUT_PROBABILITIES"],
            "OUTPUT": "memory:",
        },
    )["OUTPUT"]

    together = QgsVectorLayer(outputs["OUTPUT_PARCELS"])
    assert [f.attributes() for f in alone.getFeatures()] == [f.attributes() for f in together.getFeatures()]


def test_a_declared_field_that_is_not_there_is_refused_by_name(mapped, run, fields, tmp_path):
    outputs, _ = mapped
    output = tmp_path / "records.gpkg"
    given = {"PARCELS": str(fields), "CLASSES": outputs["OUTPUT_CLASSES"], "DECLARED_FIELD": "crop"}
    with pytest.raises(QgsProcessingException, match="has no field 'crop'. Choose one of its fields: .*crop_name"):
        run("parcelattributes", {**given, "OUTPUT": str(output)})
    assert not output.exists()


def load_temporary_outputs(season, fields, bundle) -> QgsProject:
    """Run mapcrops as the Toolbox does, and let Processing load its temporary outputs into a new project."""
    from processing.gui.Postprocessing import handleAlgorithmResults

    project, context, feedback = QgsProject(), QgsProcessingContext(), Ear()
    context.setProject(project)
    parameters = {
        name: QgsProcessingOutputLayerDefinition(QgsProcessing.TEMPORARY_OUTPUT, project)
        for name in ("OUTPUT_CLASSES", "OUTPUT_CONFIDENCE", "OUTPUT_PARCELS")
    }
    mapcrops = QgsApplication.processingRegistry().createAlgorithmById("cropmap:mapcrops")
    scenes_and_model = {"SCENES": [str(season)], "PARCELS": str(fields), "MODEL": str(bundle)}
    results, ok = mapcrops.run({**parameters, **scenes_and_model}, context, feedback)
    assert ok, feedback.text
    assert set(results) == set(parameters)
    assert handleAlgorithmResults(mapcrops, context, feedback, parameters)
    return project


def test_what_the_toolbox_loads_is_named_styled_and_in_order(
    worker, plugin, season, fields, bundle, monkeypatch, tmp_path
):
    monkeypatch.setattr("processing.gui.Postprocessing.iface", None)

    # Twice: the first run's context must not have taken the second one's styles with it.
    for _ in range(2):
        project = load_temporary_outputs(season, fields, bundle)
        gc.collect()

    order = [node.name() for node in project.layerTreeRoot().findLayers()]
    assert order == ["Parcels", "Crop classes", "Confidence"]
    parcels, classes, confidence = [node.layer() for node in project.layerTreeRoot().findLayers()]
    assert parcels.renderer().classAttribute() == "pred_crop"
    assert [entry.label for entry in classes.renderer().classes()] == ["Maize", "Grass", "Potatoes"]
    assert confidence.renderer().type() == "singlebandpseudocolor"


@pytest.fixture
def jobs(monkeypatch, algorithm):
    """Catches the jobs instead of running them."""
    from cropmap.processing_provider import algorithm as base

    caught = []

    def catch(self, command, parameters, feedback, outputs=(), span=(0, 100), environment=None):
        caught.append({"version": 1, "id": "0123456789abcdef", "command": command, "parameters": parameters})
        return {"classes": []}

    monkeypatch.setattr(base.CropMapAlgorithm, "run_job", catch)
    return caught


def is_valid(job: dict) -> bool:
    return Draft202012Validator({**SCHEMA, "$ref": "#/$defs/job"}).is_valid(job)


def test_jobs_are_of_the_documented_form(run, jobs, season, bundle, class_raster, tmp_path):
    output = str(tmp_path / "out.tif")
    run("stackscenes", {"SCENES": [str(season)], "RESOLUTION": "20", "OFFSET": "0", "OUTPUT": output})
    run("compositetimeseries", {"SERIES": str(class_raster), "START_DATE": "2018-03-01", "OUTPUT": output})
    run("fillgaps", {"SERIES": str(class_raster), "OUTPUT": output})
    run("computeindices", {"SERIES": str(class_raster), "INDICES": "NDVI,EVI", "OUTPUT": output})
    run("classify", {"SERIES": str(class_raster), "MODEL": str(bundle), "OUTPUT_CLASSES": output})
    run("mapcrops", {"SCENES": [str(season)], "MODEL": str(bundle), "DEVICE": "cpu", "OUTPUT_CLASSES": output})

    assert [job["command"] for job in jobs if not is_valid(job)] == []
    stack, composite, _, indices, classify, whole = [job["parameters"] for job in jobs]
    assert (stack["resolution"], stack["offset"]) == (20, "0")
    assert (composite["start_date"], composite["end_date"]) == ("2018-03-01", None)
    assert composite["keep_classes"] == ["vegetation", "bare_soil", "water", "unclassified"]
    assert (indices["indices"], indices["include_reflectance"]) == (["NDVI", "EVI"], True)
    assert classify["output_confidence"] is None
    assert (whole["device"], whole["model"]) == ("cpu", str(bundle))


def test_jobs_with_a_place_are_of_the_documented_form(run, jobs, season, bundle, class_raster, layer_of, tmp_path):
    stack = {"SCENES": [str(season)], "OUTPUT": str(tmp_path / "out.tif")}
    whole = {"SCENES": [str(season)], "MODEL": str(bundle), "OUTPUT_CLASSES": str(tmp_path / "out.tif")}
    words = {"COVER": "intersection", "RESAMPLING": "bilinear", "MISSING_SCL": "leave_out", "CRS": "EPSG:32631"}
    for name, needed in (("stackscenes", stack), ("mapcrops", whole)):
        for place in ({"AREA": layer_of(square(0, 0))}, {"EXTENT": "3,4,50,51 [EPSG:4326]"}, words):
            run(name, {**needed, **place})
        run(name, {**needed, "TEMPLATE": str(class_raster)})

    assert len(jobs) == 8
    assert [job for job in jobs if not is_valid(job)] == []


@pytest.mark.parametrize(
    ("given", "indices", "formulas"),
    [
        ({}, ["NDVI"], []),
        ({"FORMULA": " X = B08 / B04; Y = 1 "}, ["NDVI"], ["X = B08 / B04; Y = 1"]),
        ({"INDICES": [], "FORMULA": "X = B08"}, [], ["X = B08"]),
        ({"INDICES": "", "FORMULA": "X = B08"}, [], ["X = B08"]),
        ({"INDICES": "ndvi,BAI,kndvi"}, ["NDVI", "BAI", "kNDVI"], []),
        ({"INDICES": ["BaI"]}, ["BaI"], []),
    ],
)
def test_indices_and_formulas_reach_the_job(run, jobs, class_raster, tmp_path, given, indices, formulas):
    run("computeindices", {"SERIES": str(class_raster), **given, "OUTPUT": str(tmp_path / "out.tif")})

    assert is_valid(jobs[0])
    assert (jobs[0]["parameters"]["indices"], jobs[0]["parameters"]["formulas"]) == (indices, formulas)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"INDICES": []}, "There is nothing to compute: choose INDICES or write a FORMULA."),
        ({"INDICES": "bai"}, 'INDICES cannot be "bai". Choose from NDVI, GNDVI'),
    ],
)
def test_indices_that_are_none_are_refused(algorithm, class_raster, tmp_path, given, message):
    parameters = {"SERIES": str(class_raster), **given, "OUTPUT": str(tmp_path / "out.tif")}
    fine, said = algorithm("computeindices").checkParameterValues(parameters, QgsProcessingContext())

    assert not fine
    assert message in said


def test_the_ways_to_composite_and_fill_reach_the_job(run, jobs, class_raster, tmp_path):
    output, beside = str(tmp_path / "out.tif"), str(tmp_path / "beside.tif")
    series = {"SERIES": str(class_raster), "OUTPUT": output}
    care = {"DILATE_CLOUD": 60, "SPECK": 40, "MASK_BAND": " CLM "}
    composites = run(
        "compositetimeseries",
        {**series, **care, "PERIOD": "Days:10", "METHOD": "nearest", "TARGET_DAY": 0, "OUTPUT_COUNTS": beside},
    )
    curves = {"METHOD": "savitzky_golay", "WINDOW": 7, "ORDER": 3, "SMOOTHNESS": 0.5, "MAX_GAP": 60}
    filled = run("fillgaps", {**series, **curves, "OUTPUT_PROVENANCE": beside})
    run("fillgaps", series)

    assert [is_valid(job) for job in jobs] == [True] * 3
    composite, fill, plain = [job["parameters"] for job in jobs]
    assert (composite["period"], composite["method"], composite["target_day"]) == ("days:10", "nearest", 0)
    assert (composite["dilate_cloud"], composite["speck"], composite["mask_band"]) == (60, 40, "CLM")
    assert composites == {"OUTPUT": output, "OUTPUT_COUNTS": beside}
    assert (fill["method"], fill["max_gap"], fill["window"], fill["order"]) == ("savitzky_golay", 60, 7, 3)
    assert fill["smoothness"] == 0.5
    assert filled == {"OUTPUT": output, "OUTPUT_PROVENANCE": beside}
    assert (plain["max_gap"], plain["output_provenance"], plain["method"]) == (None, None, "neighbour_mean")


def test_words_and_dates_may_be_written_carelessly(run, jobs, season, tmp_path):
    run(
        "stackscenes",
        {
            "SCENES": [str(season)],
            "BANDS": "b02, B8a",
            "RESOLUTION": 20,
            "OFFSET": "AUTO",
            "START_DATE": " 2018-5-1",
            "OUTPUT": str(tmp_path / "stack.tif"),
        },
    )

    assert is_valid(jobs[0])
    stack = jobs[0]["parameters"]
    assert (stack["bands"], stack["resolution"], stack["offset"]) == (["B02", "B8A"], 20, "auto")
    assert stack["start_date"] == "2018-05-01"


@pytest.mark.parametrize(
    ("months", "expected"), [(None, []), ([], []), ("5,11", [5, 11]), (["5", "6"], [5, 6]), ("12", [12])]
)
def test_the_selection_of_scenes_reaches_the_job(run, jobs, season, tmp_path, months, expected):
    output = str(tmp_path / "out.tif")
    run("stackscenes", {"SCENES": [str(season)], "MONTHS": months, "MAX_CLOUD": 40, "OUTPUT": output})

    assert is_valid(jobs[0])
    assert (jobs[0]["parameters"]["months"], jobs[0]["parameters"]["max_cloud_percent"]) == (expected, 40)


def test_what_an_empty_field_of_a_dialog_gives_is_no_value(run, jobs, season, bundle, tmp_path):
    skipped = QgsProcessingOutputLayerDefinition("")
    run(
        "mapcrops",
        {
            "SCENES": [str(season)],
            "MODEL": str(bundle),
            "PARCELS": NULL,
            "START_DATE": None,
            "END_DATE": "",
            "OUTPUT_CLASSES": str(tmp_path / "map.tif"),
            "OUTPUT_CONFIDENCE": None,
            "OUTPUT_PARCELS": skipped,
        },
    )

    assert (jobs[0]["parameters"]["start_date"], jobs[0]["parameters"]["end_date"]) == (None, None)
    assert jobs[0]["parameters"]["output_confidence"] is None


def test_relative_paths_are_those_of_the_working_folder(run, jobs, season, bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenes").symlink_to(season)
    (tmp_path / "model").symlink_to(bundle)

    run("mapcrops", {"SCENES": "scenes", "MODEL": "model", "OUTPUT_CLASSES": "map.tif"})

    parameters = jobs[0]["parameters"]
    assert parameters["scenes"] == [str(tmp_path / "scenes")]
    assert parameters["model"] == str(tmp_path / "model")
    assert parameters["output_classes"] == str(tmp_path / "map.tif")


MISTAKES = {
    "season ends before it starts": (
        {"START_DATE": "2018-12-01", "END_DATE": "2018-01-01"},
        "START_DATE 2018-12-01 is after END_DATE 2018-01-01",
    ),
    "no date": ({"START_DATE": "May"}, 'START_DATE is not a date: "May". Write it as 2018-05-31.'),
    "no such day": ({"END_DATE": "2018-02-30"}, 'END_DATE is not a date: "2018-02-30". Write it as 2018-05-31.'),
    "no scenes": ({"SCENES": []}, "SCENES is empty"),
    "scenes elsewhere": ({"SCENES": "/nowhere/scenes"}, "there is no file or folder /nowhere/scenes"),
    "two folders as one": ({"SCENES": "/tmp/a,/tmp/b"}, "To give several, repeat --SCENES= for each"),
    "unknown model": ({"MODEL": "maize-1999"}, '"maize-1999" is neither a bundled model nor a folder'),
    "not a GeoTIFF": ({"OUTPUT_CLASSES": "/tmp/map.png"}, "png"),
    "one file for two outputs": (
        {"OUTPUT_CLASSES": "/tmp/map.tif", "OUTPUT_CONFIDENCE": "/tmp/map.tif"},
        "OUTPUT_CLASSES and OUTPUT_CONFIDENCE would both be written to /tmp/map.tif",
    ),
    "a folder as output": ({"OUTPUT_CLASSES": "/tmp/folder.tif"}, "OUTPUT_CLASSES is a folder"),
    "parcels asked for but not given": ({"OUTPUT_PARCELS": "/tmp/map.gpkg"}, r"OUTPUT_PARCELS\) needs"),
    "parcels in no format": (
        {"PARCELS": "fields", "OUTPUT_PARCELS": "/tmp/map.xyz"},
        "OUTPUT_PARCELS: QGIS knows no vector format for the name map.xyz: end it in .gpkg, .shp",
    ),
    "unknown SCL class": (
        {"KEEP_CLASSES": ["grass", "snow"]},
        'KEEP_CLASSES cannot be "grass". Choose from dark, cloud_shadow, vegetation',
    ),
    "no SCL class": ({"KEEP_CLASSES": ""}, "KEEP_CLASSES is empty. Choose from dark, cloud_shadow"),
    "unknown offset": ({"OFFSET": "1000"}, 'OFFSET cannot be "1000". Choose from auto, 0, -1000.'),
    "a name that nothing has": ({"START_DAY": "2018-05-01"}, "There is no parameter START_DAY. Is START_DATE meant?"),
    "a name in small letters": ({"device": "cpu"}, "There is no parameter device. Is DEVICE meant?"),
    "two devices": ({"DEVICE": "cpu,cuda"}, "DEVICE takes one word, not cpu, cuda."),
}


@pytest.mark.parametrize(("changes", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_quick_mistakes_are_refused_before_the_worker_starts(
    run, jobs, season, bundle, layer_of, tmp_path, changes, message
):
    (tmp_path / "folder.tif").mkdir()
    if "PARCELS" in changes:
        changes = {**changes, "PARCELS": layer_of(square(0, 0))}
    changes = {name: v.replace("/tmp", str(tmp_path)) if isinstance(v, str) else v for name, v in changes.items()}
    parameters = {"SCENES": [str(season)], "MODEL": str(bundle), "OUTPUT_CLASSES": str(tmp_path / "map.tif")}

    with pytest.raises(QgsProcessingException, match=message.replace("/tmp", str(tmp_path))):
        run("mapcrops", {**parameters, **changes})

    assert jobs == []


def test_an_output_cannot_overwrite_its_input(run, jobs, class_raster):
    series = class_raster.rename(class_raster.with_suffix(".tif"))

    with pytest.raises(QgsProcessingException, match="OUTPUT would overwrite SERIES"):
        run("fillgaps", {"SERIES": str(series), "OUTPUT": str(series)})


def test_parcels_without_an_output_for_them_are_not_needed(run, jobs, season, bundle, layer_of, tmp_path):
    run(
        "mapcrops",
        {
            "SCENES": [str(season)],
            "MODEL": str(bundle),
            "PARCELS": layer_of(square(0, 0)),
            "OUTPUT_CLASSES": str(tmp_path / "map.tif"),
        },
    )

    assert "parcels" not in jobs[0]["parameters"]


def test_the_output_of_parcels_that_the_dialog_suggests_is_skipped_where_there_are_none(
    run, jobs, season, bundle, tmp_path
):
    results = run(
        "mapcrops",
        {
            "SCENES": [str(season)],
            "MODEL": str(bundle),
            "OUTPUT_CLASSES": str(tmp_path / "map.tif"),
            "OUTPUT_PARCELS": "TEMPORARY_OUTPUT",
        },
    )

    assert "output_parcels" not in jobs[0]["parameters"]
    assert "OUTPUT_PARCELS" not in results


def test_parcels_elsewhere_are_an_error_and_the_earlier_map_stays(run, worker, season, bundle, layer_of, tmp_path):
    earlier = tmp_path / "map.tif"
    earlier.write_text("earlier")

    with pytest.raises(QgsProcessingException, match=r"(?i)parcel"):
        run(
            "mapcrops",
            {
                "SCENES": [str(season)],
                "MODEL": str(bundle),
                "PARCELS": layer_of(square(4.0, 50.0, 0.01), crs="EPSG:4326"),
                "OUTPUT_CLASSES": str(earlier),
                "OUTPUT_PARCELS": "memory:",
            },
        )

    assert earlier.read_text() == "earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["map.tif"]


def test_when_the_parcels_cannot_be_written_the_rasters_are_as_before_too(
    run, fake_worker, season, bundle, layer_of, tmp_path
):
    for name in ("map.tif", "map.qml"):
        (tmp_path / name).write_text("earlier")
    fake_worker.plays(
        ["write", "output_classes"],
        ["write", "output_confidence"],
        ["records", [[1, 1, "Maize", 0.9, 4, 0]]],
        ["result", {"classes": [{"value": 1, "name": "Maize", "color": "#f4c430"}], "fields": []}],
    )

    with pytest.raises(QgsProcessingException, match="UNIQUE constraint failed"):
        run(
            "mapcrops",
            {
                "SCENES": [str(season)],
                "MODEL": str(bundle),
                "PARCELS": layer_of(square(0, 0), square(20, 0), field="fid:integer", values=[7, 7]),
                "OUTPUT_CLASSES": str(tmp_path / "map.tif"),
                "OUTPUT_CONFIDENCE": str(tmp_path / "confidence.tif"),
                "OUTPUT_PARCELS": str(tmp_path / "parcels.gpkg"),
            },
        )

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"map.tif": "earlier", "map.qml": "earlier"}


def test_a_series_that_is_none_is_an_error_of_the_worker(run, worker, class_raster, tmp_path):
    with pytest.raises(QgsProcessingException, match="time series"):
        run("fillgaps", {"SERIES": str(class_raster), "OUTPUT": str(tmp_path / "filled.tif")})


def child_processes() -> list[int]:
    """Ids of the processes that this one has started and that run."""
    children = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid() and state != "Z":
                children.append(int(stat.parent.name))
    return children


def test_the_real_worker_killed_in_mid_job_is_an_error_and_leaves_nothing(run, worker, season, bundle, tmp_path):
    class Killer(Ear):
        def setProgressText(self, text: str) -> None:
            if text.startswith("Classifying"):
                for child in child_processes():
                    os.kill(child, signal.SIGKILL)

    (tmp_path / "map.tif").write_text("earlier")

    with pytest.raises(QgsProcessingException, match="The worker was killed by SIGKILL during mapcrops"):
        run(
            "mapcrops",
            {"SCENES": [str(season)], "MODEL": str(bundle), "OUTPUT_CLASSES": str(tmp_path / "map.tif")},
            Killer(),
        )

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"map.tif": "earlier"}


def test_cancelling_the_real_worker_half_way_leaves_nothing(plugin, worker, season, bundle, tmp_path):
    import processing

    feedback = Ear(cancel_at=1)
    with pytest.raises(QgsProcessingException, match="cancelled"):
        processing.run(
            "cropmap:mapcrops",
            {"SCENES": [str(season)], "MODEL": str(bundle), "OUTPUT_CLASSES": str(tmp_path / "map.tif")},
            feedback=feedback,
        )

    assert list(tmp_path.iterdir()) == []
