"""The language of formulas: what it reads, what it refuses, and where it says the mistake is."""

from __future__ import annotations

import pytest

from cropmap_core.errors import JobError
from cropmap_core.timeseries.expressions import NEGATIVE, Band, Expression, Number, Operation, bands_of, parse

A, B = Band("A"), Band("B")


def read(text: str) -> Expression:
    return parse(text, {"A": A, "B": B, "half": Number(0.5)}.get, "A, B and half")


def op(symbol: str, *operands: Expression) -> Operation:
    return Operation(symbol, operands)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("A", A),
        (" .5 ", Number(0.5)),
        ("1.5e-3", Number(0.0015)),
        ("half", Number(0.5)),
        ("A - B - A", op("-", op("-", A, B), A)),
        ("A - (B - A)", op("-", A, op("-", B, A))),
        ("A + B * A", op("+", A, op("*", B, A))),
        ("A / B * A", op("*", op("/", A, B), A)),
        ("-A ** 2", op(NEGATIVE, op("**", A, Number(2)))),
        ("-A * B", op("*", op(NEGATIVE, A), B)),
        ("A ** -B", op("**", A, op(NEGATIVE, B))),
        ("A ** B ** A", op("**", A, op("**", B, A))),
        ("A ** -B * A", op("*", op("**", A, op(NEGATIVE, B)), A)),
        ("+A", A),
        ("sqrt(A)", op("sqrt", A)),
        ("max(A, min(B, 1))", op("max", A, op("min", B, Number(1)))),
    ],
)
def test_precedence_is_that_of_python(text: str, meaning: Expression) -> None:
    assert read(text) == meaning


@pytest.mark.parametrize(
    ("text", "value"),
    [("2 ** 3 ** 2", 512), ("-2 ** 2", -4), ("(1.0 + 0.5) * 2", 3), ("1 / 4", 0.25), ("max(2, 3) - abs(-3)", 0)],
)
def test_what_holds_no_band_is_computed_at_once(text: str, value: float) -> None:
    assert read(text) == Number(value)


def test_bands_come_in_the_order_in_which_they_appear() -> None:
    assert bands_of(read("(B - A) / (B + A) + half")) == ("B", "A")


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("", "at its end: there is nothing to compute"),
        ("   ", "at its end: there is nothing to compute"),
        ("A +", "at its end: a number, a name or a parenthesis is missing"),
        ("(A + B", r"at its end: a \) is missing"),
        ("A + B)", r"at character 6, '\)': this is not expected"),
        ("A B", "at character 3, 'B': an operator is missing"),
        ("2A", "at character 2, 'A': an operator is missing"),
        ("A * / B", "at character 5, '/': a number, a name or a parenthesis is missing"),
        ("A + C", "at character 5, 'C': this name is unknown"),
        ("a", "at character 1, 'a': this name is unknown"),
        ("A ^ 2", r"at character 3, '\^': this is no arithmetic; write \*\* for a power"),
        ("A // B", "at character 4, '/': a number"),
        ("A % B", "at character 3, '%': this is no arithmetic"),
        ("A < B", "at character 3, '<': this is no arithmetic"),
        ("A, B", "at character 2, ',': this is not expected"),
        ("A.real", r"at character 2, '\.': this is no arithmetic"),
        ("A.__class__.__mro__", r"at character 2, '\.': this is no arithmetic"),
        ("A[0]", r"at character 2, '\[': this is no arithmetic"),
        ("'A'", "at character 1, ''': this is no arithmetic"),
        ("lambda: A", "at character 7, ':': this is no arithmetic"),
        ("__import__", "at character 1, '__import__': this name is unknown"),
        ("__import__('os')", "at character 12, ''': this is no arithmetic"),
        ("open(A)", "at character 1, 'open': there is no such function"),
        ("A(B)", "at character 1, 'A': there is no such function"),
        ("sqrt", "at character 1, 'sqrt': this name is unknown"),
        ("sqrt()", r"at character 6, '\)': a number, a name or a parenthesis is missing"),
        ("sqrt(A, B)", "at character 1, 'sqrt': it takes 1 value, not 2"),
        ("min(A)", "at character 1, 'min': it takes 2 values, not 1"),
        ("A + \N{CYRILLIC CAPITAL LETTER A}", "at character 5"),
        ("A + \N{FULLWIDTH DIGIT ONE}", "at character 5"),
        ("1 / 0", "at character 3, '/': its result is no number"),
        ("A + log(0)", "at character 5, 'log': its result is no number"),
        ("(0 - 8) ** 0.3", "at character 9, .*: its result is no number"),
        ("9 ** 9 ** 9", "its result is no number, or a very large one"),
        ("9 ** 99", "numbers must lie between 1e-37 and 1e\\+37"),
        ("1e999", "at character 1, '1e999': numbers must lie between"),
        ("A * 1e-60", "at character 5, '1e-60': numbers must lie between"),
        ("(" * 60 + "A" + ")" * 60, "nested more than 40 levels deep"),
        ("-" * 60 + "A", "nested more than 40 levels deep"),
        ("A ** " * 60 + "A", "nested more than 40 levels deep"),
        ("A+" * 200 + "A", "there are more than 300 symbols"),
        ("A" * 3000, "An expression of 3000 characters is too long"),
    ],
)
def test_anything_else_is_refused_at_its_place(text: str, mistake: str) -> None:
    with pytest.raises(JobError, match=mistake):
        read(text)


def test_the_remedy_lists_what_is_known() -> None:
    with pytest.raises(JobError) as caught:
        read("A + C")
    assert caught.value.remedy.endswith("sqrt, abs, exp, log, min, max, and A, B and half.")


@pytest.mark.parametrize("text", ["9 ** 9 ** 9 ** 9 ** 9", "A" + " " * 10**6 + "B", "(" * 10**6, "9" * 1999])
def test_no_text_keeps_the_reader_busy(text: str) -> None:
    with pytest.raises(JobError):
        read(text)
