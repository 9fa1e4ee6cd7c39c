"""One emitter for each ONNX operator of face embedders; what is not in `OPERATORS` cannot be converted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ...models.graph.resizing import resizing_in
from ...models.graph.view import GraphView, attribute
from .arithmetic import (
    emit_elementwise,
    emit_mish,
    emit_power,
    emit_reciprocal,
    emit_reduction,
    emit_softplus,
    emit_variadic,
)
from .context import AXIS_TO_LAST, FUSED, TO_LAST, Context, bounds_of, reordered
from .convolutions import emit_batch_norm, emit_conv, emit_matrix_product, emit_transposed_conv
from .flatbuffer import ACTIVATIONS
from .layouts import emit_norm, emit_reshape, emit_softmax, emit_transpose, with_last
from .pooling import emit_average_pool, emit_global_average, emit_max_pool, emit_pad
from .slicing import (
    emit_blocks,
    emit_expand,
    emit_gather,
    emit_resize,
    emit_slice,
    emit_split,
    emit_tile,
    tflite_resizes,
)

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


def emit_gelu(context: Context, node: NodeProto) -> None:
    """GELU, exactly or by a tanh."""
    value, by_tanh = context.lying(node), attribute(node, "approximate", "none") == "tanh"
    context.emit(node.output[0], "GELU", [value.tensor], like=value, approximate=by_tanh)


def emit_cast(context: Context, node: NodeProto) -> None:
    """Truths become 0 and 1; between kinds of floats nothing happens: all are float32 here."""
    import onnx

    kinds = (
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.DOUBLE,
        onnx.TensorProto.BFLOAT16,
    )
    if attribute(node, "to") not in kinds:
        raise context.refuse(node, "casts to no float; only floats are supported")
    producer = context.view.producer(node.input[0])
    if producer is not None and producer.op_type in TRUTHS:
        value = context.lying(node)
        context.emit(node.output[0], "CAST", [value.tensor], like=value, non_negative=True, **TRUTH_TO_FLOAT)
    else:
        emit_identity(context, node)


TRUTHS = {
    "And": emit_elementwise("LOGICAL_AND", "BOOL"),
    "Equal": emit_elementwise("EQUAL", "BOOL"),
    "Greater": emit_elementwise("GREATER", "BOOL"),
    "GreaterOrEqual": emit_elementwise("GREATER_EQUAL", "BOOL"),
    "Less": emit_elementwise("LESS", "BOOL"),
    "LessOrEqual": emit_elementwise("LESS_EQUAL", "BOOL"),
    "Not": emit_elementwise("LOGICAL_NOT", "BOOL"),
    "Or": emit_elementwise("LOGICAL_OR", "BOOL"),
}
TRUTH_TO_FLOAT: dict[str, Any] = {"inDataType": 6, "outDataType": 0}  # of the schema's TensorType

OPERATORS: dict[str, Emitter] = {
    **TRUTHS,
    "Abs": _unary("ABS", non_negative=True),
    "Add": _binary("ADD"),
    "AveragePool": emit_average_pool,
    "BatchNormalization": emit_batch_norm,
    "Cast": emit_cast,
    "Ceil": _unary("CEIL"),
    "Clip": emit_clip,
    "Concat": emit_concat,
    "Conv": emit_conv,
    "ConvTranspose": emit_transposed_conv,
    "Cos": _unary("COS"),
    "DepthToSpace": emit_blocks("DEPTH_TO_SPACE"),
    "Div": _binary("DIV"),
    "Dropout": emit_identity,
    "Elu": _unary("ELU"),
    "Exp": _unary("EXP", non_negative=True),
    "Expand": emit_expand,
    "Flatten": emit_reshape,
    "Floor": _unary("FLOOR"),
    "Gather": emit_gather,
    "Gelu": emit_gelu,
    "Gemm": emit_matrix_product,
    "GlobalAveragePool": emit_global_average,
    "HardSigmoid": emit_hard_sigmoid,
    "HardSwish": _unary("HARD_SWISH"),
    "Identity": emit_identity,
    "LayerNormalization": emit_norm,
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
    "RMSNormalization": emit_norm,
    "ReduceL2": emit_reduction("SUM", squares=True, root=True),
    "ReduceMax": emit_reduction("REDUCE_MAX"),
    "ReduceMean": emit_reduction("MEAN"),
    "ReduceMin": emit_reduction("REDUCE_MIN"),
    "ReduceSum": emit_reduction("SUM"),
    "ReduceSumSquare": emit_reduction("SUM", squares=True),
    "Relu": emit_clip,
    "Reshape": emit_reshape,
    "Resize": emit_resize,
    "Round": _unary("ROUND"),
    "Sigmoid": _unary("LOGISTIC", non_negative=True),
    "Sign": _unary("SIGN"),
    "Sin": _unary("SIN"),
    "Slice": emit_slice,
    "Softmax": emit_softmax,
    "Softplus": emit_softplus,
    "SpaceToDepth": emit_blocks("SPACE_TO_DEPTH"),
    "Split": emit_split,
    "Sqrt": _unary("SQRT", non_negative=True),
    "Squeeze": emit_reshape,
    "Sub": _binary("SUB"),
    "Sum": emit_variadic("ADD"),
    "Tanh": _unary("TANH"),
    "Tile": emit_tile,
    "Transpose": emit_transpose,
    "Unsqueeze": emit_reshape,
    "Where": emit_elementwise("SELECT_V2"),
}


def tflite_lacks(node: NodeProto, view: GraphView) -> bool:
    """Says whether TFLite has no operator for `node`, or none for its attributes."""
    return node.op_type not in OPERATORS or (node.op_type in PARTLY and not PARTLY[node.op_type](node, view))


def _is_list_with_gaps(node: NodeProto, view: GraphView) -> bool:
    """The places that a Gather picks are a list, and not neighbours in their order, which are a slice."""
    places = view.constant(node.input[1])
    return places is None or (places.ndim == 1 and not np.array_equal(places, np.arange(len(places)) + places[0]))


def _normalises_last(node: NodeProto, view: GraphView) -> bool:
    rank = len(view.shape(node.input[0]) or ())
    return rank == 0 or attribute(node, "axis", -1) % rank == rank - 1


PARTLY: dict[str, Callable[[NodeProto, GraphView], bool]] = {
    "DepthToSpace": lambda node, view: attribute(node, "mode", "DCR") == "DCR",
    "Elu": lambda node, view: attribute(node, "alpha", 1.0) == 1,
    "Gather": _is_list_with_gaps,
    "LayerNormalization": _normalises_last,
    "LpNormalization": lambda node, view: attribute(node, "p", 2) == 2,
    "RMSNormalization": _normalises_last,
    "Resize": lambda node, view: tflite_resizes(resizing_in(view, node)),
}
"""Operators that TFLite has for some attributes only, and what says so of a node."""
