"""The samples that models are judged by: which they are, what is labelled in them, and which parcels they show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import JobError, SamplesError
from cropmap_core.samples.files import NO_PARCEL, ROLES, Batch, SampleFile

SETS = ("test", "validation", "train", "all")
_BATCH_BYTES = 2**24
_LARGEST_BATCH = 4096
_LABELS_AT_ONCE = 4096
_NEARLY_ALL = 0.9

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Pixels:
    """Labelled pixels of a batch."""

    sample: Integers
    """Position of each one's sample in the selection, shape (P,)."""
    parcel: Integers
    """Position of its parcel in the selection, -1 for none."""
    truth: NDArray[np.int16]
    """Position of its class in the common legend."""
    place: tuple[Integers, Integers, Integers]
    """Sample in the batch, row and column."""

    def of(self, values: NDArray[Any]) -> NDArray[Any]:
        """Their values of something of shape (N, K, H, W); shape (P, K)."""
        sample, row, column = self.place
        return np.asarray(values[sample, :, row, column])

    def some(self, chosen: NDArray[np.bool_]) -> Pixels:
        """Those that are chosen."""
        sample, row, column = (each[chosen] for each in self.place)
        return Pixels(self.sample[chosen], self.parcel[chosen], self.truth[chosen], (sample, row, column))


@dataclass(frozen=True)
class Selection:
    """Some samples of a training set, with what is known of them without their series."""

    file: SampleFile
    index: Integers
    """Of those that are labelled, ascending, shape (S,)."""
    of_value: NDArray[np.int16]
    """Position of each label value in the common legend, -1 for none."""
    support: Integers
    """Labelled pixels by class, shape (K,)."""
    parcels: Integers
    """Numbers of the parcels of labelled pixels, ascending, shape (Q,)."""
    parcel_support: Integers
    """Labelled pixels of each parcel, shape (Q, K)."""
    parcel_sample: Integers
    """Position of a sample that shows each parcel, shape (Q,)."""

    def __len__(self) -> int:
        return len(self.index)

    def column(self, name: str) -> NDArray[Any]:
        """A column of the file, for these samples."""
        return np.asarray(self.file.column(name)[self.index])

    @property
    def in_parcels(self) -> bool:
        """Whether nearly all labelled pixels are of parcels."""
        return bool(self.parcel_support.sum() >= _NEARLY_ALL * self.support.sum())

    def seasons(self) -> list[date]:
        """First days of their seasons."""
        return [date(1970, 1, 1) + timedelta(days=int(day)) for day in np.unique(self.column("season"))]

    def batches(self, positions: Integers | None = None) -> Iterator[tuple[Batch, Pixels]]:
        """Reads samples with their labelled pixels, piece by piece.

        Args:
            positions: Which of the selection, ascending; all if not given.
        """
        chosen = np.arange(len(self)) if positions is None else positions
        at_once = max(1, min(_LARGEST_BATCH, _BATCH_BYTES // (2 * int(np.prod(self.file.layout.shape)))))
        for start in range(0, len(chosen), at_once):
            some = chosen[start : start + at_once]
            batch = self.file.read(self.index[some])
            yield batch, self._pixels(batch, some)

    def _pixels(self, batch: Batch, positions: Integers) -> Pixels:
        truth = self.of_value[batch.label]
        sample, row, column = np.nonzero(truth >= 0)
        place = (sample, row, column)
        parcel = _by_pixel(self.file.read_parcels(batch.index), batch.label.shape)[place]
        known = np.searchsorted(self.parcels, parcel)
        return Pixels(positions[place[0]], np.where(parcel == NO_PARCEL, -1, known), truth[place], place)


def select(file: SampleFile, which: str, of_value: NDArray[np.int16], classes: int) -> Selection:
    """Finds the labelled samples of a set.

    Args:
        file: The training set.
        which: One of `SETS`.
        of_value: Position of each label value in the common legend, -1 for none.
        classes: K, of the common legend.

    Raises:
        JobError: There is no such set.
        SamplesError: It is empty, or nothing in it is labelled.
    """
    if which not in SETS:
        raise JobError(f"SET is {which}.", f"Choose one of {', '.join(SETS)}.")
    index = np.arange(len(file)) if which == "all" else file.indices(which)
    if not len(index):
        there = ", ".join(f"{role} {len(file.indices(role))}" for role in ROLES) if file.split else "no split"
        raise SamplesError(
            f"{file.path} has no samples of the set {which} ({there}).",
            "Choose another SET, or make the training set again with other TEST_FOLDS and VALIDATION_FOLDS.",
        )
    support = np.zeros(classes, np.int64)
    kept, rows = [], []
    for start in range(0, len(index), _LABELS_AT_ONCE):
        some = index[start : start + _LABELS_AT_ONCE]
        label = file.read_labels(some)
        truth = of_value[label]
        parcel = _by_pixel(file.read_parcels(some), label.shape)
        labelled = truth >= 0
        kept.append(some[labelled.any(axis=(1, 2))])
        support += np.bincount(truth[labelled], minlength=classes)
        sample, _, _ = within = np.nonzero(labelled & (parcel != NO_PARCEL))
        rows.append(np.stack([parcel[within], truth[within].astype(np.int64), some[sample]], axis=1))
    chosen = np.concatenate(kept)
    if not len(chosen):
        raise SamplesError(
            f"No sample of the set {which} of {file.path} is labelled.", "Choose another SET, or add labels."
        )
    of_parcels = np.concatenate(rows)
    parcels, first, place = np.unique(of_parcels[:, 0], return_index=True, return_inverse=True)
    parcel_support = np.bincount(place * classes + of_parcels[:, 1], minlength=len(parcels) * classes)
    return Selection(
        file,
        chosen,
        of_value,
        support,
        parcels,
        parcel_support.reshape(len(parcels), classes),
        np.searchsorted(chosen, of_parcels[first, 2]),
    )


def _by_pixel(parcel: Integers, shape: tuple[int, ...]) -> Integers:
    """The parcel of each pixel, shape (N, H, W), whether samples have one or each of their pixels has."""
    return np.broadcast_to(parcel.reshape(len(parcel), *parcel.shape[1:] or (1, 1)), shape)
