"""Parcel records and what sums them up, as CSV."""

from __future__ import annotations

from pathlib import Path

from cropmap_core.errors import JobError
from cropmap_core.io.outputs import write_table
from cropmap_core.parcels.declared import cross_table
from cropmap_core.parcels.placing import PARCEL_FIELD
from cropmap_core.parcels.record import Records


def write_records(records: Records, path: Path) -> None:
    """Writes a row per parcel, in their order; empty cells where nothing is known.

    Raises:
        OutputError: The file cannot be written.
    """
    write_table((PARCEL_FIELD, *(field.name for field in records.fields)), records.rows(), path)


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
