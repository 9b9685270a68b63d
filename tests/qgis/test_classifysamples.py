"""Tables of point time series are classified in QGIS."""

import csv

import pytest
from qgis.core import QgsProcessingException

from .conftest import Ear


@pytest.fixture
def table(tmp_path):
    """Five samples on six days; the last one was never seen."""
    path = tmp_path / "points.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sample_id", "date", "B02", "B04", "B08", "valid", "x", "y"])
        for number in range(5):
            for month in range(4, 10):
                writer.writerow([f"p{number}", f"2021-{month:02}-12", 500, 900 - 50 * number, 3000, number < 4, 3, 51])
    return path


def test_a_table_gives_a_row_per_sample(run, worker, bundle, table, tmp_path):
    ear, output = Ear(), str(tmp_path / "crops.csv")
    parameters = {"INPUT": str(table), "MODEL": str(bundle), "PROBABILITIES": True, "OUTPUT": output}
    assert run("classifysamples", parameters, ear) == {"OUTPUT": output}
    with open(output, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[4:] == ["ood", "prob_Maize", "prob_Grass", "prob_Potatoes"]
    assert [row["sample_id"] for row in rows] == ["p0", "p1", "p2", "p3", "p4"]
    assert {row["pred_crop"] for row in rows[:4]} <= {"Maize", "Grass", "Potatoes"}
    assert rows[4]["pred_code"] == rows[4]["pred_crop"] == rows[4]["pred_prob"] == ""
    assert "warning: 1 of 5 samples have no valid observation in the season, 1 January to 31 December" in ear.text


def test_the_job_holds_what_was_chosen(run, fake_worker, bundle, table, tmp_path):
    fake_worker.plays(["result", {}])
    output = str(tmp_path / "crops.parquet")
    run("classifysamples", {"INPUT": str(table), "MODEL": str(bundle), "REFLECTANCE": "unit", "OUTPUT": output})
    assert fake_worker.job["parameters"] == {
        "input": str(table),
        "model": str(bundle),
        "reflectance": "unit",
        "probabilities": False,
        "sure_from": 0.0,
        "temperatures": None,
        "device": "auto",
        "output": output,
    }


def test_an_output_of_no_known_kind_is_refused_before_the_run(run, bundle, table, tmp_path):
    parameters = {"INPUT": str(table), "MODEL": str(bundle), "OUTPUT": str(tmp_path / "crops.xlsx")}
    with pytest.raises(QgsProcessingException, match=r"end its name in .csv or .parquet"):
        run("classifysamples", parameters)


def test_what_the_worker_refuses_is_told(run, worker, bundle, table, tmp_path):
    table.write_text(table.read_text().replace("B08", "B8X"))
    with pytest.raises(QgsProcessingException, match="The model untrained needs B08"):
        run("classifysamples", {"INPUT": str(table), "MODEL": str(bundle), "OUTPUT": str(tmp_path / "crops.csv")})
