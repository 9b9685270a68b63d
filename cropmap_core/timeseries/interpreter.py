"""The compiled loop that runs a program of `cropmap_core.timeseries.programs` over small runs of pixels.

A run's rows of float32 stay in the processor's nearest cache, and each instruction is one vectorised loop over a row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from cropmap_core.timeseries.series import Mask

_kernel: Callable[..., Callable[[Callable[..., Any]], Callable[..., Any]]] = numba.njit

LOAD, STORE, ADD, SUB, MUL, DIV, POW, MIN, MAX, NEG, SQRT, ABS, EXP, LOG = range(14)
"""What an instruction does; those from `NEG` on take one row, the others of arithmetic two."""

_RUN = 384  # pixels of a row: twenty rows fit the 32 KiB of a level 1 cache
_PADDING = 16  # rows that lie whole pages apart would evict each other from it
_PIECES = 32  # of a block, shared out among the threads
_NAN = np.float32(np.nan)
_ZERO = np.float32(0)
_LARGEST = np.finfo(np.float32).max


@_kernel(cache=True, nogil=True, inline="always")
def _finite(value: Any) -> Any:
    """A float32, or NaN for what is not finite."""
    return value if abs(value) <= _LARGEST else _NAN


@_kernel(cache=True, nogil=True, inline="always")
def _power(base: Any, exponent: Any) -> Any:
    """NaN also for NaN ** 0 and 1 ** NaN, which are 1 by IEEE 754."""
    return _finite(base**exponent) if base == base and exponent == exponent else _NAN


@_kernel(cache=True, nogil=True, inline="always")
def _lesser(one: Any, other: Any) -> Any:
    """NaN where either is."""
    return one if one < other or one != one else other


@_kernel(cache=True, nogil=True, error_model="numpy")
def _compute(what: int, rows: NDArray[np.float32], x: int, y: int, z: int, n: int) -> None:
    """One instruction of arithmetic over the first n pixels: rows x and y into row z.

    Rows and n are unsigned: of a signed one numba asks at every pixel whether it counts from the end.
    """
    if what == ADD:
        for i in range(n):
            rows[z, i] = _finite(rows[x, i] + rows[y, i])
    elif what == SUB:
        for i in range(n):
            rows[z, i] = _finite(rows[x, i] - rows[y, i])
    elif what == MUL:
        for i in range(n):
            rows[z, i] = _finite(rows[x, i] * rows[y, i])
    elif what == DIV:
        for i in range(n):
            rows[z, i] = _finite(rows[x, i] / rows[y, i])
    elif what == POW:
        for i in range(n):
            rows[z, i] = _power(rows[x, i], rows[y, i])
    elif what == MIN:
        for i in range(n):
            rows[z, i] = _lesser(rows[x, i], rows[y, i])
    elif what == MAX:
        for i in range(n):
            rows[z, i] = -_lesser(-rows[x, i], -rows[y, i])
    elif what == NEG:
        for i in range(n):
            rows[z, i] = -rows[x, i]
    elif what == SQRT:
        for i in range(n):
            rows[z, i] = np.sqrt(rows[x, i])
    elif what == ABS:
        for i in range(n):
            rows[z, i] = abs(rows[x, i])
    elif what == EXP:
        for i in range(n):
            rows[z, i] = _finite(np.exp(rows[x, i]))
    else:
        for i in range(n):
            rows[z, i] = _finite(np.log(rows[x, i]))


@_kernel(cache=True, nogil=True, parallel=True, error_model="numpy")
def run_program(
    code: NDArray[np.int32],
    constants: NDArray[np.float32],
    rows: int,
    data: NDArray[Any],
    scale: np.float32,
    valid: Mask,
    out: NDArray[np.float32],
    present: Mask,
) -> None:
    """Runs a program over all pixels: `data` of shape (T, C, P), `valid` and `present` (T, P), `out` (T, K, P)."""
    times, _, size = data.shape
    runs = (size + _RUN - 1) // _RUN
    total = times * runs
    for piece in numba.prange(_PIECES):
        scratch = np.empty((rows + 2, _RUN + _PADDING), dtype=np.float32)
        for row in range(constants.size):
            scratch[row, :] = constants[row]
        masked, missing = scratch[rows], scratch[rows + 1]
        for run in range(piece * total // _PIECES, (piece + 1) * total // _PIECES):
            time, start = run // runs, run % runs * _RUN
            end = min(start + _RUN, size)
            n = end - start
            usable, all_there = valid[time, start:end], present[time, start:end]
            for i in range(n):  # 0 or NaN: what is added to every output, and what tells of NaN in any of them
                masked[i] = _ZERO if usable[i] else _NAN
                missing[i] = masked[i]
            for step in range(code.shape[0]):
                what, target, first, second = code[step]
                if what == LOAD:
                    z, channel = scratch[target], data[time, first, start:end]
                    for i in range(n):
                        z[i] = np.float32(channel[i]) * scale
                elif what == STORE:
                    x, output = scratch[first], out[time, target, start:end]
                    for i in range(n):
                        value = x[i] + masked[i]
                        output[i] = value
                        missing[i] += value * _ZERO
                else:
                    _compute(what, scratch, np.uint64(first), np.uint64(second), np.uint64(target), np.uint64(n))
            for i in range(n):
                all_there[i] = missing[i] == missing[i]
