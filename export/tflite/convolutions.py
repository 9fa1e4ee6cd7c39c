"""TFLite operators with weights: convolutions, matrix products, and batch norms that fold into neither."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...models.graph.view import attribute
from .context import Context, Value, affine_of, reordered
from .flatbuffer import ACTIVATIONS, VALID
from .layouts import with_last
from .pooling import image_of, pad_image, windows_of

if TYPE_CHECKING:
    from onnx import NodeProto


def emit_conv(context: Context, node: NodeProto) -> None:
    """Plain, grouped and depthwise convolution; what follows is folded in."""
    weights, image = context.weights(node, 1), image_of(context, node)  # weights: (O, I / groups, kh, kw)
    slide = windows_of(context, node, image, weights.shape[2:])
    scale, shift, name = context.fuse_affine(node.output[0], len(weights))
    weights = weights * scale[:, None, None, None]
    bias = context.constant(node, 2)
    bias = shift if bias is None else bias * scale + shift
    if not (slide.is_valid or slide.is_same):
        image = pad_image(context, f"{name}/padded", image, slide)
    options = slide.options | {"dilationHFactor": slide.dilation[0], "dilationWFactor": slide.dilation[1]}
    groups = attribute(node, "group", 1)
    if weights.shape[1] == 1 and groups == image.shape[3] > 1:
        options["depthMultiplier"] = len(weights) // groups
        options["version"] = 1 if slide.dilation == (1, 1) else 2
        _emit_weighted(context, name, "DEPTHWISE_CONV_2D", image, weights.transpose(1, 2, 3, 0), bias, **options)
    else:
        _emit_weighted(context, name, "CONV_2D", image, weights.transpose(0, 2, 3, 1), bias, **options)


def emit_transposed_conv(context: Context, node: NodeProto) -> None:
    """A transposed convolution; TFLite has it without padding, so what ONNX's padding takes away is cut off.

    Groups become one dense kernel with zeros between them, and so does a dilated kernel.
    """
    weights, image = context.weights(node, 1), image_of(context, node)  # weights: (I, O / groups, kh, kw)
    plain = attribute(node, "auto_pad", "NOTSET") == "NOTSET" and not attribute(node, "output_shape")
    if not plain or weights.ndim != 4:
        raise context.refuse(node, "pads by its result's shape; only plain pads are supported")
    groups, dilations = attribute(node, "group", 1), attribute(node, "dilations", (1, 1))
    inputs, outputs = weights.shape[:2]
    kernel = [(side - 1) * step + 1 for side, step in zip(weights.shape[2:], dilations, strict=True)]
    dense = np.zeros((inputs, groups * outputs, *kernel))
    for group, rows in enumerate(np.split(np.arange(inputs), groups)):
        of_group = dense[rows[0] : rows[-1] + 1, group * outputs : (group + 1) * outputs]
        of_group[:, :, :: dilations[0], :: dilations[1]] = weights[rows]
    scale, shift, name = context.fuse_affine(node.output[0], groups * outputs)
    bias = context.constant(node, 2)
    bias = shift if bias is None else bias * scale + shift
    strides = attribute(node, "strides", (1, 1))
    before, result = attribute(node, "pads", (0, 0, 0, 0))[:2], context.shape(name)[2:]
    whole = [
        max((image.shape[1 + axis] - 1) * strides[axis] + kernel[axis], before[axis] + result[axis]) for axis in (0, 1)
    ]
    cut = list(result) != whole
    shape = [1, *whole, groups * outputs]
    tensors = [
        context.writer.constant(f"{name}/shape", np.array(shape)),
        context.writer.constant(f"{name}/weights", (dense * scale[:, None, None]).transpose(1, 2, 3, 0)),
        image.tensor,
        context.writer.constant(f"{name}/bias", bias),
    ]
    options: dict[str, Any] = {"padding": VALID, "strideH": strides[0], "strideW": strides[1], "version": 3}
    found = context.emit(f"{name}/whole" if cut else name, "TRANSPOSE_CONV", tensors, shape, **options)
    if cut:
        begin = context.writer.constant(f"{name}/begin", np.array([0, *before, 0]))
        size = context.writer.constant(f"{name}/size", np.array([1, *result, groups * outputs]))
        context.emit(name, "SLICE", [found.tensor, begin, size])


def emit_matrix_product(context: Context, node: NodeProto) -> None:
    """Gemm or MatMul with constant weights, along the last axis, what follows folded in; or of two computed tensors."""
    if node.op_type == "MatMul" and (node.input[1] in context.values or context.constants[node.input[1]].ndim > 2):
        _emit_batch_product(context, node)
        return
    row, weights = with_last(context, node, -1), context.weights(node, 1)
    if weights.ndim != 2 or attribute(node, "transA", 0):
        raise context.refuse(node, f"multiplies {row.shape} by {weights.shape}; only rows by a matrix are supported")
    if not attribute(node, "transB", 0):
        weights = weights.T
    weights = weights * attribute(node, "alpha", 1.0)
    bias = context.constant(node, 2)
    bias = np.zeros(1) if bias is None else bias.reshape(-1) * attribute(node, "beta", 1.0)
    rank = len(row.shape)
    scale, shift, name = context.fuse_affine(node.output[0], len(weights), rank - 1)
    if row.flattened:
        weights = reordered(weights, row.flattened)
    # rows of several axes keep them, from version 5 on
    options: dict[str, Any] = {} if rank == 2 else {"version": 5, "keepNumDims": True, "order": row.order}
    _emit_weighted(context, name, "FULLY_CONNECTED", row, weights * scale[:, None], bias * scale + shift, **options)


def _emit_batch_product(context: Context, node: NodeProto) -> None:
    """MatMul of two tensors: attention. A transpose of the last two axes of either costs nothing."""
    tensors, turned = [], []
    rank = len(context.shape(node.output[0]))
    straight, swapped = tuple(range(rank)), (*range(rank - 2), rank - 1, rank - 2)
    for place in (0, 1):
        constant = context.constants.get(node.input[place])
        if constant is not None:
            sides = (1,) * (rank - constant.ndim) + constant.shape
            tensors.append(context.writer.constant(f"{node.output[0]}/{place}", constant.reshape(sides)))
            turned.append(False)
            continue
        value = context.lying(node, place)
        if len(value.shape) != rank or value.flattened:
            raise context.refuse(node, "multiplies tensors of different rank; reshape them alike before it")
        order = swapped if value.order == swapped else straight
        tensors.append(context.turn(node.input[place], value, order).tensor)
        turned.append(order == swapped)
    context.emit(node.output[0], "BATCH_MATMUL", tensors, order=straight, adjX=turned[0], adjY=turned[1])


def emit_batch_norm(context: Context, node: NodeProto) -> None:
    """A batch norm that follows no convolution (a pre-activation block): a depthwise 1x1 convolution.

    One operator where MUL and ADD are two, and quantised per channel, with 32 bits for the shift.
    """
    value = context.value(node)
    channels = context.shape(node.input[0])[1]
    own = affine_of(context, node, node.input[0], channels)
    if own is None or attribute(node, "training_mode", 0):
        raise context.refuse(node, "normalises by its batch; export the network in eval mode")
    scale, shift, name = context.fuse_affine(node.output[0], channels)
    scale, shift = own[0] * scale, own[1] * scale + shift
    if len(value.shape) == 4:
        options = {"padding": VALID, "strideH": 1, "strideW": 1, "depthMultiplier": 1}
        _emit_weighted(context, name, "DEPTHWISE_CONV_2D", value, scale[None, None, None], shift, **options)
        return
    if value.flattened:
        scale, shift = reordered(scale, value.flattened), reordered(shift, value.flattened)
    factors = context.writer.constant(f"{name}/scale", scale)
    scaled = context.emit(f"{name}/scaled", "MUL", [value.tensor, factors], value.shape)
    offsets = context.writer.constant(f"{name}/shift", shift)
    context.emit(name, "ADD", [scaled.tensor, offsets], flattened=value.flattened)


def _emit_weighted(
    context: Context,
    name: str,
    code: str,
    image: Value,
    kernel: NDArray[np.float64],
    bias: NDArray[np.float64],
    **options: Any,
) -> None:
    """Emits an operator with kernel and bias, and the clip that follows in it."""
    tensors = [
        image.tensor,
        context.writer.constant(f"{name}/weights", kernel),
        context.writer.constant(f"{name}/bias", bias),
    ]
    activation, output = context.fuse_activation(name)
    options["fusedActivationFunction"] = ACTIVATIONS[activation]
    context.emit(output, code, tensors, non_negative=activation in ("RELU", "RELU6"), **options)
