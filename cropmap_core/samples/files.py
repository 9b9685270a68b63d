"""The training set file: one HDF5 that holds samples, their labels, where they are, and how they are split."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import SamplesError
from cropmap_core.samples.classes import classes_from_json
from cropmap_core.timeseries.periods import FIRST_DAYS_OF_MONTH

FORMAT = "cropmap-samples"
VERSION = 1
PIXEL, PATCH = "pixel", "patch"
NO_PARCEL = -1
UNUSED = -1
"""Fold of samples that no set uses."""
ROLES = ("train", "validation", "test")
NUMBERS = ("data", "valid", "label", "season", "parcel", "lon", "lat")
TEXTS = ("sample_id", "zone", "tile", "source")
OWN_COLUMNS = "columns"
"""Group of the further columns of a table, as text."""
_COUNTED_AT_ONCE = 4096
_REMEDY = "Make the training set again with buildtrainingset."

Array = NDArray[Any]
Texts = NDArray[np.str_]


@dataclass(frozen=True)
class Layout:
    """What all samples of a set have in common."""

    kind: str
    """`pixel` or `patch`."""
    bands: tuple[str, ...]
    """The channels of `data`: bands of reflectance."""
    period: str | None
    """Name of the compositing period, None for irregular dates."""
    days: tuple[int, ...]
    """Days of each date since the season's start."""
    size: int = 1
    """Edge of a patch in pixels, 1 for pixels."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of one sample, (T, C, H, W)."""
        return len(self.days), len(self.bands), self.size, self.size

    def dates(self, first: date) -> tuple[date, ...]:
        """The dates of the season that starts on a day: of months and their parts the first days, leap year or not."""
        firsts = FIRST_DAYS_OF_MONTH.get(self.period or "", ())
        found = [first + timedelta(days=day) for day in self.days]
        near = ([day + timedelta(days=off) for off in (0, 1, -1)] for day in found)
        return tuple(next((each for each in some if each.day in firsts), some[0]) for some in near)


@dataclass(frozen=True)
class Batch:
    """Some samples read from a file."""

    index: NDArray[np.int64]
    """Their positions in the file."""
    data: NDArray[np.int16]
    """Reflectance x 10000, nodata -32768, shape (N, T, C, H, W)."""
    valid: NDArray[np.bool_]
    """Shape (N, T, H, W)."""
    label: NDArray[np.int16]
    """Class values, 0 unlabelled, shape (N, H, W)."""
    season: NDArray[np.int32]
    """Days since 1970-01-01."""

    def __len__(self) -> int:
        return len(self.index)

    def part(self, start: int, end: int) -> Batch:
        """Its samples from `start` up to `end`, which may lie beyond the last."""
        chosen = slice(start, end)
        return Batch(self.index[chosen], self.data[chosen], self.valid[chosen], self.label[chosen], self.season[chosen])


class SampleFile:
    """A training set, read piece by piece.

    Args:
        path: The file.

    Raises:
        SamplesError: It is missing, cut short, or not a training set.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            reason = "it is cut short" if "truncated" in str(error) else str(error)
            raise SamplesError(f"{path} cannot be read as a training set: {reason}.", _REMEDY) from error
        try:
            self._describe()
        except (KeyError, ValueError, TypeError, OSError) as error:
            self._file.close()
            raise SamplesError(f"{path} is damaged, or no training set: {error}.", _REMEDY) from error
        except SamplesError:
            self._file.close()
            raise

    def _describe(self) -> None:
        attributes = self._file.attrs
        if attributes.get("format") != FORMAT or attributes.get("version") != VERSION:
            raise SamplesError(f"{self.path} is no training set of version {VERSION}.", _REMEDY)
        days = tuple(int(day) for day in attributes["days"])
        size = int(self._file["data"].shape[-1])
        period = json.loads(attributes["period"])
        self.layout = Layout(str(attributes["kind"]), tuple(json.loads(attributes["bands"])), period, days, size)
        self.classes = classes_from_json(attributes["classes"], str(self.path))
        self.provenance: Mapping[str, Any] = json.loads(attributes["provenance"])
        self.split: Mapping[str, Any] | None = json.loads(attributes["split"])
        count = len(self)
        for name in (*NUMBERS, *TEXTS):
            if len(self._file[name]) != count:
                raise SamplesError(f"{self.path} holds {len(self._file[name])} {name} for {count} samples.", _REMEDY)

    def __enter__(self) -> SampleFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __len__(self) -> int:
        return int(self._file["sample_id"].shape[0])

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the further columns of the table that the samples come from."""
        return tuple(self._file.get(OWN_COLUMNS, ()))

    def column(self, name: str) -> Array:
        """One value per sample: `label`, `season`, `parcel`, `lon`, `lat`, `fold`, a text, or a further column.

        Raises:
            SamplesError: There is no such column, or it cannot be read.
        """
        found = name if name in self._file else f"{OWN_COLUMNS}/{name}"
        if found not in self._file or name == OWN_COLUMNS:
            there = ", ".join((*TEXTS, *self.column_names))
            raise SamplesError(f"{self.path} has no column {name}.", f"It has {there}.")
        dataset = self._file[found]
        with self._reading():
            return np.asarray(dataset.asstr()[...]).astype(np.str_) if dataset.dtype.kind == "S" else dataset[...]

    def indices(self, role: str) -> NDArray[np.int64]:
        """Positions of the samples of a set.

        Args:
            role: `train`, `validation` or `test`.

        Raises:
            SamplesError: The set is not split.
        """
        if self.split is None:
            raise SamplesError(f"{self.path} is not split.", _REMEDY)
        chosen: NDArray[np.int64] = np.flatnonzero(np.isin(self.column("fold"), self.split["roles"][role]))
        return chosen

    def count_labels(self) -> NDArray[np.int64]:
        """Labelled pixels of each class in each fold, shape (folds + 1, classes); the last row is of no fold."""
        fold = self.column("fold") if "fold" in self._file else np.full(len(self), UNUSED, np.int8)
        values = [each.value for each in self.classes]
        counts = np.zeros((int(fold.max(initial=UNUSED)) + 2, len(values)), np.int64)
        with self._reading():
            for start in range(0, len(self), _COUNTED_AT_ONCE):
                label = self._file["label"][start : start + _COUNTED_AT_ONCE].reshape(-1, self.layout.size**2)
                for column, value in enumerate(values):
                    np.add.at(counts[:, column], fold[start : start + len(label)], (label == value).sum(axis=1))
        return counts

    def read(self, index: NDArray[np.int64]) -> Batch:
        """Reads samples in any order; each chunk of the file is read once.

        Raises:
            SamplesError: The file is damaged where they are.
        """
        index = np.asarray(index, np.int64)
        order = np.argsort(index, kind="stable")
        names = ("data", "valid", "label", "season")
        found = {}
        with self._reading():
            for name in names:
                found[name] = np.empty((len(index), *self._file[name].shape[1:]), self._file[name].dtype)
                self._read_sorted(name, index[order], found[name], order)
        return Batch(index, **found)

    def read_labels(self, index: NDArray[np.int64]) -> NDArray[np.int16]:
        """Class values of samples in any order, 0 unlabelled, shape (N, H, W).

        Raises:
            SamplesError: The file is damaged where they are.
        """
        return self._read_one("label", index)

    def read_parcels(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Parcels of samples in any order, -1 for none, shape (N,) of pixels and (N, H, W) of patches.

        Raises:
            SamplesError: The file is damaged where they are.
        """
        return self._read_one("parcel", index)

    def batches(
        self, index: NDArray[np.int64], size: int, seed: int | None = None, chunks_at_once: int = 64
    ) -> Iterator[Batch]:
        """Reads samples batch by batch, without ever holding all of them.

        Args:
            index: Which samples.
            size: Of a batch; the last may be smaller.
            seed: Of the order: chunks of the file are drawn at random and the samples of `chunks_at_once` of them are
                mixed; None for the order of the file.
            chunks_at_once: How many chunks are mixed.
        """
        pools = [np.sort(np.asarray(index, np.int64))]
        chunk = int(self._file["data"].chunks[0])
        random = np.random.default_rng(seed)
        pieces = np.split(pools[0], np.flatnonzero(np.diff(pools[0] // chunk)) + 1)
        drawn = [
            pieces[number] for number in (random.permutation(len(pieces)) if seed is not None else range(len(pieces)))
        ]
        pools = [
            np.concatenate(drawn[start : start + chunks_at_once]) for start in range(0, len(drawn), chunks_at_once)
        ]
        if seed is not None:
            pools = [random.permutation(pool) for pool in pools]
        left = np.empty(0, np.int64)
        for number, pool in enumerate(pools):
            waiting = np.concatenate([left, pool])
            end = len(waiting) if number == len(pools) - 1 else len(waiting) // size * size
            mixed = self.read(waiting[:end])
            for start in range(0, end, size):
                yield mixed.part(start, start + size)
            left = waiting[end:]

    def _read_one(self, name: str, index: NDArray[np.int64]) -> Array:
        index = np.asarray(index, np.int64)
        order = np.argsort(index, kind="stable")
        found = np.empty((len(index), *self._file[name].shape[1:]), self._file[name].dtype)
        with self._reading():
            self._read_sorted(name, index[order], found, order)
        return found

    def _read_sorted(self, name: str, index: NDArray[np.int64], into: Array, order: NDArray[np.int64]) -> None:
        dataset = self._file[name]
        chunk = dataset.chunks[0]
        for places in np.split(np.arange(len(index)), np.flatnonzero(np.diff(index // chunk)) + 1):
            if len(places):
                first, last = int(index[places[0]]), int(index[places[-1]])
                into[order[places]] = dataset[first : last + 1][index[places] - first]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:
            raise SamplesError(f"{self.path} cannot be read: {error}.", _REMEDY) from error
