"""Eight float32 lanes as a numba type, so that the kernels say what the vector unit does.

A splat is a few pixels wide. Left to itself the compiler vectorises a loop over such a span only from eight pixels on
and does the rest one by one; here a row of a splat is one or two groups of eight, the lanes outside masked. LLVM turns
the operations into AVX, two SSE or two NEON halves, whichever the machine has.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

COUNT = 8
"""Lanes in a group."""

_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, COUNT)
_MASK = ir.VectorType(ir.IntType(1), COUNT)


class Lanes(types.Type):
    """Eight float32."""

    def __init__(self) -> None:
        super().__init__(name="Float32Lanes")


class Mask(types.Type):
    """Eight booleans."""

    def __init__(self) -> None:
        super().__init__(name="LaneMask")


lanes = Lanes()
mask = Mask()


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Any) -> None:
        super().__init__(manager, fe_type, _VECTOR)


@register_model(Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Any) -> None:
        super().__init__(manager, fe_type, _MASK)


def _spread(builder: Any, scalar: Any) -> Any:
    """One scalar in all lanes."""
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), COUNT), [0] * COUNT)
    return builder.shuffle_vector(first, undefined, zeros)


def _is_operand(kind: Any) -> bool:
    return isinstance(kind, Lanes) or kind == types.float32


def _as_lanes(builder: Any, value: Any, kind: Any) -> Any:
    return value if isinstance(kind, Lanes) else _spread(builder, value)


def _operation(operation: Callable[..., Any], result: types.Type, emit: Callable[[Any, Any, Any], Any]) -> None:
    """Teach numba ``operation`` for lanes with lanes, and for lanes with a float32."""

    @intrinsic
    def emitted(typing_context: Any, left: Any, right: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            values = [_as_lanes(builder, v, k) for v, k in zip(arguments, signature.args, strict=True)]
            return emit(builder, *values)

        return result(left, right), generate

    @overload(operation)
    def typed(left, right):  # type: ignore[no-untyped-def] # numba wants the signature of what it returns
        lane_operands = isinstance(left, Lanes) or isinstance(right, Lanes)
        if lane_operands and _is_operand(left) and _is_operand(right):
            return lambda left, right: emitted(left, right)
        return None


_operation(operator.add, lanes, lambda builder, left, right: builder.fadd(left, right))
_operation(operator.sub, lanes, lambda builder, left, right: builder.fsub(left, right))
_operation(operator.mul, lanes, lambda builder, left, right: builder.fmul(left, right))
_operation(operator.truediv, lanes, lambda builder, left, right: builder.fdiv(left, right))
_operation(operator.lt, mask, lambda builder, left, right: builder.fcmp_ordered("<", left, right))
_operation(operator.ge, mask, lambda builder, left, right: builder.fcmp_ordered(">=", left, right))


@intrinsic
def both(typing_context: Any, left: Any, right: Any) -> Any:
    """Where both masks hold."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.and_(*arguments)

    return mask(left, right), generate


@intrinsic
def choose(typing_context: Any, where: Any, yes: Any, no: Any) -> Any:
    """``yes`` where the mask holds, else ``no``; either may be a float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values = [_as_lanes(builder, v, k) for v, k in zip(arguments[1:], signature.args[1:], strict=True)]
        return builder.select(arguments[0], *values)

    return lanes(where, yes, no), generate


@intrinsic
def spread(typing_context: Any, scalar: Any) -> Any:
    """A float32 in every lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _spread(builder, arguments[0])

    return lanes(scalar), generate


@intrinsic
def steps(typing_context: Any) -> Any:
    """0, 1, 2, ... 7."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(_VECTOR, [float(k) for k in range(COUNT)])

    return lanes(), generate


def _address(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    item = cgutils.gep(builder, array.data, arguments[1])
    return builder.bitcast(item, ir.PointerType(_VECTOR))


@intrinsic
def load(typing_context: Any, array: Any, index: Any) -> Any:
    """Eight neighbours of a flat float32 array from ``index`` on; bounds are the caller's business."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_address(context, builder, signature, arguments), align=4)

    return lanes(array, types.intp), generate


@intrinsic
def store(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
    """Write eight neighbours of a flat float32 array from ``index`` on; bounds are the caller's business."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _address(context, builder, signature, arguments), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@intrinsic
def total(typing_context: Any, value: Any) -> Any:
    """Sum of the lanes, by halves: the same order on every machine."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector, width = arguments[0], COUNT
        while width > 1:
            half = width // 2
            index = ir.VectorType(ir.IntType(32), half)
            low = builder.shuffle_vector(vector, vector, ir.Constant(index, list(range(half))))
            high = builder.shuffle_vector(vector, vector, ir.Constant(index, list(range(half, width))))
            vector, width = builder.fadd(low, high), half
        return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))

    return types.float32(value), generate


ZERO = np.float32(0)
ONE = np.float32(1)
