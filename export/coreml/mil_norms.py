"""Lowerings of norms and normalisations to MIL, safe in half precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...models.graph.view import Array, attribute
from .mil_node import LEAST, axes_of, refuse

if TYPE_CHECKING:
    from onnx import NodeProto


def lower_batch_normalization(
    mb: Any, node: NodeProto, x: Any, gamma: Array, beta: Array, mean: Array, variance: Array
) -> Any:
    """Given a variance, which half precision may not hold; result 1, and gamma divided by its root.

    MIL normalises images; of rows (N, C) it is a product and a sum.
    """
    scale = gamma / np.sqrt(variance + np.float32(attribute(node, "epsilon", 1e-5)))
    if len(x.shape) < 3:
        return mb.add(x=mb.mul(x=x, y=scale), y=beta - mean * scale)
    one = np.ones_like(variance)
    return mb.batch_norm(x=x, mean=mean, variance=one, gamma=scale, beta=beta, epsilon=np.float32(0))


def lower_instance_normalization(mb: Any, node: NodeProto, x: Any, gamma: Array, beta: Array) -> Any:
    """Each channel by its own mean and variance."""
    if not isinstance(gamma, np.ndarray) or not isinstance(beta, np.ndarray):
        raise refuse(node, "its weights are computed by the network itself")
    return mb.instance_norm(x=x, gamma=gamma, beta=beta, epsilon=np.float32(attribute(node, "epsilon", 1e-5)))


def lower_layer_normalization(mb: Any, node: NodeProto, x: Any, gamma: Array, beta: Array | None = None) -> Any:
    """Over the axes from `axis` to the last."""
    if not isinstance(gamma, np.ndarray) or not (beta is None or isinstance(beta, np.ndarray)):
        raise refuse(node, "its weights are computed by the network itself")
    first = int(attribute(node, "axis", -1)) % len(x.shape)
    sizes = tuple(x.shape[first:])
    shift = np.zeros(sizes, np.float32) if beta is None else np.broadcast_to(beta, sizes)
    return mb.layer_norm(
        x=x,
        axes=list(range(first, len(x.shape))),
        gamma=np.ascontiguousarray(np.broadcast_to(gamma, sizes)),
        beta=np.ascontiguousarray(shift),
        epsilon=np.float32(attribute(node, "epsilon", 1e-5)),
    )


def lower_rms_normalization(mb: Any, node: NodeProto, x: Any, gamma: Array) -> Any:
    """Divides by the largest |x| first, and then by the root of the mean square: no square overflows half precision."""
    if not isinstance(gamma, np.ndarray):
        raise refuse(node, "its weights are computed by the network itself")
    axes = list(range(int(attribute(node, "axis", -1)) % len(x.shape), len(x.shape)))
    root = np.float32(np.sqrt(max(attribute(node, "epsilon", 1e-5), 0.0)))
    largest = mb.maximum(x=mb.reduce_max(x=mb.abs(x=x), axes=axes, keep_dims=True), y=LEAST)
    scaled, share = mb.real_div(x=x, y=largest), mb.real_div(x=root, y=largest)
    mean = mb.reduce_mean(x=mb.mul(x=scaled, y=scaled), axes=axes, keep_dims=True)
    safe = mb.maximum(x=mb.add(x=mean, y=mb.mul(x=share, y=share)), y=LEAST)
    return mb.mul(x=mb.real_div(x=scaled, y=mb.sqrt(x=safe)), y=gamma)


# ---- lengths: half precision ends at 65504, so squares of an embedding must not be summed as they are


def lower_reduce_l2(mb: Any, node: NodeProto, x: Any, axes: Array | None = None) -> Any:
    """Given the length of x; result m times the length of x / m, with m the largest |x|."""
    return _length(mb, x, axes_of(node, axes, x), bool(attribute(node, "keepdims", 1)))


def lower_sqrt(mb: Any, node: NodeProto, x: Any) -> Any:
    """The root of a sum of squares (and of that plus a tiny number) is a length; other roots are roots."""
    squares = _without_tiny_addend(x)
    if squares.op is not None and squares.op.op_type in ("reduce_sum_square", "reduce_sum"):
        inside = _squared(squares.op.x) if squares.op.op_type == "reduce_sum" else squares.op.x
        if inside is not None:
            keep = bool(squares.op.keep_dims.val)
            axes = [int(axis) for axis in squares.op.axes.val]
            return mb.maximum(x=_length(mb, inside, axes, keep), y=LEAST)
    return mb.sqrt(x=x)


def lower_lp_normalization(mb: Any, node: NodeProto, x: Any) -> Any:
    """Given x divided by its length; result the same without squares that overflow."""
    if int(attribute(node, "p", 2)) != 2:
        raise refuse(node, f"it divides by the {attribute(node, 'p')}-norm; only the length (p=2) is known")
    length = _length(mb, x, [int(attribute(node, "axis", -1))], keep=True)
    return mb.real_div(x=x, y=mb.maximum(x=length, y=LEAST))


def _length(mb: Any, x: Any, axes: list[int], keep: bool) -> Any:
    largest = mb.maximum(x=mb.reduce_max(x=mb.abs(x=x), axes=axes, keep_dims=True), y=LEAST)
    scaled = mb.reduce_l2_norm(x=mb.real_div(x=x, y=largest), axes=axes, keep_dims=True)
    length = mb.mul(x=scaled, y=largest)
    return length if keep else mb.squeeze(x=length, axes=axes)


def _without_tiny_addend(x: Any) -> Any:
    if x.op is None or x.op.op_type != "add":
        return x
    for one, other in ((x.op.x, x.op.y), (x.op.y, x.op.x)):
        if other.val is not None and np.size(other.val) == 1 and 0 <= float(np.max(other.val)) < 1e-4:
            return one
    return x


def _squared(x: Any) -> Any | None:
    if x.op is not None and x.op.op_type == "mul" and x.op.x is x.op.y:
        return x.op.x
    if x.op is not None and x.op.op_type == "pow" and x.op.y.val is not None and np.all(x.op.y.val == 2):
        return x.op.x
    return None
