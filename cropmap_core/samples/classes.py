"""Crop classes of a training set: value, name, colour and what they belong to."""

from __future__ import annotations

import colorsys
import json
from collections.abc import Iterable, Sequence

from cropmap_core.classes import CropClass
from cropmap_core.errors import SamplesError

UNLABELLED = 0
"""Label of what has no class: it is ignored, and never a class of its own."""
LARGEST_VALUE = 255
"""Class rasters are of bytes."""
_GOLDEN_SHARE = 0.618034  # of the colour circle: neighbours in the legend get hues far apart


def name_classes(names: Sequence[str]) -> tuple[CropClass, ...]:
    """Classes of the values 1, 2, ... in the order of their names, each with a colour of its own."""
    return tuple(CropClass(value, name, colour_of(value)) for value, name in enumerate(names, start=1))


def colour_of(value: int) -> str:
    """A colour for a class that has none, #rrggbb."""
    shade = colorsys.hsv_to_rgb(value * _GOLDEN_SHARE % 1, 0.65, 0.55 + 0.3 * (value % 2))
    return "#" + "".join(f"{round(255 * part):02x}" for part in shade)


def check_values(classes: Iterable[CropClass]) -> None:
    """Refuses classes that no model could map.

    Raises:
        SamplesError: A value is too large.
    """
    too_large = [each for each in classes if each.value > LARGEST_VALUE]
    if too_large:
        raise SamplesError(
            f"The class {too_large[0].name} has the value {too_large[0].value}; class rasters hold values up to "
            f"{LARGEST_VALUE}.",
            f"Give classes values from 1 to {LARGEST_VALUE} in the legend, and make the labels again.",
        )


def classes_to_json(classes: Iterable[CropClass]) -> str:
    """The classes as a JSON list of {value, name, color, parents}."""
    return json.dumps([each.as_json() for each in classes])


def classes_from_json(text: str, where: str) -> tuple[CropClass, ...]:
    """Reads what `classes_to_json` or a class raster's tag states.

    Raises:
        SamplesError: It is no list of classes.
    """
    try:
        return tuple(
            CropClass(int(each["value"]), str(each["name"]), str(each["color"]), parents=tuple(each.get("parents", ())))
            for each in json.loads(text)
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SamplesError(f"{where} states no proper classes: {error}.", "Make it again.") from error
