"""Vectors of bytes in compiled loops: 64 pixels in one instruction or two, whatever the compiler makes of their loops.

A loop that chooses between bytes by comparing bytes is left as it is by the vectoriser once it reads from several
places. These are the four operations that it should have found; LLVM splits them for processors of shorter vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.extending import intrinsic, models, register_model

COUNT = 64
"""Bytes of a vector."""

_Generate = Callable[[Any, Any, Any, Any], Any]
_intrinsic: Callable[[Callable[..., Any]], Callable[..., Any]] = intrinsic


class _Lanes(types.Type):
    """The type of a vector in compiled code."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        super().__init__(name=f"{COUNT} lanes of {bits} bits")


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: _Lanes) -> None:
        super().__init__(manager, lanes, ir.VectorType(ir.IntType(lanes.bits), COUNT))  # type: ignore[no-untyped-call]


_BYTES = _Lanes(8)
_VECTOR = ir.VectorType(ir.IntType(8), COUNT)


@_intrinsic
def load(context: Any, array: Any, at: Any) -> tuple[Any, _Generate]:
    """The 64 bytes of a uint8 array from a place on; nobody checks that they are there."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_address(target, builder, signature, arguments), align=1)

    return _BYTES(array, types.intp), generate


@_intrinsic
def store(context: Any, array: Any, at: Any, values: Any) -> tuple[Any, _Generate]:
    """Puts 64 bytes into a uint8 array from a place on; nobody checks that there is room."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _address(target, builder, signature, arguments), align=1)
        return target.get_dummy_value()

    return types.void(array, types.intp, _BYTES), generate


@_intrinsic
def splat(context: Any, value: Any) -> tuple[Any, _Generate]:
    """A byte, 64 times."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        nothing = ir.Constant(_VECTOR, ir.Undefined)
        first = builder.insert_element(nothing, arguments[0], ir.IntType(32)(0))
        return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(ir.IntType(32), COUNT), [0] * COUNT))

    return _BYTES(types.uint8), generate


@_intrinsic
def choose(context: Any, values: Any, most: Any, above: Any, other: Any) -> tuple[Any, _Generate]:
    """`above` where values exceed `most`, `other` elsewhere."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values, most, above, other = arguments
        return builder.select(builder.icmp_unsigned(">", values, most), above, other)

    return _BYTES(_BYTES, _BYTES, _BYTES, _BYTES), generate


def _address(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array = target.make_array(signature.args[0])(target, builder, arguments[0])
    return builder.bitcast(builder.gep(array.data, [arguments[1]]), _VECTOR.as_pointer())
