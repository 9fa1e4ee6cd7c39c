"""One emitter for each ONNX operator of face embedders; what is not in `OPERATORS` cannot be converted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ...models.graph.view import attribute
from .arithmetic import (
    emit_elu,
    emit_mish,
    emit_power,
    emit_reciprocal,
    emit_reduction,
    emit_resize,
    emit_softplus,
    emit_variadic,
)
from .context import AXIS_TO_LAST, FUSED, TO_LAST, Context, bounds_of, reordered
from .convolutions import emit_batch_norm, emit_conv, emit_matrix_product
from .flatbuffer import ACTIVATIONS
from .layouts import emit_gather, emit_layer_norm, emit_mean, emit_reshape, emit_softmax, emit_transpose, with_last
from .patterns import emit_erf, emit_gelu, emit_slice, emit_split, fuse_gelu
from .pooling import emit_average_pool, emit_global_average, emit_max_pool, emit_pad

if TYPE_CHECKING:
    from onnx import NodeProto

Emitter = Callable[[Context, "NodeProto"], None]


def _unary(code: str, non_negative: bool = False) -> Emitter:
    """Gives the emitter of an operator that maps each value by itself."""

    def emit(context: Context, node: NodeProto) -> None:
        value = context.lying(node)
        context.emit(node.output[0], code, [value.tensor], like=value, non_negative=non_negative)

    return emit


def _binary(code: str) -> Emitter:
    """Gives the emitter of an elementwise operator on two tensors, or on one and a constant."""

    def emit(context: Context, node: NodeProto) -> None:
        if code in ("DIV", "MUL") and fuse_gelu(context, node):
            return
        computed = [context.values[name] for name in node.input if name in context.values]
        rank = len(context.shape(node.output[0]))
        layouts = {value.flattened for value in computed}
        if len(layouts) != 1 or any(len(value.shape) != rank for value in computed):
            raise context.refuse(node, "combines tensors of different rank or layout; reshape them alike before it")
        order = computed[0].order
        tensors = [context.operand(node, place, order) for place in (0, 1)]
        activation, output = context.fuse_activation(node.output[0])
        non_negative = activation in ("RELU", "RELU6") or (
            code in ("ADD", "MUL") and len(computed) == 2 and all(value.non_negative for value in computed)
        )
        context.emit(
            output,
            code,
            tensors,
            flattened=layouts.pop(),
            non_negative=non_negative,
            order=order,
            fusedActivationFunction=ACTIVATIONS[activation],
        )

    return emit


def emit_clip(context: Context, node: NodeProto) -> None:
    """Relu or Clip that nothing before it could take in."""
    value, (low, high), name = context.lying(node), bounds_of(context, node), node.output[0]
    if (low, high) in FUSED:
        context.emit(name, FUSED[low, high], [value.tensor], like=value, non_negative=low >= 0)
        return
    bounds = [(code, bound) for code, bound in (("MAXIMUM", low), ("MINIMUM", high)) if np.isfinite(bound)]
    for code, bound in bounds:
        step = name if code == bounds[-1][0] else f"{name}/step"
        limit = context.writer.constant(f"{name}/{code.lower()}", np.array(bound))  # a vector could not be quantised
        value = context.emit(step, code, [value.tensor, limit], like=value, non_negative=low >= 0)
    context.values[name] = value


def emit_prelu(context: Context, node: NodeProto) -> None:
    """A slope per channel; one slope for all channels is a leaky ReLU, which has an int8 kernel."""
    value, slope = context.value(node), context.weights(node, 1)
    if slope.size == 1:
        alpha = float(slope.reshape(()))
        context.emit(node.output[0], "LEAKY_RELU", [value.tensor], like=value, alpha=alpha)
        return
    if len(value.shape) == 4:
        if slope.shape == (value.shape[3],) and value.shape[2] != value.shape[3]:
            slope = slope.reshape(-1, 1, 1)  # (C,) as older exporters write it; broadcasting would put it on W
        slope = slope.reshape((1,) * (4 - slope.ndim) + slope.shape).transpose(TO_LAST)[0]
    else:
        slope = slope.reshape(-1)
        slope = reordered(slope, value.flattened) if value.flattened else slope
    slopes = context.writer.constant(f"{node.output[0]}/slopes", slope)
    context.emit(node.output[0], "PRELU", [value.tensor, slopes], like=value)


def emit_leaky_relu(context: Context, node: NodeProto) -> None:
    """One slope for all."""
    value, alpha = context.lying(node), attribute(node, "alpha", 0.01)
    context.emit(node.output[0], "LEAKY_RELU", [value.tensor], like=value, alpha=alpha)


def emit_hard_sigmoid(context: Context, node: NodeProto) -> None:
    """Clips alpha x + beta to 0..1, as relu6(6 alpha x + 6 beta) / 6: TFLite clips to 6 for nothing."""
    value, name = context.lying(node), node.output[0]
    slope, offset = 6 * attribute(node, "alpha", 0.2), 6 * attribute(node, "beta", 0.5)
    steps: list[tuple[str, float, str]] = [("ADD", offset, "RELU6"), ("MUL", 1 / 6, "NONE")]
    if not np.isclose(slope, 1, rtol=1e-6):  # PyTorch's own slope of 1/6 needs no product
        steps.insert(0, ("MUL", slope, "NONE"))
    for number, (code, by, activation) in enumerate(steps, 1):
        step = name if number == len(steps) else f"{name}/step{number}"
        factor = context.writer.constant(f"{step}/by", np.array([by]))
        options: dict[str, Any] = {"fusedActivationFunction": ACTIVATIONS[activation]}
        value = context.emit(step, code, [value.tensor, factor], like=value, non_negative=True, **options)


def emit_concat(context: Context, node: NodeProto) -> None:
    """Joins tensors along an axis; some may be constants, such as a class token."""
    values = [context.part(node, place) for place in range(len(node.input))]
    rank = len(values[0].shape)
    if any(value.flattened for value in values):
        raise context.refuse(node, "joins flattened images; join them before they are flattened")
    axis = attribute(node, "axis") % rank
    context.emit(
        node.output[0],
        "CONCATENATION",
        [value.tensor for value in values],
        non_negative=all(value.non_negative for value in values),
        axis=AXIS_TO_LAST[axis] if rank == 4 else axis,
    )


def emit_l2_norm(context: Context, node: NodeProto) -> None:
    """LpNormalization."""
    axis = attribute(node, "axis", -1)
    if attribute(node, "p", 2) != 2:
        raise context.refuse(node, "has another order than 2; only that is supported")
    value = with_last(context, node, axis)
    context.emit(node.output[0], "L2_NORMALIZATION", [value.tensor], like=value)


def emit_identity(context: Context, node: NodeProto) -> None:
    """What does nothing at inference, to a computed tensor or a constant."""
    if node.input[0] in context.constants:
        context.constants[node.output[0]] = context.constants[node.input[0]]
    else:
        context.values[node.output[0]] = context.value(node)


def emit_cast(context: Context, node: NodeProto) -> None:
    """Nothing between kinds of floats: all are float32 here."""
    import onnx

    kinds = (
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.DOUBLE,
        onnx.TensorProto.BFLOAT16,
    )
    if attribute(node, "to") not in kinds:
        raise context.refuse(node, "casts to no float; only floats are supported")
    emit_identity(context, node)


OPERATORS: dict[str, Emitter] = {
    "Abs": _unary("ABS", non_negative=True),
    "Add": _binary("ADD"),
    "AveragePool": emit_average_pool,
    "BatchNormalization": emit_batch_norm,
    "Cast": emit_cast,
    "Clip": emit_clip,
    "Concat": emit_concat,
    "Conv": emit_conv,
    "Div": _binary("DIV"),
    "Dropout": emit_identity,
    "Elu": emit_elu,
    "Erf": emit_erf,
    "Exp": _unary("EXP", non_negative=True),
    "Flatten": emit_reshape,
    "Gather": emit_gather,
    "Gelu": emit_gelu,
    "Gemm": emit_matrix_product,
    "GlobalAveragePool": emit_global_average,
    "HardSigmoid": emit_hard_sigmoid,
    "HardSwish": _unary("HARD_SWISH"),
    "Identity": emit_identity,
    "LayerNormalization": emit_layer_norm,
    "LeakyRelu": emit_leaky_relu,
    "Log": _unary("LOG"),
    "LpNormalization": emit_l2_norm,
    "MatMul": emit_matrix_product,
    "Max": emit_variadic("MAXIMUM"),
    "MaxPool": emit_max_pool,
    "Min": emit_variadic("MINIMUM"),
    "Mish": emit_mish,
    "Mul": _binary("MUL"),
    "Neg": _unary("NEG"),
    "PRelu": emit_prelu,
    "Pad": emit_pad,
    "Pow": emit_power,
    "Reciprocal": emit_reciprocal,
    "ReduceL2": emit_reduction("SUM", squares=True, root=True),
    "ReduceMax": emit_reduction("REDUCE_MAX"),
    "ReduceMean": emit_mean,
    "ReduceSum": emit_reduction("SUM"),
    "ReduceSumSquare": emit_reduction("SUM", squares=True),
    "Relu": emit_clip,
    "Reshape": emit_reshape,
    "Resize": emit_resize,
    "Sigmoid": _unary("LOGISTIC", non_negative=True),
    "Slice": emit_slice,
    "Softmax": emit_softmax,
    "Softplus": emit_softplus,
    "Split": emit_split,
    "Sqrt": _unary("SQRT", non_negative=True),
    "Squeeze": emit_reshape,
    "Sub": _binary("SUB"),
    "Sum": emit_variadic("ADD"),
    "Tanh": _unary("TANH"),
    "Transpose": emit_transpose,
    "Unsqueeze": emit_reshape,
}
