"""Arithmetic in TFLite: operators on any number of tensors, powers, sums over axes, activations that it spells out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ...models.graph.view import attribute
from ..graph.composition import WIDE
from .context import Context, Order, Value

if TYPE_CHECKING:
    from onnx import NodeProto

MOST = 20.0  # where softplus(x) is x in single precision, and the square of its exponential still fits


def emit_elementwise(code: str, kind: str = "FLOAT32") -> Callable[[Context, NodeProto], None]:
    """Gives the emitter of an operator that maps tensors value by value and repeats axes of length 1."""

    def emit(context: Context, node: NodeProto) -> None:
        tensors, known = _alike(context, node)
        context.emit(node.output[0], code, tensors, kind=kind, **known)

    return emit


def emit_variadic(code: str) -> Callable[[Context, NodeProto], None]:
    """Gives the emitter of an operator on one tensor or more, which TFLite has for two: Max, Min, Sum."""

    def emit(context: Context, node: NodeProto) -> None:
        name, (tensors, known) = node.output[0], _alike(context, node)
        if len(tensors) == 1:
            context.values[name] = context.lying(node)
            return
        options: dict[str, Any] = {"fusedActivationFunction": 0} if code == "ADD" else {}
        result = tensors[0]
        for place, other in enumerate(tensors[1:], 1):
            if place == len(tensors) - 1:
                context.emit(name, code, [result, other], **known, **options)
                return
            order = known["order"]
            shape = [context.shape(name)[axis] for axis in order]
            result = context.emit(f"{name}/step{place}", code, [result, other], shape, order=order, **options).tensor

    return emit


def _alike(context: Context, node: NodeProto) -> tuple[list[int], dict[str, Any]]:
    """Gives the tensors of all inputs in one axis order, and the layout of the result."""
    rank = len(context.shape(node.output[0]))
    computed = [context.values[one] for one in node.input if one in context.values]
    if not computed or len({value.flattened for value in computed}) != 1:
        raise context.refuse(node, "combines tensors of different layout; reshape them alike before it")
    if any(len(value.shape) != rank for value in computed):
        raise context.refuse(node, "combines tensors of different rank; reshape them alike before it")
    order = computed[0].order
    tensors = [_tensor(context, node, place, order) for place in range(len(node.input))]
    return tensors, {"flattened": computed[0].flattened, "order": order}


def _tensor(context: Context, node: NodeProto, place: int, order: Order) -> int:
    """Gives one input in `order`; a constant of one number as a scalar, as the quantiser takes no vector there."""
    values = context.constants.get(node.input[place])
    if values is not None and values.size == 1:
        return context.writer.constant(f"{node.output[0]}/{place}", values.reshape(()))
    return context.operand(node, place, order)


def emit_power(context: Context, node: NodeProto) -> None:
    """X to a constant power: a product for 2, a root for 0.5 and -0.5, POW for others."""
    value, exponent, name = context.lying(node), context.weights(node, 1), node.output[0]
    power = float(exponent.reshape(-1)[0]) if exponent.size == 1 else None
    if power == 2:
        context.emit(
            name, "MUL", [value.tensor, value.tensor], like=value, non_negative=True, fusedActivationFunction=0
        )
    elif power in (0.5, -0.5):
        context.emit(name, "SQRT" if power == 0.5 else "RSQRT", [value.tensor], like=value, non_negative=True)
    else:
        context.emit(name, "POW", [value.tensor, context.operand(node, 1, value.order)], like=value)


def emit_reciprocal(context: Context, node: NodeProto) -> None:
    """1 / x."""
    value, name = context.lying(node), node.output[0]
    one = context.writer.constant(f"{name}/one", np.array([1.0]))
    context.emit(name, "DIV", [one, value.tensor], like=value, fusedActivationFunction=0)


def emit_softplus(context: Context, node: NodeProto) -> None:
    """log(1 + e^x), as relu(x) + log(1 + e^-|x|), which cannot overflow."""
    value, name = context.lying(node), node.output[0]
    step = _steps(context, value, name)
    shrunk = step("exp", "EXP", step("negative", "NEG", step("size", "ABS", value.tensor)))
    log = step("log", "LOG", _with_number(context, value, name, "more", "ADD", shrunk, 1.0))
    above = step("above", "RELU", value.tensor)
    context.emit(name, "ADD", [above, log], like=value, non_negative=True, fusedActivationFunction=0)


def emit_mish(context: Context, node: NodeProto) -> None:
    """X tanh(softplus(x)), as x n / (n + 2) with n = e^x (e^x + 2)."""
    value, name = context.lying(node), node.output[0]
    step = _steps(context, value, name)
    bounded = _with_number(context, value, name, "bounded", "MINIMUM", value.tensor, MOST)
    power = step("exp", "EXP", bounded)
    more = _with_number(context, value, name, "more", "ADD", power, 2.0)
    product = step("product", "MUL", power, more)
    below = _with_number(context, value, name, "below", "ADD", product, 2.0)
    share = step("share", "DIV", product, below)
    context.emit(name, "MUL", [value.tensor, share], like=value, fusedActivationFunction=0)


def emit_reduction(code: str, squares: bool = False, root: bool = False) -> Callable[[Context, NodeProto], None]:
    """Gives the emitter of a reduction over some axes, of the squares, and with a root of the result where asked."""

    def emit(context: Context, node: NodeProto) -> None:
        value, rank, name = context.lying(node), len(context.shape(node.input[0])), node.output[0]
        axes = attribute(node, "axes", None)  # an attribute before opset 13 or 18
        axes = context.constant(node, 1) if axes is None else axes
        over = set(range(rank)) if axes is None else {int(axis) % rank for axis in axes}
        if value.flattened and over != {0, 1}:
            raise context.refuse(node, "reduces a flattened image along one axis; name it before it is flattened")
        tensor = value.tensor
        if squares:
            tensor = _steps(context, value, name)("squares", "MUL", tensor, tensor)
        keep = bool(attribute(node, "keepdims", 1))
        left = [axis for axis in value.order if keep or axis not in over]
        order = tuple(sorted(left).index(axis) for axis in left)
        places = context.writer.constant(f"{name}/axes", np.array(sorted(value.order.index(axis) for axis in over)))
        positive = value.non_negative or squares
        if not root:
            context.emit(name, code, [tensor, places], non_negative=positive, order=order, keepDims=keep)
            return
        shape = [context.shape(name)[axis] for axis in order]
        total = context.emit(f"{name}/total", code, [tensor, places], shape, order=order, keepDims=keep)
        context.emit(name, "SQRT", [total.tensor], like=total, non_negative=True)

    return emit


def _steps(context: Context, value: Value, name: str) -> Callable[..., int]:
    """Gives what appends an operator on tensors like `value` and gives its result."""

    def step(label: str, code: str, *tensors: int) -> int:
        options: dict[str, Any] = {"fusedActivationFunction": 0} if code in ("ADD", "MUL", "DIV", "SUB") else {}
        return context.emit(f"{name}/{WIDE}/{label}", code, tensors, like=value, **options).tensor

    return step


def _with_number(context: Context, value: Value, name: str, label: str, code: str, tensor: int, number: float) -> int:
    constant = context.writer.constant(f"{name}/{label}/by", np.array(number))
    return _steps(context, value, name)(label, code, tensor, constant)
