"""Which pixels parcels lie on, and with what share: exact, and worked out once for all rasters of a grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from exactextract import exact_extract
from exactextract.feature import Feature, FeatureSource
from exactextract.raster import NumPyRasterSource
from exactextract.writer import Writer
from numpy.typing import NDArray

from cropmap_core.io.grid import Grid


@dataclass(frozen=True)
class Cells:
    """The pixels of some parcels, one parcel after the other."""

    starts: NDArray[np.int64]
    """Where each parcel's pixels begin, and where the last one's end, shape (n + 1,)."""
    pixel: NDArray[np.int64]
    """Position in the flattened window, shape (m,)."""
    share: NDArray[np.float64]
    """How much of the pixel lies in the parcel, 0-1, shape (m,)."""

    def __len__(self) -> int:
        return len(self.starts) - 1


def covered_cells(shapes: Sequence[bytes], grid: Grid) -> Cells:
    """The pixels that parcels cover, in whole or in part.

    Args:
        shapes: Valid polygons as WKB in the grid's CRS; empty for none. They may reach beyond the grid.
        grid: Of a window.

    References:
        Baston, exactextract 0.3: shares are exact but for the rounding of its 32 bit numbers.
    """
    there = [at for at, shape in enumerate(shapes) if shape]
    kept = _Kept(len(shapes))
    if there:
        # The values are not looked at: one zero stands for all.
        nothing = np.broadcast_to(np.uint8(0), (grid.height, grid.width))
        exact_extract(
            NumPyRasterSource(nothing, *grid.bounds),
            _Shapes([(at, shapes[at]) for at in there]),
            ["cell_id", "coverage"],
            include_cols=["number"],
            output=kept,
        )
    return kept.features()


class _Shape(Feature):  # type: ignore[misc]
    """One polygon on its way into exactextract, or what comes out: far faster than as GeoJSON."""

    def __init__(self, number: int, shape: bytes = b"") -> None:
        super().__init__()
        self._shape = shape
        self.values: dict[str, Any] = {"number": number}

    def geometry(self) -> bytes:
        return self._shape

    def get(self, name: str) -> Any:
        return self.values[name]

    def set(self, name: str, value: Any) -> None:
        self.values[name] = value

    def fields(self) -> list[str]:
        return list(self.values)

    def set_geometry(self, shape: Any) -> None:
        """Not asked for."""

    def set_geometry_format(self) -> str:
        return "wkb"


class _Shapes(FeatureSource):  # type: ignore[misc]
    def __init__(self, shapes: list[tuple[int, bytes]]) -> None:
        super().__init__()
        self._shapes = shapes

    def count(self) -> int:
        return len(self._shapes)

    def __iter__(self) -> Iterator[_Shape]:
        for number, shape in self._shapes:
            yield _Shape(number, shape)

    def srs_wkt(self) -> None:
        """Everything is in the grid's CRS."""


class _Kept(Writer):  # type: ignore[misc]
    """Takes what exactextract finds, in the order of the shapes."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._cells: list[Any] = [()] * count
        self._shares: list[Any] = [()] * count

    def add_operation(self, operation: Any) -> None:
        """Both are known."""

    def write(self, feature: Feature) -> None:
        found = _Shape(0)
        feature.copy_to(found)
        at = found.values["number"]
        self._cells[at] = found.values.get("cell_id", ())
        self._shares[at] = found.values.get("coverage", ())

    def features(self) -> Cells:
        starts = np.concatenate([[0], np.cumsum([len(cells) for cells in self._cells])]).astype(np.int64)
        none = np.empty(0)
        return Cells(
            starts,
            np.concatenate([none, *self._cells]).astype(np.int64),
            np.concatenate([none, *self._shares]).astype(np.float64),
        )
