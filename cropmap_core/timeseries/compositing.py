"""Composites: one spectrum per period, from its clear observations."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import JobError, NoValidObservationError, SeriesError
from cropmap_core.io.grid import Window
from cropmap_core.timeseries.averages import mean_by_period, preferred_by_period
from cropmap_core.timeseries.centres import geometric_median_by_period, medoid_by_period
from cropmap_core.timeseries.masks import ClearSky
from cropmap_core.timeseries.medians import median_by_period
from cropmap_core.timeseries.periods import Periods, make_periods
from cropmap_core.timeseries.series import (
    NODATA,
    Block,
    Derived,
    Mask,
    SelectedDates,
    Series,
    can_be_split,
    channels_of,
    split,
)

_OF_VALUES = {
    "median": median_by_period,
    "mean": mean_by_period,
    "medoid": medoid_by_period,
    "geometric_median": geometric_median_by_period,
}
_OF_DATES = ("first", "last", "nearest")
METHODS = (*_OF_VALUES, *_OF_DATES)
"""Ways to make one spectrum of several; the first is the usual one."""


@dataclass(frozen=True)
class Composite(Derived):
    """A series of composites; the day of a composite is the first day of its period."""

    periods: Periods
    clear_sky: ClearSky
    method: str = "median"
    target_day: int | None = None
    """Days from the start of a period to the day that `nearest` wants; None for its middle."""

    @property
    def dates(self) -> tuple[date, ...]:
        return self.periods.first_days

    @property
    def bands(self) -> tuple[str, ...]:
        return self.clear_sky.bands_of(self.source)

    @property
    def period(self) -> str | None:
        return self.periods.name

    @property
    def unseen(self) -> tuple[date, ...]:
        """First days of the periods without any acquisition."""
        seen = {self.periods.index_of(day) for day in self.source.dates}
        return tuple(day for index, day in enumerate(self.dates) if index not in seen)

    @property
    def most_observations(self) -> int:
        """Acquisitions of the period that has most of them."""
        return int(np.diff(self._starts()).max())

    def read(self, window: Window) -> Block:
        return self.read_counted(window)[0]

    def read_counted(self, window: Window) -> tuple[Block, NDArray[np.uint16]]:
        """The composites of a window, and from how many clear observations each was made, shape (P, H, W)."""
        shape = window.height, window.width
        data = np.full((len(self.dates), len(self.bands), *shape), NODATA, dtype=np.int16)
        counts = np.zeros((len(self.dates), *shape), dtype=np.uint16)
        with closing(self._read_stretches(window)) as stretches:
            for periods, first, block, clear in stretches:
                starts = self._starts()[periods.start : periods.stop + 1]
                for period in range(periods.start, periods.stop):
                    begin, end = self._starts()[period : period + 2] - first
                    np.sum(clear[begin:end], axis=0, dtype=np.uint16, out=counts[period])
                data[periods] = self._reduce(block.data, clear, starts - first, first)
        return Block(data, counts > 0), counts

    @property
    def source_dates_at_once(self) -> int:
        if not can_be_split(self.source):
            return len(self.source.dates)
        return min(len(self.source.dates), 2 * self.most_observations)

    def working_bytes(self, dates: int) -> int:
        """Of care for the edges of clouds: what masks, a halo wider than the block, and masks of it."""
        at_once = self.most_observations if can_be_split(self.source) else len(self.source.dates)
        return at_once * self.clear_sky.working_bytes(self.source)

    def _read_stretches(self, window: Window) -> Generator[tuple[slice, int, Block, Mask]]:
        """Reads the acquisitions of one period after the other, the next while the one before is in use.

        Yields:
            Which periods, the position of their first acquisition, the acquisitions, and what of them is clear.
        """
        starts = self._starts()
        if not can_be_split(self.source):
            yield slice(0, len(self.dates)), 0, *self.clear_sky.read(self.source, window)
            return
        seen = [period for period in range(len(self.dates)) if starts[period] < starts[period + 1]]

        def read(period: int) -> tuple[Block, Mask]:
            some = slice(int(starts[period]), int(starts[period + 1]))
            return self.clear_sky.read(split(self.source, some), window)

        with ThreadPoolExecutor(1, thread_name_prefix="next period") as ahead:
            coming: deque[Future[tuple[Block, Mask]]] = deque([ahead.submit(read, seen[0])])
            for period, following in zip_longest(seen, seen[1:]):
                if following is not None:
                    coming.append(ahead.submit(read, following))
                yield slice(period, period + 1), int(starts[period]), *coming.popleft().result()

    def _reduce(self, data: NDArray[np.int16], clear: Mask, starts: NDArray[np.int64], first: int) -> NDArray[np.int16]:
        """Composites of some acquisitions, the first of which has this position in the source."""
        channels = channels_of(self.source.bands, self.bands)
        if self.method in _OF_VALUES:
            return _OF_VALUES[self.method](data, clear, starts, channels)
        distances = self._distances()[first : first + len(data)]
        return preferred_by_period(data, clear, starts, channels, distances)

    def _starts(self) -> NDArray[np.int64]:
        """First acquisition of each period, and last the number of acquisitions."""
        period_of_date = [self.periods.index_of(day) for day in self.source.dates]
        return np.searchsorted(period_of_date, np.arange(len(self.dates) + 1))

    def _distances(self) -> NDArray[np.int64]:
        """How far each acquisition is from what `first`, `last` or `nearest` wants, in half days."""
        if self.method != "nearest":
            order = np.arange(len(self.source.dates))
            return order if self.method == "first" else -order
        distances = []
        for day in self.source.dates:
            period = self.periods.index_of(day)
            middle = self.periods.lengths[period] - 1
            wanted = middle if self.target_day is None else 2 * self.target_day
            distances.append(abs(2 * (day - self.dates[period]).days - wanted))
        return np.array(distances)


def composite(
    source: Series,
    period: str,
    start: date | None,
    end: date | None,
    clear_sky: ClearSky | Sequence[str],
    method: str = "median",
    target_day: int | None = None,
) -> Composite:
    """Makes period composites of a stack of acquisitions.

    Args:
        source: Acquisitions with SCL or a mask band, int16.
        period: See `make_periods`.
        start: First day that counts, inclusive; None for where the series starts.
        end: Last day that counts, inclusive; None for where it ends.
        clear_sky: What counts as clear; or names of SCL classes, those that do.
        method: One of `METHODS`.
        target_day: For `nearest`, days from the start of a period to the wanted day; None for its middle.

    Returns:
        A series with every period from start to end, those without a clear observation included.

    Raises:
        SeriesError: The source is a composite already, or not int16.
        MissingBandError: The source has no SCL and no mask band was named, or lacks the one that was.
        JobError: The method or the period is unknown, or the target day is not for the method.
        NoValidObservationError: No acquisition lies between the dates.
    """
    if source.period is not None or source.dtype.kind != "i":
        raise SeriesError("The time series is not a stack of acquisitions.", "Give the output of stackscenes.")
    rule = clear_sky if isinstance(clear_sky, ClearSky) else ClearSky(tuple(clear_sky))
    rule.check(source)
    if method not in METHODS:
        raise JobError(f"METHOD is '{method}'.", f"Choose one of {', '.join(METHODS)}.")
    if target_day is not None and (method != "nearest" or not 0 <= target_day <= 366):
        raise JobError(
            f"TARGET_DAY is {target_day} and METHOD {method}.",
            "Give 0 to 366 days after a period's first with METHOD nearest, or leave it out.",
        )
    first, last = start or source.span[0], end or source.span[1]
    if start is None or end is None or start <= end:  # else make_periods says which date is wrong
        _check_acquired(source, first, last)
    periods = make_periods(period, first, last)
    first = max(first, periods.first_days[0])
    _check_acquired(source, first, last)
    return Composite(SelectedDates(source, first, last), periods, rule, method, target_day)


def _check_acquired(source: Series, first: date, last: date) -> None:
    if not any(first <= day <= last for day in source.dates):
        raise NoValidObservationError(
            f"No acquisition between {first} and {last}.",
            f"The time series runs from {source.dates[0]} to {source.dates[-1]}: change START_DATE or END_DATE.",
        )
