"""Where the channels of a value lie, and where they go: the axis through transposes and reshapes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from .view import Array, GraphView, attribute

if TYPE_CHECKING:
    from onnx import NodeProto

MOVES = ("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")
"""Operators that change no number, only where it lies."""

NORMS = ("LayerNormalization", "RMSNormalization")
"""Operators that normalise the last axis, or several, and scale what they give."""

LINEAR = ("Conv", "Gemm", "MatMul")


def axis_after(view: GraphView, node: NodeProto, axis: int) -> int | None:
    """Gives where `axis` of the input of a node of `MOVES` lies in its result; None where it does not stay whole.

    Given   Transpose perm (0, 2, 3, 1), axis 1
    Result  3
    """
    if node.op_type == "Transpose":
        permutation = list(attribute(node, "perm", range(len(view.shape(node.input[0]) or ()))[::-1]))
        return permutation.index(axis) if axis in permutation else None
    return _same_axis(view.shape(node.input[0]), view.shape(node.output[0]), axis)


def axis_before(view: GraphView, node: NodeProto, axis: int) -> int | None:
    """Gives where `axis` of the result of a node of `MOVES` lies in its input; None where it does not stay whole."""
    if node.op_type == "Transpose":
        return int(attribute(node, "perm", range(len(view.shape(node.input[0]) or ()))[::-1])[axis])
    return _same_axis(view.shape(node.output[0]), view.shape(node.input[0]), axis)


def _same_axis(source: Sequence[int] | None, target: Sequence[int] | None, axis: int) -> int | None:
    """Gives the axis of `target` with the same side, before which as many values lie.

    >>> _same_axis((1, 14, 14, 48), (196, 48), 3)
    1
    >>> _same_axis((1, 48, 196), (1, 6, 8, 196), 1) is None
    True
    """
    if not source or not target or 0 in source or 0 in target:
        return None
    before, side = prod(source[:axis]), source[axis]
    places = [place for place, size in enumerate(target) if size == side and prod(target[:place]) == before]
    return places[0] if places else None


def channels_of(view: GraphView, node: NodeProto) -> int | None:
    """Gives the axis of the result of a layer along which its constant weights give one filter each."""
    if node.op_type not in LINEAR or node.input[1] not in view.constants:
        return None
    return 1 if node.op_type == "Conv" else len(view.shape(node.output[0]) or (0,)) - 1


def filter_axis(node: NodeProto, weights: Array) -> int:
    """Gives the axis of a layer's weights with one entry per channel of its result."""
    if node.op_type == "Conv" or (node.op_type == "Gemm" and attribute(node, "transB", 0)):
        return 0
    return weights.ndim - 1


def along(factors: Array, axis: int, rank: int) -> Array:
    """Gives (C,) factors a shape that broadcasts along `axis` of `rank` axes."""
    sides = [1] * rank
    sides[axis] = len(factors)
    return np.asarray(factors, np.float32).reshape(sides)


def layer_takes(view: GraphView, node: NodeProto, axis: int) -> bool:
    """Tells whether a layer's constant weights have an entry for each channel along `axis` of its input."""
    if node.op_type not in LINEAR or not view.has_constant_weights(node) or scales_itself(node):
        return False
    if node.op_type == "Conv":
        return axis == 1
    return axis == len(view.shape(node.input[0]) or ()) - 1 and view.constants[node.input[1]].ndim == 2


def scales_itself(node: NodeProto) -> bool:
    """Tells whether a Gemm has factors of its own, which would scale what is folded into it."""
    return node.op_type == "Gemm" and any(attribute(node, name, 1) != 1 for name in ("alpha", "beta"))


def is_last_axis_norm(view: GraphView, norm: NodeProto) -> bool:
    """Tells whether a layer norm goes along the last axis only, with constant scale and shift."""
    rank = len(view.shape(norm.output[0]) or ())
    constant = view.has_constant_weights(norm) and view.constants[norm.input[1]].ndim == 1
    return constant and attribute(norm, "axis", -1) in (-1, rank - 1)


def by_input(layer: NodeProto, weights: Array, factors: Array) -> Array:
    """Gives a layer's weights times a factor per channel of its input."""
    if layer.op_type != "Conv":
        return np.asarray(weights * along(factors, 1 - filter_axis(layer, weights), weights.ndim))
    groups, (filters, channels, *_) = int(attribute(layer, "group", 1)), weights.shape
    of_group = np.asarray(factors, np.float32).reshape(groups, channels).repeat(filters // groups, axis=0)
    return np.asarray(weights * of_group.reshape(filters, channels, *[1] * (weights.ndim - 2)))


def scale_results(view: GraphView, layer: NodeProto, factors: Array, label: str) -> None:
    """Multiplies each channel of what a layer or a norm gives."""
    weights = view.constants[layer.input[1]]
    axis = 0 if layer.op_type in (*NORMS, "BatchNormalization") else filter_axis(layer, weights)
    view.scale_input(layer, 1, along(factors, axis, weights.ndim), label)
    if len(layer.input) > 2:
        view.scale_input(layer, 2, np.asarray(factors, np.float32), label)


def is_depthwise(view: GraphView, layer: NodeProto) -> bool:
    """Tells whether each filter of a layer reads one channel."""
    return layer.op_type == "Conv" and view.constants[layer.input[1]].shape[1] == 1
