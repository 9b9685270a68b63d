"""How a map is computed, on its way to the worker; and that an unchanged one is not computed twice."""

import json
import shlex

import pytest
from cropmap.processing_provider import vocabulary
from jsonschema import Draft202012Validator
from qgis.core import Qgis, QgsProcessingException

from .conftest import ROOT, Ear

SCHEMA = json.loads((ROOT / "docs" / "job.schema.json").read_text())
AGAIN = "it is not computed again"


@pytest.fixture
def classify(run, fake_worker, bundle, class_raster, tmp_path):
    """Runs classify on a worker that does nothing; gives the job's parameters."""

    def classify(**more) -> dict:
        given = {"SERIES": str(class_raster), "MODEL": str(bundle), "OUTPUT_CLASSES": str(tmp_path / "map.tif")}
        fake_worker.plays(["result", {}])
        run("classify", {**given, **more})
        Draft202012Validator({**SCHEMA, "$ref": "#/$defs/job"}).validate(fake_worker.job)
        return fake_worker.job["parameters"]

    return classify


def test_nothing_is_decided_unless_asked(classify):
    job = classify()
    assert [job[name] for name in ("device", "precision", "stride", "skip_damaged")] == ["auto", "auto", None, False]


def test_what_is_asked_for_reaches_the_job(classify):
    job = classify(DEVICE="CUDA:1", PRECISION="bfloat16", STRIDE=4, SKIP_DAMAGED=True)
    assert [job[name] for name in ("device", "precision", "stride", "skip_damaged")] == ["cuda:1", "bfloat16", 4, True]
    words = shlex.split(job["replay"])
    assert {"--DEVICE=cuda:1", "--PRECISION=bfloat16", "--STRIDE=4", "--SKIP_DAMAGED=true"} <= set(words)


@pytest.mark.parametrize("device", vocabulary.DEVICES)
def test_every_device_on_offer_may_be_in_a_job(classify, device):
    assert classify(DEVICE=device)["device"] == device


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"DEVICE": "cuda:x"}, 'DEVICE cannot be "cuda:x". Choose from auto, cpu, cuda, mps, cuda:0'),
        ({"PRECISION": "half"}, 'PRECISION cannot be "half". Choose from auto, float32, bfloat16'),
        ({"STRIDE": 0}, "STRIDE"),
    ],
)
def test_what_cannot_be_is_refused_before_the_worker_starts(classify, fake_worker, wrong, said):
    with pytest.raises(QgsProcessingException, match=said):
        classify(**wrong)
    assert not (fake_worker.folder / "job.json").exists()


@pytest.mark.parametrize("name", ["classify", "mapcrops"])
def test_all_of_it_is_advanced(algorithm, name):
    definitions = {each.name(): each for each in algorithm(name).parameterDefinitions()}
    for parameter in ("DEVICE", "PRECISION", "STRIDE", "SKIP_DAMAGED", "SMOOTHING", "MINIMUM_AREA"):
        assert definitions[parameter].flags() & Qgis.ProcessingParameterFlag.Advanced, parameter


def test_a_stride_is_for_models_of_patches(run, worker, season, bundle, tmp_path):
    with pytest.raises(QgsProcessingException, match="The stride is 4; the model untrained takes none"):
        run(
            "mapcrops",
            {"SCENES": [str(season)], "MODEL": str(bundle), "STRIDE": 4, "OUTPUT_CLASSES": str(tmp_path / "map.tif")},
        )


def test_unchanged_polygons_are_the_same_mask(run, worker, season, fields, bundle, tmp_path):
    """They reach the worker in a new file for each run."""
    given = {"SCENES": [str(season)], "MODEL": str(bundle), "OUTPUT_CLASSES": str(tmp_path / "map.tif")}
    first, second, without = Ear(), Ear(), Ear()
    run("mapcrops", {**given, "MASK": str(fields)}, first)
    manifest = (tmp_path / "map.run.json").read_text()
    run("mapcrops", {**given, "MASK": str(fields)}, second)
    assert AGAIN not in first.text
    assert AGAIN in second.text
    assert (tmp_path / "map.run.json").read_text() == manifest
    run("mapcrops", given, without)
    assert AGAIN not in without.text


def test_on_the_command_line_the_second_time_says_so(run, worker, qgis_process, season, bundle, tmp_path):
    paths = {name: str(tmp_path / f"{name}.tif") for name in ("stack", "months", "filled", "channels")}
    run("stackscenes", {"SCENES": [str(season)], "BANDS": ["B02", "B04", "B08"], "OUTPUT": paths["stack"]})
    run("compositetimeseries", {"SERIES": paths["stack"], "OUTPUT": paths["months"]})
    run("fillgaps", {"SERIES": paths["months"], "OUTPUT": paths["filled"]})
    command = [
        "run", "cropmap:classify", f"--SERIES={paths['filled']}", f"--MODEL={bundle}", "--PRECISION=float32",
        "--OUTPUT_CLASSES=map.tif", "--OUTPUT_ENTROPY=entropy.tif",
    ]  # fmt: skip

    first, second = qgis_process(*command), qgis_process(*command)
    (tmp_path / "entropy.tif").unlink()
    third = qgis_process(*command)

    assert [done.returncode for done in (first, second, third)] == [0, 0, 0], first.stdout + second.stderr
    assert [AGAIN in done.stdout for done in (first, second, third)] == [False, True, False]
    assert (tmp_path / "entropy.tif").exists()
