"""How much of parcels lies in other parcels."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

_AT_ONCE = 500  # shapes whose neighbours are looked for together: of duplicates everyone is everyone's neighbour

Floats = NDArray[np.float64]


def overlapping_areas(shapes: NDArray[Any], boxes: Floats, home: Floats) -> Floats:
    """The area that each shape shares with others, neighbour by neighbour: where three meet it counts twice.

    Args:
        shapes: Valid polygons, shape (n,).
        boxes: Left, bottom, right, top of each, shape (n, 4).
        home: Left, bottom, right, top: only pairs whose boxes meet first within it count, so that pairs that are
            met in several places count once.

    Returns:
        In square units of their CRS, shape (n,).
    """
    shared = np.zeros(len(shapes))
    tree = shapely.STRtree(shapes)
    for first in range(0, len(shapes), _AT_ONCE):
        some = shapes[first : first + _AT_ONCE]
        shapely.prepare(some)
        one, other = tree.query(some, predicate="intersects")
        one = one + first
        corner = np.maximum(boxes[one, :2], boxes[other, :2])
        mine = (one < other) & (corner >= home[:2]).all(axis=1) & (corner < home[2:]).all(axis=1)
        one, other = one[mine], other[mine]
        areas = shapely.area(shapely.intersection(shapes[one], shapes[other]))
        np.add.at(shared, one, areas)
        np.add.at(shared, other, areas)
    return shared
