"""Composites: the median of the clear observations of each period."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from cropmap_core.errors import MissingBandError, NoValidObservationError, SeriesError
from cropmap_core.io.grid import Window
from cropmap_core.scenes.scl import keep_table
from cropmap_core.timeseries.medians import median_by_period
from cropmap_core.timeseries.periods import Periods, make_periods
from cropmap_core.timeseries.series import SCL, Block, Derived, SelectedDates, Series, channels_of, present


@dataclass(frozen=True)
class Composite(Derived):
    """A series of period medians; the day of a composite is the first day of its period."""

    periods: Periods
    keep_classes: tuple[str, ...]

    @property
    def dates(self) -> tuple[date, ...]:
        return self.periods.first_days

    @property
    def bands(self) -> tuple[str, ...]:
        return tuple(band for band in self.source.bands if band != SCL)

    @property
    def period(self) -> str | None:
        return self.periods.name

    @property
    def unseen(self) -> tuple[date, ...]:
        """First days of the periods without any acquisition."""
        seen = {self.periods.index_of(day) for day in self.source.dates}
        return tuple(day for index, day in enumerate(self.dates) if index not in seen)

    def read(self, window: Window) -> Block:
        block = self.source.read(window)
        scl = block.data[:, self.source.bands.index(SCL)]
        clear = block.valid & keep_table(self.keep_classes)[scl.clip(0, 255)]
        period_of_date = [self.periods.index_of(day) for day in self.source.dates]
        starts = np.searchsorted(period_of_date, np.arange(len(self.dates) + 1))
        data = median_by_period(block.data, clear, starts, channels_of(self.source.bands, self.bands))
        return Block(data, present(data, self.bands))


def composite(
    source: Series, period: str, start: date | None, end: date | None, keep_classes: Sequence[str]
) -> Composite:
    """Makes period composites of a stack of acquisitions.

    Args:
        source: Acquisitions with SCL, int16.
        period: `month`.
        start: First day that counts, inclusive; None for where the series starts.
        end: Last day that counts, inclusive; None for where it ends.
        keep_classes: Names of the SCL classes that count as clear.

    Returns:
        A series with every period from start to end, those without a clear observation included.

    Raises:
        SeriesError: The source is a composite already, or not int16.
        MissingBandError: The source has no SCL.
        NoValidObservationError: No acquisition lies between the dates.
    """
    if source.period is not None or source.dtype.kind != "i":
        raise SeriesError("The time series is not a stack of acquisitions.", "Give the output of stackscenes.")
    if SCL not in source.bands:
        raise MissingBandError([SCL], "the time series", "Stack the scenes with their SCL files.")
    keep_table(keep_classes)
    first, last = start or source.span[0], end or source.span[1]
    chosen = SelectedDates(source, first, last)
    if not chosen.dates and (end is None or start is None or start <= end):
        raise NoValidObservationError(
            f"No acquisition between {first} and {last}.",
            f"The time series runs from {source.dates[0]} to {source.dates[-1]}: change START_DATE or END_DATE.",
        )
    return Composite(chosen, make_periods(period, first, last), tuple(keep_classes))
