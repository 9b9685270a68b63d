"""A small language of arithmetic over bands, such as ``(B08 - B04) / (B08 + B04)``, checked as it is read.

A text becomes a tree of the three kinds of `Expression`; nothing of it is ever run as Python. Precedence is that of
Python: ``**`` binds to the right and tighter than a minus before it.

References:
    Pratt (1973), Top down operator precedence, POPL '73.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from cropmap_core.errors import JobError

LONGEST = 2000
"""Characters of an expression."""
MOST_SYMBOLS = 300
"""Numbers, names, operators and parentheses of an expression."""
DEEPEST = 40
"""Levels of nesting."""
SMALLEST, LARGEST = 1e-37, 1e37
"""Magnitudes of numbers other than 0: what float32 holds at full precision."""

FUNCTIONS = {"sqrt": 1, "abs": 1, "exp": 1, "log": 1, "min": 2, "max": 2}
"""Functions and how many values each takes."""
NEGATIVE = "negative"
"""The operator of a minus that stands before one value."""


@dataclass(frozen=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True)
class Band:
    """The surface reflectance of a band, 0-1."""

    name: str


@dataclass(frozen=True)
class Operation:
    """An operator (``+ - * / **``, `NEGATIVE`) or one of `FUNCTIONS` with its operands."""

    symbol: str
    operands: tuple[Expression, ...]


Expression = Number | Band | Operation
Resolve = Callable[[str], Expression | None]
"""What a name stands for; None for one that is unknown."""

_BINDING = {"+": 10, "-": 10, "*": 20, "/": 20, "**": 40}
_BINDING_OF_MINUS = 30  # between * and **: -x ** 2 is -(x ** 2)
_SYMBOL = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<sign>\*\*|[-+*/(),]))", re.ASCII
)
_FOLDED: dict[str, Callable[..., float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": math.pow,  # not Python's own: it makes complex numbers, and giant integers of 9 ** 9 ** 9
    NEGATIVE: operator.neg,
    "sqrt": math.sqrt,
    "abs": abs,
    "exp": math.exp,
    "log": math.log,
    "min": min,
    "max": max,
}


class _Symbol(NamedTuple):
    kind: str
    """number, name, sign or end."""
    text: str
    position: int
    """Of its first character in the expression, from 0."""


def parse(text: str, resolve: Resolve, known: str) -> Expression:
    """Reads an expression.

    Args:
        text: Numbers, names, ``+ - * / **``, parentheses and `FUNCTIONS`.
        resolve: Says what a name stands for.
        known: The names there are, in words, for whoever mistypes one.

    Raises:
        JobError: The text is no such expression; says what is wrong at which character.
    """
    return _Reader(text, resolve, known).whole()


def bands_of(expression: Expression) -> tuple[str, ...]:
    """The bands that an expression is computed from, in the order in which they appear."""
    match expression:
        case Band(name):
            return (name,)
        case Operation(_, operands):
            return tuple(dict.fromkeys(band for operand in operands for band in bands_of(operand)))
    return ()


class _Reader:
    """Reads the symbols of one expression from left to right."""

    def __init__(self, text: str, resolve: Resolve, known: str) -> None:
        self.text = text
        self.resolve = resolve
        self.known = known
        self.depth = 0
        if len(text) > LONGEST:
            raise JobError(
                f"An expression of {len(text)} characters is too long: {text[:40]}...",
                f"Write it with at most {LONGEST}.",
            )
        self.symbols = self._symbols()
        self.next = 0

    def whole(self) -> Expression:
        if len(self.symbols) == 1:
            raise self._refusal(self.symbols[0], "there is nothing to compute")
        expression = self._expression(0)
        left = self.symbols[self.next]
        if left.kind != "end":
            what = "an operator is missing" if left.kind != "sign" or left.text == "(" else "this is not expected"
            raise self._refusal(left, what)
        return expression

    def _symbols(self) -> list[_Symbol]:
        symbols, position, end = [], 0, len(self.text.rstrip())
        while position < end:
            match = _SYMBOL.match(self.text, position)
            if match is None:
                odd = re.compile(r"\s*").match(self.text, position)
                position = odd.end() if odd else position
                hint = "; write ** for a power" if self.text[position] == "^" else ""
                raise self._refusal(_Symbol("sign", self.text[position], position), f"this is no arithmetic{hint}")
            kind = str(match.lastgroup)
            symbols.append(_Symbol(kind, match[kind], match.start(kind)))
            position = match.end()
        if len(symbols) > MOST_SYMBOLS:
            raise self._refusal(symbols[MOST_SYMBOLS], f"there are more than {MOST_SYMBOLS} symbols")
        return [*symbols, _Symbol("end", "", end)]

    def _expression(self, binding: int) -> Expression:
        """What follows, up to an operator that binds no tighter than `binding`."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise self._refusal(self.symbols[self.next], f"it is nested more than {DEEPEST} levels deep")
        left = self._operand()
        while _BINDING.get((sign := self.symbols[self.next]).text, 0) > binding:
            self.next += 1
            to_the_right = sign.text == "**"
            right = self._expression(_BINDING[sign.text] - to_the_right)
            left = self._operation(sign, sign.text, (left, right))
        self.depth -= 1
        return left

    def _operand(self) -> Expression:
        symbol = self._take()
        if symbol.kind == "number":
            return self._number(symbol, float(symbol.text))
        if symbol.kind == "name":
            return self._function(symbol) if self.symbols[self.next].text == "(" else self._named(symbol)
        if symbol.text == "(":
            inner = self._expression(0)
            self._expect(")")
            return inner
        if symbol.text == "-":
            return self._operation(symbol, NEGATIVE, (self._expression(_BINDING_OF_MINUS),))
        if symbol.text == "+":
            return self._expression(_BINDING_OF_MINUS)
        raise self._refusal(symbol, "a number, a name or a parenthesis is missing")

    def _named(self, symbol: _Symbol) -> Expression:
        found = self.resolve(symbol.text)
        if found is None:
            raise self._refusal(symbol, "this name is unknown")
        return found

    def _function(self, symbol: _Symbol) -> Expression:
        wanted = FUNCTIONS.get(symbol.text)
        if wanted is None:
            raise self._refusal(symbol, "there is no such function")
        self._expect("(")
        operands = [self._expression(0)]
        while self.symbols[self.next].text == ",":
            self.next += 1
            operands.append(self._expression(0))
        self._expect(")")
        if len(operands) != wanted:
            raise self._refusal(symbol, f"it takes {wanted} value{'s' * (wanted > 1)}, not {len(operands)}")
        return self._operation(symbol, symbol.text, tuple(operands))

    def _operation(self, symbol: _Symbol, name: str, operands: tuple[Expression, ...]) -> Expression:
        """An operation, or at once its result where it has no band."""
        values = [operand.value for operand in operands if isinstance(operand, Number)]
        if len(values) < len(operands):
            return Operation(name, operands)
        try:
            return self._number(symbol, float(_FOLDED[name](*values)))
        except (ArithmeticError, ValueError):
            raise self._refusal(symbol, "its result is no number, or a very large one") from None

    def _number(self, symbol: _Symbol, value: float) -> Number:
        if value and not SMALLEST <= abs(value) <= LARGEST:
            raise self._refusal(symbol, f"numbers must lie between {SMALLEST:g} and {LARGEST:g}, or be 0")
        return Number(value)

    def _take(self) -> _Symbol:
        symbol = self.symbols[self.next]
        if symbol.kind != "end":
            self.next += 1
        return symbol

    def _expect(self, sign: str) -> None:
        symbol = self._take()
        if symbol.text != sign:
            raise self._refusal(symbol, f"a {sign} is missing")

    def _refusal(self, symbol: _Symbol, problem: str) -> JobError:
        where = f"at character {symbol.position + 1}, '{symbol.text}'" if symbol.text else "at its end"
        return JobError(
            f"The expression {self.text.strip()[:200]!r} cannot be read {where}: {problem}.",
            f"Write it with numbers, + - * / **, parentheses, {', '.join(FUNCTIONS)}, and {self.known}.",
        )
