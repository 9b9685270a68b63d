"""Compositing periods: stretches of the calendar, each known by its first day."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

from cropmap_core.errors import JobError

FIRST_YEAR, LAST_YEAR = 2015, 2099
FORMS = "month, half_month, dekad (from the 1st, 11th and 21st), days:N, or dates:YYYY-MM-DD,YYYY-MM-DD,..."
"""How a period may be written."""
FIRST_DAYS_OF_MONTH = {"month": (1,), "half_month": (1, 16), "dekad": (1, 11, 21)}
"""Of periods that are months or parts of them."""


@dataclass(frozen=True)
class Periods:
    """Consecutive periods."""

    name: str
    first_days: tuple[date, ...]
    past: date
    """The day after the last period."""

    def index_of(self, day: date) -> int:
        """Position of the period that holds a day, which must not lie before the first period."""
        return bisect_right(self.first_days, day) - 1

    @property
    def lengths(self) -> tuple[int, ...]:
        """Days of each period."""
        return tuple((following - first).days for first, following in pairwise((*self.first_days, self.past)))


def make_periods(name: str, start: date, end: date) -> Periods:
    """The periods from start to end, both inclusive.

    Args:
        name: `month`; `half_month`, from the 1st and the 16th; `dekad`, from the 1st, 11th and 21st; `days:N`, N days
            each from start on; or `dates:` with the first days of all periods, ascending, between commas, of which
            the last period goes to the end.
        start: Any day of the first period; days before the first of a list belong to no period.
        end: Any day of the last period.

    Raises:
        JobError: The name is none of these, the days are not in order, or no period lies between them.
    """
    for name_of_day, day in (("START_DATE", start), ("END_DATE", end)):
        if not FIRST_YEAR <= day.year <= LAST_YEAR:
            raise JobError(
                f"{name_of_day} is {day.isoformat()}.", f"Sentinel-2 flies since {FIRST_YEAR}: check the year."
            )
    if end < start:
        raise JobError(f"END_DATE {end} lies before START_DATE {start}.", "Swap or correct them.")
    kind, _, argument = name.partition(":")
    if name in FIRST_DAYS_OF_MONTH:
        days = list(_days_of_months(FIRST_DAYS_OF_MONTH[name], start, end))
    elif kind in _READERS:
        days = _READERS[kind](name, argument, start, end)
    else:
        raise _unreadable(name)
    whole = [(first, past) for first, past in pairwise(days) if past > start and first <= end]
    if not whole:
        raise JobError(f"No period of {name} lies between {start} and {end}.", "Change PERIOD or the dates.")
    return Periods(name, tuple(first for first, _ in whole), whole[-1][1])


def _days_of_months(days: tuple[int, ...], start: date, end: date) -> Iterator[date]:
    """First days from the month of start to the month after the end."""
    for month in range(start.year * 12 + start.month - 1, end.year * 12 + end.month + 1):
        for day in days:
            yield date(month // 12, month % 12 + 1, day)


def _days_apart(name: str, argument: str, start: date, end: date) -> list[date]:
    if not (argument.isascii() and argument.isdigit() and len(argument) <= 3 and 0 < int(argument) <= 366):
        raise _unreadable(name)
    step = int(argument)
    return [start + timedelta(days) for days in range(0, (end - start).days + 1 + step, step)]


def _listed_days(name: str, argument: str, start: date, end: date) -> list[date]:
    try:
        days = [date.fromisoformat(text.strip()) for text in argument.split(",")]
    except ValueError:
        raise _unreadable(name) from None
    if not all(FIRST_YEAR <= day.year <= LAST_YEAR for day in days):
        raise JobError(f"PERIOD {name} has days before {FIRST_YEAR} or after {LAST_YEAR}.", "Check their years.")
    if any(following <= first for first, following in pairwise(days)):
        raise JobError(f"The days of PERIOD {name} do not ascend.", "Name each once, from the first to the last.")
    return [*days, max(end, days[-1]) + timedelta(1)]


def _unreadable(name: str) -> JobError:
    return JobError(f"PERIOD is '{name}'.", f"Give {FORMS}; N is 1 to 366.")


_READERS: dict[str, Callable[[str, str, date, date], list[date]]] = {"days": _days_apart, "dates": _listed_days}
