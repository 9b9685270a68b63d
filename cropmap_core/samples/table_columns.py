"""Columns of long tables: which of them is what, under whatever name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas
import pyarrow
import pyarrow.parquet

from cropmap_core.errors import MissingBandError, SamplesError
from cropmap_core.scenes.scene import band_order

REMEDY = "Give a parquet or CSV table in long form: sample_id, date, B02, B03, ..., and optional valid, label, x, y."
COORDINATES = ("x", "y")
_BAND = re.compile(r"(?:^|[-_ ])B0?([1-9]|8A|1[0-2])$", re.IGNORECASE)
_NAMES = {
    "sample_id": ("sample_id",),
    "date": ("date",),
    "valid": ("valid",),
    "label": ("label",),
    "x": ("x", "lon", "longitude"),
    "y": ("y", "lat", "latitude"),
    "parcel": ("parcel", "parcel_id"),
}
_ROW_LABELS = "__index_level_"  # pandas writes them into parquet


@dataclass(frozen=True)
class TableColumns:
    """Which column of a table is what."""

    named: Mapping[str, str]
    """Our name: the table's, for sample_id, date and what else is there of valid, label, x, y and parcel."""
    bands: Mapping[str, str]
    """Band: the table's name, in the order of bands."""
    further: tuple[str, ...]

    def with_bands(self, bands: Sequence[str]) -> TableColumns:
        """The same with no other bands than these."""
        chosen = {band: theirs for band, theirs in self.bands.items() if band in bands}
        return TableColumns(self.named, chosen, self.further)

    def observations(self, placed: bool = False) -> TableColumns:
        """What was observed when, and where if asked for, without labels and further columns."""
        kept = ("sample_id", "date", "valid", *(COORDINATES if placed else ()))
        named = {name: self.named[name] for name in kept if name in self.named}
        return TableColumns(named, self.bands, ())


def find_columns(path: Path) -> TableColumns:
    """Tells what a table's columns are.

    Raises:
        SamplesError: The table cannot be read, or lacks sample_id or date.
        MissingBandError: It holds no band.
    """
    with readable(path):
        if is_parquet(path):
            names = list(pyarrow.parquet.read_schema(path).names)
        else:
            names = list(pandas.read_csv(path, nrows=0).columns)
    named = {}
    for ours, theirs in _NAMES.items():
        found = [name for name in names if name.lower() in theirs]
        if found:
            named[ours] = found[0]
    missing = [name for name in ("sample_id", "date") if name not in named]
    if missing:
        raise SamplesError(f"{path} has no column {' or '.join(missing)}: it has {', '.join(names)}.", REMEDY)
    bands: dict[str, str] = {}
    for name in names:
        match = _BAND.search(name)
        if match is not None and name not in named.values():
            band = f"B{match[1].upper():0>2}"
            if band in bands:
                raise SamplesError(f"{path} has {band} twice: {bands[band]} and {name}.", "Leave one of them out.")
            bands[band] = name
    if not bands:
        raise MissingBandError(["B02"], path, REMEDY)
    known = (*named.values(), *bands.values())
    further = tuple(name for name in names if name not in known and not name.startswith(_ROW_LABELS))
    return TableColumns(named, {band: bands[band] for band in sorted(bands, key=band_order)}, further)


def is_parquet(path: Path) -> bool:
    """Whether a table is parquet, by its name; else it is CSV.

    Raises:
        SamplesError: It is neither.
    """
    if path.suffix.lower() in (".parquet", ".pq", ".geoparquet"):
        return True
    if path.suffix.lower() in (".csv", ".txt"):
        return False
    raise SamplesError(f"{path} is neither parquet nor CSV by its name.", REMEDY)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns what goes wrong while a table is read into an error that names it.

    Raises:
        SamplesError: It is empty, or cannot be read.
    """
    try:
        yield
    except pandas.errors.EmptyDataError as error:
        raise SamplesError(f"The table {path} is empty.", REMEDY) from error
    except (pyarrow.ArrowException, OSError, pandas.errors.ParserError, ValueError) as error:
        raise SamplesError(f"The table {path} cannot be read: {error}.", REMEDY) from error
