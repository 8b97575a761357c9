"""The operations that a step may have, each as values of the vector machine.

A function takes the lowering and an operation, and returns its result in columns, or raises `Unreadable`: the
operation then has no kernel.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch

from ohlol.cells.step_lowering import FLOATS, SLICES, Lowering, Operand, Unreadable, argument_of, ends_of
from ohlol.cells.step_trace import BATCH, Operation, Shape
from ohlol.cells.step_values import UNARY, Builder, Value

LOWERED: dict[str, Callable[[Lowering, Operation], Any]] = {}
"""What turns an operation into values, by its name."""


def _lowers(*names: str) -> Callable[[Callable[[Lowering, Operation], Any]], Callable[[Lowering, Operation], Any]]:
    def register(lower: Callable[[Lowering, Operation], Any]) -> Callable[[Lowering, Operation], Any]:
        LOWERED.update({f"aten::{name}": lower for name in names})
        return lower

    return register


def _check_feature_axis(lowering: Lowering, operation: Operation, value: int, name: str = "dim") -> None:
    """The operation is along the features of a tensor (B, W)."""
    dim = argument_of(operation, name)
    dims = [dim] if isinstance(dim, int) else dim
    rank = len(lowering.trace.shapes[value])
    if rank != 2 or not dims or len(dims) != 1 or dims[0] % rank != 1:
        raise Unreadable("it is not along the features")


@_lowers("mm")
def _lower_mm(lowering: Lowering, operation: Operation) -> Operand:
    a, matrix = operation.args
    (result,) = operation.results
    assert result is not None
    return lowering.matmul(lowering.operand(a), matrix, result)


@_lowers("addmm")
def _lower_addmm(lowering: Lowering, operation: Operation) -> Operand:
    bias, a, matrix = operation.args
    (result,) = operation.results
    assert result is not None
    build = lowering.builder
    beta, alpha = (build.constant(argument_of(operation, name, 1)) for name in ("beta", "alpha"))
    product = lowering.matmul(lowering.operand(a), matrix, result)
    added = lowering.operand(bias)
    pieces: list[Value] = []
    for piece, (first, last) in zip(product.pieces, pairwise(ends_of(product.widths)), strict=True):
        term = lowering.columns(added, first, last, product.width)
        pieces.append(build.add(build.mul(piece, alpha), build.mul(term, beta)))
    return Operand(tuple(pieces), product.widths)


@_lowers("add", "sub", "rsub")
def _lower_add(lowering: Lowering, operation: Operation) -> Operand:
    build = lowering.builder
    alpha = build.constant(argument_of(operation, "alpha", 1))
    a, b = operation.args[:2]
    if operation.name == "aten::rsub":
        return lowering.pointwise(operation, (a, b), lambda a, b: build.sub(b, build.mul(a, alpha)))
    combine = build.add if operation.name == "aten::add" else build.sub
    return lowering.pointwise(operation, (a, b), lambda a, b: combine(a, build.mul(b, alpha)))


@_lowers("mul")
def _lower_mul(lowering: Lowering, operation: Operation) -> Operand:
    return lowering.pointwise(operation, operation.args[:2], lowering.builder.mul)


@_lowers("div")
def _lower_div(lowering: Lowering, operation: Operation) -> Operand:
    if argument_of(operation, "rounding_mode") is not None:
        raise Unreadable("it rounds")
    build = lowering.builder
    if isinstance(operation.args[1], (int, float)):
        factor = build.constant(1.0 / operation.args[1]) if operation.args[1] else build.constant(float("inf"))
        if operation.args[1] and _is_power_of_two(float(operation.args[1])):
            return lowering.pointwise(operation, operation.args[:1], lambda a: build.mul(a, factor))
    return lowering.pointwise(operation, operation.args[:2], build.div)


def _is_power_of_two(number: float) -> bool:
    return math.frexp(abs(number))[0] == 0.5


@_lowers("maximum", "minimum", "gt", "ge", "eq", "ne")
def _lower_binary(lowering: Lowering, operation: Operation) -> Operand:
    op = operation.name.removeprefix("aten::")
    return lowering.pointwise(operation, operation.args[:2], lambda a, b: lowering.builder.make(op, (a, b)))


@_lowers("lt", "le")
def _lower_reversed(lowering: Lowering, operation: Operation) -> Operand:
    op = {"aten::lt": "gt", "aten::le": "ge"}[operation.name]
    return lowering.pointwise(operation, operation.args[:2], lambda a, b: lowering.builder.make(op, (b, a)))


@_lowers(*(name for name in UNARY if name not in ("copy", "square")), "square")
def _lower_unary(lowering: Lowering, operation: Operation) -> Operand:
    op = operation.name.removeprefix("aten::")
    return lowering.pointwise(operation, operation.args[:1], lambda a: lowering.builder.unary(op, a))


@_lowers("pow")
def _lower_pow(lowering: Lowering, operation: Operation) -> Operand:
    exponent = operation.args[1]
    if not isinstance(exponent, (int, float)):
        raise Unreadable("its exponent is not a number")
    return lowering.pointwise(operation, operation.args[:1], lambda a: lowering.builder.pow(a, float(exponent)))


@_lowers("where")
def _lower_where(lowering: Lowering, operation: Operation) -> Operand:
    return lowering.pointwise(operation, operation.args[:3], lowering.builder.where)


@_lowers("masked_fill")
def _lower_masked_fill(lowering: Lowering, operation: Operation) -> Operand:
    build = lowering.builder
    return lowering.pointwise(operation, operation.args[:3], lambda a, mask, b: build.where(mask, b, a))


@_lowers("logical_not", "bitwise_not")
def _lower_not(lowering: Lowering, operation: Operation) -> Operand:
    build = lowering.builder
    return lowering.pointwise(operation, operation.args[:1], lambda a: build.make("eq", (a, build.constant(0.0))))


@_lowers("logical_and", "bitwise_and")
def _lower_and(lowering: Lowering, operation: Operation) -> Operand:
    return lowering.pointwise(operation, operation.args[:2], lowering.builder.mul)


@_lowers("logical_or", "bitwise_or")
def _lower_or(lowering: Lowering, operation: Operation) -> Operand:
    build = lowering.builder
    return lowering.pointwise(operation, operation.args[:2], lambda a, b: build.make("maximum", (a, b)))


@_lowers("clamp", "clamp_min", "clamp_max", "hardtanh")
def _lower_clamp(lowering: Lowering, operation: Operation) -> Operand:
    low = argument_of(operation, {"aten::hardtanh": "min_val"}.get(operation.name, "min"))
    high = argument_of(operation, {"aten::hardtanh": "max_val"}.get(operation.name, "max"))
    strict = operation.name == "aten::hardtanh"
    if not all(limit is None or isinstance(limit, (int, float)) for limit in (low, high)):
        raise Unreadable("its limits are not numbers")

    def combine(a: Value) -> Value:
        return _clamped(lowering.builder, a, low, high, strict=strict)

    return lowering.pointwise(operation, operation.args[:1], combine)


def _clamped(
    build: Builder, a: Value, low: int | float | None, high: int | float | None, strict: bool = False
) -> Value:
    """`a` within limits; the gradient is 1 within them, and at them unless `strict`, as torch has it."""
    op = "ge" if strict else "gt"
    result = a
    if low is not None:
        limit = build.constant(low)
        result = build.where(build.make(op, (limit, result)), limit, result)
    if high is not None:
        limit = build.constant(high)
        result = build.where(build.make(op, (result, limit)), limit, result)
    return result


_FLOAT32_SIXTH = float(torch.tensor(1 / 6, dtype=torch.float32))


@_lowers("hardsigmoid", "hardswish")
def _lower_hard(lowering: Lowering, operation: Operation) -> Operand:
    build = lowering.builder
    is_double = lowering.trace.dtypes[operation.args[0].value] is torch.float64

    def combine(a: Value) -> Value:
        gate = build.div(build.add(a, build.constant(3.0)), build.constant(6.0))
        if operation.name == "aten::hardsigmoid" and is_double:
            # Torch's derivative is 1/6 rounded to float32 in float64, too.
            slope = build.mul(a, build.constant(_FLOAT32_SIXTH))
            stopped = build.unary("copy", slope)
            gate = build.add(build.unary("copy", gate), build.sub(slope, stopped))
        below, above = (build.make("ge", pair) for pair in ((build.constant(-3.0), a), (a, build.constant(3.0))))
        if operation.name == "aten::hardsigmoid":
            return build.where(below, build.constant(0.0), build.where(above, build.constant(1.0), gate))
        return build.where(below, build.constant(0.0), build.where(above, a, build.mul(a, gate)))

    return lowering.pointwise(operation, operation.args[:1], combine)


@_lowers("silu")
def _lower_silu(lowering: Lowering, operation: Operation) -> Operand:
    build = lowering.builder
    return lowering.pointwise(operation, operation.args[:1], lambda a: build.mul(a, build.unary("sigmoid", a)))


@_lowers("softplus")
def _lower_softplus(lowering: Lowering, operation: Operation) -> Operand:
    beta, threshold = float(argument_of(operation, "beta")), float(argument_of(operation, "threshold"))
    return lowering.pointwise(operation, operation.args[:1], lambda a: _softplus(lowering.builder, a, beta, threshold))


def _softplus(build: Builder, a: Value, beta: float = 1.0, threshold: float = 20.0) -> Value:
    scaled = build.mul(a, build.constant(beta))
    is_large = build.make("gt", (scaled, build.constant(threshold)))
    small = build.where(is_large, build.constant(0.0), scaled)  # exp of a large number has no finite gradient
    curved = build.mul(build.unary("log1p", build.unary("exp", small)), build.constant(1 / beta))
    return build.where(is_large, a, curved)


@_lowers("mish")
def _lower_mish(lowering: Lowering, operation: Operation) -> Operand:
    build = lowering.builder
    return lowering.pointwise(
        operation, operation.args[:1], lambda a: build.mul(a, build.unary("tanh", _softplus(build, a)))
    )


@_lowers("log_sigmoid_forward")
def _lower_log_sigmoid(lowering: Lowering, operation: Operation) -> tuple[Operand, ...]:
    build = lowering.builder

    def combine(a: Value) -> Value:
        tail = build.unary("log1p", build.unary("exp", build.unary("neg", build.unary("abs", a))))
        is_negative = build.make("gt", (build.constant(0.0), a))
        return build.sub(build.where(is_negative, a, build.constant(0.0)), tail)

    operand = lowering.operand(operation.args[0])
    return (Operand(tuple(map(combine, operand.pieces)), operand.widths),)


@_lowers("glu")
def _lower_glu(lowering: Lowering, operation: Operation) -> Operand:
    build = lowering.builder
    _check_feature_axis(lowering, operation, operation.args[0].value)
    operand = lowering.operand(operation.args[0])
    (result,) = operation.results
    assert result is not None
    half = operand.width // 2
    columns = list(pairwise(lowering.edges(result, half)))
    pieces: list[Value] = []
    for a, b in columns:
        first, second = (lowering.columns(operand, at + a, at + b, 2 * half) for at in (0, half))
        pieces.append(build.mul(first, build.unary("sigmoid", second)))
    return Operand(tuple(pieces), tuple(b - a for a, b in columns))


@_lowers("elu", "selu", "celu")
def _lower_elu(lowering: Lowering, operation: Operation) -> Operand:
    build = lowering.builder
    alpha = float(argument_of(operation, "alpha", 1.6732632423543772))
    scale = float(argument_of(operation, "scale", 1.0507009873554805 if operation.name == "aten::selu" else 1.0))
    input_scale = float(argument_of(operation, "input_scale", 1 / alpha if operation.name == "aten::celu" else 1.0))

    def combine(a: Value) -> Value:
        is_positive = build.make("gt", (a, build.constant(0.0)))
        negative = build.where(is_positive, build.constant(0.0), a)
        curved = build.unary("expm1", build.mul(negative, build.constant(input_scale)))
        return build.where(
            is_positive, build.mul(a, build.constant(scale)), build.mul(curved, build.constant(alpha * scale))
        )

    return lowering.pointwise(operation, operation.args[:1], combine)


@_lowers("leaky_relu")
def _lower_leaky_relu(lowering: Lowering, operation: Operation) -> Operand:
    build = lowering.builder
    slope = build.constant(float(argument_of(operation, "negative_slope")))
    return lowering.pointwise(
        operation,
        operation.args[:1],
        lambda a: build.where(build.make("gt", (a, build.constant(0.0))), a, build.mul(a, slope)),
    )


@_lowers("gelu")
def _lower_gelu(lowering: Lowering, operation: Operation) -> Operand:
    build = lowering.builder
    approximate = argument_of(operation, "approximate")

    def combine(a: Value) -> Value:
        half = build.mul(a, build.constant(0.5))
        if approximate == "tanh":
            inner = build.add(a, build.mul(build.pow(a, 3.0), build.constant(0.044715)))
            curve = build.unary("tanh", build.mul(inner, build.constant(0.7978845608028654)))
        else:
            curve = build.unary("erf", build.mul(a, build.constant(0.7071067811865476)))
        return build.mul(half, build.add(curve, build.constant(1.0)))

    return lowering.pointwise(operation, operation.args[:1], combine)


@_lowers("lerp")
def _lower_lerp(lowering: Lowering, operation: Operation) -> Operand:
    build = lowering.builder
    return lowering.pointwise(
        operation, operation.args[:3], lambda a, b, weight: build.add(a, build.mul(weight, build.sub(b, a)))
    )


@_lowers("addcmul", "addcdiv")
def _lower_addcmul(lowering: Lowering, operation: Operation) -> Operand:
    build = lowering.builder
    combine = build.mul if operation.name == "aten::addcmul" else build.div
    scale = build.constant(argument_of(operation, "value", 1))
    return lowering.pointwise(
        operation, operation.args[:3], lambda a, b, c: build.add(a, build.mul(combine(b, c), scale))
    )


@_lowers("detach")
def _lower_detach(lowering: Lowering, operation: Operation) -> Operand:
    return lowering.pointwise(operation, operation.args[:1], lambda a: lowering.builder.unary("copy", a))


@_lowers("alias", "clone", "_to_copy")
def _lower_same(lowering: Lowering, operation: Operation) -> Operand:
    dtypes = lowering.trace.dtypes
    (result,) = operation.results
    assert result is not None
    if dtypes[result] is not dtypes[operation.args[0].value] and dtypes[operation.args[0].value] is not torch.bool:
        raise Unreadable("it changes the dtype")
    return lowering.operand(operation.args[0])


@_lowers("zeros", "ones", "full", "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full")
def _lower_filled(lowering: Lowering, operation: Operation) -> Operand:
    (result,) = operation.results
    assert result is not None
    number = 1.0 if "ones" in operation.name else argument_of(operation, "fill_value", 0.0)
    shape = lowering.trace.shapes[result]
    if not isinstance(number, (int, float)) or lowering.trace.dtypes[result] not in FLOATS or len(shape) != 2:
        raise Unreadable("it is not (B, W) of floats")
    columns = list(pairwise(lowering.edges(result, shape[1])))
    return Operand((lowering.builder.constant(number),) * len(columns), tuple(b - a for a, b in columns))


@_lowers("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "slice")
def _lower_slices(lowering: Lowering, operation: Operation) -> tuple[Operand, ...]:
    source = operation.args[0]
    _check_feature_axis(lowering, operation, source.value)
    if operation.name == "aten::slice" and argument_of(operation, "step") != 1:
        raise Unreadable("its step is not 1")
    operand = lowering.operand(source)
    results: list[Operand] = []
    for value, start in zip(operation.results, SLICES[operation.name](operation, operand.width), strict=True):
        assert value is not None
        width = lowering.trace.shapes[value][1]
        columns = list(pairwise(sorted({start, start + width, *(start + c for c in lowering.cuts.get(value, ()))})))
        pieces = tuple(lowering.columns(operand, a, b, operand.width) for a, b in columns)
        results.append(Operand(pieces, tuple(b - a for a, b in columns)))
    return tuple(results)


@_lowers("cat")
def _lower_cat(lowering: Lowering, operation: Operation) -> Operand:
    for ref in operation.args[0]:
        _check_feature_axis(lowering, operation, ref.value)
    parts = [lowering.operand(ref) for ref in operation.args[0]]
    return Operand(sum((p.pieces for p in parts), ()), sum((p.widths for p in parts), ()))


@_lowers("expand")
def _lower_expand(lowering: Lowering, operation: Operation) -> Operand:
    operand = lowering.operand(operation.args[0])
    (result,) = operation.results
    assert result is not None
    shape = lowering.trace.shapes[result]
    if len(shape) != 2 or len(lowering.trace.shapes[operation.args[0].value]) != 2:
        raise Unreadable("it adds an axis")
    if operand.width == shape[1]:
        return operand
    columns = list(pairwise(lowering.edges(result, shape[1])))
    return Operand(operand.pieces * len(columns), tuple(b - a for a, b in columns))


@_lowers("unsqueeze", "squeeze", "view", "_unsafe_view", "reshape")
def _lower_view(lowering: Lowering, operation: Operation) -> Operand:
    """(B,) to (B, 1) and back, or the same shape."""
    (result,) = operation.results
    assert result is not None
    before, after = lowering.trace.shapes[operation.args[0].value], lowering.trace.shapes[result]
    if before != after and {before, after} != {Shape((BATCH,)), Shape((BATCH, 1))}:
        raise Unreadable("it changes the shape")
    return lowering.operand(operation.args[0])


@_lowers("sum", "mean")
def _lower_sum(lowering: Lowering, operation: Operation) -> Operand:
    source = operation.args[0]
    _check_feature_axis(lowering, operation, source.value)
    operand = lowering.operand(source)
    total = lowering.reduced(operand, "sum")
    if operation.name == "aten::sum":
        return total
    mean = lowering.builder.mul(total.pieces[0], lowering.builder.constant(1 / operand.width))
    return Operand((mean,), (1,))


@_lowers("linalg_vector_norm")
def _lower_norm(lowering: Lowering, operation: Operation) -> Operand:
    build = lowering.builder
    _check_feature_axis(lowering, operation, operation.args[0].value)
    if float(argument_of(operation, "ord")) != 2.0 or argument_of(operation, "dtype") is not None:
        raise Unreadable("it is not the Euclidean norm")
    operand = lowering.operand(operation.args[0])
    squares = Operand(tuple(build.unary("square", piece) for piece in operand.pieces), operand.widths)
    return Operand((build.unary("sqrt", lowering.reduced(squares, "sum").pieces[0]),), (1,))


@_lowers("amax")
def _lower_amax(lowering: Lowering, operation: Operation) -> Operand:
    _check_feature_axis(lowering, operation, operation.args[0].value)
    return lowering.reduced(lowering.operand(operation.args[0]), "amax")


@_lowers("_softmax", "_log_softmax")
def _lower_softmax(lowering: Lowering, operation: Operation) -> Operand:
    build = lowering.builder
    _check_feature_axis(lowering, operation, operation.args[0].value)
    operand = lowering.operand(operation.args[0])
    # The result does not depend on what is subtracted, and neither does its gradient.
    largest = build.unary("copy", lowering.reduced(operand, "amax").pieces[0])
    shifted = Operand(tuple(build.sub(piece, largest) for piece in operand.pieces), operand.widths)
    powers = Operand(tuple(build.unary("exp", piece) for piece in shifted.pieces), operand.widths)
    total = lowering.reduced(powers, "sum").pieces[0]
    if operation.name == "aten::_softmax":
        return Operand(tuple(build.div(piece, total) for piece in powers.pieces), operand.widths)
    logarithm = build.unary("log", total)
    return Operand(tuple(build.sub(piece, logarithm) for piece in shifted.pieces), operand.widths)


@_lowers("native_layer_norm")
def _lower_layer_norm(lowering: Lowering, operation: Operation) -> tuple[Operand, ...]:
    build = lowering.builder
    source, normalized, weight, bias, eps = operation.args
    if len(normalized) != 1 or len(lowering.trace.shapes[source.value]) != 2:
        raise Unreadable("it is not along the features")
    operand = lowering.operand(source)
    share = build.constant(1 / operand.width)
    mean = build.mul(lowering.reduced(operand, "sum").pieces[0], share)
    centred = Operand(tuple(build.sub(piece, mean) for piece in operand.pieces), operand.widths)
    squares = Operand(tuple(build.unary("square", piece) for piece in centred.pieces), operand.widths)
    variance = build.mul(lowering.reduced(squares, "sum").pieces[0], share)
    scale = build.unary("rsqrt", build.add(variance, build.constant(eps)))
    pieces: list[Value] = []
    for piece, (a, b) in zip(centred.pieces, pairwise(ends_of(operand.widths)), strict=True):
        result = build.mul(piece, scale)
        if weight is not None:
            result = build.mul(result, lowering.columns(lowering.operand(weight), a, b, operand.width))
        if bias is not None:
            result = build.add(result, lowering.columns(lowering.operand(bias), a, b, operand.width))
        pieces.append(result)
    return (Operand(tuple(pieces), operand.widths),)
