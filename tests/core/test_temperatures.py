"""Thermal time: degree-days counted by hand, and models that count them."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas
import pytest

from cropmap_core.errors import TemperatureError
from cropmap_core.inference.bundles import load_bundle
from cropmap_core.timeseries.temperatures import read_temperatures
from tests.core.sample_tables import MONTHS, long_table, write_table
from tests.core.seam import Outcome, run_here

MARCH = date(2021, 3, 1)


def write(folder: Path, text: str) -> Path:
    path = folder / "temperatures.csv"
    path.write_text(text)
    return path


def daily(first: date, days: int, celsius: float, place: tuple[float, float] | None = None) -> list[str]:
    where = "" if place is None else f",{place[0]},{place[1]}"
    return [f"{first + timedelta(days=day)},{celsius}{where}" for day in range(days)]


class TestThermalDays:
    def test_are_degree_days_from_0_to_30_by_thirty(self, tmp_path: Path) -> None:
        table = read_temperatures(
            write(tmp_path, "date,t_mean\n2021-03-01,-5\n2021-03-02,15\n2021-03-03,45\n2021-03-04,6\n")
        )
        dates = [date(2021, 3, day) for day in (1, 2, 3, 4, 5)]
        np.testing.assert_allclose(table.thermal_days(MARCH, dates, np.nan, np.nan), [0, 0, 0.5, 1.5, 1.7], rtol=1e-6)

    def test_count_from_the_start(self, tmp_path: Path) -> None:
        table = read_temperatures(write(tmp_path, "\n".join(["date,t_mean", *daily(date(2021, 3, 1), 40, 30)])))
        np.testing.assert_allclose(table.thermal_days(MARCH, [date(2021, 3, 11), date(2021, 4, 1)], 0, 0), [10, 31])

    def test_are_those_of_the_nearest_place(self, tmp_path: Path) -> None:
        """Across the date line too."""
        rows = [*daily(date(2021, 3, 1), 31, 30, (179, 10)), *daily(date(2021, 3, 1), 31, 15, (-177, 10))]
        table = read_temperatures(write(tmp_path, "\n".join(["date,t_mean,lon,lat", *rows])))
        dates = [date(2021, 3, 21)]
        assert [float(table.thermal_days(MARCH, dates, lon, 11)[0]) for lon in (-179.5, -176.5)] == [20, 10]
        of_samples = table.thermal_days_of(
            lambda first: (first, [first, first + timedelta(days=20)]),
            np.full(3, (date(2021, 3, 1) - date(1970, 1, 1)).days, np.int32),
            np.array([-176.5, -179.5, 178.0]),
            np.full(3, 11.0),
        )
        np.testing.assert_allclose(of_samples, [[0, 10], [0, 20], [0, 20]])

    def test_bridge_five_days_and_no_more(self, tmp_path: Path) -> None:
        rows = [f"2021-03-{day:02},{day}" for day in (1, 6, 7, 15)]
        table = read_temperatures(write(tmp_path, "\n".join(["date,t_mean", *rows])))
        found = table.thermal_days(MARCH, [date(2021, 3, 1), date(2021, 3, 8)], 0, 0)
        assert found[1] == pytest.approx(sum(range(1, 8)) / 30)
        with pytest.raises(TemperatureError, match="no temperature of 2021-03-08 or near it"):
            table.thermal_days(MARCH, [date(2021, 3, 1), date(2021, 3, 14)], 0, 0)

    def test_need_the_days_before_the_first_date(self, tmp_path: Path) -> None:
        table = read_temperatures(write(tmp_path, "\n".join(["date,t_mean", *daily(date(2021, 3, 10), 60, 10)])))
        with pytest.raises(TemperatureError, match="2021-03-01 or near it; it reaches from 2021-03-10 to 2021-05-08"):
            table.thermal_days(MARCH, [date(2021, 3, 21)], 0, 0)

    def test_of_several_places_need_to_know_where(self, tmp_path: Path) -> None:
        rows = [*daily(date(2021, 3, 1), 31, 30, (3, 50)), *daily(date(2021, 3, 1), 31, 15, (4, 50))]
        table = read_temperatures(write(tmp_path, "\n".join(["date,t_mean,lon,lat", *rows])))
        with pytest.raises(TemperatureError, match="has 2 places"):
            table.thermal_days(MARCH, [date(2021, 3, 21)], np.nan, np.nan)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("date,temperature\n2021-03-01,5\n", "no column t_mean"),
        ("date,t_mean,lon\n2021-03-01,5,3\n", "only one of lon and lat"),
        ("date,t_mean\n2021-03-01,5\nyesterday,6\n", "row 3"),
        ("date,t_mean\n2021-03-01,warm\n", "row 2"),
        ("date,t_mean\n", "does not have a date and a number in every row"),
        ("date,t_mean\n2021-03-01,281.5\n", "temperatures from 281.5 to 281.5"),
        ("date,t_mean\n2021-03-01,5\n2021-03-01,6\n", "has 2021-03-01 twice"),
        ("date,t_mean,T_mean\n2021-03-01,5,6\n", "has the column t_mean twice"),
        ("date,t_mean\n1500-03-01,5\n", "row 2"),
        ("date,t_mean,lon,lat\n2021-03-01,5,500000,5600000\n", "no longitudes and latitudes"),
        ("date,t_mean,lon,lat\n2021-03-01,5,3,50\n2021-03-01,6,3,50\n", "twice at 3, 50"),
    ],
)
def test_what_is_no_table_of_temperatures_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(TemperatureError, match=message):
        read_temperatures(write(tmp_path, text))


@pytest.mark.parametrize("day", ["2021-03-01T00:00:00Z", "2021-03-01 00:00:00+00:00", "2021-03-01"])
@pytest.mark.parametrize("separator", [",", ";"])
def test_days_may_be_times(day: str, separator: str, tmp_path: Path) -> None:
    rows = [["date", "t_mean"], [day, "30"], ["2021-03-02", "30"]]
    table = read_temperatures(write(tmp_path, "\n".join(separator.join(row) for row in rows) + "\n"))
    assert table.thermal_days(MARCH, [date(2021, 3, 2)], np.nan, np.nan)[0] == 1


def test_temperatures_from_far_away_are_refused(tmp_path: Path) -> None:
    table = read_temperatures(write(tmp_path, "\n".join(["date,t_mean,lon,lat", *daily(MARCH, 31, 30, (3, 50))])))
    with pytest.raises(TemperatureError, match="is 556 km away"):
        table.thermal_days(MARCH, [date(2021, 3, 21)], 3, 45)


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TemperatureError, match=r"none\.csv cannot be read"):
        read_temperatures(tmp_path / "none.csv")


class TestAModelOfThermalDays:
    """Half of the samples lie where it is 12 degrees warmer, and everything is two months ahead there."""

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("thermal")
        table = write_table(folder, long_table(120))
        rows = [*daily(date(2021, 3, 1), 184, 10, (3, 51)), *daily(date(2021, 3, 1), 184, 22, (3.3, 51))]
        write(folder, "\n".join(["date,t_mean,lon,lat", *rows]))
        asked = {"table": table, "block_m": 3000, "folds": 3}
        assert run_here("buildtrainingset", output=folder / "set.h5", **asked).status == 0
        assert cls.train(folder, "model", temperatures=folder / "temperatures.csv").status == 0
        return folder

    @staticmethod
    def train(folder: Path, name: str, **changes: object) -> Outcome:
        asked = {
            "epochs": 6,
            "hyper_parameters": ["hidden=8,8,8; dense=16"],
            "learning_rate": 0.01,
            "device": "cpu",
            **changes,
        }
        return run_here("trainmodel", samples=folder / "set.h5", output=folder / name, **asked)

    def classify(self, folder: Path, **changes: object) -> Outcome:
        asked = {"model": folder / "model", "input": folder / "table.parquet", "probabilities": True, **changes}
        return run_here("classifysamples", output=folder / "classes.csv", **asked)

    def test_says_so(self, folder: Path) -> None:
        assert load_bundle(folder / "model").positions == "thermal"

    def test_looks_at_the_temperatures_of_each_place(self, folder: Path) -> None:
        assert self.classify(folder, temperatures=folder / "temperatures.csv").status == 0
        found = pandas.read_csv(folder / "classes.csv")
        (folder / "even").mkdir()
        even = write(folder / "even", "\n".join(["date,t_mean", *daily(date(2021, 3, 1), 184, 10)]))
        assert self.classify(folder, temperatures=even).status == 0
        change = (pandas.read_csv(folder / "classes.csv")["prob_maize"] - found["prob_maize"]).abs()
        warm = pandas.read_parquet(folder / "table.parquet").groupby("sample_id")["x"].first().to_numpy() > 3.15
        assert change[~warm].max() == 0
        assert change[warm].max() > 1e-4

    def test_is_judged_with_temperatures(self, folder: Path) -> None:
        asked = {"models": [str(folder / "model")], "samples": folder / "set.h5", "output_html": folder / "page.html"}
        assert run_here("evaluatemodel", **asked).code == "IncompatibleModelError"
        asked["temperatures"] = folder / "temperatures.csv"
        assert run_here("evaluatemodel", **asked).status == 0

    def test_is_refused_without_temperatures(self, folder: Path) -> None:
        outcome = self.classify(folder)
        assert outcome.code == "IncompatibleModelError"
        assert "Give TEMPERATURES" in outcome.last["remedy"]

    def test_cannot_go_on_by_the_calendar(self, folder: Path) -> None:
        outcome = self.train(folder, "further", from_model=str(folder / "model"), hyper_parameters=[])
        assert outcome.code == "IncompatibleModelError"
        assert "counts thermal days" in outcome.last["message"]

    def test_trees_know_no_dates(self, folder: Path) -> None:
        outcome = self.train(
            folder, "trees", architecture=["xgboost"], hyper_parameters=[], temperatures=folder / "temperatures.csv"
        )
        assert outcome.code == "JobError"

    def test_temperatures_too_short_are_told_before_training(self, folder: Path) -> None:
        (folder / "short").mkdir()
        short = write(folder / "short", "\n".join(["date,t_mean", *daily(date(2021, 3, 1), 60, 10)]))
        outcome = self.train(folder, "short_model", temperatures=short)
        assert outcome.code == "TemperatureError"
        assert MONTHS[-1] not in outcome.last["message"]
        assert not (folder / "short_model").exists()

    def test_a_model_of_the_calendar_says_that_it_does_not_look(self, folder: Path) -> None:
        assert self.train(folder, "calendar", epochs=1).status == 0
        outcome = self.classify(folder, model=folder / "calendar", temperatures=folder / "temperatures.csv")
        assert "TEMPERATURES is not looked at" in outcome.texts("warning")
