"""The polygons of a layer on disk, read back a few at a time: a million of them do not fit into memory."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


class ShapeStore:
    """Polygons as WKB in a file without a name, which goes when the store does."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="cropmap-shapes-")  # noqa: SIM115  (as long as the store)
        self._ends = array("q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def extend(self, shapes: Iterable[bytes | None]) -> None:
        """Adds shapes behind those that are there; None for a parcel that has none."""
        for shape in shapes:
            self._file.write(shape or b"")
            self._ends.append(self._ends[-1] + len(shape or b""))

    def has(self, which: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the shapes at some positions are there, shape (n,)."""
        ends = np.frombuffer(self._ends, dtype=np.int64)
        found: NDArray[np.bool_] = ends[which + 1] > ends[which]
        del ends  # an array that is looked into cannot grow
        return found

    def read(self, which: NDArray[np.int64]) -> list[bytes]:
        """The shapes at some positions, in their order; empty for one that is not there."""
        shapes = []
        for at in which.tolist():
            self._file.seek(self._ends[at])
            shapes.append(self._file.read(self._ends[at + 1] - self._ends[at]))
        return shapes
