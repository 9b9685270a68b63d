"""Programs: the numbers of NumPy in float64, shared work done once, and nothing where there is no number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cropmap_core.timeseries.expressions import NEGATIVE, Band, Expression, Number, Operation, parse
from cropmap_core.timeseries.interpreter import DIV, LOAD, STORE, SUB
from cropmap_core.timeseries.programs import Program, compile_program

BANDS = ("A", "B", "C")


def read(text: str) -> Expression:
    return parse(text, {name: Band(name) for name in BANDS}.get, "")


def compiled(*texts: str) -> Program:
    return compile_program([read(text) for text in texts], BANDS)


def computed(texts: list[str], **bands: list[float]) -> np.ndarray[Any, Any]:
    """Values of shape (expression, pixel), from reflectance."""
    data = np.array([bands[name] for name in BANDS if name in bands], dtype=np.float32)
    program = compile_program([read(text) for text in texts], tuple(name for name in BANDS if name in bands))
    values, _ = program.run(data[None, :, None], np.ones((1, 1, data.shape[1]), bool), 1)
    return values[0, :, 0]


def test_digital_numbers_are_scaled_and_masked() -> None:
    data = np.array([[[[2000, 4000, 0]], [[1000, -32768, 0]]]], dtype=np.int16)
    valid = np.array([[[True, False, True]]])
    values, present = compile_program([read("A - B"), read("A / B")], ("A", "B")).run(data, valid, 0.0001)
    np.testing.assert_allclose(values[0, :, 0], [[0.1, np.nan, 0], [2, np.nan, np.nan]], rtol=1e-6)
    assert present.ravel().tolist() == [True, False, False]


@pytest.mark.parametrize(
    "text", ["A / B", "1 / (A / B)", "A / B * 0", "(A / B) ** 0", "min(A / B, 1)", "max(1, A / B)"]
)
def test_a_division_by_zero_is_no_number_and_neither_is_what_follows_from_it(text: str) -> None:
    values = computed([text], A=[1, 0, 1], B=[0, 0, 1])
    assert np.isnan(values[0]).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("text", "value"),
    [("sqrt(A)", -1), ("A ** 0.5", -1), ("A ** (1 / 3)", -1), ("log(A)", 0), ("log(A)", -1), ("exp(A)", 100),
     ("A ** -1", 0), ("A * 1e30 * 1e30", 1), ("1 / (A * 1e30 * 1e30)", 1), ("exp(-(A * 1e30 * 1e30))", 1)],
)  # fmt: skip
def test_what_is_no_finite_number_is_nan(text: str, value: float) -> None:
    assert np.isnan(computed([text], A=[value])).all()


def test_what_is_shared_is_computed_once() -> None:
    code = compiled("(A - B) / (A + B)", "1.5 * (A - B) / (B + A + 0.5)").code[:, 0].tolist()
    assert code.count(LOAD) == 2
    assert code.count(SUB) == 1
    assert code.count(DIV) == 2
    assert code.count(STORE) == 2
    assert len(code) == 10  # also + twice, * once


def test_rows_are_used_again() -> None:
    many = [f"(A - B * {number}) / (A + C * {number} ** 2)" for number in range(2, 40)]
    program = compiled(*many)
    assert program.rows - program.constants.size <= 8


@pytest.mark.parametrize("size", [1, 383, 384, 385, 5000])
def test_a_block_of_any_size_is_computed_to_its_end(size: int) -> None:
    values = np.arange(2 * 2 * size, dtype=np.int16).reshape(2, 2, 1, size)
    result, present = compile_program([read("A + B")], ("A", "B")).run(values, np.ones((2, 1, size), bool), 1)
    np.testing.assert_array_equal(result[:, 0], values.sum(axis=1))
    assert present.all()


def test_data_may_lie_anyhow_in_memory() -> None:
    data = np.arange(24, dtype=np.int16).reshape(4, 3, 2, 1).transpose(3, 2, 1, 0)  # (1, 2, 3, 4)
    result, _ = compile_program([read("A - B")], ("A", "B")).run(data, np.ones((1, 3, 4), bool), 1)
    np.testing.assert_array_equal(result[0, 0], data[0, 0] - data[0, 1])


ONE = {NEGATIVE: np.negative, "sqrt": np.sqrt, "abs": np.abs, "exp": np.exp, "log": np.log}
TWO = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "**": np.power, "min": np.minimum,
       "max": np.maximum}  # fmt: skip
leaves = st.sampled_from([Band(name) for name in BANDS]) | st.sampled_from([0.5, 1.0, 2.0, 3.0, 7.5]).map(Number)


def operations(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    one = st.builds(lambda symbol, x: Operation(symbol, (x,)), st.sampled_from(list(ONE)), inner)
    two = st.builds(lambda symbol, x, y: Operation(symbol, (x, y)), st.sampled_from(list(TWO)), inner, inner)
    return one | two


def in_float64(expression: Expression, bands: dict[str, Any]) -> tuple[Any, Any]:
    """The value by NumPy, and a bound of the error that float32 may make of it.

    Each operation adds its own rounding to what its operands' errors become. Where NumPy has no finite number the
    value is NaN.
    """
    match expression:
        case Number(value):
            return np.full_like(bands["A"], value), np.zeros_like(bands["A"])
        case Band(name):
            return bands[name], np.zeros_like(bands[name])
        case Operation(symbol, operands):
            values, errors = zip(*(in_float64(operand, bands) for operand in operands), strict=True)
            function = ONE.get(symbol) or TWO[symbol]
            value = function(*values)
            value = np.where(np.isfinite(sum(values)) & np.isfinite(value), value, np.nan)
            moved = [np.abs(function(*each) - value) for each in _nudged(values, errors)]
            return value, 2 * sum(moved) + np.abs(value) * 1e-6
    raise TypeError(expression)


def _nudged(values: Sequence[Any], errors: Sequence[Any]) -> Iterator[list[Any]]:
    """The operands with one of them off by its error, to either side."""
    for place, error in enumerate(errors):
        for off in (-error, error):
            yield [value + off if place == other else value for other, value in enumerate(values)]


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(leaves, operations, max_leaves=12),
    st.lists(st.tuples(*[st.sampled_from([0.0, 0.01, 0.25, 0.5, 1.0, 1.5])] * 3), min_size=1, max_size=8),
)
def test_a_program_has_the_values_of_numpy_in_float64(expression: Expression, pixels: list[tuple[float, ...]]) -> None:
    data = np.array(pixels, dtype=np.float32).T
    result, _ = compile_program([expression], BANDS).run(data[None, :, None], np.ones((1, 1, len(pixels)), bool), 1)
    with np.errstate(all="ignore"):
        expected, error = in_float64(expression, dict(zip(BANDS, data.astype(np.float64), strict=True)))
    clear = np.isfinite(error) & (error < 1e-3 * np.abs(expected)) & (np.abs(expected) < 1e30)
    np.testing.assert_array_less(np.abs(result[0, 0, 0] - expected)[clear], (error + 1e-30)[clear] * 4)
