"""What a model is given, compared with what it has learnt: its place, its years, and the series while it is at work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pyproj import Geod

from cropmap_core.inference.bundle_types import Bundle
from cropmap_core.inference.out_of_distribution import Floats, Mask, OodTest, Positions, read_reference
from cropmap_core.timeseries.formulas import INDICES

IN, OUT, NO_OOD = 0, 1, 255
"""Of a pixel: like its class in training, or not; never observed, or the model has no test for it."""
EXPECTED_SHARE, ALARMING_SHARE = 0.01, 0.03
"""Of pixels that are out of distribution: as in training, and where a warning begins."""
FAR_KM = 100.0
_FAR_SHARE = 0.1  # of places, from which on a warning is due
_LOOKED_AT, LOOKED_AT_AT_ONCE = 4000, 200  # series that are kept to find a cause
_TOGETHER = 20  # of them are kept or dropped as one
_STRANGE = 0.1  # share of series unlike all classes from which on a cause is looked for
_HALF_A_YEAR = 183  # days
PIXELS, SAMPLES = "pixels", "samples"
"""What series are called: of maps, and of tables."""
_EARTH = Geod(ellps="WGS84")


@dataclass(frozen=True)
class _Cause:
    """What may be wrong with reflectance."""

    told: str
    of_maps: str
    """What to do about it."""
    of_tables: str
    undo: Callable[[Floats], Floats]


_CAUSES = (
    _Cause(
        "Reflectance looks 10,000 times too high",
        "give it as 0-1 in floating-point series, x 10000 in whole numbers",
        "choose REFLECTANCE=scaled",
        lambda values: values / np.float32(10000),
    ),
    _Cause(
        "Reflectance looks 10,000 times too low",
        "give it as 0-1 in floating-point series, x 10000 in whole numbers",
        "choose REFLECTANCE=unit",
        lambda values: values * np.float32(10000),
    ),
    _Cause(
        "Reflectance looks 0.1 too high, as if the offset of processing baseline 04.00 were still in it",
        "stack or map the scenes again with OFFSET=-1000",
        "subtract it from the bands of the table",
        lambda values: values - np.float32(0.1),
    ),
    _Cause(
        "Reflectance looks 0.1 too low, as if an offset were removed that was not there",
        "stack or map the scenes again with OFFSET=0",
        "add it to the bands of the table",
        lambda values: values + np.float32(0.1),
    ),
)


@dataclass(frozen=True)
class _Expected:
    """What series are of."""

    dates: tuple[date, ...]
    period: str | None
    there: tuple[str, ...]
    test: OodTest


@dataclass(frozen=True)
class _Seen:
    """Some series that were looked at."""

    expected: _Expected
    values: Floats
    """Shape (T, C, P)."""
    valid: Mask
    """Shape (T, P)."""


@dataclass(frozen=True)
class Looked:
    """What is counted of series that were looked at."""

    counts: NDArray[np.int64]
    """How many had a test, and how many of them are out of distribution, by class, shape (2, K)."""
    values: Floats
    """Some of them, shape (T, C, P)."""
    valid: Mask
    """Shape (T, P)."""


class InputWatch:
    """Tells of each series whether it is like its class in training, and of all together whether something is wrong.

    Args:
        bundle: The model.
        what: `PIXELS` or `SAMPLES`.

    Raises:
        ModelBundleError: Its signatures are not of the documented layout.
    """

    def __init__(self, bundle: Bundle, what: str = PIXELS) -> None:
        self._bundle, self._what = bundle, what
        self._reference = read_reference(bundle)
        self._expected: _Expected | None = None
        self._counts = np.zeros((2, len(bundle.classes)), np.int64)
        self._kept: list[_Seen] = []
        self._offered = 0
        self._random = np.random.default_rng(0)

    @property
    def has_test(self) -> bool:
        """Whether the model's signatures have thresholds."""
        return self._reference is not None

    @property
    def share(self) -> float | None:
        """Of the series seen that are out of distribution; None where there is none, or no test."""
        seen = int(self._counts[0].sum())
        return float(self._counts[1].sum() / seen) if seen else None

    def expect(self, dates: Sequence[date], period: str | None, there: Sequence[str]) -> None:
        """Says of which composites and channels the next series are."""
        if self._reference is not None:
            test = self._reference.test(dates, period, there)
            self._expected = _Expected(tuple(dates), period, tuple(there), test)

    def see(self, values: Floats, valid: Mask, classes: Positions) -> NDArray[np.uint8]:
        """Looks at some series.

        Args:
            values: Reflectance 0-1 and indices, shape (T, C, P).
            valid: Where they may be used, shape (T, P).
            classes: Position of the class that the model gave each, shape (P,).

        Returns:
            `IN`, `OUT` or `NO_OOD`, shape (P,).
        """
        result, looked = self.look(values, valid, classes)
        if looked is not None:
            self.add(looked)
        return result

    def look(
        self, values: Floats, valid: Mask, classes: Positions, keep: int = LOOKED_AT_AT_ONCE
    ) -> tuple[NDArray[np.uint8], Looked | None]:
        """Looks at some series and counts nothing; for several threads.

        Args:
            values: As `see` takes them.
            valid: As above.
            classes: As above.
            keep: How many series may be kept to find a cause.

        Returns:
            What `see` gives, and what `add` takes; None where nothing was expected.
        """
        result = np.full(len(classes), NO_OOD, np.uint8)
        if self._expected is None or not len(classes):
            return result, None
        excess = self._expected.test.excess(values, valid, classes)
        known = ~np.isnan(excess)
        result[known] = np.where(excess[known] > 1, OUT, IN)
        number = len(self._bundle.classes)
        counts = np.stack([np.bincount(classes[some], minlength=number) for some in (known, result == OUT)])
        there = np.flatnonzero(known)
        some = there[np.linspace(0, len(there) - 1, min(keep, len(there))).astype(np.int64)]
        return result, Looked(counts, values[..., some], valid[:, some])

    def add(self, looked: Looked) -> None:
        """Counts what was looked at; keeps some series, and drops others at random when there are many."""
        self._counts += looked.counts
        if self._expected is None:
            return
        parts = -(-looked.values.shape[2] // _TOGETHER)
        for part in range(parts):
            self._offered += 1
            full = len(self._kept) >= _LOOKED_AT // _TOGETHER
            place = int(self._random.integers(self._offered)) if full else len(self._kept)
            if place < _LOOKED_AT // _TOGETHER:
                these = slice(part, None, parts)
                kept = _Seen(self._expected, looked.values[..., these].copy(), looked.valid[:, these].copy())
                self._kept[place : place + 1] = [kept]

    def told(self) -> str:
        """The share for the log; nothing where there is none."""
        if self.share is None:
            return ""
        return f"{self.share:.1%} of the {self._what} are unlike what {self._bundle.id} learnt of their class (ood)."

    def warnings(self) -> tuple[str, ...]:
        """What is wrong with what was seen, and what to do about it."""
        share = self.share
        if share is None or share <= ALARMING_SHARE:
            return ()
        return (
            f"{share:.1%} of the {self._what} are unlike what the model {self._bundle.id} learnt of their class, where "
            f"about {EXPECTED_SHARE:.0%} is usual: {self._cause() or self._where()}.",
        )

    def _kept_together(self) -> list[_Seen]:
        """What is kept, of the same composites and channels at once."""
        alike: dict[int, list[_Seen]] = {}
        for seen in self._kept:
            alike.setdefault(id(seen.expected), []).append(seen)
        return [
            _Seen(
                each[0].expected,
                np.concatenate([seen.values for seen in each], axis=2),
                np.concatenate([seen.valid for seen in each], axis=1),
            )
            for each in alike.values()
        ]

    def _cause(self) -> str:
        """What, if it were undone, would make most of the strange series like some class; nothing if it is unclear."""
        kept = self._kept_together()
        as_it_is = self._strange(kept, lambda values: values)
        if as_it_is < _STRANGE:
            return ""
        without = [self._strange(kept, cause.undo) for cause in _CAUSES]
        best = int(np.argmin(without))
        if without[best] < as_it_is / 2:
            cause = _CAUSES[best]
            return f"{cause.told}: {cause.of_tables if self._what == SAMPLES else cause.of_maps}"
        turned = self._strange(kept, lambda values: np.roll(values, len(values) // 2, axis=0), whole_year=True)
        if turned < as_it_is / 2:
            return "They look half a year off: choose a model of that hemisphere, or another START_DATE"
        return ""

    def _where(self) -> str:
        seen, out = self._counts
        worst = [k for k in np.argsort(-out) if out[k] > ALARMING_SHARE * max(seen[k], 1)][:3]
        named = ", ".join(f"{self._bundle.classes[k].name} {out[k] / seen[k]:.0%}" for k in worst)
        if self._what == SAMPLES:
            return f"do not rely on these ({named}); the column ood tells which they are"
        return (
            f"do not rely on these ({named}); OUTPUT_OOD shows where they are. Woods, water and towns count among them "
            "where the model has no class for such"
        )

    def _strange(self, kept: Sequence[_Seen], undo: Callable[[Floats], Floats], whole_year: bool = False) -> float:
        """Share of kept series that are like no class at all, by their reflectance, once something is undone."""
        found = []
        for seen in kept:
            bands = [name for name in seen.expected.there if name not in INDICES]
            dates = seen.expected.dates
            if (
                not bands
                or self._reference is None
                or (whole_year and (dates[-1] - dates[0]).days < _HALF_A_YEAR * 1.6)
            ):
                return 1.0
            some = [seen.expected.there.index(name) for name in bands]
            test = self._reference.test(dates, seen.expected.period, bands)
            values = undo(seen.values[:, some])
            least = np.full(values.shape[2], np.inf, np.float32)
            for position in range(len(self._bundle.classes)):
                classes = np.full(len(least), position, np.int32)
                least = np.fmin(least, test.excess(values, seen.valid, classes))
            found.append(least > 1)
        return float(np.concatenate(found).mean()) if found else 0.0


def place_warning(bundle: Bundle, lon: ArrayLike, lat: ArrayLike) -> str:
    """Says so where what is to be classified lies far from where a model was trained.

    Args:
        bundle: The model.
        lon: Degrees, of one place or several; those that are not finite are left out.
        lat: As `lon`.

    Returns:
        A warning, or nothing.
    """
    lon, lat = (np.atleast_1d(np.asarray(each, np.float64)) for each in (lon, lat))
    known = np.isfinite(lon) & np.isfinite(lat)
    if not known.any():
        return ""
    away = distance_km(bundle.bbox, lon[known], lat[known])
    far = away > FAR_KM
    if far.mean() < _FAR_SHARE:
        return ""
    which = "This is" if far.all() else f"{far.mean():.0%} of the places are"
    return (
        f"{which} {np.median(away[far]):,.0f} km away from where the model {bundle.id} was trained: try it on fields "
        "that you know before you trust it, or choose a model of this region."
    )


def distance_km(
    bbox: tuple[float, float, float, float], lon: NDArray[np.float64], lat: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How far places lie outside of a box, 0 within.

    Args:
        bbox: West, south, east, north in degrees.
        lon: Degrees, shape (N,).
        lat: As `lon`.
    """
    west, south, east, north = bbox
    off = (lon - (west + east) / 2 + 180) % 360 - 180  # the short way round
    nearest = (west + east) / 2 + np.clip(off, -(east - west) / 2, (east - west) / 2)
    _, _, metres = _EARTH.inv(lon, lat, nearest, np.clip(lat, south, north))
    kilometres: NDArray[np.float64] = np.asarray(metres) / 1000
    return kilometres


def year_note(bundle: Bundle, dates: Sequence[date]) -> str:
    """Says so where dates are of no year that a model was trained on; nothing where that is not known."""
    told = bundle.properties or {}
    trained = [str(told.get(name) or "")[:4] for name in ("start_datetime", "end_datetime")]
    if not all(year.isdigit() for year in trained):
        return ""
    first, last = map(int, trained)
    years = sorted({day.year for day in dates if not first <= day.year <= last})
    if not years:
        return ""
    learnt = f"{first}" if first == last else f"{first} to {last}"
    return f"The model {bundle.id} learnt from {learnt}, this is {', '.join(map(str, years))}."
