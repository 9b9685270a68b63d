"""A model of real point series, by their stored folds: trained, judged, and used on the table that it came from."""

from __future__ import annotations

import json
from pathlib import Path

import pandas
import pytest

from cropmap_core.samples.npz import write_long_table
from tests.core.conftest import data_folder
from tests.core.seam import run_here

QUICK = {"epochs": 4, "hyper_parameters": ["hidden=16,16,16; dense=32"], "learning_rate": 0.01, "device": "cpu"}
CHANNELS = ["B04", "B08", "B11", "NDVI"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5,005 series of California, 2021."""
    path = tmp_path_factory.mktemp("us") / "california.parquet"
    write_long_table([data_folder("pixels") / "us_2021" / "california.npz"], path)
    rows = pandas.read_parquet(path)
    ids = rows["sample_id"].unique()
    rows[rows["sample_id"].isin(ids[::2])].to_parquet(path)
    return path


def test_real_series_teach_a_model_that_is_judged_on_its_own_fold(table: Path, tmp_path: Path) -> None:
    samples, model = tmp_path / "set.h5", tmp_path / "california"
    built = run_here("buildtrainingset", table=table, split="column", split_column="fold", output=samples)
    assert built.outputs["split"]["roles"] == {"train": [2, 3, 4], "validation": [1], "test": [0]}
    assert run_here("trainmodel", samples=samples, channels=CHANNELS, output=model, **QUICK).status == 0

    judged = run_here("evaluatemodel", models=[str(model)], samples=samples, output_html=tmp_path / "report.html")
    assert judged.status == 0, judged.last
    scores = json.loads((tmp_path / "report.json").read_text())["models"][0]["pixels"]
    assert scores["overall_accuracy"] > 0.6  # nine classes; a quick and small network reached 0.72

    seen = run_here(
        "evaluatemodel", models=[str(model)], samples=samples, set="validation", output_html=tmp_path / "seen.html"
    )
    assert seen.status == 1
    assert "seen" in seen.last["message"]

    asked = {"model": str(model), "input": table, "output": tmp_path / "classes.csv"}
    assert run_here("classifysamples", **asked).status == 0
    classes = pandas.read_csv(tmp_path / "classes.csv")
    assert len(classes) == built.outputs["samples"]
    assert set(classes["pred_crop"].dropna()) <= set(built.outputs["classes"])
