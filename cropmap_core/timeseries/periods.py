"""Compositing periods: stretches of the calendar, each known by its first day."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from cropmap_core.errors import JobError

FIRST_YEAR, LAST_YEAR = 2015, 2099


@dataclass(frozen=True)
class Periods:
    """Consecutive periods from the one that holds `start` to the one that holds `end`."""

    name: str
    first_days: tuple[date, ...]

    def index_of(self, day: date) -> int:
        """Position of the period that holds a day; the day must lie between start and end."""
        return max(index for index, first in enumerate(self.first_days) if first <= day)


def make_periods(name: str, start: date, end: date) -> Periods:
    """The periods from start to end, both inclusive.

    Args:
        name: `month`.
        start: Any day of the first period.
        end: Any day of the last period.
    """
    if name not in _FIRST_DAYS:
        raise JobError(f"PERIOD is '{name}'.", f"Choose one of {', '.join(_FIRST_DAYS)}.")
    for name_of_day, day in (("START_DATE", start), ("END_DATE", end)):
        if not FIRST_YEAR <= day.year <= LAST_YEAR:
            raise JobError(
                f"{name_of_day} is {day.isoformat()}.", f"Sentinel-2 flies since {FIRST_YEAR}: check the year."
            )
    if end < start:
        raise JobError(f"END_DATE {end} lies before START_DATE {start}.", "Swap or correct them.")
    return Periods(name, tuple(_FIRST_DAYS[name](start, end)))


def _months(start: date, end: date) -> Sequence[date]:
    first = start.year * 12 + start.month - 1
    last = end.year * 12 + end.month - 1
    return [date(month // 12, month % 12 + 1, 1) for month in range(first, last + 1)]


_FIRST_DAYS: dict[str, Callable[[date, date], Sequence[date]]] = {"month": _months}
