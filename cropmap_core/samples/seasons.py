"""Seasons: the dates that all samples of a set share, counted from each one's first day."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas
from numpy.typing import NDArray

from cropmap_core.errors import SamplesError
from cropmap_core.timeseries.periods import FIRST_DAYS_OF_MONTH, make_periods

AUTO, AS_IS = "auto", "as_is"
_LONGEST_SPAN_DAYS = 366
_MOST_DATES = 400
_MONTHS = 12
_KEYS_A_MONTH, _KEYS_A_YEAR = 31, 31 * _MONTHS


@dataclass(frozen=True)
class Season:
    """One season's dates; those of other years lie on the same days of the calendar."""

    period: str | None
    """Name of the compositing period; None where the dates are as they are."""
    dates: tuple[date, ...]
    """First days of periods, or single dates, of the first year."""
    end: date
    """Last day, inclusive."""

    @property
    def days(self) -> tuple[int, ...]:
        """Days of each date since the first."""
        return tuple((day - self.dates[0]).days for day in self.dates)

    def place(self, days: NDArray[np.datetime64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Season and date of each day.

        Args:
            days: datetime64, shape (N,).

        Returns:
            The year in which its season starts, and its position among the dates, -1 where it belongs to none.
        """
        parts = pandas.DatetimeIndex(days)
        key = (parts.month.to_numpy() - 1) * _KEYS_A_MONTH + parts.day.to_numpy() - 1
        first = _key(self.dates[0])
        year = parts.year.to_numpy().astype(np.int64) - (key < first)
        since = np.where(key < first, key + _KEYS_A_YEAR, key) - first
        starts = np.asarray([_key(day) + _KEYS_A_YEAR * (day.year - self.dates[0].year) - first for day in self.dates])
        last = _key(self.end) + _KEYS_A_YEAR * (self.end.year - self.dates[0].year) - first
        index = np.searchsorted(starts, since, side="right") - 1
        outside = starts[index] != since if self.period is None else since > last
        return year, np.where(outside, -1, index).astype(np.int64)

    def in_the_year_of(self, first: date) -> tuple[date, ...]:
        """The dates of the season that starts on a day of another year."""
        days = FIRST_DAYS_OF_MONTH.get(self.period or "", ())
        if days:
            return tuple(day.replace(year=first.year + day.year - self.dates[0].year) for day in self.dates)
        return tuple(first + (day - self.dates[0]) for day in self.dates)

    def first_day(self, year: NDArray[np.int64]) -> NDArray[np.int32]:
        """First day of the season that starts in each year, as days since 1970."""
        first = self.dates[0]
        of_year = {each: (date(each, first.month, min(first.day, 28)) - date(1970, 1, 1)).days for each in set(year)}
        extra = first.day - min(first.day, 28)
        return np.asarray([of_year[each] + extra for each in year], np.int32)


def make_season(period: str, days: Iterable[date], start: date | None, end: date | None) -> Season:
    """The season of a table.

    Args:
        period: `auto` (the table's own dates where they are first days of months, half months or dekads, else months),
            `as_is`, or the name of a period.
        days: All dates in the table.
        start: First day of the first season; None for the table's.
        end: Last day of that season, inclusive; None for the table's. Where it holds several years, calendar years are
            seasons if neither is given, and else the year from or up to the one that is.

    Raises:
        SamplesError: The dates do not make a season.
    """
    there = sorted(set(days))
    first, last = start or there[0], end or there[-1]
    if (last - first).days >= _LONGEST_SPAN_DAYS:
        if end is not None and start is None:
            first = _a_year_later(end, -1) + timedelta(days=1)
        else:
            first = start or date(first.year, 1, 1)
            last = end or _a_year_later(first, 1) - timedelta(days=1)
    if not first <= last or (last - first).days >= _LONGEST_SPAN_DAYS:
        raise SamplesError(
            f"The season from {first} to {last} is not one of up to a year.",
            "Give START_DATE and END_DATE of one season.",
        )
    if period == AUTO:
        period = next(
            (name for name, firsts in FIRST_DAYS_OF_MONTH.items() if all(d.day in firsts for d in there)), "month"
        )
    if period == AS_IS:
        own = tuple(day for day in there if first <= day <= last)
        if not 0 < len(own) <= _MOST_DATES:
            raise SamplesError(
                f"The table has {len(own)} different dates from {first} to {last}.",
                "Set PERIOD to a period, like month.",
            )
        return Season(None, own, last)
    return Season(period, make_periods(period, first, last).first_days, last)


def _key(day: date) -> int:
    return (day.month - 1) * _KEYS_A_MONTH + day.day - 1


def _a_year_later(day: date, years: int) -> date:
    return date(day.year + years, day.month, 28 if (day.month, day.day) == (2, 29) else day.day)
