"""What all compiled loops over pixels share: how they are compiled, spread over threads, and round.

Every kernel walks a range of pixels in chunks and every chunk date by date, so that its innermost loop runs across
neighbouring pixels: that is what the compiler turns into vector instructions.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.io.compiling import compiled
from cropmap_core.io.rasters import THREADS

__all__ = ["CHUNK", "compiled", "flat", "in_place", "nearest_even", "over_dates", "over_pixels", "over_rows"]

CHUNK = 4096
"""Pixels that a kernel works on at a time: the rows of some dozen dates stay in the second-level cache."""

_NO_FRACTION = 1.5 * 2.0**52
_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="compute")


def over_pixels(kernel: Callable[..., None], pixels: int, *arguments: Any) -> None:
    """Runs a kernel over all pixels, a part on each computing thread.

    Args:
        kernel: Takes the arguments, its first pixel and the pixel after its last.
        pixels: How many there are.
        arguments: What the kernel takes before.
    """
    chunks = -(-pixels // CHUNK)
    step = max(1, -(-chunks // THREADS)) * CHUNK
    parts = [(begin, min(begin + step, pixels)) for begin in range(0, pixels, step)]
    _in_parts(lambda part: kernel(*arguments, *part), parts)


def over_rows(kernel: Callable[..., None], rows: int, *arguments: Any) -> None:
    """Runs a kernel over all rows of a window, a strip on each computing thread.

    Args:
        kernel: Takes the arguments, its first row and the row after its last.
        rows: How many there are.
        arguments: What the kernel takes before.
    """
    step = max(1, -(-rows // THREADS))
    _in_parts(
        lambda part: kernel(*arguments, *part), [(begin, min(begin + step, rows)) for begin in range(0, rows, step)]
    )


def over_dates(kernel: Callable[[int], None], dates: int) -> None:
    """Runs a kernel for every date, several at once."""
    _in_parts(kernel, list(range(dates)))


def _in_parts(run: Callable[[Any], None], parts: list[Any]) -> None:
    if len(parts) == 1:
        run(parts[0])
        return
    for _ in _pool.map(run, parts):
        pass


def flat(array: NDArray[Any]) -> NDArray[Any]:
    """The same with one axis of pixels instead of rows and columns, contiguous: (..., H, W) to (..., H * W)."""
    return np.ascontiguousarray(array).reshape(*array.shape[:-2], -1)


def in_place(array: NDArray[Any], change: Callable[[NDArray[Any]], None]) -> None:
    """Changes an array that need not be contiguous through its `flat` form."""
    values = flat(array)
    change(values)
    if not np.shares_memory(values, array):
        array[...] = values.reshape(array.shape)


@compiled
def nearest_even(value: float) -> float:
    """A number rounded to a whole one, half to even, in a way that compilers can vectorise.

    Beyond 2 ** 52 no number has a fraction, so adding 1.5 times as much rounds it away as every addition is rounded.
    """
    return (value + _NO_FRACTION) - _NO_FRACTION
