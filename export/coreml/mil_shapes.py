"""How ONNX's changes of shape are said in Core ML's language."""

from __future__ import annotations

from typing import Any

import numpy as np

from .mil_node import Array, Node, axes_of


def reshape(mb: Any, node: Node, x: Any, shape: Array) -> Any:
    """A zero keeps the axis."""
    keeps = not node.get("allowzero", 0)
    sizes = [x.shape[axis] if size == 0 and keeps else int(size) for axis, size in enumerate(shape)]
    return mb.reshape(x=x, shape=sizes)


def flatten(mb: Any, node: Node, x: Any) -> Any:
    """Two axes: what is before `axis`, and the rest."""
    axis = int(node.get("axis", 1)) % (len(x.shape) + 1)
    return mb.reshape(x=x, shape=[int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:]))])


def pad(
    mb: Any,
    node: Node,
    x: Any,
    pads: Array | None = None,
    value: Array | None = None,
    axes: Array | None = None,
) -> Any:
    """Given starts then ends; result start and end of each axis."""
    ends = [int(n) for n in (node.get("pads") if pads is None else pads)]
    which = axes_of(node, axes, x)
    widths = np.zeros((len(x.shape), 2), np.int32)
    for i, axis in enumerate(which):
        widths[axis] = ends[i], ends[i + len(which)]
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(node.get("mode", "constant"))
    if mode is None or widths.min() < 0:
        raise node.refuse(f"it pads by {ends} in mode {node.get('mode')!r}")
    filling = np.float32(0 if value is None else value)
    if mode == "constant":
        return mb.pad(x=x, pad=widths.ravel(), mode=mode, constant_val=filling)
    return mb.pad(x=x, pad=widths[-2:].ravel(), mode=mode)  # MIL reflects images, not channels


def squeeze(mb: Any, node: Node, x: Any, axes: Array | None = None) -> Any:
    """Without axes: every axis of size one."""
    given = axes_of(node, axes, x)
    return mb.squeeze(x=x, axes=[axis for axis in given if x.shape[axis] == 1])


def unsqueeze(mb: Any, node: Node, x: Any, axes: Array | None = None) -> Any:
    """Adds axes of size one."""
    return mb.expand_dims(x=x, axes=[int(n) for n in (node.get("axes") if axes is None else axes)])


def transpose(mb: Any, node: Node, x: Any) -> Any:
    """Without an order: the axes backwards."""
    return mb.transpose(x=x, perm=[int(n) for n in node.get("perm", range(len(x.shape))[::-1])])


def expand(mb: Any, node: Node, x: Any, shape: Array) -> Any:
    """Repeats axes of size one; MIL's arithmetic repeats by itself, so most often this is nothing."""
    target = np.broadcast_shapes(tuple(x.shape), tuple(int(n) for n in shape))
    if tuple(x.shape) == target:
        return mb.identity(x=x)
    if len(target) > len(x.shape):
        x = mb.expand_dims(x=x, axes=list(range(len(target) - len(x.shape))))
    return mb.tile(x=x, reps=[want // have for want, have in zip(target, x.shape, strict=True)])


def concat(mb: Any, node: Node, *values: Any) -> Any:
    """Joins along one axis."""
    return mb.concat(values=list(values), axis=int(node.get("axis")))


def split(mb: Any, node: Node, x: Any, sizes: Array | None = None) -> Any:
    """Parts along one axis, alike unless sizes are given; one value for each."""
    axis = int(node.get("axis", 0)) % len(x.shape)
    given = node.get("split") if sizes is None else sizes
    if given is None:
        width = -(-x.shape[axis] // node.results)  # the last part may be smaller
        given = [width] * (node.results - 1) + [x.shape[axis] - width * (node.results - 1)]
    return mb.split(x=x, split_sizes=[int(size) for size in given], axis=axis)


def slice_(
    mb: Any, node: Node, x: Any, starts: Array, ends: Array, axes: Array | None = None, steps: Array | None = None
) -> Any:
    """Begin to end of some axes, counted from the end where negative; the others stay whole."""
    if any(not isinstance(given, np.ndarray) for given in (starts, ends)):
        raise node.refuse("where it cuts is computed by the network itself")
    which = range(len(starts)) if axes is None else axes
    strides = np.ones(len(starts), int) if steps is None else steps
    if min(strides) < 1:
        raise node.refuse("it walks backwards")
    begin, end, stride = [0] * len(x.shape), list(x.shape), [1] * len(x.shape)
    for axis, first, last, step in zip(which, starts, ends, strides, strict=True):
        begin[axis], end[axis], stride[axis] = slice(int(first), int(last), int(step)).indices(x.shape[axis])
    return mb.slice_by_index(x=x, begin=begin, end=end, stride=stride)


def gather(mb: Any, node: Node, x: Any, index: Array) -> Any:
    """One index is a slice without its axis; several are gathered."""
    axis = int(node.get("axis", 0)) % len(x.shape)
    if not isinstance(index, np.ndarray) or isinstance(x, np.ndarray):
        raise node.refuse("what it takes, or from where, is computed by the network itself")
    positions = index % x.shape[axis]
    if positions.ndim:
        return mb.gather(x=x, indices=positions.astype(np.int32), axis=axis)
    begin, end = [0] * len(x.shape), list(x.shape)
    begin[axis], end[axis] = int(positions), int(positions) + 1
    return mb.squeeze(x=mb.slice_by_index(x=x, begin=begin, end=end), axes=[axis])
