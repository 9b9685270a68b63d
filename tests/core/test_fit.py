"""What a model takes beside the composites that it was made for: other periods, parts of its season, fewer bands."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas
import pytest
import rasterio
import torch

from cropmap_core.errors import IncompatibleModelError, ModelBundleError
from cropmap_core.inference.bundle_types import Accepts
from cropmap_core.inference.bundles import Bundle, load_bundle
from cropmap_core.inference.classification import write_class_map
from cropmap_core.inference.fit import Composites, check_fits
from cropmap_core.inference.map_layers import MapPaths
from cropmap_core.inference.predictor import Predictor
from cropmap_core.inference.table_classes import reach_of, table_seasons
from cropmap_core.timeseries.periods import make_periods
from tests.core.sample_tables import write_table
from tests.core.seam import run_here
from tests.core.series_in_memory import SeriesInMemory
from tests.core.tiny_models import save_tiny_bundle

BANDS = ("B04", "B08", "B11")
ACCEPTS = Accepts(("month", "half_month", "days:10"), 0.6, (("B11",),))
SEASON = make_periods("dekad", date(2021, 4, 1), date(2021, 9, 30)).first_days


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Of ten-day composites from April to September."""
    folder = tmp_path_factory.mktemp("models") / "flexible"
    return save_tiny_bundle(
        folder,
        "ltae",
        channels=("B04", "NDVI", "B11"),
        mean=(0.08, 0.5, 0.2),
        std=(0.04, 0.25, 0.05),
        first_days=tuple(f"{day:%m-%d}" for day in SEASON),
        period="dekad",
        accepts=ACCEPTS,
    )


def given(period: str, start: str, end: str, bands: tuple[str, ...] = ("B04", "NDVI", "B11")) -> Composites:
    dates = make_periods(period, date.fromisoformat(start), date.fromisoformat(end)).first_days
    return Composites(bands, period, dates)


def test_is_kept_in_the_bundle(bundle: Bundle) -> None:
    assert load_bundle(bundle.folder).accepts == ACCEPTS


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        ("dekad", "2021-04-01", "2021-09-30"),
        ("dekad", "2023-05-11", "2023-08-31"),
        ("month", "2021-04-01", "2021-09-30"),
        ("half_month", "2020-05-01", "2020-08-31"),
        ("days:10", "2021-04-06", "2021-08-20"),
    ],
)
def test_parts_of_the_season_and_further_periods_fit(bundle: Bundle, period: str, start: str, end: str) -> None:
    assert check_fits(bundle, given(period, start, end)) == ("B04", "NDVI", "B11")


@pytest.mark.parametrize(
    ("composites", "message"),
    [
        (given("days:5", "2021-04-01", "2021-09-30"), "one composite per dekad or month or half_month or days:10"),
        (
            given("month", "2021-04-01", "2021-06-30"),
            "takes 4 composites or more .PERIOD=month. between 2021-04-01 and 2021-09-30",
        ),
        (given("dekad", "2021-05-01", "2021-06-30"), "takes 11 composites or more .PERIOD=dekad."),
        (replace(given("dekad", "2021-04-01", "2021-09-30"), dates=SEASON[::-1]), "not in order"),
        (given("month", "2021-03-01", "2021-09-30"), "composites outside of it, 2021-03"),
        (given("month", "2021-04-01", "2021-10-31"), "composites outside of it, 2021-10"),
        (given("dekad", "2021-04-01", "2021-09-30", ("NDVI", "B11")), "needs B04; .* It can do without B11"),
    ],
)
def test_what_does_not_fit_is_named(bundle: Bundle, composites: Composites, message: str) -> None:
    with pytest.raises(IncompatibleModelError, match=message):
        check_fits(bundle, composites)


def test_days_count_from_the_start_of_its_season(bundle: Bundle) -> None:
    """May and June of any year lie where they lay in training."""
    assert bundle.season_days([date(2023, 5, 1), date(2023, 6, 1)]).tolist() == [30, 61]
    assert bundle.season_days([date(2024, 4, 21)]).tolist() == [20]


def test_a_missing_band_stands_as_its_mean(bundle: Bundle) -> None:
    random = np.random.default_rng(0)
    data = random.integers(200, 4000, (6, len(SEASON), 2, 1, 1)).astype(np.int16)
    valid = random.random((6, len(SEASON), 1, 1)) < 0.8
    mean = np.full((6, len(SEASON), 1, 1, 1), 2000, np.int16)  # B11 has the mean 0.2
    predictor = Predictor(bundle)
    without = predictor.probabilities(data, valid, ("B04", "B08"))
    np.testing.assert_allclose(
        without, predictor.probabilities(np.concatenate([data, mean], axis=2), valid, BANDS), atol=1e-6
    )


def test_a_map_of_months_without_a_band_is_that_of_the_network(bundle: Bundle, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    dates = make_periods("month", date(2021, 4, 1), date(2021, 9, 30)).first_days
    values = random.integers(200, 4000, (6, 2, 3, 4)).astype(np.int16)
    series = SeriesInMemory(values, ("B04", "B08"), dates, "month")
    write_class_map(series, bundle, [torch.device("cpu")], MapPaths(tmp_path / "map.tif"), {})
    with rasterio.open(tmp_path / "map.tif") as raster:
        found = raster.read(1)
    samples = values.transpose(2, 3, 0, 1).reshape(12, 6, 2, 1, 1)
    days = np.tile(np.array([0, 30, 61, 91, 122, 153], np.float32), (12, 1))
    expected = Predictor(bundle).probabilities(samples, np.ones((12, 6, 1, 1), bool), ("B04", "B08"), days)
    values_of = np.array([crop.value for crop in bundle.classes])
    np.testing.assert_array_equal(found.ravel(), values_of[expected[:, :, 0, 0].argmax(axis=1)])


class TestTables:
    def rows(self, step: int, first: date = date(2021, 4, 1), count: int = 183, seed: int = 0) -> pandas.DataFrame:
        """Five samples with a row every `step` days."""
        random = np.random.default_rng(seed)
        rows = [
            {
                "sample_id": f"s{sample}",
                "date": str(first + timedelta(days=day)),
                **dict(zip(BANDS, values, strict=True)),
            }
            for sample in range(5)
            for day in range(0, count, step)
            for values in [random.integers(200, 4000, 3)]
        ]
        return pandas.DataFrame(rows)

    def classified(self, folder: Path, bundle: Bundle, rows: pandas.DataFrame) -> pandas.DataFrame:
        table = write_table(folder, rows)
        asked = {"model": bundle.folder, "input": table, "output": folder / "classes.csv", "probabilities": True}
        outcome = run_here("classifysamples", **asked)
        assert outcome.status == 0, outcome.last
        return pandas.read_csv(folder / "classes.csv").filter(like="prob_")

    def test_seasons_go_from_the_finest_period_to_the_coarsest(self, bundle: Bundle) -> None:
        assert [season.period for season in table_seasons(bundle)] == ["days:10", "dekad", "half_month", "month"]

    def test_of_months_are_composited_by_month(self, bundle: Bundle, tmp_path: Path) -> None:
        """A row a month is no ten-day series with gaps: the network sees six dates."""
        rows = self.rows(30).groupby("sample_id").head(6)
        rows["date"] = [f"2021-{month:02}-15" for month in range(4, 10)] * 5
        found = self.classified(tmp_path, bundle, rows)
        data = rows[list(BANDS)].to_numpy(np.int16).reshape(5, 6, 3, 1, 1)
        days = np.tile(np.array([0, 30, 61, 91, 122, 153], np.float32), (5, 1))
        expected = Predictor(bundle).probabilities(data, np.ones((5, 6, 1, 1), bool), BANDS, days)
        np.testing.assert_allclose(found.to_numpy(), expected[:, :, 0, 0], atol=1e-5)

    def test_that_end_early_are_not_filled_beyond(self, bundle: Bundle, tmp_path: Path) -> None:
        """Rows until June: July to September are not made up."""
        rows = self.rows(10, count=91)
        found = self.classified(tmp_path, bundle, rows)
        reach = reach_of({date.fromisoformat(day) for day in rows["date"]}, whole=False)(table_seasons(bundle)[0])
        assert reach.sum() == 10
        assert reach[:10].all()
        whole = rows.assign(date=rows["date"].str.replace("2021", "2022"))
        again = self.classified(tmp_path, bundle, whole)
        np.testing.assert_allclose(found, again)

    def test_do_not_depend_on_the_order_of_rows(self, bundle: Bundle, tmp_path: Path) -> None:
        rows = pandas.concat(
            [self.rows(7), self.rows(25, seed=3).assign(sample_id=lambda part: "x" + part["sample_id"])]
        )
        found = self.classified(tmp_path, bundle, rows)
        again = self.classified(tmp_path, bundle, rows.sample(frac=1, random_state=0))
        np.testing.assert_array_equal(found, again)


@pytest.mark.parametrize(
    ("accepts", "message"),
    [
        (Accepts(("fortnight",)), "accepts the period 'fortnight'"),
        (Accepts(optional=(("B12",),)), "can do without B12, which are none of its bands"),
        (Accepts(optional=(("B04", "NDVI", "B08", "B11"),)), "can do without all of its bands"),
    ],
)
def test_a_bundle_that_accepts_nonsense_is_refused(accepts: Accepts, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelBundleError, match=message):
        save_tiny_bundle(tmp_path / "model", "ltae", accepts=accepts)


class TestAModelThatLearntIt:
    """Trained with AUGMENTATION of periods, cuts and bands on ten-day samples."""

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("learnt")
        write_table(folder, ten_days(90))
        asked = {"table": folder / "table.parquet", "block_m": 3000, "folds": 3, "period": "dekad"}
        assert run_here("buildtrainingset", output=folder / "set.h5", **asked).status == 0
        for name, strengths in (("flexible", ["periods=0.5; cuts=0.5; bands=0.5"]), ("plain", [])):
            asked = {"samples": folder / "set.h5", "output": folder / name, "augmentation": strengths, "epochs": 3}
            hyper_parameters = ["width=16; heads=4; dense=16"]
            outcome = run_here("trainmodel", architecture=["ltae"], hyper_parameters=hyper_parameters, **asked)
            assert outcome.status == 0, outcome.last
        return folder

    def test_says_so(self, folder: Path) -> None:
        assert load_bundle(folder / "plain").accepts == Accepts()
        accepts = load_bundle(folder / "flexible").accepts
        assert accepts.periods == ("month", "half_month")
        assert accepts.share == pytest.approx(2 / 3)
        assert accepts.optional == (("B8A",), ("B8A", "B11"))

    def test_takes_a_table_of_months_without_narrow_bands(self, folder: Path) -> None:
        rows = ten_days(6).drop(columns=["B8A", "B11"])
        rows = rows[rows["date"].str.endswith("-01")]
        asked = {"input": write_table(folder, rows, "months.parquet"), "output": folder / "classes.csv"}
        assert run_here("classifysamples", model=folder / "flexible", **asked).outputs["classified"] == 6
        assert run_here("classifysamples", model=folder / "plain", **asked).code == "IncompatibleModelError"

    def test_is_judged_by_samples_of_another_period(self, folder: Path) -> None:
        months = ten_days(60, seed=8)
        table = write_table(folder, months[months["date"].str.endswith("-01")], "judged.parquet")
        asked = {"table": table, "block_m": 3000, "folds": 3, "period": "month"}
        assert run_here("buildtrainingset", output=folder / "months.h5", **asked).status == 0
        asked = {"samples": folder / "months.h5", "output_html": folder / "page.html", "set": "all"}
        seen = run_here("evaluatemodel", models=[str(folder / "flexible")], **asked)
        assert seen.code == "SeenSamplesError"  # the same places in the same season
        months["x"] += 1
        table = write_table(folder, months[months["date"].str.endswith("-01")], "elsewhere.parquet")
        built = {"table": table, "block_m": 3000, "folds": 3, "period": "month"}
        assert run_here("buildtrainingset", output=folder / "elsewhere.h5", **built).status == 0
        asked["samples"] = folder / "elsewhere.h5"
        assert run_here("evaluatemodel", models=[str(folder / "flexible")], **asked).status == 0
        assert run_here("evaluatemodel", models=[str(folder / "plain")], **asked).code == "IncompatibleModelError"


def ten_days(count: int, seed: int = 0) -> pandas.DataFrame:
    """Samples 2 km apart from April to September: maize is green late, wheat early."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        for time, day in enumerate(SEASON):
            green = np.exp(-(((time - (13 if number % 2 else 5)) / 3) ** 2)) + random.normal(0, 0.02)
            rows.append(
                {
                    "sample_id": f"s{number:03}",
                    "date": str(day),
                    "B04": round(1500 - 1000 * green),
                    "B08": round(2000 + 2000 * green),
                    "B8A": round(2100 + 2000 * green),
                    "B11": 2000,
                    "label": "maize" if number % 2 else "wheat",
                    "x": 3.0 + (number % 10) * 0.03,
                    "y": 51.0 + (number // 10) * 0.018,
                }
            )
    return pandas.DataFrame(rows)
