"""The differencing predictor of TIFF, undone.

References:
    Adobe (1992), TIFF Revision 6.0, section 14.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cropmap_core.io.compiling import compiled


@compiled
def undo_differences(tile: Any, out: Any, first_row: int, first_col: int) -> None:
    """Sums up the differences of each row, and keeps the part from `first_row` and `first_col` on that `out` holds.

    The sums are cut to the type's range when they are kept, as the predictor has it.
    """
    rows, cols = out.shape
    for row in range(rows):
        line, into = tile[first_row + row], out[row]
        total = np.uint32(0)
        for col in range(first_col):
            total += np.uint32(line[col])
        for col in range(cols):
            total += np.uint32(line[first_col + col])
            into[col] = total
