"""Expressions compiled to one short program, so that several cost one pass over memory.

What expressions share is loaded and computed once. No code is generated: a program is an array of numbers, which
`cropmap_core.timeseries.interpreter` runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cropmap_core.timeseries.expressions import NEGATIVE, Band, Expression, Number, Operation
from cropmap_core.timeseries.interpreter import (
    ABS,
    ADD,
    DIV,
    EXP,
    LOAD,
    LOG,
    MAX,
    MIN,
    MUL,
    NEG,
    POW,
    SQRT,
    STORE,
    SUB,
    run_program,
)
from cropmap_core.timeseries.series import Mask, Values

_CODES = {
    "+": ADD,
    "-": SUB,
    "*": MUL,
    "/": DIV,
    "**": POW,
    "min": MIN,
    "max": MAX,
    NEGATIVE: NEG,
    "sqrt": SQRT,
    "abs": ABS,
    "exp": EXP,
    "log": LOG,
}
_COMMUTATIVE = (ADD, MUL)


@dataclass(frozen=True)
class Program:
    """Several expressions, ready to run."""

    code: NDArray[np.int32]
    """An instruction per row: what, into which row, of which two; stores name an output, loads a channel."""
    constants: NDArray[np.float32]
    """What the first rows hold throughout."""
    rows: int
    """Rows that it needs, those of the constants included."""
    outputs: int
    """How many expressions it computes."""

    def run(self, data: Values, valid: Mask, scale: float) -> tuple[NDArray[np.float32], Mask]:
        """Computes the expressions of a block.

        An operation that gives no finite number (a division by zero, a root of less than zero, an overflow) gives NaN,
        and so does all that is computed from it.

        Args:
            data: int16 or float32, shape (T, C, H, W).
            valid: Where `data` may be used, shape (T, H, W).
            scale: What to multiply `data` with for reflectance 0-1.

        Returns:
            float32, shape (T, K, H, W), NaN where not valid; and where all K have a value, shape (T, H, W).
        """
        times, channels, height, width = data.shape
        size = height * width
        out = np.empty((times, self.outputs, size), dtype=np.float32)
        present = np.empty((times, size), dtype=bool)
        if out.size:
            run_program(
                self.code,
                self.constants,
                self.rows,
                np.ascontiguousarray(data).reshape(times, channels, size),
                np.float32(scale),
                np.ascontiguousarray(valid).reshape(times, size),
                out,
                present,
            )
        return out.reshape(times, self.outputs, height, width), present.reshape(times, height, width)


def compile_program(expressions: Sequence[Expression], bands: Sequence[str]) -> Program:
    """Compiles expressions to one program.

    Args:
        expressions: What to compute, in the order of the outputs.
        bands: Names of the channels of the data; every band of the expressions is among them.
    """
    draft = _Draft(tuple(bands))
    for output, expression in enumerate(expressions):
        draft.steps.append((STORE, output, draft.value_of(expression), 0))
    code, rows = _in_few_rows(draft)
    return Program(code, np.array(list(draft.constants), dtype=np.float32), rows, len(expressions))


_Step = tuple[int, int, int, int]


@dataclass
class _Draft:
    """A program whose every value has a row of its own; equal values are one."""

    bands: tuple[str, ...]
    steps: list[_Step] = field(default_factory=list)
    constants: dict[float, int] = field(default_factory=dict)
    known: dict[tuple[int, int, int], int] = field(default_factory=dict)
    values: int = 0

    def value_of(self, expression: Expression) -> int:
        """The number of the value that an expression has, computed if it is new."""
        match expression:
            case Number(constant):
                if constant not in self.constants:
                    self.constants[constant] = self._new()
                return self.constants[constant]
            case Band(name):
                return self._computed(LOAD, self.bands.index(name), 0)
            case Operation("**", (base, Number(exponent))):
                return self._power(self.value_of(base), exponent)
            case Operation(symbol, operands):
                first, *others = [self.value_of(operand) for operand in operands]
                return self._computed(_CODES[symbol], first, *others)
        raise TypeError(f"{expression!r} is no expression")

    def _power(self, base: int, exponent: float) -> int:
        """The common powers by what is quicker, and as exact."""
        if exponent == 1:
            return base
        if exponent == 0.5:
            return self._computed(SQRT, base)
        if exponent in (2, 3, 4):
            square = self._computed(MUL, base, base)
            return square if exponent == 2 else self._computed(MUL, square, base if exponent == 3 else square)
        return self._computed(POW, base, self.value_of(Number(exponent)))

    def _computed(self, code: int, first: int, second: int = 0) -> int:
        if code in _COMMUTATIVE and first > second:
            first, second = second, first
        key = (code, first, second)
        if key not in self.known:
            self.known[key] = self._new()
            self.steps.append((code, self.known[key], first, second))
        return self.known[key]

    def _new(self) -> int:
        self.values += 1
        return self.values - 1


def _in_few_rows(draft: _Draft) -> tuple[NDArray[np.int32], int]:
    """The steps with rows in place of values; a row is free again after the last step that reads it."""
    row_of = {value: row for row, value in enumerate(draft.constants.values())}
    last_read: dict[int, int] = {}
    for step, (code, _, *operands) in enumerate(draft.steps):
        last_read.update((value, step) for value in _read_by(code, operands))
    code_in_rows, free, rows = [], list[int](), len(row_of)
    for step, (code, target, *operands) in enumerate(draft.steps):
        read = _read_by(code, operands)
        if code != STORE:  # a row of its own, never one that is read: only so the loop is vectorised
            if not free:
                free.append(rows)
                rows += 1
            row_of[target] = free.pop()
        row = target if code == STORE else row_of[target]
        first, second = operands if code == LOAD else (row_of[read[0]], row_of[read[-1]])
        code_in_rows.append((code, row, first, second))
        constants = draft.constants.values()
        free += [row_of[value] for value in dict.fromkeys(read) if last_read[value] == step and value not in constants]
    return np.array(code_in_rows, dtype=np.int32).reshape(-1, 4), rows


def _read_by(code: int, operands: Sequence[int]) -> Sequence[int]:
    """The values that a step reads."""
    if code == LOAD:
        return ()
    return operands[:1] if code == STORE or code >= NEG else operands
