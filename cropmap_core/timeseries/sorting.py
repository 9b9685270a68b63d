"""Sorting networks: fixed sequences of compare-exchanges, the same for every pixel and so without a branch.

References:
    Batcher 1968, Sorting networks and their applications, AFIPS Spring Joint Computer Conference 32: odd-even merge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

BOTH, LOWER, HIGHER = 0, 1, 2
"""What of a compare-exchange is needed afterwards: both values, the lower, or the higher."""


@cache
def selection_network(size: int, ranks: tuple[int, ...]) -> NDArray[np.int64]:
    """A network that puts the values of some ranks into their places; the other places hold anything.

    Args:
        size: Number of values.
        ranks: Places that count, 0 to size - 1.

    Returns:
        Rows of (lower place, higher place, `BOTH`, `LOWER` or `HIGHER`), in order, shape (N, 3).
    """
    needed = set(ranks)
    steps: list[tuple[int, int, int]] = []
    for low, high in reversed(list(_odd_even_merge_sort(size))):
        if low in needed or high in needed:
            use = BOTH if {low, high} <= needed else LOWER if low in needed else HIGHER
            steps.append((low, high, use))
            needed |= {low, high}
    return _rows(reversed(steps))


def _odd_even_merge_sort(size: int) -> Iterator[tuple[int, int]]:
    """Batcher's network for the next power of two, without what would touch the places that are not there."""
    padded = 1 << max(0, size - 1).bit_length()
    merged = 1
    while merged < padded:
        distance = merged
        while distance >= 1:
            for start in range(distance % merged, padded - distance, 2 * distance):
                for low in range(start, min(start + distance, padded - distance)):
                    high = low + distance
                    if low // (2 * merged) == high // (2 * merged) and high < size:
                        yield low, high
            distance //= 2
        merged *= 2


def _rows(steps: Iterable[tuple[int, int, int]]) -> NDArray[np.int64]:
    return np.array(list(steps), dtype=np.int64).reshape(-1, 3)
