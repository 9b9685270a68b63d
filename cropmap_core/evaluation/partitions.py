"""How pixels fall into parts: groups that are resampled together, regions, seasons, and parcels of like size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import JobError, SamplesError
from cropmap_core.evaluation.selection import Pixels, Selection
from cropmap_core.samples.places import block_numbers

GROUPS = ("auto", "parcel", "zone", "tile", "cell", "sample")
CELL_M = 1000
_FEWEST_ZONES = 10
_AREA_COLUMNS = ("parcel_area_ha", "area_ha", "parcel_ha")
_AREA_EDGES = (0.5, 1, 2, 5, 10)
_PIXEL_EDGES = (2, 5, 10, 20, 50, 100)

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Partition:
    """Parts of the pixels of a selection."""

    name: str
    """What the parts are, like `zone`."""
    names: tuple[str, ...]
    """Of the parts; none where they are too many to be named."""
    count: int
    of_sample: Integers
    """Part of each sample's pixels, -1 for none, shape (S,)."""
    of_parcel: Integers | None = None
    """Part of each parcel's pixels, which counts before the sample's, shape (Q,)."""

    def of(self, pixels: Pixels) -> Integers:
        """Part of each pixel, shape (P,)."""
        return self.of_places(pixels.sample, pixels.parcel)

    def of_places(self, sample: Integers, parcel: Integers) -> Integers:
        """Part of whatever is in a sample and a parcel (-1 for none), shape (P,)."""
        by_sample = self.of_sample[sample]
        if self.of_parcel is None or not len(self.of_parcel):
            return by_sample
        return np.where(parcel >= 0, self.of_parcel[parcel], by_sample)


def find_groups(selection: Selection, asked: str) -> Partition:
    """The groups that are drawn together for confidence intervals.

    Args:
        selection: The samples.
        asked: One of `GROUPS`; `auto` for parcels, else zones if there are ten, else cells of 1 km, else samples.

    Raises:
        JobError: There are no such groups.
        SamplesError: The samples do not know what they are to be grouped by.
    """
    if asked not in GROUPS:
        raise JobError(f"GROUP is {asked}.", f"Choose one of {', '.join(GROUPS)}.")
    count, parcels = len(selection), len(selection.parcels)
    if asked == "parcel" or (asked == "auto" and selection.in_parcels):
        if not parcels:
            raise SamplesError(f"The samples of {selection.file.path} know no parcels.", "Choose GROUP=cell or auto.")
        return Partition("parcel", (), parcels + count, parcels + np.arange(count), np.arange(parcels))
    for name in ("zone", "tile"):
        values = selection.column(name)
        if asked == name and not (values != "").all():
            raise SamplesError(f"Samples of {selection.file.path} have no {name}.", "Choose GROUP=cell or auto.")
        if asked == name or (
            asked == "auto" and name == "zone" and (values != "").all() and len(np.unique(values)) >= _FEWEST_ZONES
        ):
            return _by_values(name, values)
    if asked in ("auto", "cell"):
        cell = block_numbers(selection.column("lon"), selection.column("lat"), CELL_M)
        if (cell >= 0).all():
            return _by_values("cell", cell)
        if asked == "cell":
            raise SamplesError(f"Samples of {selection.file.path} have no coordinates.", "Choose GROUP=auto.")
    return Partition("sample", (), count, np.arange(count))


def find_regions(selection: Selection) -> list[Partition]:
    """Zones, MGRS tiles, sources and seasons, where there are several."""
    columns = {name: selection.column(name) for name in ("zone", "tile", "source")}
    season = selection.column("season").astype("datetime64[D]")
    columns["season"] = np.char.add("from ", season.astype(np.str_))
    return [_by_values(name, values) for name, values in columns.items() if len(np.unique(values)) > 1]


def find_sizes(selection: Selection) -> Partition | None:
    """Parcels by their area where a column of the samples has it, else by how many of their pixels are judged."""
    for name in _AREA_COLUMNS:
        if name in selection.file.column_names:
            area = _as_numbers(selection.column(name))
            part = np.where(np.isfinite(area), np.digitize(area, _AREA_EDGES), -1)
            return Partition("parcel area, ha", _steps(_AREA_EDGES), len(_AREA_EDGES) + 1, part)
    if not len(selection.parcels):
        return None
    part = np.digitize(selection.parcel_support.sum(axis=1), _PIXEL_EDGES)
    none = np.full(len(selection), -1)
    names = _whole_steps(_PIXEL_EDGES)
    return Partition("pixels of the parcel", names, len(names), none, part)


def _by_values(name: str, values: NDArray[Any]) -> Partition:
    found, part = np.unique(values, return_inverse=True)
    names = tuple(str(value) or "none" for value in found) if values.dtype.kind == "U" else ()
    return Partition(name, names, len(found), part)


def _as_numbers(texts: NDArray[Any]) -> NDArray[np.float64]:
    def number(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            return np.nan

    return np.array([number(str(text)) for text in texts], np.float64)


def _steps(edges: Sequence[float]) -> tuple[str, ...]:
    between = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    return (f"below {edges[0]:g}", *between, f"{edges[-1]:g} and more")


def _whole_steps(edges: Sequence[int]) -> tuple[str, ...]:
    between = [f"{low} to {high - 1}" for low, high in pairwise(edges)]
    return ("1" if edges[0] == 2 else f"1 to {edges[0] - 1}", *between, f"{edges[-1]} and more")
