"""What a network is fed with in training: batches of samples, varied, filled, and made into normalised channels."""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from copy import copy
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cropmap_core.classes import CropClass
from cropmap_core.errors import JobError, MissingBandError
from cropmap_core.inference.channels import Floats, Mask, compute_channels, fill_samples
from cropmap_core.learning.mingling import Mingled, mingle, position_of_other, unmingled
from cropmap_core.learning.variation import NO_VARIATION, Labels, Variation
from cropmap_core.samples.files import Batch, SampleFile
from cropmap_core.timeseries.formulas import INDICES
from cropmap_core.timeseries.series import REFLECTANCE_SCALE
from cropmap_core.timeseries.temperatures import Temperatures

Indices = NDArray[np.int64]
NO_TARGET = -1
_BAND = re.compile("B([0-9]{2}|8A)")
_READ_AT_ONCE = 2**14  # pixel series
_LEAST_STD = 5e-3  # of reflectance: what hardly varies is not blown up, nor is its noise


@dataclass(frozen=True)
class Fed:
    """A batch as the network takes it."""

    x: Tensor
    """Normalised channels, shape (B, T, C, H, W)."""
    days: Tensor
    """Where the dates lie in the season, as the network counts, shape (B, T)."""
    valid: Tensor
    """Shape (B, T, H, W)."""
    target: Tensor
    """Position of the class, -1 where the loss does not look, shape (B, H, W)."""
    index: Indices
    """Of its samples in the file, shape (B,)."""
    outlier: Tensor
    """Which are no sample of their class any more, shape (B,)."""


class Feed:
    """Batches of a training set for one kind of network.

    Args:
        file: The training set.
        channels: Bands and indices that the network takes.
        classes: The model's classes, in its order.
        by_pixel: Whether pixels of patches are handed out one by one, as series of their own.
        temperatures: To count thermal days by; None for days of the calendar.

    Raises:
        TemperatureError: They do not reach over a season of the samples.
    """

    def __init__(
        self,
        file: SampleFile,
        channels: Sequence[str],
        classes: Sequence[CropClass],
        by_pixel: bool,
        temperatures: Temperatures | None = None,
    ) -> None:
        self._file = file
        self._temperatures = temperatures
        self._days = _days_of(file, temperatures)
        self.channels = tuple(channels)
        self._by_pixel = by_pixel
        self._positions = np.full(2**15, NO_TARGET, np.int64)
        self._positions[[each.value for each in classes]] = np.arange(len(classes))
        self.classes = tuple(classes)
        self._other = position_of_other(self.classes)
        self.mean = np.zeros(len(channels), np.float32)
        self.std = np.ones(len(channels), np.float32)
        self.waited_s = 0.0
        """Seconds that the network has waited for batches."""

    def of(self, by_pixel: bool) -> Feed:
        """The same for another kind of network."""
        other = copy(self)
        other._by_pixel, other.waited_s = by_pixel, 0.0
        other.mean, other.std = self.mean, self.std
        return other

    def column(self, name: str) -> NDArray[np.str_]:
        """A text of each sample of the file, shape (N,).

        Raises:
            SamplesError: There is no such column.
        """
        return self._file.column(name).astype(np.str_)

    def samples_of(self, series: int) -> int:
        """How many samples hold so many pixel series at most; one at least."""
        return max(1, series // self._file.layout.size**2)

    def labelled(self, index: Indices) -> tuple[Indices, NDArray[np.int64]]:
        """Those of some samples that hold labelled pixels, and how many of each class, shape (N, K)."""
        counts = np.zeros((len(index), len(self.classes)), np.int64)
        at_once = self.samples_of(2**8 * _READ_AT_ONCE)  # of labels alone
        for start in range(0, len(index), at_once):
            some = self._file.read_labels(index[start : start + at_once])
            target = self._positions[some].reshape(len(some), -1)
            for position in range(len(self.classes)):
                counts[start : start + len(some), position] = (target == position).sum(axis=1)
        kept = counts.any(axis=1)
        return index[kept], counts[kept]

    def normalise_by(self, index: Indices) -> None:
        """Takes mean and standard deviation of each channel from the labelled pixels of the training samples."""
        count = 0
        total, squares = np.zeros(len(self.channels)), np.zeros(len(self.channels))
        for batch in self._file.batches(np.sort(index), self.samples_of(_READ_AT_ONCE)):
            values, valid, target, _, _ = self._prepare(batch, NO_VARIATION, np.random.default_rng(0))
            looked_at = valid & (target >= 0)[:, None]
            pixels = values.transpose(0, 1, 3, 4, 2)[looked_at].astype(np.float64)  # (P, C)
            count += len(pixels)
            total += pixels.sum(axis=0)
            squares += (pixels**2).sum(axis=0)
        mean = total / max(count, 1)
        self.mean = mean.astype(np.float32)
        self.std = np.sqrt(np.maximum(squares / max(count, 1) - mean**2, _LEAST_STD**2)).astype(np.float32)

    def batches(
        self, index: Indices, size: int, variation: Variation = NO_VARIATION, seed: Sequence[int] | None = None
    ) -> Iterator[Fed]:
        """Batches of samples; the next one is made while the network works on this one.

        Args:
            index: Which samples; some may be there more than once.
            size: Samples in a batch.
            variation: How they are varied.
            seed: Of order and variation; None for the order of the file, which needs no variation.
        """
        with closing(_ahead(self._made(index, size, variation, seed))) as coming:
            while True:
                started = time.perf_counter()
                batch = next(coming, None)
                self.waited_s += time.perf_counter() - started
                if batch is None:
                    return
                yield batch

    def _made(self, index: Indices, size: int, variation: Variation, seed: Sequence[int] | None) -> Iterator[Fed]:
        order = None if seed is None else int(np.random.SeedSequence(list(seed)).generate_state(1)[0])
        for number, batch in enumerate(self._file.batches(index, size, order)):
            random = np.random.default_rng([*(seed or ()), number])
            values, valid, target, days, outlier = self._prepare(batch, variation, random)
            values -= self.mean[:, None, None]
            values /= self.std[:, None, None]
            np.nan_to_num(values, copy=False)  # where nothing was measured the network does not look
            if variation is not NO_VARIATION:
                values = variation.blinded(values, [bands_of(name) for name in self.channels], random)
            positions = batch.index
            if self._by_pixel and target.shape[-1] > 1:
                sample, row, col = np.nonzero(target >= 0)
                values = np.ascontiguousarray(values[sample, :, :, row, col])[..., None, None]
                valid = np.ascontiguousarray(valid[sample, :, row, col])[..., None, None]
                target, positions, days = target[sample, row, col][:, None, None], positions[sample], days[sample]
                outlier = outlier[sample]
            yield Fed(
                torch.from_numpy(np.ascontiguousarray(values)),
                torch.from_numpy(np.ascontiguousarray(days)),
                torch.from_numpy(np.ascontiguousarray(valid)),
                torch.from_numpy(np.ascontiguousarray(target)),
                positions,
                torch.from_numpy(outlier),
            )

    def _prepare(
        self, batch: Batch, variation: Variation, random: np.random.Generator
    ) -> tuple[Floats, Mask, Labels, Floats, Mask]:
        """Channels, where they may be used, what they are to be taken for, days, and which samples are outliers.

        What was never observed is to be taken for nothing.
        """
        samples = self._mingled(batch, variation, random)
        data, valid, target, days = samples.data, samples.valid, samples.target, self._days[batch.index]
        if variation is not NO_VARIATION:
            data, valid = variation.weather(data, valid, self._file.layout.bands, random)
            data, valid, days = variation.recomposited(data, valid, days, random)
            reached = variation.reached(valid, random)
            valid = variation.mask(valid & reached, random)
        filled, there = fill_samples(data, valid)
        reflectance = filled.astype(np.float32) * np.float32(REFLECTANCE_SCALE)
        if variation is not NO_VARIATION:
            there = there & reached
            reflectance = variation.vary(reflectance, random)
        values, there = compute_channels(reflectance, there, self._file.layout.bands, self.channels)
        if variation is not NO_VARIATION:
            values, there, target = variation.place(values, there, target, random)
        return values, there, np.where(there.any(axis=1), target, NO_TARGET), days, samples.outlier

    def _mingled(self, batch: Batch, variation: Variation, random: np.random.Generator) -> Mingled:
        samples = unmingled(batch.data, batch.valid, self._positions[batch.label])
        if not (variation.mixed_pixels or variation.outliers) or samples.target.shape[-1] > 1:
            return samples
        kin = self._file.column("source")[batch.index]
        return mingle(samples, kin, self._other, variation.mixed_pixels, variation.outliers, random)


def bands_of(channel: str) -> tuple[str, ...]:
    """The bands that a channel is made of."""
    return INDICES[channel].bands if channel in INDICES else (channel,)


def _days_of(file: SampleFile, temperatures: Temperatures | None) -> Floats:
    """Where the dates of each sample lie in its season, as a map of the same season counts them, shape (N, T).

    Seasons count from the first of their month on.
    """
    seasons = file.column("season")
    if temperatures is not None:

        def dates_of(first: date) -> tuple[date, Sequence[date]]:
            dates = file.layout.dates(first)
            return dates[0].replace(day=1), dates

        return temperatures.thermal_days_of(dates_of, seasons, file.column("lon"), file.column("lat"))
    since = (date(1970, 1, 1) + timedelta(days=int(seasons[0]))).day - 1 if len(seasons) else 0
    days = np.asarray(file.layout.days, np.float32) + since
    return np.broadcast_to(days, (len(seasons), len(days)))


def _ahead(batches: Iterator[Fed]) -> Generator[Fed]:
    """The same, each made in a thread of its own while the one before is in use."""
    with ThreadPoolExecutor(1, thread_name_prefix="next batch") as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch


def check_channels(channels: Sequence[str], bands: Sequence[str], where: str) -> None:
    """Refuses channels that cannot be made of some bands.

    Raises:
        JobError: One is neither a band nor an index, or is named twice.
        MissingBandError: A band that one is made of is not there.
    """
    for name in channels:
        if name not in bands and name not in INDICES and not _BAND.fullmatch(name):
            raise JobError(
                f"CHANNELS holds {name!r}.", f"Name bands ({', '.join(bands)}) and indices like NDVI: docs/indices.md."
            )
        missing = [band for band in bands_of(name) if band not in bands]
        if missing:
            raise MissingBandError(missing, where, f"Make the training set with it, or leave {name} out.")
    if len(set(channels)) < len(channels):
        raise JobError(f"CHANNELS names one twice: {', '.join(channels)}.", "Name each once.")
