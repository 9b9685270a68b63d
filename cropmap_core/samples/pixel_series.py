"""Pixel series of a training set in a form that statistics take: drawn, scaled to reflectance, their gaps bridged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import SamplesError
from cropmap_core.samples.files import NO_PARCEL, PATCH, SampleFile
from cropmap_core.timeseries.series import REFLECTANCE_SCALE

LARGEST_DRAW = 50_000
_PIXELS_A_PATCH = 8
_AT_ONCE = 2048

Progress = Callable[[float], None]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class PixelSeries:
    """Labelled pixels of a training set; all that were never observed are left out."""

    sample: NDArray[np.int64]
    """Position of each pixel's sample in the file, shape (N,)."""
    label: NDArray[np.int16]
    parcel: NDArray[np.int64]
    """-1 for none."""
    reflectance: Floats
    """0-1, gaps bridged on straight lines, shape (N, T, C)."""
    valid: NDArray[np.bool_]
    """Where it was observed, shape (N, T)."""
    bands: tuple[str, ...]
    days: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.sample)

    def ndvi(self) -> Floats | None:
        """NDVI, shape (N, T); None where red or near infrared is not there."""
        if not {"B04", "B08"} <= set(self.bands):
            return None
        red, infrared = (self.reflectance[:, :, self.bands.index(band)] for band in ("B04", "B08"))
        total = infrared + red
        ratio: Floats = np.divide(infrared - red, total, out=np.zeros_like(total), where=np.abs(total) > 1e-6)
        return np.clip(ratio, -1, 1)


def draw_pixels(file: SampleFile, seed: int, progress: Progress = lambda fraction: None) -> PixelSeries:
    """Draws labelled pixels at random, at most `LARGEST_DRAW`, and of a patch at most a few.

    Args:
        file: The training set.
        seed: Of what is drawn.
        progress: Called with the share that is done; may raise to stop.

    Raises:
        SamplesError: No labelled pixel was ever observed.
    """
    random = np.random.default_rng(seed)
    a_sample = _PIXELS_A_PATCH if file.layout.kind == PATCH else 1
    count = min(len(file), LARGEST_DRAW // a_sample)
    chosen = np.sort(random.choice(len(file), count, replace=False))
    parcels = file.column("parcel") if file.layout.kind != PATCH else None
    pieces: list[tuple[NDArray[Any], ...]] = []
    for start in range(0, count, _AT_ONCE):
        progress(start / count)
        batch = file.read(chosen[start : start + _AT_ONCE])
        sample, row, col = _labelled(batch.label, random, a_sample)
        valid = batch.valid[sample, :, row, col]
        seen = valid.any(axis=1)
        sample, row, col, valid = sample[seen], row[seen], col[seen], valid[seen]
        values = batch.data[sample, :, :, row, col].astype(np.float32) * np.float32(REFLECTANCE_SCALE)
        own = np.full(len(sample), NO_PARCEL) if parcels is None else parcels[batch.index[sample]]
        bridged = bridge_gaps(values, valid, np.asarray(file.layout.days))
        pieces.append((batch.index[sample], batch.label[sample, row, col], own, bridged, valid))
    if not sum(len(piece[0]) for piece in pieces):
        raise SamplesError(f"No labelled pixel of {file.path} was ever observed.", "Make the training set again.")
    sample, label, parcel, reflectance, valid = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    return PixelSeries(sample, label, parcel, reflectance, valid, file.layout.bands, file.layout.days)


def bridge_gaps(values: Floats, valid: NDArray[np.bool_], days: NDArray[np.int64]) -> Floats:
    """Gaps on the straight line between the observed dates around them, at the ends as the nearest observed date.

    Args:
        values: Shape (N, T, C).
        valid: Shape (N, T); at least one date of each series.
        days: Shape (T,).
    """
    times = np.arange(len(days))
    before = np.maximum.accumulate(np.where(valid, times, -1), axis=1)
    after = np.minimum.accumulate(np.where(valid, times, len(days))[:, ::-1], axis=1)[:, ::-1]
    before, after = np.where(before < 0, after, before), np.where(after == len(days), before, after)
    span = np.maximum(days[after] - days[before], 1)
    share = ((days[None] - days[before]) / span).clip(0, 1).astype(np.float32)[..., None]
    earlier = np.take_along_axis(values, before[..., None], axis=1)
    later = np.take_along_axis(values, after[..., None], axis=1)
    bridged: Floats = earlier + (later - earlier) * share
    return bridged


def longest_gaps(valid: NDArray[np.bool_], days: NDArray[np.int64]) -> NDArray[np.int64]:
    """Days of the longest stretch of each series without an observation, shape (N,); the ends count as observed."""
    times = np.where(valid, days, days[0])
    last_seen = np.maximum.accumulate(times, axis=1)
    steps = np.diff(np.concatenate([last_seen, np.full((len(valid), 1), days[-1])], axis=1), axis=1)
    return np.asarray(steps.max(axis=1), np.int64)


def _labelled(
    label: NDArray[np.int16], random: np.random.Generator, most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Positions of labelled pixels, at most so many of a sample."""
    sample, row, col = np.nonzero(label)
    order = np.lexsort((random.random(len(sample)), sample))
    starts = np.flatnonzero(np.r_[True, np.diff(sample[order]) != 0]) if len(order) else np.empty(0, np.int64)
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    kept = order[rank < most]
    return sample[kept], row[kept], col[kept]
