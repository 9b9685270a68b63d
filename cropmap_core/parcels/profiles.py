"""How the indices of parcels run through the season."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import OutputError
from cropmap_core.parcels.placing import PARCEL_FIELD
from cropmap_core.parcels.tallies import mean_of

Floats = NDArray[np.float64]
NDVI = "NDVI"
_DIGITS = 4


class Profiles:
    """A table with a row per parcel and date, which grows as parcels come.

    Args:
        stream: Open for writing; None where the table is not asked for.
        dates: Of the series.
        indices: Names of its bands.
    """

    def __init__(self, stream: TextIO | None, dates: Sequence[date], indices: Sequence[str]) -> None:
        self._writer = None if stream is None else csv.writer(stream)
        self._dates, self._indices = tuple(dates), tuple(indices)
        if self._writer is not None:
            self._writer.writerow([PARCEL_FIELD, "date", "n_pixels", *self._indices])

    def add(self, numbers: NDArray[np.int64], sums: Floats, weights: Floats) -> tuple[Floats, Floats] | None:
        """Adds parcels.

        Args:
            numbers: Of n parcels.
            sums: Weighted sums of the indices, shape (n, T * I).
            weights: Weighted pixels with a value, of that shape.

        Returns:
            The largest falls of NDVI as `largest_falls` gives them; None where NDVI is not among the indices.
        """
        shape = len(numbers), len(self._dates), len(self._indices)
        values, pixels = mean_of(sums, weights).reshape(shape), weights.reshape(shape)
        if self._writer is not None:
            for number, means, seen in zip(numbers.tolist(), values, pixels, strict=True):
                self._writer.writerows(self._rows(number, means, seen))
        return largest_falls(values[:, :, self._indices.index(NDVI)]) if NDVI in self._indices else None

    def _rows(self, number: int, means: Floats, seen: Floats) -> Iterator[list[Any]]:
        for day, line, pixels in zip(self._dates, means.tolist(), seen.max(axis=1).tolist(), strict=True):
            cells = [None if value != value else round(value, _DIGITS) for value in line]
            yield [number, day.isoformat(), round(pixels, _DIGITS), *cells]


@contextmanager
def written_profiles(path: Path | None, dates: Sequence[date], indices: Sequence[str]) -> Iterator[Profiles]:
    """The table of profiles while it is written.

    Raises:
        OutputError: The file cannot be written.
    """
    if path is None:
        yield Profiles(None, dates, indices)
        return
    try:
        with path.open("w", encoding="utf-8", newline="") as stream:
            yield Profiles(stream, dates, indices)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}.", "Make room on its disk.") from error


def largest_falls(values: Floats) -> tuple[Floats, Floats]:
    """The largest fall of an index from one observed date to the next: it may tell of mowing, harvest or ploughing.

    Args:
        values: NaN where there is none, shape (n, T).

    Returns:
        How far it fell (0 and below where it never did) and the position of the date that it had fallen at, each of
        shape (n,); NaN where fewer than two dates were observed, or, of the position, where it never fell.
    """
    before = np.full(len(values), np.nan)
    fall, at = np.full(len(values), np.nan), np.full(len(values), np.nan)
    for time in range(values.shape[1]):
        now = values[:, time]
        step = before - now
        larger = step > np.where(np.isnan(fall), -np.inf, fall)
        fall[larger] = step[larger]
        at[larger & (step > 0)] = time
        before = np.where(np.isnan(now), before, now)
    return fall, at
