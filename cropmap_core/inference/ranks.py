"""Values as ranks among the thresholds that trees compare them with: a byte in place of a number, decisions the same.

A tree only asks whether a value is less than a threshold. How many of its feature's thresholds a value is not less than
answers all such questions at once, and comparing two ranks gives what comparing the two numbers gave. Thresholds are
those of normalised values; they are carried over to the units of the input by trying out where normalising passes
them, so that no value is normalised and none is decided otherwise.

References:
    Ke et al. (2017), LightGBM: A Highly Efficient Gradient Boosting Decision Tree, NIPS: features as bins. Theirs are
    chosen before trees are grown; these are what grown trees can tell apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.io.compiling import compiled
from cropmap_core.timeseries.series import Mask, Values

Floats = NDArray[np.float32]
Normalise = Callable[[Values], Floats]
"""Takes the channels that are there, shape (T, C, H, W), and gives all of the network's; never falling with a value."""

BLOCK = 256
"""Pixels whose ranks lie together, feature by feature: some hundred features of them fit the first-level cache."""
_BUCKETS = 2048  # of a feature's floats
_WHOLE_NUMBERS = np.arange(-(2**15), 2**15).astype(np.int16)
_KEY_OF_INFINITY = int(np.float32(np.inf).view(np.int32))


@dataclass(frozen=True)
class Thresholds:
    """What trees compare their features with."""

    values: Floats
    """Of normalised values, feature by feature, ascending, each once."""
    starts: NDArray[np.int64]
    """Where those of a feature begin, and where the last end, shape (features + 1,)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest type that holds all ranks."""
        return np.min_scalar_type(int(np.diff(self.starts).max(initial=0)))

    @property
    def of_zero(self) -> NDArray[Any]:
        """Rank of a value that is not there, by feature."""
        counts = [np.searchsorted(some, np.float32(0), side="right") for some in self.by_feature()]
        return np.array(counts, self.dtype)

    def by_feature(self) -> list[Floats]:
        """The thresholds of each feature."""
        return np.split(self.values, self.starts[1:-1])


@dataclass(frozen=True)
class WholeRanks:
    """Ranks of int16 values: a table of all that there are."""

    table: NDArray[Any]
    """Of 0 to 32767, then of -32768 to -1: as their bits count, shape (features, 65536)."""
    of_zero: NDArray[Any]
    sources: NDArray[np.int64]
    """Of each of the network's channels, its place among those that are there; -1 if it is not."""

    def fill(self, values: Values, valid: Mask, first: int, last: int, ranks: NDArray[Any]) -> None:
        """Ranks some pixels: `values` of shape (T, C, P), `valid` (T, P), `ranks` (blocks, features * BLOCK)."""
        _rank_whole(values, valid, first, last, self.table, self.of_zero, self.sources, ranks)


@dataclass(frozen=True)
class RealRanks:
    """Ranks of float32 values: the bucket that a value falls into, and a search in it of as few steps as will do."""

    thresholds: Floats
    """In the units of the input, feature by feature, each followed by some NaN that the search may look at."""
    starts: NDArray[np.int64]
    """Where those of a feature begin."""
    steps: NDArray[np.int64]
    """The first step of the search, by feature, a power of two; the next is half of it."""
    scaling: Floats
    """What to subtract from a value and then to multiply with, for its bucket, shape (features, 2)."""
    table: NDArray[Any]
    """Rank of the least value of a bucket, and of NaN, shape (features, buckets + 1)."""
    of_zero: NDArray[Any]
    sources: NDArray[np.int64]

    def fill(self, values: Values, valid: Mask, first: int, last: int, ranks: NDArray[Any]) -> None:
        """As that of `WholeRanks`."""
        _rank_real(
            values,
            valid,
            first,
            last,
            self.thresholds,
            self.starts,
            self.steps,
            self.scaling,
            self.table,
            self.of_zero,
            self.sources,
            ranks,
        )


def make_ranks(
    thresholds: Thresholds, dtype: np.dtype[Any], channels: int, there: Sequence[int], normalise: Normalise | None
) -> WholeRanks | RealRanks:
    """Prepares the ranking of values as they are read.

    Args:
        thresholds: Of all dates and channels, date by date.
        dtype: int16 or float32.
        channels: Of the network.
        there: Which of them are among the values, in order.
        normalise: What would be done to the values; None for nothing.
    """
    sources = np.full(channels, -1, np.int64)
    sources[list(there)] = np.arange(len(there))
    if dtype.kind == "i":
        return _whole_ranks(thresholds, sources, normalise or _as_they_are)
    return _real_ranks(thresholds, sources, normalise)


def _as_they_are(values: Values) -> Floats:
    return values.astype(np.float32)


def _whole_ranks(thresholds: Thresholds, sources: NDArray[np.int64], normalise: Normalise) -> WholeRanks:
    count = int((sources >= 0).sum())
    normalised = normalise(np.broadcast_to(_WHOLE_NUMBERS, (1, count, 1, len(_WHOLE_NUMBERS))))[0, :, 0]  # (C, 65536)
    table = np.empty((len(thresholds.starts) - 1, len(_WHOLE_NUMBERS)), thresholds.dtype)
    for feature, some in enumerate(thresholds.by_feature()):
        passed = np.searchsorted(normalised[feature % len(sources)], some)
        ascending = np.bincount(passed, minlength=len(_WHOLE_NUMBERS) + 1)[:-1].cumsum()
        table[feature] = np.roll(ascending, len(_WHOLE_NUMBERS) // 2)
    return WholeRanks(table, thresholds.of_zero, sources)


def _real_ranks(thresholds: Thresholds, sources: NDArray[np.int64], normalise: Normalise | None) -> RealRanks:
    features = len(thresholds.starts) - 1
    carried = thresholds.values if normalise is None else _carried_over(thresholds, sources, normalise)
    own = np.split(carried, thresholds.starts[1:-1])
    scaling = np.array([_scaling_of(some) for some in own], np.float32).reshape(features, 2)
    table, steps, parts = np.empty((features, _BUCKETS + 1), thresholds.dtype), np.empty(features, np.int64), []
    for feature, some in enumerate(own):
        buckets = np.empty(len(some), np.uint32)
        _find_buckets(some, scaling[feature, 0], scaling[feature, 1], buckets)
        passed = np.bincount(buckets, minlength=_BUCKETS + 1)[:_BUCKETS]
        table[feature, 0], table[feature, 1:] = 0, passed.cumsum()
        table[feature, _BUCKETS] = len(some)
        steps[feature] = 2 ** int(passed.max()).bit_length() // 2
        parts.append(np.concatenate([some, np.full(2 * steps[feature], np.nan, np.float32)]))
    starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])])[:-1].astype(np.int64)
    return RealRanks(np.concatenate(parts), starts, steps, scaling, table, thresholds.of_zero, sources)


def _carried_over(thresholds: Thresholds, sources: NDArray[np.int64], normalise: Normalise) -> Floats:
    """The least values that, normalised, are not less than thresholds, by halving the range of all floats.

    NaN where no float is such a value; the thresholds of channels that are not there stay.
    """
    carried = thresholds.values.copy()
    channels = np.repeat(np.arange(len(thresholds.starts) - 1), np.diff(thresholds.starts)) % len(sources)
    there = np.flatnonzero(sources >= 0)
    own = [np.flatnonzero(channels == channel) for channel in there]
    asked = np.full((1, len(there), max(map(len, own), default=0), 1), np.nan, np.float32)  # a window of one date
    for row, places in enumerate(own):
        asked[0, row, : len(places), 0] = carried[places]
    least = np.full(asked.shape, -_KEY_OF_INFINITY, np.int64)
    beyond = np.full(asked.shape, _KEY_OF_INFINITY + 1, np.int64)
    while (least < beyond).any():
        middle = (least + beyond) >> 1
        with np.errstate(over="ignore"):
            less = normalise(_float_of(middle))[:, there] < asked
        least, beyond = np.where(less & (least < beyond), middle + 1, least), np.where(less, beyond, middle)
    found = np.where(least > _KEY_OF_INFINITY, np.float32(np.nan), _float_of(np.minimum(least, _KEY_OF_INFINITY)))
    for row, places in enumerate(own):
        carried[places] = found[0, row, : len(places), 0]
    return carried


def _float_of(key: NDArray[np.int64]) -> Floats:
    """The floats of whole numbers that are in their order."""
    size = np.abs(key).astype(np.int32).view(np.float32)
    return np.where(key < 0, -size, size)


def _scaling_of(thresholds: Floats) -> tuple[float, float]:
    finite = thresholds[np.isfinite(thresholds)].astype(np.float64)
    if not len(finite):
        return 0.0, 1.0
    width = max(finite[-1] - finite[0], 1e-30)
    return float(finite[0]), float(np.clip(_BUCKETS / width, 1e-30, 1e30))


@compiled
def _rank_whole(
    values: Any, valid: Any, first: int, last: int, table: Any, of_zero: Any, sources: Any, ranks: Any
) -> None:
    times, channels = values.shape[0], sources.size
    for block in range(ranks.shape[0]):
        begin = first + block * BLOCK
        end = min(begin + BLOCK, last)
        for time in range(times):
            usable = valid[time, begin:end]
            all_there = usable.all()
            for channel in range(channels):
                feature = time * channels + channel
                into = ranks[block, feature * BLOCK : feature * BLOCK + end - begin]
                if sources[channel] < 0:
                    into[:] = of_zero[feature]
                    continue
                row, source, zero = table[feature], values[time, sources[channel], begin:end], of_zero[feature]
                for pixel in range(source.size):
                    into[pixel] = row[np.uint16(source[pixel])]
                if not all_there:
                    for pixel in range(source.size):
                        into[pixel] = into[pixel] if usable[pixel] else zero


@compiled
def _rank_real(
    values: Any,
    valid: Any,
    first: int,
    last: int,
    thresholds: Any,
    starts: Any,
    steps: Any,
    scaling: Any,
    table: Any,
    of_zero: Any,
    sources: Any,
    ranks: Any,
) -> None:
    times, channels = values.shape[0], sources.size
    buckets, found = np.empty(BLOCK, np.uint32), np.empty(BLOCK, np.uint32)  # a signed place might count from the end
    for block in range(ranks.shape[0]):
        begin = first + block * BLOCK
        end = min(begin + BLOCK, last)
        for time in range(times):
            usable = valid[time, begin:end]
            all_there = usable.all()
            for channel in range(channels):
                feature = time * channels + channel
                into = ranks[block, feature * BLOCK : feature * BLOCK + end - begin]
                if sources[channel] < 0:
                    into[:] = of_zero[feature]
                    continue
                row, source, zero = table[feature], values[time, sources[channel], begin:end], of_zero[feature]
                own = thresholds[starts[feature] :]
                _find_buckets(source, scaling[feature, 0], scaling[feature, 1], buckets)
                for pixel in range(source.size):
                    found[pixel] = row[buckets[pixel]]
                step = steps[feature]
                while step > 0:
                    _search_on(own[step - 1 :], source, np.uint32(step), found)
                    step >>= 1
                for pixel in range(source.size):
                    into[pixel] = found[pixel]
                if not all_there:
                    for pixel in range(source.size):
                        into[pixel] = into[pixel] if usable[pixel] else zero


@compiled
def _search_on(thresholds: Any, values: Any, step: Any, ranks: Any) -> None:
    for pixel in range(values.size):
        ranks[pixel] += step if thresholds[ranks[pixel]] <= values[pixel] else np.uint32(0)


@compiled
def _find_buckets(values: Any, subtracted: float, factor: float, buckets: Any) -> None:
    """Buckets ascend with values, however sums and products are rounded; NaN has one of its own, the last."""
    for pixel in range(values.size):
        place = (values[pixel] - subtracted) * factor
        place = min(max(place, np.float32(0)), np.float32(_BUCKETS - 1))
        buckets[pixel] = np.uint32(place) if values[pixel] == values[pixel] else np.uint32(_BUCKETS)
