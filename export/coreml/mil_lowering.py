"""The lowering of each ONNX operator to MIL, Core ML's language: the converter's table.

A lowering takes coremltools' builder, the ONNX node and its inputs, and gives the value that the node makes. An
input is a NumPy array where the graph holds a constant, and None where it is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ...models.graph.resizing import resizing_in
from ...models.graph.view import Array, GraphView, attribute, clip_bounds
from .mil_node import LEAST, axes_of, refuse
from .mil_norms import (
    lower_batch_normalization,
    lower_instance_normalization,
    lower_layer_normalization,
    lower_lp_normalization,
    lower_reduce_l2,
    lower_rms_normalization,
    lower_sqrt,
)
from .mil_shapes import (
    lower_concat,
    lower_depth_to_space,
    lower_expand,
    lower_flatten,
    lower_gather,
    lower_pad,
    lower_reshape,
    lower_resize,
    lower_slice,
    lower_split,
    lower_squeeze,
    lower_tile,
    lower_transpose,
    lower_unsqueeze,
    mil_resizes,
)

if TYPE_CHECKING:
    from onnx import NodeProto

Lowering = Callable[..., Any]

BOUND = 3e38  # exporters write an open end of Clip as the largest float32


# ---- convolution, pooling, dense


def lower_conv(mb: Any, node: NodeProto, x: Any, weight: Array, bias: Array | None = None) -> Any:
    """Given pads [top, left, bottom, right]; result pads [top, bottom, left, right]."""
    if not isinstance(weight, np.ndarray):
        raise refuse(node, "its weights are computed by the network itself")
    axes = weight.ndim - 2
    window = _window(node, axes)
    more = {} if bias is None else {"bias": bias}
    dilations = [int(n) for n in attribute(node, "dilations", [1] * axes)]
    return mb.conv(x=x, weight=weight, dilations=dilations, groups=int(attribute(node, "group", 1)), **window, **more)


def lower_conv_transpose(mb: Any, node: NodeProto, x: Any, weight: Array, bias: Array | None = None) -> Any:
    """Given output_padding; result the unpadded convolution, widened and cut, and then the bias."""
    plain = attribute(node, "auto_pad", "NOTSET") == "NOTSET" and not attribute(node, "output_shape")
    if not isinstance(weight, np.ndarray) or weight.ndim != 4 or not plain:
        raise refuse(node, "its weights are computed, or it pads by its result's shape")
    strides, dilations = ([int(n) for n in attribute(node, name, [1, 1])] for name in ("strides", "dilations"))
    pads, more = attribute(node, "pads", [0] * 4), attribute(node, "output_padding", [0, 0])
    groups = int(attribute(node, "group", 1))
    known = {"x": x, "weight": weight, "strides": strides, "dilations": dilations, "groups": groups}
    if not any(more):
        window = {"pad_type": "custom", "pad": [int(pads[i]) for i in (0, 2, 1, 3)]} if any(pads) else {}
        added = {} if bias is None else {"bias": bias}
        return mb.conv_transpose(**known, **{"pad_type": "valid", **window}, **added)
    whole = mb.conv_transpose(**known, pad_type="valid")
    widened = mb.pad(x=whole, pad=[0, 0, 0, 0, 0, int(more[0]), 0, int(more[1])], mode="constant")
    begin = [0, 0, int(pads[0]), int(pads[1])]
    end = [*widened.shape[:2], *(widened.shape[2 + axis] - int(pads[2 + axis]) for axis in (0, 1))]
    cut = mb.slice_by_index(x=widened, begin=begin, end=end)
    return cut if bias is None else mb.add(x=cut, y=bias.reshape(-1, 1, 1))


def lower_max_pool(mb: Any, node: NodeProto, x: Any) -> Any:
    """Where an ONNX window extends over the edge (ceil_mode) MIL gets padding, which is never the largest."""
    window, _ = _pooling(node, x)
    return mb.max_pool(x=x, **window)


def lower_average_pool(mb: Any, node: NodeProto, x: Any) -> Any:
    """As `lower_max_pool`; padding is left out of the mean, or counts as zeros."""
    window, hangs_over = _pooling(node, x)
    counts = bool(attribute(node, "count_include_pad", 0))
    if counts and hangs_over:
        raise refuse(node, "its last window hangs over padding that counts; set ceil_mode=False")
    return mb.avg_pool(x=x, exclude_padding_from_average=not counts, **window)


def _window(node: NodeProto, axes: int) -> dict[str, Any]:
    strides = [int(n) for n in attribute(node, "strides", [1] * axes)]
    automatic = attribute(node, "auto_pad", "NOTSET")
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        return {"strides": strides, "pad_type": "same" if automatic == "SAME_UPPER" else "same_lower"}
    pads = [int(n) for n in attribute(node, "pads", [0] * 2 * axes)]
    if not any(pads):
        return {"strides": strides, "pad_type": "valid"}
    return {"strides": strides, "pad_type": "custom", "pad": [pads[i + end] for i in range(axes) for end in (0, axes)]}


def _pooling(node: NodeProto, x: Any) -> tuple[dict[str, Any], bool]:
    """Gives kernel, strides and padding, and whether ceil_mode made the padding larger."""
    kernel = [int(n) for n in attribute(node, "kernel_shape")]
    if set(attribute(node, "dilations", [1])) != {1}:
        raise refuse(node, "its window has holes (dilations)")
    window = {"kernel_sizes": kernel, **_window(node, len(kernel))}
    if not attribute(node, "ceil_mode", 0) or window["pad_type"].startswith("same"):
        return window, False
    pad = list(window.get("pad", [0] * 2 * len(kernel)))
    before = list(pad)
    for i, (width, stride) in enumerate(zip(kernel, window["strides"], strict=True)):
        inside = x.shape[2 + i] + pad[2 * i]
        last = -(-(inside + pad[2 * i + 1] - width) // stride)
        if last * stride >= inside:  # a window must start on the image or on the padding before it
            last -= 1
        pad[2 * i + 1] = max(pad[2 * i + 1], last * stride + width - inside)
    return window | ({"pad_type": "custom", "pad": pad} if any(pad) else {}), pad != before


def lower_gemm(mb: Any, node: NodeProto, x: Any, weight: Array, bias: Array | None = None) -> Any:
    """Given alpha x W + beta b; result linear(x) with alpha and beta inside the weights."""
    if not isinstance(weight, np.ndarray) or not (bias is None or isinstance(bias, np.ndarray)):
        raise refuse(node, "its weights are computed by the network itself")
    weight = (weight if attribute(node, "transB", 0) else weight.T) * np.float32(attribute(node, "alpha", 1.0))
    if attribute(node, "transA", 0):
        x = mb.transpose(x=x, perm=[1, 0])
    added = np.zeros(1, np.float32) if bias is None else bias * np.float32(attribute(node, "beta", 1.0))
    return _linear(mb, x, weight, np.broadcast_to(added.reshape(-1), (len(weight),)))


def lower_matmul(mb: Any, node: NodeProto, x: Any, y: Any) -> Any:
    """A product with a constant matrix is a linear layer."""
    if isinstance(y, np.ndarray) and y.ndim == 2 and not isinstance(x, np.ndarray):
        return _linear(mb, x, y.T, np.zeros(y.shape[1], np.float32))
    (x, turned_x), (y, turned_y) = _unturned(x), _unturned(y)
    return mb.matmul(x=x, y=y, transpose_x=turned_x, transpose_y=turned_y)


def _unturned(x: Any) -> tuple[Any, bool]:
    """Gives what transposes of the last two axes turned, and whether it is turned: matmul turns by itself."""
    turned, rank = False, len(x.shape)
    while (op := getattr(x, "op", None)) is not None and op.op_type == "transpose":
        if [int(axis) for axis in op.perm.val] != [*range(rank - 2), rank - 1, rank - 2]:
            break
        x, turned = op.x, not turned
    return x, turned


def _linear(mb: Any, x: Any, weight: Array, bias: Array) -> Any:
    return mb.linear(x=x, weight=np.ascontiguousarray(weight), bias=np.ascontiguousarray(bias))


# ---- activations


def lower_prelu(mb: Any, node: NodeProto, x: Any, slope: Array) -> Any:
    """One slope a channel of an image is MIL's prelu, kept whole; one slope in all is leaky_relu."""
    if not isinstance(slope, np.ndarray):
        raise refuse(node, "its slopes are computed by the network itself")
    if slope.size == 1:
        return mb.leaky_relu(x=x, alpha=np.float32(slope.reshape(())))
    aligned = slope.reshape((1,) * (len(x.shape) - slope.ndim) + slope.shape)
    if len(x.shape) == 4 and aligned.shape == (1, x.shape[1], 1, 1):
        return mb.prelu(x=x, alpha=slope.reshape(-1))
    return mb.add(x=mb.relu(x=x), y=mb.mul(x=mb.minimum(x=x, y=np.float32(0)), y=slope))


def lower_clip(mb: Any, node: NodeProto, x: Any, low: Array | None = None, high: Array | None = None) -> Any:
    """0 to 6 is relu6; with an open end it is maximum or minimum; a tiny low end, to divide by, is `LEAST`."""
    least, most = clip_bounds(node, low, high)
    if 0 < least < LEAST:
        least = float(LEAST)
    if (least, most) == (0, 6):
        return mb.relu6(x=x)
    if most >= BOUND and least <= -BOUND:
        return mb.identity(x=x)
    if most >= BOUND:
        return mb.relu(x=x) if least == 0 else mb.maximum(x=x, y=np.float32(least))
    if least <= -BOUND:
        return mb.minimum(x=x, y=np.float32(most))
    return mb.clip(x=x, alpha=np.float32(least), beta=np.float32(most))


def lower_hard_sigmoid(mb: Any, node: NodeProto, x: Any) -> Any:
    """Within 0 and 1: alpha x + beta."""
    alpha, beta = np.float32(attribute(node, "alpha", 0.2)), np.float32(attribute(node, "beta", 0.5))
    return mb.sigmoid_hard(x=x, alpha=alpha, beta=beta)


def lower_hard_swish(mb: Any, node: NodeProto, x: Any) -> Any:
    """Given x; result x times its hard sigmoid."""
    return mb.mul(x=x, y=mb.sigmoid_hard(x=x, alpha=np.float32(1 / 6), beta=np.float32(0.5)))


def lower_gelu(mb: Any, node: NodeProto, x: Any) -> Any:
    """The normal distribution function exactly, or by a tanh."""
    exact = attribute(node, "approximate", "none") == "none"
    return mb.gelu(x=x, mode="EXACT" if exact else "TANH_APPROXIMATION")


def lower_mish(mb: Any, node: NodeProto, x: Any) -> Any:
    """Given x; result x times the tanh of its softplus."""
    return mb.mul(x=x, y=mb.tanh(x=mb.softplus(x=x)))


# ---- truths


def lower_cast(mb: Any, node: NodeProto, x: Any) -> Any:
    """Truths become 0 and 1; between kinds of floats nothing happens: all are float32 here."""
    from coremltools.converters.mil.mil import types
    from onnx import TensorProto

    if attribute(node, "to") not in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16):
        raise refuse(node, "it casts to no float")
    return mb.cast(x=x, dtype="fp32") if types.is_bool(x.dtype) else mb.identity(x=x)


# ---- operators with the same form


def _unary(name: str) -> Lowering:
    return lambda mb, node, x, *_: getattr(mb, name)(x=x)


def _binary(name: str) -> Lowering:
    def lower(mb: Any, node: NodeProto, first: Any, *others: Any) -> Any:
        for other in others:
            first = getattr(mb, name)(x=first, y=other)
        return first

    return lower


def _reduction(name: str) -> Lowering:
    def lower(mb: Any, node: NodeProto, x: Any, axes: Array | None = None) -> Any:
        return getattr(mb, name)(x=x, axes=axes_of(node, axes, x), keep_dims=bool(attribute(node, "keepdims", 1)))

    return lower


OPERATORS: dict[str, Lowering] = {
    "Conv": lower_conv,
    "ConvTranspose": lower_conv_transpose,
    "Gemm": lower_gemm,
    "MatMul": lower_matmul,
    "BatchNormalization": lower_batch_normalization,
    "InstanceNormalization": lower_instance_normalization,
    "LayerNormalization": lower_layer_normalization,
    "MaxPool": lower_max_pool,
    "AveragePool": lower_average_pool,
    "GlobalAveragePool": lambda mb, node, x: mb.reduce_mean(x=x, axes=list(range(2, len(x.shape))), keep_dims=True),
    "PRelu": lower_prelu,
    "LeakyRelu": lambda mb, node, x: mb.leaky_relu(x=x, alpha=np.float32(attribute(node, "alpha", 0.01))),
    "Relu": _unary("relu"),
    "Clip": lower_clip,
    "Sigmoid": _unary("sigmoid"),
    "HardSigmoid": lower_hard_sigmoid,
    "HardSwish": lower_hard_swish,
    "Tanh": _unary("tanh"),
    "Erf": _unary("erf"),
    "Gelu": lower_gelu,
    "Elu": lambda mb, node, x: mb.elu(x=x, alpha=np.float32(attribute(node, "alpha", 1.0))),
    "Softplus": _unary("softplus"),
    "Softsign": _unary("softsign"),
    "Swish": _unary("silu"),
    "Mish": lower_mish,
    "Softmax": lambda mb, node, x: mb.softmax(x=x, axis=int(attribute(node, "axis", -1))),  # as since opset 13
    "Add": _binary("add"),
    "Sum": _binary("add"),
    "Sub": _binary("sub"),
    "Mul": _binary("mul"),
    "Div": _binary("real_div"),
    "Pow": _binary("pow"),
    "Max": _binary("maximum"),
    "Min": _binary("minimum"),
    "Abs": _unary("abs"),
    "Exp": _unary("exp"),
    "Log": lambda mb, node, x: mb.log(x=x),
    "Neg": lambda mb, node, x: mb.mul(x=x, y=np.float32(-1)),
    "Reciprocal": lambda mb, node, x: mb.real_div(x=np.float32(1), y=x),
    "Sin": _unary("sin"),
    "Cos": _unary("cos"),
    "Floor": _unary("floor"),
    "Ceil": _unary("ceil"),
    "Round": _unary("round"),
    "Sign": _unary("sign"),
    "Greater": _binary("greater"),
    "GreaterOrEqual": _binary("greater_equal"),
    "Less": _binary("less"),
    "LessOrEqual": _binary("less_equal"),
    "Equal": _binary("equal"),
    "Not": _unary("logical_not"),
    "And": _binary("logical_and"),
    "Or": _binary("logical_or"),
    "Where": lambda mb, node, condition, x, y: mb.select(cond=condition, a=x, b=y),
    "Cast": lower_cast,
    "Sqrt": lower_sqrt,
    "RMSNormalization": lower_rms_normalization,
    "ReduceL2": lower_reduce_l2,
    "LpNormalization": lower_lp_normalization,
    "ReduceMean": _reduction("reduce_mean"),
    "ReduceSum": _reduction("reduce_sum"),
    "ReduceMax": _reduction("reduce_max"),
    "ReduceMin": _reduction("reduce_min"),
    "ReduceSumSquare": _reduction("reduce_sum_square"),
    "Reshape": lower_reshape,
    "Flatten": lower_flatten,
    "Squeeze": lower_squeeze,
    "Unsqueeze": lower_unsqueeze,
    "Transpose": lower_transpose,
    "Expand": lower_expand,
    "Concat": lower_concat,
    "Split": lower_split,
    "Slice": lower_slice,
    "Gather": lower_gather,
    "Pad": lower_pad,
    "Resize": lower_resize,
    "Tile": lower_tile,
    "DepthToSpace": lower_depth_to_space,
    "SpaceToDepth": lambda mb, node, x: mb.space_to_depth(x=x, block_size=int(attribute(node, "blocksize"))),
    "Identity": _unary("identity"),
    "Dropout": _unary("identity"),
}


def mil_lacks(node: NodeProto, view: GraphView) -> bool:
    """Says whether MIL has no operator for `node`, or none for its attributes."""
    return node.op_type not in OPERATORS or (node.op_type in PARTLY and not PARTLY[node.op_type](node, view))


PARTLY: dict[str, Callable[[NodeProto, GraphView], bool]] = {
    "LpNormalization": lambda node, view: attribute(node, "p", 2) == 2,
    "Resize": lambda node, view: mil_resizes(resizing_in(view, node)),
    "Swish": lambda node, view: attribute(node, "alpha", 1.0) == 1,
}
"""Operators that MIL has for some attributes only, and what says so of a node."""
