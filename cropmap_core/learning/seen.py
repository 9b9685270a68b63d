"""What a model has seen: fingerprints and places of its samples, so that it is not judged by what it knows."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from cropmap_core.errors import ModelBundleError, OutputError
from cropmap_core.inference.bundle_types import RESTORE, Bundle
from cropmap_core.samples.files import SampleFile

SEEN = "seen.safetensors"
TRAINED, STEERED = 1, 2
"""Learnt from, and looked at in validation: early stopping and calibration."""
_AT_ONCE = 2**14  # pixel series
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_MIXERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))

Fingerprints = NDArray[np.int64]


@dataclass(frozen=True)
class Seen:
    """The samples that a model has seen."""

    fingerprint: Fingerprints
    """Of their values, ascending, shape (N,)."""
    lonlat: NDArray[np.float32]
    """Degrees, NaN where unknown, shape (N, 2)."""
    role: NDArray[np.uint8]
    """`TRAINED` or `STEERED`, shape (N,)."""
    season: NDArray[np.int32]
    """First days of their seasons, days since 1970-01-01, shape (N,)."""

    def overlap(self, data: NDArray[np.int16], valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which samples it has seen, by their very values; shapes as of `fingerprints`."""
        found: NDArray[np.bool_] = np.isin(fingerprints(data, valid), self.fingerprint)
        return found


def fingerprints(data: NDArray[np.int16], valid: NDArray[np.bool_]) -> Fingerprints:
    """A number for the values of each sample: equal samples have equal ones, others hardly ever.

    Args:
        data: Reflectance x 10000, shape (N, T, C, H, W); of no matter where not valid.
        valid: Shape (N, T, H, W).

    Returns:
        Shape (N,).
    """
    observed = np.where(valid[:, :, None], data, np.int16(-32768)).reshape(len(data), -1)
    words = observed.astype(np.int64).view(np.uint64)
    place = np.arange(1, words.shape[1] + 1, dtype=np.uint64) * _MULTIPLIER
    mixed = _mix(words + place)  # each value with its place
    with np.errstate(over="ignore"):
        total = _mix(mixed.sum(axis=1, dtype=np.uint64))
    return total.view(np.int64)


def collect_seen(file: SampleFile, training: NDArray[np.int64], validation: NDArray[np.int64]) -> Seen:
    """What a model has seen that was trained on some samples of a file, and steered by others."""
    role = np.concatenate([np.full(len(training), TRAINED, np.uint8), np.full(len(validation), STEERED, np.uint8)])
    index = np.concatenate([training, validation])
    marks = np.empty(len(index), np.int64)
    at_once = max(1, _AT_ONCE // file.layout.size**2)
    for start in range(0, len(index), at_once):
        batch = file.read(index[start : start + at_once])
        marks[start : start + len(batch)] = fingerprints(batch.data, batch.valid)
    lonlat = np.stack([file.column("lon")[index], file.column("lat")[index]], axis=1).astype(np.float32)
    season = file.column("season")[index].astype(np.int32)
    order = np.argsort(marks, kind="stable")
    return Seen(marks[order], lonlat[order], role[order], season[order])


def write_seen(seen: Seen, folder: Path) -> None:
    """Writes it into a bundle's folder.

    Raises:
        OutputError: The folder cannot be written.
    """
    path = folder / SEEN
    try:
        save_file({each.name: getattr(seen, each.name) for each in fields(seen)}, path)
        path.chmod(0o644)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{path} cannot be written: {error}.", "Choose another folder, or make room.") from error


def read_seen(bundle: Bundle) -> Seen | None:
    """What a bundle's model has seen; None where the bundle does not say.

    Raises:
        ModelBundleError: The record is damaged.
    """
    path = bundle.folder / SEEN
    if not path.is_file():
        return None
    try:
        found = load_file(path)
        seen = Seen(found["fingerprint"], found["lonlat"], found["role"], found["season"])
    except (OSError, SafetensorError, KeyError) as error:
        raise ModelBundleError(f"{path} cannot be read: {error}.", RESTORE) from error
    if len({len(each) for each in (seen.fingerprint, seen.lonlat, seen.role, seen.season)}) > 1:
        raise ModelBundleError(f"{path} contradicts itself: its parts are not of one length.", RESTORE)
    return seen


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spreads every bit over all others (SplitMix64; Steele, Lea and Flood 2014)."""
    words = (words ^ (words >> np.uint64(30))) * _MIXERS[0]
    words = (words ^ (words >> np.uint64(27))) * _MIXERS[1]
    mixed: NDArray[np.uint64] = words ^ (words >> np.uint64(31))
    return mixed
