"""Long tables are classified: what may vary without changing the answer, what is refused, what the table says."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cropmap_core.errors import IncompatibleModelError
from cropmap_core.inference.bundles import Bundle, load_bundle
from cropmap_core.inference.guards import InputWatch
from cropmap_core.inference.predictor import Predictor
from cropmap_core.inference.table_classes import classify_rows, table_columns, table_seasons
from cropmap_core.samples import drawers, rows
from cropmap_core.samples.files import SampleFile
from cropmap_core.samples.npz import write_long_table
from cropmap_core.samples.rows import read_rows
from tests.core.conftest import data_folder
from tests.core.sample_tables import long_table, write_table
from tests.core.seam import REPOSITORY, Outcome, run_here, run_unchecked, unfinished_files
from tests.core.tiny_models import CLASSES, FIRST_DAYS, save_tiny_bundle

BANDS = ("B04", "B08", "B11")
"""What the tiny models look at, NDVI being made of two of them."""
DAYS = ("-03-28", "-04-06", "-05-02", "-05-27", "-07-30", "-08-31", "-09-01")
"""Before, in and after their season, April to August; two in May, none in June."""


def observations(count: int = 12, year: int = 2018, seed: int = 0) -> pandas.DataFrame:
    """Samples a00, a01, ... on all of DAYS, sample by sample."""
    random = np.random.default_rng(seed)
    ids = [f"a{number:02}" for number in range(count)]
    table = pandas.DataFrame([(each, f"{year}{day}") for each in ids for day in DAYS], columns=["sample_id", "date"])
    for band, low, high in zip(BANDS, (200, 1500, 900), (1500, 4500, 3000), strict=True):
        table[band] = random.integers(low, high, len(table))
    return table


def classify(folder: Path, bundle: Bundle, table: pandas.DataFrame, name: str = "t.parquet", **given: Any) -> Outcome:
    path = write_table(folder, table, name)
    return run_here("classifysamples", model=bundle.folder, **{"input": path, "output": folder / "o.parquet", **given})


def answers(folder: Path, bundle: Bundle, table: pandas.DataFrame, **given: Any) -> pandas.DataFrame:
    """What is said of a table, with all probabilities."""
    outcome = classify(folder, bundle, table, **{"probabilities": True, **given})
    assert outcome.status == 0, outcome.last
    return pandas.read_parquet(folder / "o.parquet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@pytest.fixture(scope="module")
def expected(folder: Path, hybrid_bundle: Bundle) -> pandas.DataFrame:
    return answers(folder, hybrid_bundle, observations())


class TestAnswers:
    def test_are_a_row_per_sample_with_the_most_probable_class(self, expected: pandas.DataFrame) -> None:
        names = [crop.name for crop in CLASSES]
        own = ["sample_id", "pred_code", "pred_crop", "pred_prob", "ood"]
        assert list(expected) == [*own, *(f"prob_{name}" for name in names)]
        assert expected["sample_id"].tolist() == [f"a{number:02}" for number in range(12)]
        probability = expected[[f"prob_{name}" for name in names]].to_numpy()
        np.testing.assert_allclose(probability.sum(axis=1), 1, atol=2e-6)
        best = probability.argmax(axis=1)
        assert expected["pred_code"].tolist() == [CLASSES[place].value for place in best]
        assert expected["pred_crop"].tolist() == [names[place] for place in best]
        assert expected["pred_prob"].tolist() == probability.max(axis=1).tolist()
        assert len(set(best)) > 1

    def test_are_those_of_the_model_on_composites(self, tiny_bundle: Bundle, tmp_path: Path) -> None:
        """May is the median of its two days, June was not observed, March and September do not count."""
        table = observations(count=5)
        found = answers(tmp_path, tiny_bundle, table)
        values = table[list(BANDS)].to_numpy(np.float64).reshape(5, len(DAYS), 3)
        months = np.stack(
            [values[:, 1], values[:, 2:4].mean(axis=1).round(), 0 * values[:, 0], values[:, 4], values[:, 5]]
        )
        valid = np.broadcast_to(np.array([True, True, False, True, True])[:, None, None], (5, 5, 1)).transpose(1, 0, 2)
        data = months.transpose(1, 0, 2).astype(np.int16)[..., None, None]
        probability = Predictor(tiny_bundle).probabilities(data, valid[..., None], BANDS)[:, :, 0, 0]
        np.testing.assert_allclose(found.filter(regex="^prob_"), probability, atol=1e-6)

    def test_are_the_same_in_csv_and_parquet(
        self, folder: Path, hybrid_bundle: Bundle, expected: pandas.DataFrame
    ) -> None:
        output = folder / "o.csv"
        classify(folder, hybrid_bundle, observations(), "t.csv", output=output, probabilities=True)
        pandas.testing.assert_frame_equal(pandas.read_csv(output), expected, check_dtype=False)

    def test_hold_no_further_probabilities_unasked(self, tmp_path: Path, hybrid_bundle: Bundle) -> None:
        found = answers(tmp_path, hybrid_bundle, observations(), probabilities=False)
        assert list(found) == ["sample_id", "pred_code", "pred_crop", "pred_prob", "ood"]

    def test_do_not_depend_on_how_rows_are_read(
        self, tmp_path: Path, hybrid_bundle: Bundle, expected: pandas.DataFrame, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(drawers, "ROWS_A_DRAWER", 20)
        monkeypatch.setattr(rows, "ROWS_AT_ONCE", 11)
        pandas.testing.assert_frame_equal(answers(tmp_path, hybrid_bundle, observations()), expected)

    def test_of_reflectance_0_to_1_have_to_be_declared(
        self, tmp_path: Path, hybrid_bundle: Bundle, expected: pandas.DataFrame
    ) -> None:
        table = observations()
        table[list(BANDS)] /= 10000
        outcome = classify(tmp_path, hybrid_bundle, table)
        assert (outcome.code, outcome.last["remedy"]) == ("SamplesError", "Set REFLECTANCE to unit.")
        pandas.testing.assert_frame_equal(answers(tmp_path, hybrid_bundle, table, reflectance="unit"), expected)
        assert classify(tmp_path, hybrid_bundle, observations(), reflectance="unit").code == "SamplesError"

    @pytest.mark.parametrize("period", ["dekad", "half_month", "days:20", "dates:2018-04-01,2018-05-01,2018-07-01"])
    def test_of_a_model_with_periods_of_another_kind(self, tmp_path: Path, period: str) -> None:
        """A period that begins on a day of the table, in another year, takes that day's row."""
        first_days = {
            "dekad": ("05-01", "05-11", "05-21"),
            "half_month": ("05-01", "05-16"),
            "days:20": ("05-02", "05-22"),
        }
        days = first_days.get(period, ("04-01", "05-01", "07-01"))
        bundle = save_tiny_bundle(tmp_path / "model", "hybrid_cnn", period=period, first_days=days)
        seasons = table_seasons(bundle)
        table = write_table(tmp_path, observations(count=1, year=2020))
        (read,) = read_rows(table, table_columns(table, bundle))
        found = classify_rows(read, seasons, 1.0, Predictor(bundle), InputWatch(bundle))
        in_season = {"dekad": 2, "half_month": 2, "days:20": 2}.get(period, 4)
        assert len(DAYS) - found.counts.outside == in_season
        assert np.isfinite(found.probability).all()


class TestSamples:
    def test_without_valid_observation_in_the_season_have_no_class(
        self, tmp_path: Path, hybrid_bundle: Bundle, expected: pandas.DataFrame
    ) -> None:
        table = observations()
        table["valid"] = table["sample_id"] != "a03"
        table = table[(table["sample_id"] != "a05") | table["date"].isin(["2018-03-28", "2018-09-01"])]
        outcome = classify(tmp_path, hybrid_bundle, table, output=tmp_path / "o.csv")
        assert "2 of 12 samples have no valid observation in the season, 1 April to 31 August" in outcome.texts(
            "warning"
        )
        assert "24 of 79 rows lie outside of the season" in outcome.texts("log")
        lines = (tmp_path / "o.csv").read_text().splitlines()
        assert [lines[4], lines[6]] == ["a03,,,,", "a05,,,,"]
        with (tmp_path / "o.csv").open() as file:
            kept = [row["pred_crop"] for row in csv.DictReader(file) if row["pred_crop"]]
        assert kept == expected["pred_crop"].drop([3, 5]).tolist()
        assert outcome.outputs["classified"] == 10

    def test_of_several_years_each_have_their_season(self, tmp_path: Path, hybrid_bundle: Bundle) -> None:
        one = answers(tmp_path, hybrid_bundle, observations())
        other = observations().assign(date=lambda table: table["date"].str.replace("2018", "2020"))
        other["sample_id"] = other["sample_id"].str.replace("a", "b")
        both = answers(tmp_path, hybrid_bundle, pandas.concat([observations(), other]))
        for letter in "ab":
            own = both[both["sample_id"].str.startswith(letter)].drop(columns="sample_id").reset_index(drop=True)
            pandas.testing.assert_frame_equal(own, one.drop(columns="sample_id"))

    def test_in_two_seasons_are_judged_by_the_fuller_one(
        self, tmp_path: Path, hybrid_bundle: Bundle, expected: pandas.DataFrame
    ) -> None:
        earlier = observations(year=2017, seed=1)
        earlier = earlier[earlier["date"].isin(["2017-04-06", "2017-05-02", "2017-05-27"])]
        table = pandas.concat([earlier, observations()])
        outcome = classify(tmp_path, hybrid_bundle, table, probabilities=True)
        assert "12 samples have rows in the seasons of several years" in outcome.texts("warning")
        pandas.testing.assert_frame_equal(pandas.read_parquet(tmp_path / "o.parquet"), expected)

    def test_in_two_seasons_alike_are_judged_by_the_latest(
        self, tmp_path: Path, hybrid_bundle: Bundle, expected: pandas.DataFrame
    ) -> None:
        found = answers(tmp_path, hybrid_bundle, pandas.concat([observations(), observations(year=2017, seed=1)]))
        pandas.testing.assert_frame_equal(found, expected)

    def test_seen_too_rarely_are_told_of(self, tmp_path: Path, hybrid_bundle: Bundle) -> None:
        table = observations(count=4)
        table = table[(table["sample_id"] != "a01") | (table["date"] == "2018-07-30")]
        outcome = classify(tmp_path, hybrid_bundle, table)
        assert "1 samples were observed in less than half of the periods" in outcome.texts("warning")

    def test_keep_the_ids_that_they_have(self, tmp_path: Path, hybrid_bundle: Bundle) -> None:
        """Whole numbers stay numbers and are ordered as such; what only looks like one stays text."""
        table = observations(count=3)
        numbers = table["sample_id"].map({"a00": 10, "a01": 9, "a02": 1})
        for name, ids, found in (
            ("t.parquet", numbers, [1, 9, 10]),
            ("t.csv", numbers, [1, 9, 10]),
            ("t.parquet", numbers.astype(str), ["1", "10", "9"]),
            ("t.csv", numbers.map("{:03}".format), ["001", "009", "010"]),
        ):
            classify(tmp_path, hybrid_bundle, table.assign(sample_id=ids), name)
            assert pandas.read_parquet(tmp_path / "o.parquet")["sample_id"].tolist() == found


class TestWhatNeverMatters:
    @given(seed=st.integers(0, 2**32 - 1))
    @settings(max_examples=8)
    def test_the_order_of_rows(
        self, folder: Path, hybrid_bundle: Bundle, expected: pandas.DataFrame, seed: int
    ) -> None:
        table = observations().sample(frac=1, random_state=seed)
        pandas.testing.assert_frame_equal(answers(folder, hybrid_bundle, table), expected)

    @given(
        seed=st.integers(0, 2**32 - 1),
        junk=st.sampled_from([0.0, 1.0, 9999.0, 65535.0, -3.0, float("nan"), float("inf")]),
        words=st.sampled_from([("true", "false"), (1, 0), ("T", "F"), (1.0, 0.0), ("YES", ""), (True, False)]),
    )
    @settings(max_examples=12)
    def test_rows_that_are_not_valid(
        self,
        folder: Path,
        hybrid_bundle: Bundle,
        expected: pandas.DataFrame,
        seed: int,
        junk: float,
        words: tuple[Any, Any],
    ) -> None:
        table = observations().assign(valid=words[0])
        more = table.sample(20, random_state=seed).assign(valid=words[1], **dict.fromkeys(BANDS, junk))
        for name in ("t.parquet", "t.csv"):
            found = answers(folder, hybrid_bundle, pandas.concat([table, more]), name=name)
            pandas.testing.assert_frame_equal(found, expected)

    @given(
        label=st.text(max_size=5),
        x=st.one_of(st.floats(), st.just("east")),
        y=st.floats(),
        further=st.text(st.characters(categories=["L"]), min_size=4, max_size=8),
    )
    @settings(max_examples=12)
    def test_labels_places_and_further_columns(
        self,
        folder: Path,
        hybrid_bundle: Bundle,
        expected: pandas.DataFrame,
        label: str,
        x: Any,
        y: float,
        further: str,
    ) -> None:
        others: Mapping[str, Any] = {"label": label, "x": x, "y": y, "parcel": "7", "B12": "text", "NDVI": None}
        table = observations().assign(**others)
        table[f"my {further}"] = label
        pandas.testing.assert_frame_equal(answers(folder, hybrid_bundle, table), expected)

    def test_rows_that_are_there_twice(self, folder: Path, hybrid_bundle: Bundle, expected: pandas.DataFrame) -> None:
        table = pandas.concat([observations(), observations()])
        pandas.testing.assert_frame_equal(answers(folder, hybrid_bundle, table), expected)


class TestRefused:
    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("sample_id,date,B04,B08,B11\na,2018-05-01,300,3000,1000\nb,1 May,300,3000,1000\n", "row 2, has no date"),
            ("sample_id,date,B04,B08,B11\na,01/05/2018,300,3000,1000\n", "row 1, has no date of the form 2021-05-01"),
            ("sample_id,date,B04,B08,B11\na,1970-01-01,300,3000,1000\n", "row 1, has a date before 2015"),
            ("sample_id,date,B04,B08,B11\n,2018-05-01,300,3000,1000\n", "row 1, has no sample_id"),
            ("sample_id,date,B04,B08,B11\na,2018-05-01,300,cloud,1000\n", "row 1, has no number for B08"),
            (
                "sample_id,date,valid,B04,B08,B11\na,2018-05-01,2,3,30,10\n",
                "row 1, has neither true nor false for valid",
            ),
            ("date,B04,B08,B11\n2018-05-01,300,3000,1000\n", "no column sample_id: it has date, B04"),
            ("sample_id,B04,B08,B11\na,300,3000,1000\n", "no column date"),
            ("sample_id,date,B04,B08,B11\n", "holds no rows"),
            ("", "is empty"),
        ],
    )
    def test_tables_that_are_none(self, tmp_path: Path, hybrid_bundle: Bundle, text: str, complaint: str) -> None:
        (tmp_path / "t.csv").write_text(text)
        parameters = {"model": hybrid_bundle.folder, "input": tmp_path / "t.csv", "output": tmp_path / "o.csv"}
        outcome = run_here("classifysamples", **parameters)
        assert outcome.code == "SamplesError"
        assert complaint in outcome.last["message"]
        assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]

    def test_bands_that_are_missing(self, tmp_path: Path, hybrid_bundle: Bundle) -> None:
        outcome = classify(tmp_path, hybrid_bundle, observations().drop(columns="B11"))
        assert outcome.code == "IncompatibleModelError"
        assert "needs B11" in outcome.last["message"]
        assert "holds B04, B08." in outcome.last["message"]

    def test_a_season_of_more_than_a_year(self, tmp_path: Path) -> None:
        bundle = save_tiny_bundle(tmp_path / "model", "hybrid_cnn", first_days=(*FIRST_DAYS, *FIRST_DAYS))
        with pytest.raises(IncompatibleModelError, match="longer than a year"):
            table_seasons(bundle)

    @pytest.mark.parametrize(
        ("given", "complaint"),
        [
            ({"output": "o.txt"}, "OUTPUT is o.txt"),
            ({"reflectance": "percent"}, "REFLECTANCE is 'percent'"),
            ({"device": "abacus"}, "DEVICE is 'abacus'"),
        ],
    )
    def test_parameters_that_are_none(
        self, tmp_path: Path, hybrid_bundle: Bundle, given: dict[str, Any], complaint: str
    ) -> None:
        path = write_table(tmp_path, observations(count=1))
        parameters = {"model": hybrid_bundle.folder, "input": path, "output": tmp_path / "o.csv", **given}
        outcome = run_unchecked("classifysamples", **parameters)
        assert outcome.code == "JobError"
        assert complaint in outcome.last["message"]

    def test_an_output_that_is_the_input(self, tmp_path: Path, hybrid_bundle: Bundle) -> None:
        outcome = classify(tmp_path, hybrid_bundle, observations(count=1), output=tmp_path / "t.parquet")
        assert outcome.code == "OutputError"
        assert len(pandas.read_parquet(tmp_path / "t.parquet")) == len(DAYS)


class TestOutput:
    def test_of_before_stays_when_a_run_fails(self, tmp_path: Path, hybrid_bundle: Bundle) -> None:
        answers(tmp_path, hybrid_bundle, observations())
        before = (tmp_path / "o.parquet").read_bytes()
        broken = observations().assign(date="soon")
        assert classify(tmp_path, hybrid_bundle, broken).code == "SamplesError"
        assert (tmp_path / "o.parquet").read_bytes() == before
        assert unfinished_files(tmp_path) == []

    def test_leaves_nothing_beside_it(self, tmp_path: Path, hybrid_bundle: Bundle) -> None:
        """Not even what a killed run of before left."""
        left = tmp_path / ".o.parquet.0000abcd.working"
        left.mkdir()
        answers(tmp_path, hybrid_bundle, observations())
        assert sorted(path.name for path in tmp_path.iterdir()) == ["o.parquet", "t.parquet"]

    def test_has_types_that_know_null(self, tmp_path: Path, hybrid_bundle: Bundle) -> None:
        classify(tmp_path, hybrid_bundle, observations().assign(valid=lambda table: table["sample_id"] > "a02"))
        schema = pyarrow.parquet.read_schema(tmp_path / "o.parquet")
        assert [str(kind) for kind in schema.types] == ["string", "int32", "string", "double", "int32"]
        assert pyarrow.parquet.read_table(tmp_path / "o.parquet")["pred_code"].null_count == 3


def test_a_model_says_of_a_table_what_it_says_of_the_training_set_made_of_it(tmp_path: Path) -> None:
    table, samples = write_table(tmp_path, long_table()), tmp_path / "set.h5"
    run_here("buildtrainingset", table=table, output=samples, block_m=3000, folds=3)
    trained = run_here("trainmodel", samples=samples, output=tmp_path / "model", epochs=1, device="cpu")
    assert trained.status == 0, trained.last
    parameters = {"model": tmp_path / "model", "input": table, "output": tmp_path / "o.csv", "device": "cpu"}
    assert run_here("classifysamples", **parameters).outputs["classified"] == 60
    with SampleFile(samples) as file:
        batch, ids = file.read(np.arange(60)), file.column("sample_id")
        bundle = load_bundle(tmp_path / "model")
        probability = Predictor(bundle).probabilities(batch.data, batch.valid, file.layout.bands)[:, :, 0, 0]
    found = pandas.read_csv(tmp_path / "o.csv", index_col="sample_id").loc[ids]
    assert found["ood"].isin([0, 1]).all()  # the bundle that was trained has thresholds
    np.testing.assert_allclose(found["pred_prob"], probability.max(axis=1), atol=1e-6)
    names = np.asarray([crop.name for crop in bundle.classes])
    assert found["pred_crop"].tolist() == names[probability.argmax(axis=1)].tolist()


def test_real_series_are_judged_as_their_arrays(tmp_path: Path) -> None:
    """Three hundred dekad series of California, as the long table that the converter makes of them."""
    with np.load(data_folder("pixels/us_2021") / "california.npz", allow_pickle=False) as file:
        whole = dict(file)
    arrays = {name: values[:300] if len(values) == len(whole["y"]) else values for name, values in whole.items()}
    np.savez(tmp_path / "some.npz", **arrays)
    write_long_table([tmp_path / "some.npz"], tmp_path / "some.parquet")
    first_days = tuple(str(day)[5:] for day in arrays["dates"])
    bundle = save_tiny_bundle(tmp_path / "model", "hybrid_cnn", period="dekad", first_days=first_days)
    outcome = run_here(
        "classifysamples", model=bundle.folder, input=tmp_path / "some.parquet", output=tmp_path / "o.csv"
    )
    found = pandas.read_csv(tmp_path / "o.csv")
    data = arrays["X"].clip(0, 32767).astype(np.int16)[..., None, None]
    bands = [str(band) for band in arrays["bands"]]
    probability = Predictor(bundle).probabilities(data, arrays["valid"][..., None, None], bands)[:, :, 0, 0]
    order = np.argsort([f"some_{number}" for number in range(300)])
    np.testing.assert_allclose(found["pred_prob"], probability.max(axis=1)[order], atol=1e-6)
    assert outcome.outputs["classified"] == np.isfinite(probability).all(axis=1).sum()


def test_the_command_line_that_was_promised(tmp_path: Path, hybrid_bundle: Bundle) -> None:
    path = write_table(tmp_path, observations(), "t.csv")
    command = ["classify-samples", "--model", hybrid_bundle.folder, "--input", path, "--output", tmp_path / "o.csv"]
    process = subprocess.run(
        [sys.executable, "-m", "cropmap_core", *map(str, command)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["samples"] == 12
    assert len((tmp_path / "o.csv").read_text().splitlines()) == 13
