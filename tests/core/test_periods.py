"""Compositing periods: where they begin, and which of them holds a day."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cropmap_core.errors import JobError
from cropmap_core.timeseries.periods import make_periods


def first_days(name: str, start: str, end: str) -> list[str]:
    periods = make_periods(name, date.fromisoformat(start), date.fromisoformat(end))
    return [day.isoformat()[5:] for day in periods.first_days]


@pytest.mark.parametrize(
    ("name", "start", "end", "expected"),
    [
        ("month", "2018-11-20", "2019-01-01", ["11-01", "12-01", "01-01"]),
        ("half_month", "2018-05-16", "2018-06-15", ["05-16", "06-01"]),
        ("half_month", "2018-05-15", "2018-05-16", ["05-01", "05-16"]),
        ("dekad", "2018-02-10", "2018-03-01", ["02-01", "02-11", "02-21", "03-01"]),
        ("dekad", "2018-12-31", "2018-12-31", ["12-21"]),
        ("days:10", "2018-05-03", "2018-05-23", ["05-03", "05-13", "05-23"]),
        ("days:10", "2018-05-03", "2018-05-22", ["05-03", "05-13"]),
        ("days:1", "2018-05-03", "2018-05-04", ["05-03", "05-04"]),
        ("dates:2018-04-01,2018-05-10", "2018-03-01", "2018-09-30", ["04-01", "05-10"]),
        ("dates: 2018-04-01, 2018-05-10 ,2018-08-01", "2018-05-20", "2018-07-01", ["05-10"]),
        ("dates:2018-04-01,2018-05-10", "2018-04-02", "2018-05-09", ["04-01"]),
    ],
)
def test_first_days(name: str, start: str, end: str, expected: list[str]) -> None:
    assert first_days(name, start, end) == expected


@pytest.mark.parametrize(
    ("name", "lengths"),
    [("month", (28, 31)), ("half_month", (15, 13, 15, 16)), ("dekad", (10, 10, 8, 10, 10, 11)), ("days:40", (40, 40))],
)
def test_lengths(name: str, lengths: tuple[int, ...]) -> None:
    assert make_periods(name, date(2018, 2, 1), date(2018, 3, 31)).lengths == lengths


def test_the_last_period_of_a_list_goes_to_the_end() -> None:
    assert make_periods("dates:2018-04-01,2018-05-01", date(2018, 1, 1), date(2018, 6, 9)).lengths == (30, 40)


@pytest.mark.parametrize("name", ["week", "days", "days:", "days:0", "days:367", "days:-3", "dates:", "dates:1.5.2018"])
def test_what_is_no_period_is_refused_and_the_forms_are_told(name: str) -> None:
    with pytest.raises(JobError, match=f"PERIOD is '{name}'") as refused:
        make_periods(name, date(2018, 5, 1), date(2018, 5, 9))
    assert "half_month" in refused.value.remedy


@pytest.mark.parametrize("days", ["2018-05-01,2018-04-01", "2018-05-01,2018-05-01"])
def test_a_list_that_does_not_ascend_is_refused(days: str) -> None:
    with pytest.raises(JobError, match="do not ascend"):
        make_periods(f"dates:{days}", date(2018, 1, 1), date(2018, 12, 31))


@pytest.mark.parametrize("last", ["9999-12-31", "0001-01-01", "2100-01-01"])
def test_a_list_with_an_impossible_year_is_refused(last: str) -> None:
    with pytest.raises(JobError, match="has days before 2015 or after 2099"):
        make_periods(f"dates:2018-05-01,{last}", date(2018, 1, 1), date(2018, 12, 31))


def test_a_number_too_long_for_python_is_no_period() -> None:
    with pytest.raises(JobError, match="PERIOD is 'days:999"):
        make_periods("days:" + "9" * 5000, date(2018, 1, 1), date(2018, 12, 31))


def test_a_list_wholly_after_the_end_is_refused() -> None:
    with pytest.raises(JobError, match="No period"):
        make_periods("dates:2018-09-01", date(2018, 1, 1), date(2018, 6, 30))


names = st.sampled_from(["month", "half_month", "dekad", "days:1", "days:7", "days:100"])


@given(names, st.dates(date(2015, 1, 1), date(2030, 1, 1)), st.integers(0, 400), st.data())
def test_every_day_from_start_to_end_lies_in_the_period_that_is_told(
    name: str, start: date, length: int, data: st.DataObject
) -> None:
    end = start + timedelta(length)
    periods = make_periods(name, start, end)
    day = start + timedelta(data.draw(st.integers(0, length)))
    index = periods.index_of(day)
    assert 0 <= index < len(periods.first_days)
    assert 0 <= (day - periods.first_days[index]).days < periods.lengths[index]
    assert periods.first_days[0] <= start
    assert periods.first_days[-1] <= end < periods.past
