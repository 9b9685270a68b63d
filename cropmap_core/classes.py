"""Crop classes: what models tell apart, labels teach, and rasters hold the values of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CLASSES_TAG = "CROPMAP_CLASSES"
"""Tag of class and label rasters: their classes as JSON."""
LARGEST_MAPPED = 65535
"""The largest value that class rasters hold."""


@dataclass(frozen=True)
class CropClass:
    """A class of crops."""

    value: int
    """Its value in rasters, from 1 on; 0 is no class."""
    name: str
    """As users read it."""
    color: str
    """#rrggbb."""
    description: str = ""
    parents: tuple[str, ...] = ()
    """What it belongs to, the nearest first: family, group."""

    def as_json(self) -> dict[str, Any]:
        """As it stands in a raster's tag."""
        return {"value": self.value, "name": self.name, "color": self.color, "parents": list(self.parents)}


def value_type(largest: int) -> str:
    """The type of class values up to the largest one: rasters have 8 bits where these suffice, else 16."""
    return "uint8" if largest <= 255 else "uint16"
