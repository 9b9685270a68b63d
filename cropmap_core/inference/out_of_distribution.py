"""How unlike a series is what a model has learnt of the class that it gives it: the `ood` of maps and records.

At each date and channel a class has a median and a spread, its signature, and z = (value - median) / spread, cut off at
5 so that a cloud or two do not decide. Two statistics are made of it:

- the level, the mean of |z| over dates and channels;
- the spectrum, the mean of |w|, where w is z without the correlations that the channels of the class have at a date. It
  sees spectra in which no band is odd but their mixture is: a wrong order of bands, another land cover.

The calendar may lie off: of the signature as it is, ten days earlier and ten days later the one with the least level
counts. A series is out of distribution where a statistic exceeds its threshold, which at most 1 % of the training
pixels of the class do.

References:
    Lee et al. (2018), A simple unified framework for detecting out-of-distribution samples and adversarial attacks,
    NeurIPS: Mahalanobis distance to the class. Theirs is of a network's features and of one covariance for all
    classes; this one is of what goes in, robust, and class by class, and treats dates as if they did not correlate.
    Kessy, Lewin and Strimmer (2018), Optimal whitening and decorrelation, The American Statistician 72(4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import ModelBundleError
from cropmap_core.inference.bundle_types import RESTORE, SIGNATURES, Bundle
from cropmap_core.inference.bundles import read_json
from cropmap_core.inference.seasons import season_of
from cropmap_core.timeseries.kernels import compiled, over_pixels
from cropmap_core.timeseries.periods import FIRST_DAYS_OF_MONTH

STATISTIC = "level and spectrum 1"
"""Name and version of the statistics, as signatures.json has it; thresholds of others are not looked at."""
STATISTICS = ("level", "spectrum")
QUARTILES = {"q25": 25, "q50": 50, "q75": 75}
"""Names and percentages, in order."""
FEWEST_PIXELS = 30
"""Of a class, for thresholds of its own; one with fewer has those of all classes."""
LEAST_SPREAD = 5e-3
"""Of reflectance or an index: what hardly varies in training is not blown up."""
CUT = 5.0
"""Of z."""
_SHIFTS = (0.0, -10.0, 10.0)  # days
_SHRUNK = 0.1  # of correlations: inverses of nearly dependent bands would see noise alone
_AT_ONCE = 256  # pixels: their channels of a date stay in the first-level cache
_OF_NORMAL = 1.349  # interquartile range of a standard normal distribution
_COMMON_YEAR, _DAYS_OF_MONTH = 2017, 30.4

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Positions = NDArray[np.int32]


@dataclass(frozen=True)
class Reference:
    """What a model has learnt of its K classes, at the T composites and of the C channels that it was made for."""

    bundle: Bundle
    median: NDArray[np.float64]
    """Shape (K, T, C)."""
    spread: NDArray[np.float64]
    """Shape (K, T, C)."""
    correlation: NDArray[np.float64]
    """Of the channels of a class at a date, shape (K, C, C)."""
    without: tuple[frozenset[str], ...]
    """The V sets of channels, the first one empty, for the lack of which there are thresholds."""
    thresholds: NDArray[np.float64]
    """Of level and spectrum, shape (2, K, V); below 0 for a class that no training pixel had."""

    def test(self, dates: Sequence[date], period: str | None, there: Sequence[str] | None = None) -> OodTest:
        """The test of a series, of other composites or a part of the season too.

        Args:
            dates: First days of its composites.
            period: Their period.
            there: Its channels, in the bundle's order; None for all.
        """
        bundle = self.bundle
        own = _middles(season_of(bundle.first_days, _COMMON_YEAR), bundle.period)
        season = bundle.season_of(dates)
        asked = _middles(dates, period) + (dates[0] - season[0]).days
        some = [place for place, name in enumerate(bundle.channels) if there is None or name in there]
        median, spread = (
            np.stack([_interpolated(values[..., some], own, asked - shift) for shift in _SHIFTS], axis=1)
            for values in (self.median, self.spread)
        )  # (K, S, T, C)
        missing = frozenset(bundle.channels).difference(bundle.channels if there is None else there)
        lack = self.without.index(missing) if missing in self.without else 0
        whitening = [_whitening(each[np.ix_(some, some)]) for each in self.correlation]
        return OodTest(
            median.astype(np.float32),
            (1 / spread).astype(np.float32),
            np.stack(whitening).astype(np.float32),
            self.thresholds[..., lack].astype(np.float32),
        )


@dataclass(frozen=True)
class OodTest:
    """The test for the dates and channels of a series."""

    median: Floats
    """Shape (K, S, T, C), of S shifts of the calendar."""
    inverse_spread: Floats
    """Shape (K, S, T, C)."""
    whitening: Floats
    """Shape (K, C, C)."""
    thresholds: Floats
    """Shape (2, K)."""

    def statistics(self, values: Floats, valid: Mask, classes: Positions) -> Floats:
        """Level and spectrum of series.

        Args:
            values: Reflectance 0-1 and indices, shape (T, C, P).
            valid: Where they may be used, shape (T, P).
            classes: Position of the class of each, shape (P,).

        Returns:
            Shape (2, P); NaN where nothing is valid.
        """
        values, valid = np.ascontiguousarray(values, np.float32), np.ascontiguousarray(valid)
        found = np.empty((2, len(classes)), np.float32)
        for position in np.unique(classes):
            chosen = np.flatnonzero(classes == position)
            known = self.median[position], self.inverse_spread[position], self.whitening[position]
            over_pixels(_of_class, len(chosen), values, valid, chosen, *known, found)
        return found

    def excess(self, values: Floats, valid: Mask, classes: Positions) -> Floats:
        """The larger of both statistics, each in units of its threshold: a series is out of distribution above 1.

        Args:
            values: As `statistics` takes them.
            valid: As above.
            classes: As above.

        Returns:
            Shape (P,); NaN where nothing is valid, infinite for classes that no training pixel had.
        """
        thresholds = self.thresholds[:, classes]
        found = self.statistics(values, valid, classes) / np.maximum(thresholds, np.float32(1e-6))
        excess: Floats = found.max(axis=0)
        excess[(thresholds[0] < 0) & np.isfinite(excess)] = np.inf
        return excess


def read_reference(bundle: Bundle) -> Reference | None:
    """What the signatures of a bundle say; None where they have no thresholds of this statistic.

    Raises:
        ModelBundleError: Its signatures.json is not of the documented layout.
    """
    path = bundle.folder / SIGNATURES
    document = read_json(path)
    try:
        if (document.get("ood") or {}).get("statistic") != STATISTIC:
            return None
        return reference_of(bundle, document["classes"], document["ood"]["without"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelBundleError(f"{path} is not of the documented layout: {error!r}.", RESTORE) from error


def reference_of(
    bundle: Bundle, entries: Sequence[Mapping[str, Any]], without: Sequence[Sequence[str]] = ((),)
) -> Reference:
    """The same of what signatures.json has of each class, and of the sets of channels that there are thresholds for.

    Raises:
        ValueError: Classes or composites are not the bundle's.
    """
    times, channels = len(bundle.first_days), len(bundle.channels)
    if [entry["name"] for entry in entries] != [each.name for each in bundle.classes]:
        raise ValueError("its classes are not those of the bundle")
    quartiles = np.array(
        [[[entry["quartiles"][name][q] for q in QUARTILES] for name in bundle.channels] for entry in entries],
        np.float64,
    )  # (K, C, 3, T), NaN where null
    lower, median, upper = np.moveaxis(quartiles, (2, 3, 1), (0, 2, 3))  # (K, T, C) each
    if median.shape[1:] != (times, channels):
        raise ValueError(f"it has {median.shape[1]} composites, the bundle {times}")
    pixels = np.array([entry["pixels"] for entry in entries], np.float64)
    own = [entry["ood"] or {} for entry in entries]
    correlation = np.array([each.get("correlation", np.eye(channels)) for each in own], np.float64)
    if correlation.shape[1:] != (channels, channels):
        raise ValueError(f"correlations are of {correlation.shape[1:]} channels")
    unknown = [-1.0] * len(without)
    thresholds = np.array([[each.get(name, unknown) for each in own] for name in STATISTICS], np.float64)
    if thresholds.shape[2:] != (len(without),):
        raise ValueError(f"thresholds are not for {len(without)} sets of channels")
    return Reference(
        bundle,
        np.nan_to_num(median),
        _spread(upper - lower, pixels),
        correlation,
        tuple(frozenset(each) for each in without),
        thresholds,
    )


def _spread(between: NDArray[np.float64], pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviations from interquartile ranges, those of classes with few pixels drawn towards that of all."""
    variance = np.nan_to_num(between / _OF_NORMAL) ** 2
    weight = pixels[:, None, None]
    pooled = (variance * weight).sum(axis=0) / max(pixels.sum(), 1)
    spread: NDArray[np.float64] = np.sqrt((variance * weight + pooled * FEWEST_PIXELS) / (weight + FEWEST_PIXELS))
    return np.maximum(spread, LEAST_SPREAD)


def _whitening(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh((1 - _SHRUNK) * correlation + _SHRUNK * np.eye(len(correlation)))
    whitening: NDArray[np.float64] = (vectors / np.sqrt(np.maximum(values, _SHRUNK / 2))) @ vectors.T
    return whitening


def _middles(dates: Sequence[date], period: str | None) -> NDArray[np.float64]:
    """Days from the first of some composites to the middle of each."""
    name, _, days = (period or "").partition(":")
    if name in FIRST_DAYS_OF_MONTH:
        length = _DAYS_OF_MONTH / len(FIRST_DAYS_OF_MONTH[name])
    else:
        length = float(days) if name == "days" else 0.0
    return np.array([(day - dates[0]).days + length / 2 for day in dates])


def _interpolated(
    table: NDArray[np.float64], days: NDArray[np.float64], asked: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A table of shape (K, T, C) on other days; before the first and after the last it stays as it is there."""
    later = np.clip(np.searchsorted(days, asked), 1, max(len(days) - 1, 1))
    if len(days) == 1:
        return np.repeat(table, len(asked), axis=1)
    share = np.clip((asked - days[later - 1]) / (days[later] - days[later - 1]), 0, 1)[:, None]
    interpolated: NDArray[np.float64] = table[:, later - 1] * (1 - share) + table[:, later] * share
    return interpolated


@compiled
def _of_class(
    values: Any, valid: Any, index: Any, median: Any, scale: Any, whitening: Any, found: Any, begin: int, end: int
) -> None:
    """The statistics of the pixels of one class: what is known of it is a number to the innermost loops."""
    shifts, times, channels = median.shape
    rows = np.empty((channels, _AT_ONCE), np.float32)
    level = np.empty((shifts, _AT_ONCE), np.float32)
    dates, spectrum, w = np.empty(_AT_ONCE, np.float32), np.empty(_AT_ONCE, np.float32), np.empty(_AT_ONCE, np.float32)
    there, best = np.empty(_AT_ONCE, np.float32), np.empty(_AT_ONCE, np.int32)
    chosen = np.empty((shifts, _AT_ONCE), np.bool_)
    z = np.zeros((channels, _AT_ONCE), np.float32)
    for at in range(begin, end, _AT_ONCE):
        pixels = index[at : min(at + _AT_ONCE, end)]
        size = pixels.size
        level[:], dates[:], spectrum[:], best[:] = 0, 0, 0, 0
        for time in range(times):
            _gather(values[time], valid[time], pixels, rows, there)
            for pixel in range(size):
                dates[pixel] += there[pixel]
            for channel in range(channels):
                for shift in range(shifts):
                    _add_deviation(
                        rows[channel],
                        there,
                        median[shift, time, channel],
                        scale[shift, time, channel],
                        level[shift],
                        size,
                    )
        for shift in range(1, shifts):
            for pixel in range(size):
                best[pixel] = shift if level[shift, pixel] < level[best[pixel], pixel] else best[pixel]
        for shift in range(shifts):
            for pixel in range(size):
                chosen[shift, pixel] = best[pixel] == shift
        for time in range(times):
            _gather(values[time], valid[time], pixels, rows, there)
            for channel in range(channels):
                for shift in range(shifts):
                    middle, inverse = median[shift, time, channel], scale[shift, time, channel]
                    _standardise(rows[channel], there, chosen[shift], middle, inverse, z[channel], size)
            for channel in range(channels):
                w[:] = 0
                for other in range(channels):
                    weight, row = whitening[channel, other], z[other]
                    for pixel in range(size):
                        w[pixel] += weight * row[pixel]
                for pixel in range(size):
                    spectrum[pixel] += abs(w[pixel])
        for pixel in range(size):
            count = dates[pixel] * np.float32(channels)
            found[0, pixels[pixel]] = level[best[pixel], pixel] / count if count > 0 else np.float32(np.nan)
            found[1, pixels[pixel]] = spectrum[pixel] / count if count > 0 else np.float32(np.nan)


@compiled
def _gather(values: Any, valid: Any, pixels: Any, rows: Any, there: Any) -> None:
    """The channels of some pixels, 0 where not valid, and 1 where they are."""
    for pixel in range(pixels.size):
        there[pixel] = np.float32(valid[pixels[pixel]])
    for channel in range(values.shape[0]):
        source, row = values[channel], rows[channel]
        for pixel in range(pixels.size):
            value = source[pixels[pixel]]
            row[pixel] = value if there[pixel] > 0 else np.float32(0)


@compiled
def _add_deviation(row: Any, there: Any, middle: float, scale: float, level: Any, size: int) -> None:
    for pixel in range(size):
        level[pixel] += there[pixel] * min(abs(row[pixel] - middle) * scale, np.float32(CUT))


@compiled
def _standardise(row: Any, there: Any, chosen: Any, middle: float, scale: float, z: Any, size: int) -> None:
    """The z of those pixels for which this shift was chosen."""
    for pixel in range(size):
        away = min(max((row[pixel] - middle) * scale, np.float32(-CUT)), np.float32(CUT))
        z[pixel] = there[pixel] * away if chosen[pixel] else z[pixel]
