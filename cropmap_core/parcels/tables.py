"""Parcel records and what sums them up, as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cropmap_core.errors import JobError
from cropmap_core.io.outputs import write_table
from cropmap_core.parcels.declared import cross_table
from cropmap_core.parcels.doubts import reason_text
from cropmap_core.parcels.fields import CROPS, Field
from cropmap_core.parcels.placing import PARCEL_FIELD
from cropmap_core.parcels.record import Records

_ROWS_AT_ONCE = 10_000


def rows_of(records: Records) -> Iterator[tuple[Any, ...]]:
    """The cells of each parcel, its number first, in the order of its fields; None where nothing is known."""
    for first in range(0, len(records), _ROWS_AT_ONCE):
        some = slice(first, first + _ROWS_AT_ONCE)
        cells = [_cells(records, field, values[some].tolist()) for field, values in records.columns()]
        yield from zip(records.parcels.numbers[some].tolist(), *cells, strict=True)


def write_records(records: Records, path: Path) -> None:
    """Writes a row per parcel, in their order; empty cells where nothing is known.

    Raises:
        OutputError: The file cannot be written.
    """
    write_table((PARCEL_FIELD, *(field.name for field in records.fields)), rows_of(records), path)


def write_summary(records: Records, path: Path) -> None:
    """Writes hectares of declared by predicted crops.

    Raises:
        JobError: Nothing was declared.
        OutputError: The file cannot be written.
    """
    if records.declared is None:
        raise JobError("A summary needs DECLARED_FIELD.", "Name the field that holds the declared crop.")
    head, rows = cross_table(records.declared, records.predicted(), records.parcels.area_ha, records.legend)
    write_table(head, rows, path)


def _cells(records: Records, field: Field, values: list[float]) -> list[Any]:
    if field.name in CROPS:
        return [None if value != value else records.name_of(int(value)) for value in values]
    if field.name == "doubt_reason":
        return [reason_text(int(value)) or None for value in values]
    if field.kind == "date":
        return [None if value != value else records.dates[int(value)].isoformat() for value in values]
    if field.kind == "number":
        return [None if value != value else round(value, field.digits) for value in values]
    return [None if value != value else int(value) for value in values]
