"""Crop classes of a training set: value, name, colour and what they belong to."""

from __future__ import annotations

import colorsys
import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cropmap_core.errors import SamplesError

UNLABELLED = 0
"""Label of what has no class: it is ignored, and never a class of its own."""
LARGEST_VALUE = 32767
_GOLDEN_SHARE = 0.618034  # of the colour circle: neighbours in the legend get hues far apart


@dataclass(frozen=True)
class SampleClass:
    """A class that samples are labelled with."""

    value: int
    """Positive; 0 is no class."""
    name: str
    color: str
    """#rrggbb."""
    parents: tuple[str, ...] = ()
    """What it belongs to, nearest first: family, group."""


def name_classes(names: Sequence[str]) -> tuple[SampleClass, ...]:
    """Classes of the values 1, 2, ... in the order of their names, each with a colour of its own."""
    return tuple(SampleClass(value, name, colour_of(value)) for value, name in enumerate(names, start=1))


def colour_of(value: int) -> str:
    """A colour for a class that has none, #rrggbb."""
    shade = colorsys.hsv_to_rgb(value * _GOLDEN_SHARE % 1, 0.65, 0.55 + 0.3 * (value % 2))
    return "#" + "".join(f"{round(255 * part):02x}" for part in shade)


def classes_to_json(classes: Iterable[SampleClass]) -> str:
    """The classes as a JSON list of {value, name, color, parents}."""
    return json.dumps([asdict(each) for each in classes])


def classes_from_json(text: str, where: str) -> tuple[SampleClass, ...]:
    """Reads what `classes_to_json` or a class raster's tag states.

    Raises:
        SamplesError: It is no list of classes.
    """
    try:
        return tuple(
            SampleClass(int(each["value"]), str(each["name"]), str(each["color"]), tuple(each.get("parents", ())))
            for each in json.loads(text)
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SamplesError(f"{where} states no proper classes: {error}.", "Make it again.") from error


def read_mapping(path: Path) -> tuple[tuple[SampleClass, ...], Mapping[str, int]]:
    """Reads a class mapping.

    Args:
        path: CSV with the columns `code`, `value`, `name` and, where wanted, `color`, `family` and `group`; several
            codes may share a value.

    Returns:
        The classes by value, and the value of each code.

    Raises:
        SamplesError: The file is missing, lacks a column, or contradicts itself.
    """
    remedy = "Give a CSV with the columns code, value, name and, if wanted, color, family, group."
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise SamplesError(f"{path} cannot be read: {error}.", remedy) from error
    classes: dict[int, SampleClass] = {}
    values: dict[str, int] = {}
    for line, row in enumerate(rows, start=2):
        try:
            code, value, name = row["code"].strip(), int(row["value"]), row["name"].strip()
        except (KeyError, ValueError, AttributeError, TypeError) as error:
            raise SamplesError(f"{path}, line {line}, is not of the form code, value, name.", remedy) from error
        if not 0 < value <= LARGEST_VALUE or not name:
            raise SamplesError(f"{path}, line {line}: a class needs a name and a value above 0, not {value}.", remedy)
        parents = tuple(text for text in (row.get("family"), row.get("group")) if text)
        read = SampleClass(value, name, row.get("color") or colour_of(value), parents)
        if classes.setdefault(value, read) != read or values.setdefault(code, value) != value:
            raise SamplesError(f"{path}, line {line}, contradicts a line before: {code}, {value}, {name}.", remedy)
    if not classes:
        raise SamplesError(f"{path} holds no class.", remedy)
    return tuple(classes[value] for value in sorted(classes)), values
