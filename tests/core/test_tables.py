"""Long tables become samples: any row order, any sensible column names, and what is wrong is told."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from cropmap_core.errors import JobError, MissingBandError, SamplesError
from cropmap_core.samples import drawers as drawers_module
from cropmap_core.samples import rows as rows_module
from cropmap_core.samples.legend import load_legend
from cropmap_core.samples.npz import write_long_table
from cropmap_core.samples.seasons import make_season
from cropmap_core.samples.table_columns import find_columns
from cropmap_core.samples.tables import TableAsked, TableSource
from cropmap_core.samples.writer import Samples
from cropmap_core.timeseries.series import NODATA
from tests.core.conftest import data_folder
from tests.core.sample_tables import BANDS, MONTHS, long_table, write_table


def source_of(folder: Path, rows: pandas.DataFrame, name: str = "table.parquet", **asked: Any) -> TableSource:
    drawers = folder / "drawers"
    drawers.mkdir(exist_ok=True)
    return TableSource(write_table(folder, rows, name), TableAsked(**asked), drawers)


def samples_of(source: TableSource) -> dict[str, Any]:
    """All arrays, in the order of the samples' ids."""
    parts = [part for part in map(source.read, range(source.steps)) if part is not None]
    whole = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in Samples.__dataclass_fields__
        if name != "columns"
    }
    order = np.argsort(whole["sample_id"])
    return {name: values[order] for name, values in whole.items()}


def two_dates(**columns: Any) -> pandas.DataFrame:
    """One sample, March and April, with other columns where they are named."""
    given = {"sample_id": ["a", "a"], "date": ["2021-03-01", "2021-04-01"], "B04": [300, 400], "B08": [3000, 4000]}
    return pandas.DataFrame({**given, "label": ["maize", "maize"], **columns})


class TestValues:
    def test_each_row_is_a_date_of_a_sample(self, tmp_path: Path) -> None:
        source = source_of(tmp_path, two_dates())
        found = samples_of(source)
        assert source.layout.bands == ("B04", "B08")
        assert (source.layout.period, source.layout.days) == ("month", (0, 31))
        assert found["data"][0, :, :, 0, 0].tolist() == [[300, 3000], [400, 4000]]
        assert found["valid"].all()
        assert found["season"].tolist() == [(date(2021, 3, 1) - date(1970, 1, 1)).days]

    def test_row_order_does_not_matter(self, tmp_path: Path) -> None:
        table = long_table()
        one = samples_of(source_of(tmp_path, table))
        other = samples_of(source_of(tmp_path, table.sample(frac=1, random_state=3)))
        for name, values in one.items():
            np.testing.assert_array_equal(values, other[name], err_msg=name)

    def test_csv_and_parquet_give_the_same(self, tmp_path: Path) -> None:
        one = samples_of(source_of(tmp_path, long_table()))
        other = samples_of(source_of(tmp_path, long_table(), "table.csv"))
        np.testing.assert_array_equal(one["data"], other["data"])
        np.testing.assert_array_equal(one["label"], other["label"])

    def test_a_comma_at_the_end_of_lines_shifts_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "t.csv").write_text("sample_id,date,B04,label\na,2021-03-01,300,maize,\na,2021-04-01,400,maize,\n")
        (tmp_path / "drawers").mkdir()
        found = samples_of(TableSource(tmp_path / "t.csv", TableAsked(), tmp_path / "drawers"))
        assert found["data"][0, :, 0, 0, 0].tolist() == [300, 400]

    @pytest.mark.parametrize("words", [("TRUE", "FALSE"), (1, 0), ("1.0", "0.0"), ("yes", "no"), ("t", None)])
    def test_valid_may_be_said_in_many_ways(self, tmp_path: Path, words: tuple[Any, Any]) -> None:
        for name in ("t.csv", "t.parquet"):
            found = samples_of(source_of(tmp_path, two_dates(valid=list(words)), name))
            assert found["valid"][0, :, 0, 0].tolist() == [True, False]

    @pytest.mark.parametrize(
        "days",
        [
            ("2021-03-01T10:56:21Z", "2021-03-31T23:30:00-02:00"),
            (20210301, 20210401),
            (date(2021, 3, 1), date(2021, 4, 1)),
        ],
    )
    def test_days_may_be_said_in_many_ways(self, tmp_path: Path, days: tuple[Any, Any]) -> None:
        source = source_of(tmp_path, two_dates(date=list(days)))
        assert (source.layout.days, samples_of(source)["valid"].all()) == ((0, 31), True)

    def test_drawers_hold_whole_samples(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        one = samples_of(source_of(tmp_path, long_table()))
        monkeypatch.setattr(drawers_module, "ROWS_A_DRAWER", 50)
        monkeypatch.setattr(rows_module, "ROWS_AT_ONCE", 70)
        source = source_of(tmp_path, long_table())
        assert source.steps > 3
        np.testing.assert_array_equal(samples_of(source)["data"], one["data"])

    def test_several_rows_of_a_period_give_their_median(self, tmp_path: Path) -> None:
        table = two_dates(date=["2021-03-03", "2021-03-23"])
        found = samples_of(source_of(tmp_path, table))
        assert found["data"][0, :, :, 0, 0].tolist() == [[350, 3500]]

    @pytest.mark.parametrize(
        "change",
        [{"B04": [300, None]}, {"B04": [300, NODATA]}, {"B04": [300, 0], "B08": [3000, 0]}, {"valid": [True, False]}],
    )
    def test_what_is_missing_is_not_valid(self, tmp_path: Path, change: dict[str, Any]) -> None:
        found = samples_of(source_of(tmp_path, two_dates(**change)))
        assert found["valid"][0, :, 0, 0].tolist() == [True, False]
        assert found["data"][0, 1, :, 0, 0].tolist() == [NODATA, NODATA]

    def test_reflectance_of_0_to_1_is_scaled(self, tmp_path: Path) -> None:
        table = two_dates(B04=[0.03, 0.04], B08=[0.3, 0.4])
        found = samples_of(source_of(tmp_path, table, reflectance="unit"))
        assert found["data"][0, :, 1, 0, 0].tolist() == [3000, 4000]

    def test_reflectance_of_0_to_1_has_to_be_declared(self, tmp_path: Path) -> None:
        with pytest.raises(SamplesError, match="no value above 0.4"):
            source_of(tmp_path, two_dates(B04=[0.03, 0.04], B08=[0.3, 0.4]))

    def test_values_beyond_int16_saturate(self, tmp_path: Path) -> None:
        found = samples_of(source_of(tmp_path, two_dates(B04=[40000, 300])))
        assert found["data"][0, 0, 0, 0, 0] == 32767


class TestColumns:
    def test_bands_are_known_by_many_names(self, tmp_path: Path) -> None:
        table = pandas.DataFrame(columns=["sample_id", "date", "S2-L2A-B04", "b8a", "B8", "B2", "NDVI", "S2_B11"])
        columns = find_columns(write_table(tmp_path, table))
        assert dict(columns.bands) == {
            "B02": "B2", "B04": "S2-L2A-B04", "B08": "B8", "B8A": "b8a", "B11": "S2_B11",
        }  # fmt: skip
        assert columns.further == ("NDVI",)

    def test_a_band_must_not_be_there_twice(self, tmp_path: Path) -> None:
        table = pandas.DataFrame(columns=["sample_id", "date", "B4", "B04"])
        with pytest.raises(SamplesError, match="B04 twice"):
            find_columns(write_table(tmp_path, table))

    def test_a_table_without_bands_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(MissingBandError):
            find_columns(write_table(tmp_path, pandas.DataFrame(columns=["sample_id", "date"])))

    def test_further_columns_are_kept_as_text(self, tmp_path: Path) -> None:
        source = source_of(tmp_path, two_dates(farm=["north", "north"], fold=[3, 3]))
        part = source.read(0)
        assert part is not None
        assert {name: texts.tolist() for name, texts in part.columns.items()} == {"farm": ["north"], "fold": ["3"]}

    def test_parcels_may_have_numbers_or_names(self, tmp_path: Path) -> None:
        table = long_table(count=3)
        by_number = samples_of(source_of(tmp_path, table.assign(parcel=table["sample_id"].str[1:])))
        assert by_number["parcel"].tolist() == [0, 1, 2]
        by_name = samples_of(source_of(tmp_path, table.assign(parcel=np.where(table["sample_id"] < "s002", "A7", ""))))
        assert by_name["parcel"][0] == by_name["parcel"][1] > 0
        assert by_name["parcel"][2] == -1

    def test_coordinates_give_the_mgrs_tile(self, tmp_path: Path) -> None:
        assert samples_of(source_of(tmp_path, two_dates(lon=[2.0, 2.0], lat=[51.0, 51.0])))["tile"].tolist() == [
            "31UDS"
        ]


class TestLabels:
    def test_each_label_is_a_class_without_a_mapping(self, tmp_path: Path) -> None:
        source = source_of(tmp_path, long_table(crops=("wheat", "maize")))
        assert [(crop.value, crop.name) for crop in source.classes] == [(1, "maize"), (2, "wheat")]
        assert samples_of(source)["label"][:2, 0, 0].tolist() == [2, 1]

    def test_unmapped_codes_are_listed_and_ignored(self, tmp_path: Path) -> None:
        mapping = tmp_path / "mapping.csv"
        mapping.write_text("code,value,name,color,family\nMIS,10,Maize,#f4c430,Cereals\nBTH,20,Wheat,#a0522d,Cereals\n")
        source = source_of(tmp_path, long_table(count=6, crops=("MIS", "BTH", "XYZ")), legend=load_legend(str(mapping)))
        assert samples_of(source)["label"][:, 0, 0].tolist() == [10, 20, 0, 10, 20, 0]
        assert "1 codes of table.parquet are no class of the legend" in source.warnings[0]
        assert "XYZ" in source.warnings[0]
        assert source.classes[0].parents == ("Cereals",)

    def test_a_sample_that_says_two_things_has_no_label(self, tmp_path: Path) -> None:
        table = pandas.concat([two_dates(label=["maize", "wheat"]), two_dates(sample_id=["b", "b"])])
        assert samples_of(source_of(tmp_path, table))["label"][:, 0, 0].tolist() == [0, 1]

    def test_labels_of_another_year_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(SamplesError, match="labels are of 2019 .LABEL_YEAR."):
            source_of(tmp_path, long_table(), label_year=2019).read(0)
        with pytest.raises(SamplesError, match="labels are of 2020 .year., but the series of 60 samples start in 2021"):
            source_of(tmp_path, long_table().assign(year=2020)).read(0)
        assert source_of(tmp_path, long_table().assign(year=2021)).read(0) is not None


class TestSeasons:
    def test_several_years_are_seasons_of_their_own(self, tmp_path: Path) -> None:
        table = pandas.concat(
            [two_dates(), two_dates(date=["2020-03-01", "2020-04-01"]), two_dates(sample_id=["b", "b"])]
        )
        source = source_of(tmp_path, table)
        found = samples_of(source)
        assert found["sample_id"].tolist() == ["a@2020", "a@2021", "b"]
        assert len(source.layout.days) == 12  # calendar years
        assert found["valid"][0, :, 0, 0].nonzero()[0].tolist() == [2, 3]

    def test_a_season_across_the_new_year(self) -> None:
        season = make_season("month", [date(2020, 10, 5), date(2021, 7, 20)], None, None)
        year, time = season.place(np.asarray(["2020-10-05", "2021-01-31", "2021-07-20"], "datetime64[D]"))
        assert (year.tolist(), time.tolist()) == ([2020] * 3, [0, 3, 9])

    def test_days_beyond_the_season_belong_to_none(self) -> None:
        season = make_season("month", [date(2021, 1, 1)], date(2021, 3, 1), date(2021, 4, 30))
        _, time = season.place(np.asarray(["2021-02-28", "2021-03-01", "2021-04-30", "2021-05-01"], "datetime64[D]"))
        assert time.tolist() == [-1, 0, 1, -1]

    def test_a_leap_day_shifts_no_date(self) -> None:
        season = make_season("dekad", [date(2021, 1, 1), date(2021, 12, 31)], None, None)
        _, time = season.place(np.asarray(["2021-03-01", "2020-03-01", "2020-02-29"], "datetime64[D]"))
        assert time.tolist() == [6, 6, 5]

    @pytest.mark.parametrize(
        ("days", "period"),
        [((1,), "month"), ((1, 16), "half_month"), ((1, 11, 21), "dekad"), ((3, 8), "month")],
    )
    def test_the_period_shows_in_the_dates(self, days: tuple[int, ...], period: str) -> None:
        every = [date(2021, month, day) for month in (3, 4) for day in days]
        assert make_season("auto", every, None, None).period == period

    def test_dates_as_they_are(self) -> None:
        season = make_season("as_is", [date(2021, 3, 4), date(2021, 3, 9)], None, None)
        assert (season.period, season.days) == (None, (0, 5))
        assert season.place(np.asarray(["2021-03-09", "2021-03-08"], "datetime64[D]"))[1].tolist() == [1, -1]

    def test_more_than_a_year_is_no_season(self) -> None:
        with pytest.raises(SamplesError, match="not one of up to a year"):
            make_season("month", [date(2021, 1, 1)], date(2020, 1, 1), date(2021, 6, 1))

    def test_an_unknown_period_is_refused(self) -> None:
        with pytest.raises(JobError, match="fortnight"):
            make_season("fortnight", [date(2021, 1, 1)], None, None)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("t.csv", "sample_id,date,B04,label\na,2021-13-01,300,maize\n", "row 1, has no date"),
        ("t.csv", "sample_id,date,B04,label\n,2021-03-01,300,maize\n", "row 1, has no sample_id"),
        ("t.csv", "sample_id,date,B04,label\na,3/1/2021,300,maize\n", "row 1, has no date"),
        ("t.csv", "sample_id,date,B04,label\na,2021,300,maize\n", "row 1, has no date"),
        ("t.csv", "sample_id,date,B04,label\na,1021-03-01,300,maize\n", "row 1, has a date before 2015"),
        ("t.csv", "sample_id,date,B04,label\na,2021-03-01,,x\na,2021-03-01,much,x\n", "row 2, has no number for B04"),
        ("t.csv", "sample_id,date,valid,B04,label\na,2021-03-01,maybe,300,x\n", "row 1, has neither true nor false"),
        ("t.csv", "sample_id,date,B04,label\n", "holds no rows"),
        ("t.csv", "", "is empty"),
        ("t.csv", "sample_id,B04\na,300\n", "no column date"),
        ("t.csv", "sample_id,date,B04\na,2021-03-01,300\n", "no column label"),
        ("t.parquet", "no parquet at all", "cannot be read"),
        ("t.xlsx", "", "neither parquet nor CSV"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SamplesError, match=complaint):
        TableSource(tmp_path / name, TableAsked(), tmp_path)


class TestConverter:
    def test_pixel_series_become_rows(self, tmp_path: Path) -> None:
        np.savez(
            tmp_path / "few.npz",
            X=np.arange(12, dtype=np.uint16).reshape(2, 2, 3) + 100,
            valid=np.asarray([[True, False], [True, True]]),
            y=np.asarray([1, 0]),
            classes=np.asarray(["Maize", "Wheat"]),
            bands=np.asarray(BANDS),
            dates=np.asarray(MONTHS[:2]),
            lonlat=np.asarray([[3, 51], [4, 52]], np.float32),
            fold=np.asarray([0, 4]),
        )
        assert write_long_table([tmp_path / "few.npz"], tmp_path / "few.parquet") == 4
        table = pandas.read_parquet(tmp_path / "few.parquet")
        assert table["sample_id"].tolist() == ["few_0", "few_0", "few_1", "few_1"]
        assert table["label"].tolist() == ["Wheat", "Wheat", "Maize", "Maize"]
        assert table["B08"].tolist() == [102, 105, 108, 111]
        assert table["valid"].tolist() == [True, False, True, True]
        assert table.loc[3, ["date", "x", "y", "fold"]].tolist() == [MONTHS[1], 4.0, 52.0, 4]

    def test_a_file_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "few.npz").write_text("no archive")
        with pytest.raises(SamplesError, match="cannot be read"):
            write_long_table([tmp_path / "few.npz"], tmp_path / "few.parquet")

    def test_codes_have_names_and_none_has_no_label(self, tmp_path: Path) -> None:
        """On real data: no crop type label (0) stands for nothing."""
        folder = data_folder("pixels/canada_2017")
        write_long_table([folder / "train.npz"], tmp_path / "canada.parquet")
        table = pandas.read_parquet(tmp_path / "canada.parquet").drop_duplicates("sample_id")
        counts = table["label"].value_counts()
        assert (len(table), counts[""], counts["Maize"], counts["Soya beans"]) == (2714, 147, 425, 454)
