"""The scene classification layer of Sentinel-2 L2A.

References:
    ESA, Sentinel-2 Level-2A Algorithm Theoretical Basis Document, table of SCL classes.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import JobError

SCL_CLASSES = {
    "nodata": 0,
    "saturated": 1,
    "dark": 2,
    "cloud_shadow": 3,
    "vegetation": 4,
    "bare_soil": 5,
    "water": 6,
    "unclassified": 7,
    "cloud_medium": 8,
    "cloud_high": 9,
    "cirrus": 10,
    "snow": 11,
}
NEVER_KEPT = ("nodata", "saturated")
DEFAULT_KEEP_CLASSES = ("vegetation", "bare_soil", "water", "unclassified")


def keep_table(keep_classes: Iterable[str]) -> NDArray[np.bool_]:
    """A look-up table from SCL value to 'usable'.

    Args:
        keep_classes: Names from `SCL_CLASSES`.

    Returns:
        bool, shape (256,).

    Raises:
        JobError: A name is unknown, or stands for pixels without a measurement.
    """
    allowed = [name for name in SCL_CLASSES if name not in NEVER_KEPT]
    table = np.zeros(256, dtype=bool)
    for name in keep_classes:
        if name not in allowed:
            raise JobError(f"Unknown SCL class '{name}' to keep.", f"Choose from {', '.join(allowed)}.")
        table[SCL_CLASSES[name]] = True
    return table
