"""Legends: the classes that are learnt, and which codes of a source stand for which of them."""

from __future__ import annotations

import colorsys
import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from cropmap_core.classes import CropClass
from cropmap_core.errors import LegendError
from cropmap_core.samples.classes import name_classes
from cropmap_core.samples.names import match_name, read_names

_MOST_CODES = 255
LARGEST_VALUE = 65535
"""Of a class: what a label raster can hold."""
UNLABELLED = 0
"""Value of pixels without a label; never a class, never background."""
NAMES = "names"
_LEVELS = {"rpg-2023-crops": "crop", "rpg-2023-families": "family", "rpg-2023-groups": "group"}
_ABOVE = {"crop": "family", "family": "group"}
BUILT_IN = (*_LEVELS, NAMES)
"""Ids of the legends that come with CropMap."""
_GOLDEN_ANGLE = 0.381966  # hues that keep apart however many there are
_REQUIRED = ("code", "value", "name")
_REMEDY = "Write the table with the columns code,value,name, as docs/labels.md describes it."


@dataclass(frozen=True)
class Legend:
    """Ordered classes, and a source's codes for them."""

    id: str
    """A built-in legend's id, or the file's name."""
    classes: tuple[CropClass, ...]
    codes: Mapping[str, int | None]
    """Class value of each code; None for one that is known and is no class."""
    find: Callable[[str], tuple[str, ...]] | None = None
    """For a legend that is keyed on names: the names of the classes that a text may mean."""

    @property
    def year(self) -> int | None:
        """The year that the legend's name states."""
        match = re.search(r"(?<!\d)(?:19|20)\d\d(?!\d)", self.id)
        return int(match[0]) if match else None

    def candidates(self, code: str) -> tuple[CropClass, ...]:
        """The classes that a code may mean: one where it is clear, several where it is not, or none."""
        if self.find is not None:
            meant = self.find(code)
            return tuple(each for each in self.classes if each.name in meant)
        value = self.codes.get(code)
        return tuple(each for each in self.classes if each.value == value)

    def class_of(self, code: str) -> CropClass | None:
        """The one class that a code means, or None: such a code is unmapped."""
        candidates = self.candidates(code)
        return candidates[0] if len(candidates) == 1 else None


def load_legend(id_or_file: str) -> Legend:
    """Loads a legend.

    Args:
        id_or_file: One of `BUILT_IN`, or a CSV file.

    Raises:
        LegendError: There is none, or the table contradicts itself.
    """
    if id_or_file in _LEVELS:
        return _rpg_legend(id_or_file)
    if id_or_file == NAMES:
        classes, terms = _hierarchy("crop"), read_names(_built_in("names.csv"))
        return Legend(NAMES, classes, {}, lambda text: match_name(text, terms))
    path = Path(id_or_file)
    if not path.is_file():
        raise LegendError(
            f"There is no legend {id_or_file}.", f"Give a CSV file, or one of the built-in {', '.join(BUILT_IN)}."
        )
    return _legend_of_file(path)


def legend_of_codes(codes: Sequence[str], names: Sequence[str], where: str) -> Legend:
    """The legend of who gives none: each code is a class.

    Args:
        codes: Of each parcel; empty ones are no class.
        names: What the codes mean; a code that has several names keeps the first in the alphabet.
        where: They come from.

    Raises:
        LegendError: There are more codes than a class raster has values for.
    """
    named: dict[str, str] = {}
    for code, name in sorted(zip(codes, names, strict=True)):
        if code:
            named.setdefault(code, name or code)
    if len(named) > _MOST_CODES:
        raise LegendError(
            f"{where} has {len(named)} crop codes, and class rasters have room for {_MOST_CODES}.",
            "Give a LEGEND that puts codes together; preparelabels drafts one with OUTPUT_DRAFT.",
        )
    known = Counter(named.values())
    titles = [name if known[name] == 1 else f"{name} ({code})" for code, name in named.items()]
    classes = name_classes(titles)
    return Legend(where, classes, dict(zip(named, (each.value for each in classes), strict=True)))


def _rpg_legend(legend_id: str) -> Legend:
    """RPG 2023: codes to crops, and for the other levels on to what the crop belongs to."""
    level = _LEVELS[legend_id]
    depth = ("crop", "family", "group").index(level)
    crops = {each.name: (each.name, *each.parents) for each in _hierarchy("crop")}
    classes = _hierarchy(level)
    values = {each.name: each.value for each in classes}
    codes = {
        row["code"]: values[crops[row["crop"]][depth]] if row["crop"] else None for row in _built_in("rpg-2023.csv")
    }
    return Legend(legend_id, classes, codes)


@cache
def _hierarchy(level: str) -> tuple[CropClass, ...]:
    """Our classes of one level: crops belong to families, families to groups.

    References:
        The three levels follow the idea of Turkoglu et al. (2021), Remote Sensing of Environment 264.
    """
    rows = {(row["level"], row["name"]): row for row in _built_in("hierarchy.csv")}

    def parents(at: str, name: str) -> Iterator[str]:
        while above := rows[at, name]["parent"]:
            yield above
            at, name = _ABOVE[at], above

    return tuple(
        CropClass(int(row["value"]), name, row["color"], parents=tuple(parents(level, name)))
        for (at, name), row in rows.items()
        if at == level
    )


@cache
def _built_in(name: str) -> tuple[Mapping[str, str], ...]:
    text = (resources.files(__package__) / "legends" / name).read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


def _legend_of_file(path: Path) -> Legend:
    codes: dict[str, int | None] = {}
    classes: dict[int, CropClass] = {}
    for line, row in _rows(path):
        where = f"{path}, line {line}"
        code = row["code"]
        if not code:
            raise LegendError(f"{where}: the code is empty.", "Give every row a code, or delete the row.")
        if code in codes:
            raise LegendError(f"{where}: the code {code} is there twice.", "Keep one of its rows.")
        codes[code] = value = _value(row["value"], where)
        if value is not None:
            _add_class(classes, value, row, where)
    if not classes:
        raise LegendError(f"{path} gives no code a value.", _REMEDY)
    return Legend(path.stem, tuple(classes[value] for value in sorted(classes)), codes)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells, stripped; the table may be separated by commas, semicolons or tabs."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise LegendError(f"{path} is not UTF-8 text: {error}.", "Save it as CSV in UTF-8.") from error
    except OSError as error:
        raise LegendError(f"{path} cannot be read: {error.strerror}.", "Check the file.") from error
    head = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count), strict=True)
    try:
        columns = [name.strip() for name in reader.fieldnames or ()]
        missing = [name for name in _REQUIRED if name not in columns]
        if missing:
            raise LegendError(f"{path} has no column {', '.join(missing)}.", _REMEDY)
        if len(set(columns)) < len(columns):
            raise LegendError(f"{path} has a column twice.", _REMEDY)
        reader.fieldnames = columns
        for row in reader:
            if None in row:
                raise LegendError(
                    f"{path}, line {reader.line_num}: it has more cells than the head.",
                    "Put texts that hold the separator in quotes.",
                )
            yield reader.line_num, {name: (cell or "").strip() for name, cell in row.items()}
    except csv.Error as error:
        raise LegendError(f"{path}, line {reader.line_num}: {error}.", _REMEDY) from error


def _value(text: str, where: str) -> int | None:
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= LARGEST_VALUE:
        raise LegendError(
            f"{where}: the value '{text}' is no whole number from 1 to {LARGEST_VALUE}.",
            "Leave the value empty for a code that is no class: its parcels are ignored.",
        )
    return int(text)


def _add_class(classes: dict[int, CropClass], value: int, row: Mapping[str, str], where: str) -> None:
    name, color = row["name"], row.get("color", "").lower()
    if not name:
        raise LegendError(f"{where}: the class {value} has no name.", "Name it.")
    if color and not re.fullmatch("#[0-9a-f]{6}", color):
        raise LegendError(f"{where}: the color '{color}' is none.", "Write it as #rrggbb, or leave it empty.")
    parents = tuple(filter(None, (row.get("family", ""), row.get("group", ""))))
    known = classes.get(value)
    added = CropClass(value, name, color or (known.color if known else _colour_of(value)), parents=parents)
    if known is not None and known != added:
        raise LegendError(
            f"{where}: the class {value} is '{name}' here and '{known.name}' above, or its color or parents differ.",
            "Give all codes of a class the same name, color, family and group.",
        )
    if any(each.name == name and each.value != value for each in classes.values()):
        raise LegendError(f"{where}: '{name}' has another value above.", "Give each class one value.")
    classes[value] = added


def _colour_of(value: int) -> str:
    lightness = (0.45, 0.6, 0.35)[value % 3]
    channels = colorsys.hls_to_rgb(value * _GOLDEN_ANGLE % 1, lightness, 0.65)
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in channels)
