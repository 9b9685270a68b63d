"""The season that a model takes: the first days of its composites, of whatever year."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np

from cropmap_core.timeseries.periods import FIRST_YEAR, make_periods

_A_LEAP_DAY = timedelta(days=1)
_SHOWN = 12


def check_first_days(first_days: Sequence[str]) -> bool:
    """Whether texts are days of the year, such as 05-01; 29 February, which most years lack, is none."""
    try:
        days = [date.fromisoformat(f"2001-{text}") for text in first_days]
    except (TypeError, ValueError):
        return False
    return bool(days) and all(f"{day:%m-%d}" == text for day, text in zip(days, first_days, strict=True))


def season_of(first_days: Sequence[str], year: int) -> tuple[date, ...]:
    """The first days of the season that begins in a year.

    Args:
        first_days: Days of the year like 05-01, in the season's order; one that is not later than the one before it
            belongs to the next year.
        year: Of the first of them.
    """
    turns = np.cumsum([0, *(later <= earlier for earlier, later in itertools.pairwise(first_days))])
    return tuple(
        date.fromisoformat(f"{year + int(turn):04}-{text}") for text, turn in zip(first_days, turns, strict=True)
    )


def nearest_season(first_days: Sequence[str], dates: Sequence[date]) -> tuple[date, ...]:
    """The season, of whatever year, that shares most of its days with a series, which must have some."""
    length = season_of(first_days, 2001)[-1].year - 2001
    years = range(dates[0].year - length, dates[-1].year + 1)
    seasons = [season_of(first_days, year) for year in years]
    return max(seasons, key=lambda season: sum(_is_near(day, dates) for day in season))


def season_around(first_days: Sequence[str], period: str, dates: Sequence[date]) -> tuple[date, ...]:
    """The season, of whatever year, that most of some dates lie in, the earliest of equals; there must be one."""
    length = season_of(first_days, 2001)[-1].year - 2001
    first, last = max(FIRST_YEAR, dates[0].year - length - 1), max(FIRST_YEAR, dates[-1].year)
    seasons = [season_of(first_days, year) for year in range(first, last + 1)]

    def inside(season: tuple[date, ...]) -> int:
        last = last_day(period, season)
        return sum(season[0] <= day <= last for day in dates)

    return max(seasons, key=lambda season: (inside(season), -season[0].year))


def same_season(period: str, expected: Sequence[date], dates: Sequence[date]) -> bool:
    """Whether a series has the days of a season; periods of N days are a day off after a leap day."""
    slack = _A_LEAP_DAY if period.startswith("days:") else timedelta(0)
    return len(expected) == len(dates) and all(
        abs(day - other) <= slack for day, other in zip(expected, dates, strict=True)
    )


def last_day(period: str, season: Sequence[date]) -> date:
    """The last day of a season's last period."""
    if period.startswith("dates:"):
        return season[-1]
    return make_periods(period, season[0], season[-1]).past - timedelta(days=1)


def in_words(period: str, days: Sequence[date]) -> str:
    """Days as people name the periods that begin with them, at most a year of months."""
    names = [f"{day:%Y-%m}" if period == "month" else day.isoformat() for day in days]
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _is_near(day: date, dates: Sequence[date]) -> bool:
    return any(abs(day - other) <= _A_LEAP_DAY for other in dates)
