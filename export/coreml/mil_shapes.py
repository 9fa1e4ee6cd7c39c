"""Lowerings of operators that change shapes to MIL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...models.graph.resizing import Resizing, resizing_of
from ...models.graph.view import Array, attribute
from .mil_node import axes_of, refuse

if TYPE_CHECKING:
    from onnx import NodeProto


def lower_reshape(mb: Any, node: NodeProto, x: Any, shape: Array) -> Any:
    """A zero keeps the axis."""
    keeps = not attribute(node, "allowzero", 0)
    sizes = [x.shape[axis] if size == 0 and keeps else int(size) for axis, size in enumerate(shape)]
    return mb.reshape(x=x, shape=sizes)


def lower_flatten(mb: Any, node: NodeProto, x: Any) -> Any:
    """Two axes: what is before `axis`, and the rest."""
    axis = int(attribute(node, "axis", 1)) % (len(x.shape) + 1)
    return mb.reshape(x=x, shape=[int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:]))])


def lower_pad(
    mb: Any, node: NodeProto, x: Any, pads: Array | None = None, value: Array | None = None, axes: Array | None = None
) -> Any:
    """Given starts then ends; result start and end of each axis."""
    ends = [int(n) for n in (attribute(node, "pads") if pads is None else pads)]
    which = axes_of(node, axes, x)
    widths = np.zeros((len(x.shape), 2), np.int32)
    for i, axis in enumerate(which):
        widths[axis] = ends[i], ends[i + len(which)]
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(attribute(node, "mode", "constant"))
    if mode is None or widths.min() < 0:
        raise refuse(node, f"it pads by {ends} in mode {attribute(node, 'mode')!r}")
    filling = np.float32(attribute(node, "value", 0.0) if value is None else value)  # an attribute before opset 11
    if mode == "constant":
        return mb.pad(x=x, pad=widths.ravel(), mode=mode, constant_val=filling)
    return mb.pad(x=x, pad=widths[-2:].ravel(), mode=mode)  # MIL reflects images, not channels


def lower_squeeze(mb: Any, node: NodeProto, x: Any, axes: Array | None = None) -> Any:
    """Without axes: every axis of size one."""
    given = axes_of(node, axes, x)
    return mb.squeeze(x=x, axes=[axis for axis in given if x.shape[axis] == 1])


def lower_unsqueeze(mb: Any, node: NodeProto, x: Any, axes: Array | None = None) -> Any:
    """Adds axes of size one."""
    return mb.expand_dims(x=x, axes=[int(n) for n in (attribute(node, "axes") if axes is None else axes)])


def lower_transpose(mb: Any, node: NodeProto, x: Any) -> Any:
    """Without an order: the axes backwards."""
    return mb.transpose(x=x, perm=[int(n) for n in attribute(node, "perm", range(len(x.shape))[::-1])])


SAMPLING = {"align_corners": "STRICT_ALIGN_CORNERS", "half_pixel": "UNALIGN_CORNERS", "asymmetric": "DEFAULT"}
"""How MIL calls the grids of linear resizing."""


def lower_resize(mb: Any, node: NodeProto, x: Any, *given: Array | None) -> Any:
    """To the nearest pixel by whole factors, or linearly; the sizes are known from the scales or the last input."""
    stated = [one for one in given if one is not None and one.size == len(x.shape)]
    if not stated:
        raise refuse(node, "the size that it makes is computed by the network itself")
    by_scales = stated[-1].dtype.kind == "f"
    sides = np.floor(np.array(x.shape) * stated[-1] + 1e-4) if by_scales else stated[-1]
    found = resizing_of(node, x.shape, [int(side) for side in sides], stated[-1] if by_scales else None)
    if isinstance(found, str):
        raise refuse(node, f"it {found}")
    (height, width), (tall, wide) = found.size, found.target
    whole = tall % height == 0 and wide % width == 0
    factors = {"scale_factor_height": tall // height, "scale_factor_width": wide // width}
    if found.mode == "nearest":
        return mb.upsample_nearest_neighbor(x=x, **factors)
    if whole and found.grid != "asymmetric":
        corners = found.grid == "align_corners"
        floats = {name: np.float32(factor) for name, factor in factors.items()}
        return mb.upsample_bilinear(x=x, align_corners=corners, half_pixel_centers=not corners, **floats)
    mode = SAMPLING[str(found.grid)]
    return mb.resize_bilinear(x=x, target_size_height=tall, target_size_width=wide, sampling_mode=mode)


def mil_resizes(found: Resizing | str) -> bool:
    """Says whether one of MIL's own operators takes the same pixels."""
    return isinstance(found, Resizing) and (found.repeats or found.grid is not None)


def lower_tile(mb: Any, node: NodeProto, x: Any, repeats: Array) -> Any:
    """Repeats along each axis."""
    return mb.tile(x=x, reps=[int(count) for count in repeats])


def lower_depth_to_space(mb: Any, node: NodeProto, x: Any) -> Any:
    """MIL's pixel_shuffle has a block in the channels' inner places (CRD), depth_to_space in the outer ones."""
    size = int(attribute(node, "blocksize"))
    if attribute(node, "mode", "DCR") == "CRD":
        return mb.pixel_shuffle(x=x, upscale_factor=size)
    return mb.depth_to_space(x=x, block_size=size)


def lower_expand(mb: Any, node: NodeProto, x: Any, shape: Array) -> Any:
    """Repeats axes of size one; MIL's arithmetic repeats by itself, so most often this is nothing."""
    target = np.broadcast_shapes(tuple(x.shape), tuple(int(n) for n in shape))
    if tuple(x.shape) == target:
        return mb.identity(x=x)
    if len(target) > len(x.shape):
        x = mb.expand_dims(x=x, axes=list(range(len(target) - len(x.shape))))
    return mb.tile(x=x, reps=[want // have for want, have in zip(target, x.shape, strict=True)])


def lower_concat(mb: Any, node: NodeProto, *values: Any) -> Any:
    """Joins along one axis."""
    return mb.concat(values=list(values), axis=int(attribute(node, "axis")))


def lower_split(mb: Any, node: NodeProto, x: Any, sizes: Array | None = None) -> Any:
    """Parts along one axis, alike unless sizes are given; one value for each."""
    axis = int(attribute(node, "axis", 0)) % len(x.shape)
    given = attribute(node, "split") if sizes is None else sizes
    if given is None:
        width = -(-x.shape[axis] // len(node.output))  # the last part may be smaller
        given = [width] * (len(node.output) - 1) + [x.shape[axis] - width * (len(node.output) - 1)]
    return mb.split(x=x, split_sizes=[int(size) for size in given], axis=axis)


def lower_slice(mb: Any, node: NodeProto, x: Any, *given: Array | None) -> Any:
    """Begin to end of some axes, counted from the end where negative; the others stay whole.

    What goes backwards is gathered, as a Core ML slice only goes forwards.
    """
    bounds = given or [attribute(node, name) for name in ("starts", "ends", "axes")]  # attributes before opset 10
    starts, ends, axes, steps = [*bounds, None, None][:4]
    if any(not isinstance(bound, np.ndarray | list) for bound in (starts, ends)):
        raise refuse(node, "where it cuts is computed by the network itself")
    which = range(len(starts)) if axes is None else axes
    strides = np.ones(len(starts), int) if steps is None else steps
    begin, end, stride = [0] * len(x.shape), list(x.shape), [1] * len(x.shape)
    for axis, first, last, step in zip(which, starts, ends, strides, strict=True):
        bounds_of_axis = slice(int(first), int(last), int(step)).indices(x.shape[axis])
        if step < 0:
            places = np.arange(*bounds_of_axis, dtype=np.int32)
            x = mb.gather(x=x, indices=places, axis=int(axis) % len(x.shape))
            end[axis] = len(places)
        else:
            begin[axis], end[axis], stride[axis] = bounds_of_axis
    if (begin, end, stride) == ([0] * len(x.shape), list(x.shape), [1] * len(x.shape)):
        return x
    return mb.slice_by_index(x=x, begin=begin, end=end, stride=stride)


def lower_gather(mb: Any, node: NodeProto, x: Any, index: Array) -> Any:
    """One index is a slice without its axis; several are gathered."""
    axis = int(attribute(node, "axis", 0)) % len(x.shape)
    if not isinstance(index, np.ndarray) or isinstance(x, np.ndarray):
        raise refuse(node, "what it takes, or from where, is computed by the network itself")
    positions = index % x.shape[axis]
    if positions.ndim:
        return mb.gather(x=x, indices=positions.astype(np.int32), axis=axis)
    begin, end = [0] * len(x.shape), list(x.shape)
    begin[axis], end[axis] = int(positions), int(positions) + 1
    return mb.squeeze(x=mb.slice_by_index(x=x, begin=begin, end=end), axes=[axis])
