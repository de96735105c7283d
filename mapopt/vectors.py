"""Vectors of eight numbers for compiled loops, which numba keeps in the registers of the processor.

numba turns a loop over an array into vector instructions where it can prove that nothing overlaps and that enough
turns are left; inside short loops it mostly cannot. These vectors say it outright: what is loaded stays in a register
until it is stored, so that a loop may add up a dozen vectors side by side, as a matrix product must to be fast. Every
processor computes them, with whatever registers it has. Imported by modules of compiled functions alone, because it
imports numba.

>>> import numba, numpy as np
>>> @numba.njit
... def scale(numbers, factor):
...     store(numbers, 0, load(numbers, 0) * fill(factor))
>>> numbers = np.arange(8, dtype=np.float32)
>>> scale(numbers, np.float32(2))
>>> numbers.tolist()
[0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0]
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic as _intrinsic
from numba.extending import lower_builtin, models, register_model

WIDTH = 8
"""Numbers in a vector."""

_INDEX = ir.IntType(32)

intrinsic: Any = _intrinsic
"""Declared as anything: what it decorates is called without the first argument, which type checkers miss."""


class Vector(types.Type):  # type: ignore[misc]
    """The type of a vector of float32 or float64 numbers."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"Vector({dtype})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, ir.VectorType(manager.lookup(vector.dtype).get_value_type(), WIDTH))


@intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """``load(array, index)``: the vector that begins at an index of a contiguous array ``[n]``; nothing is checked."""
    vector = Vector(array.dtype)

    def generate(context: Any, builder: Any, call: Any, values: Any) -> Any:
        place = _place(context, builder, call, values)
        return builder.load(place, align=array.dtype.bitwidth // 8)

    return vector(array, index), generate


@intrinsic
def store(typing: Any, array: Any, index: Any, vector: Any) -> Any:
    """``store(array, index, vector)``: overwrites what begins at an index of a contiguous array ``[n]``."""

    def generate(context: Any, builder: Any, call: Any, values: Any) -> Any:
        builder.store(values[2], _place(context, builder, call, values), align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, index, vector), generate


@intrinsic
def fill(typing: Any, number: Any) -> Any:
    """``fill(number)``: a vector of a number."""

    def generate(context: Any, builder: Any, call: Any, values: Any) -> Any:
        return _splat(builder, values[0], context.get_value_type(call.return_type))

    return Vector(number)(number), generate


@intrinsic
def multiply_add(typing: Any, factor: Any, vector: Any, start: Any) -> Any:
    """``multiply_add(factor, vector, start)``: ``factor * vector + start``, rounded once where the processor can.

    The factor is a vector or a number.
    """

    def generate(context: Any, builder: Any, call: Any, values: Any) -> Any:
        kind = context.get_value_type(start)
        first = values[0] if isinstance(factor, Vector) else _splat(builder, values[0], kind)
        name = f"llvm.fmuladd.v{WIDTH}f{start.dtype.bitwidth}"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)
        return builder.call(function, [first, values[1], values[2]])

    return start(factor, vector, start), generate


@intrinsic
def root(typing: Any, vector: Any) -> Any:
    """``root(vector)``: square roots."""

    def generate(context: Any, builder: Any, call: Any, values: Any) -> Any:
        kind = context.get_value_type(vector)
        name = f"llvm.sqrt.v{WIDTH}f{vector.dtype.bitwidth}"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind]), name)
        return builder.call(function, values)

    return vector(vector), generate


@intrinsic
def where_positive(typing: Any, condition: Any, vector: Any) -> Any:
    """``where_positive(condition, vector)``: the vector's numbers where the condition is not 0 or less, else 0.

    A condition that is not a number lets through what stands there, as a rectifier does.
    """

    def generate(context: Any, builder: Any, call: Any, values: Any) -> Any:
        zero = ir.Constant(context.get_value_type(vector), None)
        return builder.select(builder.fcmp_unordered(">", values[0], zero), values[1], zero)

    return vector(condition, vector), generate


@intrinsic
def total(typing: Any, vector: Any) -> Any:
    """``total(vector)``: the sum of its numbers, halves first."""

    def generate(context: Any, builder: Any, call: Any, values: Any) -> Any:
        (rest,), width = values, WIDTH
        while width > 1:
            width //= 2
            low, high = (
                builder.shuffle_vector(rest, rest, _choice(range(first, first + width))) for first in (0, width)
            )
            rest = builder.fadd(low, high)
        return builder.extract_element(rest, _INDEX(0))

    return vector.dtype(vector), generate


@intrinsic
def totals(typing: Any, first: Any, second: Any, third: Any, fourth: Any) -> Any:
    """``totals(a, b, c, d)``: the `total` of each, with the same bits; four at once take less than half the time."""

    def generate(context: Any, builder: Any, call: Any, values: Any) -> Any:
        def folded(left: Any, right: Any, width: int) -> Any:
            """Adds the second halves of every `width` numbers to the first, of two vectors side by side."""
            starts = range(0, 2 * WIDTH, width)
            return builder.fadd(
                *(
                    builder.shuffle_vector(
                        left, right, _choice([start + half + place for start in starts for place in range(width // 2)])
                    )
                    for half in (0, width // 2)
                )
            )

        pairs = folded(values[0], values[1], 8), folded(values[2], values[3], 8)
        quarters = folded(*pairs, 4)
        low, high = (builder.shuffle_vector(quarters, quarters, _choice(range(odd, WIDTH, 2))) for odd in (0, 1))
        sums = builder.fadd(low, high)
        return context.make_tuple(
            builder, call.return_type, [builder.extract_element(sums, _INDEX(place)) for place in range(4)]
        )

    return types.UniTuple(first.dtype, 4)(first, second, third, fourth), generate


@intrinsic
def low_pairs(typing: Any, first: Any, second: Any) -> Any:
    """``low_pairs(first, second)``: the first halves of two vectors, in turn."""
    return first(first, second), _shuffle([place + take for place in range(4) for take in (0, WIDTH)])


@intrinsic
def high_pairs(typing: Any, first: Any, second: Any) -> Any:
    """``high_pairs(first, second)``: the second halves of two vectors, in turn."""
    return first(first, second), _shuffle([place + take for place in range(4, 8) for take in (0, WIDTH)])


def _shuffle(order: list[int]) -> Callable[..., Any]:
    def generate(context: Any, builder: Any, call: Any, values: Any) -> Any:
        return builder.shuffle_vector(*values, _choice(order))

    return generate


def _operate(operation: Any, instruction: str) -> None:
    """Teaches numba an operation on two vectors."""

    class Template(AbstractTemplate):  # type: ignore[misc]
        def generic(self, arguments: Any, keywords: Any) -> Any:
            if len(arguments) == 2 and isinstance(arguments[0], Vector) and arguments[0] == arguments[1]:
                return signature(arguments[0], *arguments)
            return None

    def generate(context: Any, builder: Any, call: Any, values: Any) -> Any:
        return getattr(builder, instruction)(*values)

    infer_global(operation)(Template)
    lower_builtin(operation, Vector, Vector)(generate)


for _operation, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _operate(_operation, _instruction)


def _place(context: Any, builder: Any, call: Any, values: Any) -> Any:
    """Returns the address of a vector in an array, the first two arguments of a call."""
    array = context.make_array(call.args[0])(context, builder, values[0])
    vector = ir.VectorType(context.get_value_type(call.args[0].dtype), WIDTH)
    return builder.bitcast(builder.gep(array.data, [values[1]]), ir.PointerType(vector))


def _splat(builder: Any, number: Any, kind: Any) -> Any:
    single = builder.insert_element(ir.Constant(kind, ir.Undefined), number, _INDEX(0))
    return builder.shuffle_vector(single, single, _choice([0] * WIDTH))


def _choice(places: Any) -> Any:
    return ir.Constant(ir.VectorType(_INDEX, len(list(places))), list(places))
