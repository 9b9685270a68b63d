"""The worker's table of parcel records, and the fields that it becomes in a layer."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator
from types import TracebackType

from qgis.core import QgsField, QgsFields
from qgis.PyQt.QtCore import QDate, QMetaType

from .polygons import NUMBER

_KINDS = {
    "integer": (QMetaType.Type.Int, int),
    "number": (QMetaType.Type.Double, float),
    "text": (QMetaType.Type.QString, str),
    "flag": (QMetaType.Type.Bool, lambda cell: cell == "1"),
    "date": (QMetaType.Type.QDate, lambda cell: QDate.fromString(cell, "yyyy-MM-dd")),
}
_LONGEST_IN_SHAPEFILE = 10


class RecordFields:
    """The fields of a layer with records: those of the source first, none of them renamed.

    Args:
        described: ``name``, ``kind`` and ``short`` of each, as the worker's result has them.
        source: The source's fields.
        target: The file that the layer goes to, which decides how long names may be; None for no file.
    """

    def __init__(self, described: list[dict], source: QgsFields, target: str | None) -> None:
        in_shapefile = bool(target) and target.lower().endswith(".shp")
        longest = _LONGEST_IN_SHAPEFILE if in_shapefile else None
        taken = {name.lower()[:longest] for name in source.names()}
        self.described = described
        self.layer = QgsFields(source)
        self.names: dict[str, str] = {}
        for field in described:
            name = _free_name(field["short"] if in_shapefile else field["name"], taken, longest)
            taken.add(name.lower())
            self.names[field["name"]] = name
            self.layer.append(QgsField(name, _KINDS[field["kind"]][0]))

    def unknown(self) -> list:
        """The values of a parcel without a record."""
        return [None] * len(self.described)


def _free_name(name: str, taken: set[str], longest: int | None) -> str:
    """The name, with a number behind where the layer has a field called so."""
    candidate, number = name, 1
    while candidate.lower() in taken:
        number += 1
        end = f"_{number}"
        candidate = f"{name[: longest - len(end)] if longest else name}{end}"
    return candidate


class RecordTable:
    """The worker's table, read row by row: a million records do not fit into memory.

    Args:
        path: CSV whose first column numbers the parcels.
        described: ``name`` and ``kind`` of the fields to take.
    """

    def __init__(self, path: str, described: list[dict]) -> None:
        self._file = open(path, "rb")  # noqa: SIM115  (as long as the table)
        self._rows = csv.reader(self._lines())
        head = next(self._rows)
        self._number = head.index(NUMBER)
        self._columns = [(head.index(field["name"]), _KINDS[field["kind"]][1]) for field in described]
        self._places = array("q")
        at = self._file.tell()
        for row in self._rows:
            number = int(row[self._number])
            self._places.extend([-1] * (number + 1 - len(self._places)))
            self._places[number] = at
            at = self._file.tell()

    def __enter__(self) -> RecordTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _lines(self) -> Iterator[str]:
        for line in iter(self._file.readline, b""):
            yield line.decode("utf-8")

    def record(self, number: int) -> list | None:
        """The values of a parcel, None where the worker left a cell empty; None for a parcel that it does not name."""
        if not 0 <= number < len(self._places) or self._places[number] < 0:
            return None
        self._file.seek(self._places[number])
        row = next(csv.reader(self._lines()))
        return [kind(row[column]) if row[column] else None for column, kind in self._columns]


def rows_of_table(path: str, described: list[dict]) -> Iterator[list]:
    """The rows of a table that the worker wrote, None where it left a cell empty.

    Args:
        path: CSV.
        described: ``name`` and ``kind`` of the fields to take.
    """
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            cells = ((row[field["name"]], _KINDS[field["kind"]][1]) for field in described)
            yield [kind(cell) if cell else None for cell, kind in cells]


def plain_fields(described: list[dict]) -> QgsFields:
    """Fields of a table of its own."""
    fields = QgsFields()
    for field in described:
        fields.append(QgsField(field["name"], _KINDS[field["kind"]][0]))
    return fields
