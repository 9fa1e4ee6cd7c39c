"""ONNX operators that become functions of places: what reshapes, cuts, joins, moves and resizes, for any batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .imported_node import ImportedNode, Operation
from .resizing import is_older, newer, resizing_of

Side = tuple[int, ...] | int
"""One side of a reshaped value: the product of these sides of the value before, or a number."""

PADDINGS = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}


def reshaped_sides(before: Sequence[int], after: Sequence[int]) -> tuple[Side, ...]:
    """Tells where each side of a reshaped value comes from, so that other batches and widths reshape alike.

    Sides that are kept or merged follow those of the value before; a side that is split is split as the file says, so
    its channels cannot be cut. The first side is the batch, 1 in the file: where it does not come from the first side
    before, it is what is left over.

    >>> reshaped_sides((1, 64, 7, 7), (1, 3136))
    ((0,), (1, 2, 3))
    >>> reshaped_sides((1, 49, 64), (1, 49, 4, 16))
    ((0,), (1,), 4, 16)
    >>> reshaped_sides((1, 2, 2, 4, 4, 8), (4, 4, 4, 8)), reshaped_sides((4, 16, 8), (1, 4, 16, 8))
    (((0, 1, 2), (3,), (4,), (5,)), (-1, 4, (1,), (2,)))
    """
    kept = len(before) > 0 and len(after) > 0 and before[0] == after[0]
    sides: list[Side] = list(after)
    left = [place for place in range(int(kept), len(before)) if before[place] != 1]
    right = [place for place in range(int(kept), len(after)) if after[place] != 1]
    i = j = 0
    while i < len(left) and j < len(right):
        sources, results = [left[i]], [right[j]]
        i, j = i + 1, j + 1
        while (a := math.prod(before[place] for place in sources)) != (b := math.prod(after[p] for p in results)):
            if a < b and i < len(left):
                sources.append(left[i])
                i += 1
            elif a > b and j < len(right):
                results.append(right[j])
                j += 1
            else:
                return tuple(after)
        if len(results) == 1:
            sides[results[0]] = tuple(sources)
    if kept:
        sides[0] = (0,)
    elif after:
        first = sides[0]
        sides[0] = (0, *(place for place in first if place)) if isinstance(first, tuple) else -1
        if sides[0] == -1:  # the batch is part of the first side before, which has no length of its own then
            rest = zip(sides[1:], after[1:], strict=True)
            sides[1:] = [number if isinstance(side, tuple) and 0 in side else side for side, number in rest]
    return tuple(sides)


def _reshaped(sides: tuple[Side, ...], x: Tensor) -> Tensor:
    return x.reshape([side if isinstance(side, int) else math.prod(x.shape[place] for place in side) for side in sides])


def _reshape(node: ImportedNode) -> Operation:
    before, after = node.shape(), node.result_shape()
    if node.node.output[0] in node.view.outputs and before[:1] == (1,):
        return Operation(partial(torch.flatten, start_dim=1))
    return Operation(partial(_reshaped, reshaped_sides(before, after)))


def _transpose(node: ImportedNode) -> Operation:
    order = node.integers("perm") or list(reversed(range(node.rank())))
    return Operation(partial(torch.permute, dims=order))


def _axes(node: ImportedNode, name: str = "axes", place: int = 1) -> list[int] | None:
    axes = node.integers(name, place)
    return None if axes is None else [axis % node.rank() for axis in axes]


def _squeeze(node: ImportedNode) -> Operation:
    axes = _axes(node)
    axes = [axis for axis, side in enumerate(node.shape()) if side == 1] if axes is None else axes
    if node.node.output[0] in node.view.outputs:
        axes = [axis for axis in axes if axis]  # a row of its own is what one face's embedding is here
    return Operation(partial(torch.squeeze, dim=tuple(axes)))


def _unsqueeze(node: ImportedNode) -> Operation:
    rank = len(node.result_shape())
    axes = sorted(axis % rank for axis in node.integers("axes", 1) or ())
    return Operation(partial(_unsqueezed, tuple(axes)))


def _unsqueezed(axes: tuple[int, ...], x: Tensor) -> Tensor:
    for axis in axes:
        x = x.unsqueeze(axis)
    return x


def _concat(node: ImportedNode) -> Operation:
    places = node.given()
    constant = [node.is_weight(place) or node.node.input[place] in node.view.constants for place in places]
    computed = [number for number, known in enumerate(constant) if not known]
    return Operation(partial(_joined, node.axis(0), computed[0] if computed else 0), places)


def _joined(axis: int, computed: int, *parts: Tensor) -> Tensor:
    """Joins `parts`; one that is the same for all faces, such as a class token, is repeated for each of them."""
    if axis:
        faces = parts[computed].shape[0]
        parts = tuple(part if n == computed else part.expand(faces, *part.shape[1:]) for n, part in enumerate(parts))
    return torch.cat(parts, axis)


def _split(node: ImportedNode) -> Operation:
    axis, count = node.axis(0), len(node.node.output)
    sizes = [node.result_shape(place)[axis] for place in range(count)]
    if len(set(sizes)) == 1:
        return Operation(partial(torch.chunk, chunks=count, dim=axis))  # in halves, whatever the width
    return Operation(partial(torch.split, split_size_or_sections=sizes, dim=axis))


def _slice(node: ImportedNode) -> Operation:
    starts, ends = node.integers("starts", 1) or [], node.integers("ends", 2) or []
    axes = _axes(node, place=3) or list(range(len(starts)))
    steps = (node.integers("steps", 4) if node.has(4) else None) or [1] * len(starts)
    cuts: list[slice] = [slice(None)] * node.rank()
    turned = []
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        chosen = range(node.shape()[axis])[start:end:step]
        if step < 0:
            turned.append(axis)
            chosen = chosen[::-1]
        whole = len(chosen) == node.shape()[axis]
        cuts[axis] = slice(None) if whole else slice(chosen.start, chosen.stop, chosen.step)
    return Operation(partial(_sliced, tuple(cuts), tuple(turned)))


def _sliced(cuts: tuple[slice, ...], turned: tuple[int, ...], x: Tensor) -> Tensor:
    x = x[cuts]
    return x.flip(turned) if turned else x


def _gather(node: ImportedNode) -> Operation:
    axis, side = node.axis(0), node.shape()[node.axis(0)]
    indices = np.asarray(node.constant(1))
    if indices.ndim == 0:
        return Operation(partial(torch.select, dim=axis, index=int(indices) % side))
    places = [int(index) % side for index in indices.reshape(-1)]
    return Operation(partial(_gathered, axis, places, indices.shape))


def _gathered(axis: int, places: list[int], sides: tuple[int, ...], x: Tensor) -> Tensor:
    chosen = x.index_select(axis, torch.tensor(places, device=x.device))
    return chosen if len(sides) == 1 else chosen.reshape(*x.shape[:axis], *sides, *x.shape[axis + 1 :])


def _pad(node: ImportedNode) -> Operation:
    mode, rank = node.attribute("mode", "constant"), node.rank()
    counts = node.integers("pads", 1) or []
    if mode not in PADDINGS:
        raise node.refuse(f"pads in the mode {mode!r}")
    axes = _axes(node, place=3) if node.has(3) else list(range(rank))
    before, after = [0] * rank, [0] * rank
    for n, axis in enumerate(axes or ()):
        before[axis], after[axis] = counts[n], counts[n + len(counts) // 2]
    first = next((axis for axis in range(rank) if before[axis] or after[axis]), rank)
    if first == rank:
        return Operation(_as_is)
    if mode != "constant" and first < rank - 2:
        raise node.refuse("mirrors more than an image's rows and columns")
    sides = [count for axis in reversed(range(first, rank)) for count in (before[axis], after[axis])]
    if mode != "constant":
        return Operation(partial(F.pad, pad=sides, mode=PADDINGS[mode]))
    given = node.constant(2) if node.has(2) else None
    value = float(node.attribute("value", 0.0) if given is None else given.reshape(-1)[0])
    return Operation(partial(F.pad, pad=sides, value=value))


def _as_is(x: Tensor, *_: object) -> Tensor:
    return x


def _resize(node: ImportedNode) -> Operation:
    old = is_older(node.node)
    stated = node.attribute("scales")  # an attribute in opset 7
    scales = node.constant(1 if old else 2) if stated is None else np.array(stated, np.float32)
    found = resizing_of(newer(node.node) if old else node.node, node.shape(), node.result_shape(), scales)
    if isinstance(found, str):
        raise node.refuse(found)
    if found.repeats:
        return Operation(partial(F.interpolate, size=found.target, mode="nearest"))
    if found.mode == "nearest":
        rows, columns = (places.tolist() for places in found.rows_and_columns)
        return Operation(partial(_picked, rows, columns))
    if found.grid in ("align_corners", "half_pixel"):
        corners = found.grid == "align_corners"
        return Operation(partial(F.interpolate, size=found.target, mode="bilinear", align_corners=corners))
    return Operation(partial(_weighed, found.weights(0).tolist(), found.weights(1).tolist()))


def _picked(rows: list[int], columns: list[int], x: Tensor) -> Tensor:
    chosen = x.index_select(2, torch.tensor(rows, device=x.device))
    return chosen.index_select(3, torch.tensor(columns, device=x.device))


def _weighed(rows: list[list[float]], columns: list[list[float]], x: Tensor) -> Tensor:
    """Resizes by a product with a matrix for the height and one for the width."""
    wide = x @ x.new_tensor(columns)
    return (wide.mT @ x.new_tensor(rows)).mT


def _expand(node: ImportedNode) -> Operation:
    before, after = node.shape(), node.result_shape()
    new = len(after) - len(before)
    kept = [side if n < new or before[n - new] != side else -1 for n, side in enumerate(after)]
    return Operation(partial(_expanded, tuple(kept)))


def _expanded(sides: tuple[int, ...], x: Tensor) -> Tensor:
    return x.expand(sides)


def _tile(node: ImportedNode) -> Operation:
    repeats = node.integers("repeats", 1) or []
    return Operation(partial(torch.tile, dims=tuple(repeats)))


def _blocks(node: ImportedNode) -> tuple[int, bool]:
    if node.rank() != 4:
        raise node.refuse(f"moves pixels of values with {node.rank()} sides")
    return int(node.attribute("blocksize")), node.attribute("mode", "DCR") == "DCR"


def _depth_to_space(node: ImportedNode) -> Operation:
    block, depth_first = _blocks(node)
    return Operation(partial(_spread, block) if depth_first else partial(F.pixel_shuffle, upscale_factor=block))


def _spread(block: int, x: Tensor) -> Tensor:
    faces, channels, height, width = x.shape
    x = x.reshape(faces, block, block, channels // block**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(faces, channels // block**2, height * block, width * block)


def _space_to_depth(node: ImportedNode) -> Operation:
    return Operation(partial(_gathered_in_depth, _blocks(node)[0]))


def _gathered_in_depth(block: int, x: Tensor) -> Tensor:
    faces, channels, height, width = x.shape
    x = x.reshape(faces, channels, height // block, block, width // block, block).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(faces, channels * block**2, height // block, width // block)


def _einsum(node: ImportedNode) -> Operation:
    return Operation(partial(torch.einsum, str(node.attribute("equation"))), node.given())


def _cast(node: ImportedNode) -> Operation:
    import onnx

    kinds: dict[int, torch.dtype] = {
        onnx.TensorProto.FLOAT: torch.float32,
        onnx.TensorProto.INT64: torch.int64,
        onnx.TensorProto.INT32: torch.int32,
        onnx.TensorProto.BOOL: torch.bool,
    }
    kind = node.attribute("to")
    if kind not in kinds:
        raise node.refuse(f"casts to {onnx.TensorProto.DataType.Name(kind)}")
    return Operation(partial(_as_kind, kinds[kind]))


def _as_kind(kind: torch.dtype, x: Tensor) -> Tensor:
    return x.to(kind)


def _unchanged(node: ImportedNode) -> Operation:
    return Operation(_as_is)


SHAPES: dict[str, Callable[[ImportedNode], Operation]] = {
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Pad": _pad,
    "Resize": _resize,
    "Upsample": _resize,
    "Expand": _expand,
    "Tile": _tile,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Einsum": _einsum,
    "Cast": _cast,
    "Identity": _unchanged,
    "Dropout": _unchanged,
}
"""By operator, what makes the function."""
