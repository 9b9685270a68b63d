"""Air temperatures, and the thermal time that they make: a plant counts warmth, not days.

The degree-days of a day are its mean temperature, from 0 to 30 degrees Celsius. A thermal day is 30 degree-days: the
most that a day can bring. So a year has 365 thermal days at most, and they can stand wherever days of the calendar do.

References:
    McMaster, Wilhelm (1997), Growing degree-days: one equation, two interpretations, Agricultural and Forest
    Meteorology 87; Nyborg et al. (2022), Generalized Classification of Satellite Image Time Series with Thermal
    Positional Encoding, CVPR EarthVision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas
from numpy.typing import NDArray

from cropmap_core.errors import TemperatureError
from cropmap_core.timeseries.periods import FIRST_YEAR, LAST_YEAR

BASE_C, CAP_C = 0.0, 30.0
DEGREE_DAYS_A_DAY = CAP_C - BASE_C
_COLDEST_C, _WARMEST_C = -90.0, 60.0
_LONGEST_GAP_DAYS = 5
_FARTHEST_DEGREES, _KM_A_DEGREE = 2.0, 111.2
_REMEDY = (
    "Give a CSV with a row per day: date (2021-05-01) and t_mean (degrees Celsius), and lon and lat where it has "
    "several places."
)

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Temperatures:
    """Daily mean air temperatures of one place or of several."""

    path: Path
    lon: NDArray[np.float64]
    """Of the places, degrees, shape (P,); NaN of a single place that is anywhere."""
    lat: NDArray[np.float64]
    days: tuple[NDArray[np.int64], ...]
    """Of each place, days since 1970-01-01, in order, no day twice."""
    mean_c: tuple[NDArray[np.float64], ...]
    """On these days, degrees Celsius."""

    def thermal_days(self, start: date, dates: Sequence[date], lon: float, lat: float) -> Floats:
        """Thermal days from the start of a season up to each of its dates.

        Args:
            start: From when on warmth counts.
            dates: Of the season, in order, none before its start.
            lon: Where, in degrees: the nearest place counts.
            lat: As `lon`.

        Returns:
            Shape (T,): warmth before the date, the day itself not counted.

        Raises:
            TemperatureError: A day is missing, with none within five days, or it takes a place and none is known.
        """
        place = self._nearest(lon, lat)
        count = (dates[-1] - start).days
        wanted = (start - date(1970, 1, 1)).days + np.arange(count)
        warmth = np.clip(self._on(place, wanted), BASE_C, CAP_C) - BASE_C
        summed = np.concatenate([[0.0], np.cumsum(warmth)]) / DEGREE_DAYS_A_DAY
        return np.asarray(summed[[(day - start).days for day in dates]], np.float32)

    def thermal_days_of(
        self,
        dates_of: Callable[[date], tuple[date, Sequence[date]]],
        first_days: NDArray[np.int32],
        lon: NDArray[np.float64],
        lat: NDArray[np.float64],
    ) -> Floats:
        """`thermal_days` of many samples.

        Args:
            dates_of: Gives the start, and the dates, of the season whose first date is a day.
            first_days: First day of each sample's season, days since 1970-01-01, shape (N,).
            lon: Degrees, shape (N,).
            lat: Degrees, shape (N,).

        Returns:
            Shape (N, T).

        Raises:
            TemperatureError: As `thermal_days`.
        """
        places = np.array([self._nearest(*each) for each in zip(lon, lat, strict=True)], np.int64)
        keys, which = np.unique(np.stack([places, first_days.astype(np.int64)], axis=1), axis=0, return_inverse=True)
        rows = []
        for place, first in keys:
            start, dates = dates_of(date(1970, 1, 1) + timedelta(days=int(first)))
            rows.append(self.thermal_days(start, dates, self.lon[place], self.lat[place]))
        return np.stack(rows)[which.ravel()] if rows else np.empty((0, 0), np.float32)

    def _nearest(self, lon: float, lat: float) -> int:
        if len(self.days) == 1 and (np.isnan(self.lon[0]) or not np.isfinite(lon + lat)):
            return 0
        if not np.isfinite(lon) or not np.isfinite(lat):
            raise TemperatureError(
                f"{self.path} has {len(self.days)} places, and it is not known where the series is.",
                "Give temperatures of one place, without lon and lat.",
            )
        check_degrees(np.array([lon]), np.array([lat]), "The series")
        east = (self.lon - lon + 180) % 360 - 180
        degrees = np.hypot(east * np.cos(np.radians(lat)), self.lat - lat)
        if degrees.min() > _FARTHEST_DEGREES:
            raise TemperatureError(
                f"The nearest place of {self.path} to {lon:.2f}, {lat:.2f} is "
                f"{degrees.min() * _KM_A_DEGREE:.0f} km away.",
                "Give temperatures of where the series is, or of one place without lon and lat.",
            )
        return int(np.argmin(degrees))

    def _on(self, place: int, wanted: NDArray[np.int64]) -> NDArray[np.float64]:
        days, mean = self.days[place], self.mean_c[place]
        after = np.searchsorted(days, wanted).clip(0, len(days) - 1)
        before = (after - (days[after] > wanted)).clip(0)
        farthest = np.maximum(np.abs(days[after] - wanted), np.abs(wanted - days[before]))
        outside = (wanted < days[0]) | (wanted > days[-1])
        missing = outside | (np.where(days[after] == wanted, 0, farthest) > _LONGEST_GAP_DAYS)
        if missing.any():
            found = date(1970, 1, 1) + timedelta(days=int(wanted[missing.argmax()]))
            raise TemperatureError(
                f"{self.path} has no temperature of {found} or near it; it reaches from "
                f"{date(1970, 1, 1) + timedelta(days=int(days[0]))} to "
                f"{date(1970, 1, 1) + timedelta(days=int(days[-1]))}.",
                "Give every day of the season, from the first of its first month on.",
            )
        return np.asarray(np.interp(wanted, days, mean))


def _separator(path: Path) -> str:
    """What parts the cells: a semicolon where the first line has more of them than commas."""
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline()
    return ";" if first.count(";") > first.count(",") else ","


def check_degrees(lon: NDArray[np.float64], lat: NDArray[np.float64], whose: str) -> None:
    """Refuses what are no degrees; NaN is unknown.

    Raises:
        TemperatureError: They are metres, or swapped.
    """
    known = ~(np.isnan(lon) | np.isnan(lat))
    if (np.abs(lon[known]) > 180).any() or (np.abs(lat[known]) > 90).any():
        raise TemperatureError(f"{whose} has places that are no longitudes and latitudes.", "Give them in degrees.")


def read_temperatures(path: Path) -> Temperatures:
    """Reads a table of daily mean temperatures.

    Raises:
        TemperatureError: It cannot be read, lacks a column, or holds what is no temperature.
    """
    try:
        table = pandas.read_csv(path, sep=_separator(path))
    except (OSError, ValueError) as error:  # pandas' own errors of parsing are ValueErrors
        raise TemperatureError(f"{path} cannot be read: {error}.", _REMEDY) from error
    table.columns = [str(name).strip().lower() for name in table.columns]
    twice = sorted({name for name in table.columns if list(table.columns).count(name) > 1})
    if twice:
        raise TemperatureError(f"{path} has the column {twice[0]} twice.", "Leave one of them out.")
    missing = [name for name in ("date", "t_mean") if name not in table.columns]
    if missing:
        raise TemperatureError(f"{path} has no column {' and no '.join(missing)}.", _REMEDY)
    if ("lon" in table.columns) != ("lat" in table.columns):
        raise TemperatureError(f"{path} has only one of lon and lat.", _REMEDY)
    days = pandas.to_datetime(table["date"].astype(str), format="ISO8601", errors="coerce", utc=True).dt.tz_localize(
        None
    )
    numbers = {
        name: pandas.to_numeric(table[name], errors="coerce") for name in ("t_mean", "lon", "lat") if name in table
    }
    strange = days.isna() | ~days.dt.year.between(FIRST_YEAR - 1, LAST_YEAR)
    wrong = strange | np.logical_or.reduce([each.isna() for each in numbers.values()])
    if not len(table) or wrong.any():
        where = f": row {int(np.argmax(wrong)) + 2} has none or no number" if len(table) else ""
        raise TemperatureError(f"{path} does not have a date and a number in every row{where}.", _REMEDY)
    celsius = numbers["t_mean"].to_numpy(np.float64)
    if celsius.min() < _COLDEST_C or celsius.max() > _WARMEST_C:
        raise TemperatureError(
            f"{path} has temperatures from {celsius.min():g} to {celsius.max():g}.",
            "Give degrees Celsius: 273.15 less than Kelvin.",
        )
    if "lon" in numbers:
        check_degrees(numbers["lon"].to_numpy(np.float64), numbers["lat"].to_numpy(np.float64), str(path))
    since = (days.dt.normalize() - pandas.Timestamp(0)).dt.days.to_numpy(np.int64)
    where_to: dict[tuple[float, float], NDArray[np.int64]] = {(np.nan, np.nan): np.arange(len(table))}
    if "lon" in numbers:
        grouped = pandas.DataFrame(numbers).groupby(["lon", "lat"]).indices
        where_to = {(float(lon), float(lat)): np.asarray(rows, np.int64) for (lon, lat), rows in grouped.items()}
    of_days: list[NDArray[np.int64]] = []
    of_means: list[NDArray[np.float64]] = []
    for (east, north), rows in where_to.items():
        order = rows[np.argsort(since[rows], kind="stable")]
        again = np.flatnonzero(np.diff(since[order]) == 0)
        if len(again):
            day = date(1970, 1, 1) + timedelta(days=int(since[order][again[0]]))
            at = "" if np.isnan(east) else f" at {east:g}, {north:g}"
            raise TemperatureError(f"{path} has {day} twice{at}.", "Give one row per day and place.")
        of_days.append(since[order])
        of_means.append(celsius[order])
    places = np.array(list(where_to), np.float64)
    return Temperatures(path, places[:, 0], places[:, 1], tuple(of_days), tuple(of_means))
