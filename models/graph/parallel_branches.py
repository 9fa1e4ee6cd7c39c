"""Sums of linear branches become one convolution, as re-parameterised networks are meant to be deployed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .view import GraphView, attribute, copied

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Numbers = NDArray[np.float64]
SUMS = ("Add", "Sum")


@dataclass(frozen=True)
class Branch:
    """A convolution of `source`, or each channel of it by itself, with a scale and a shift per channel."""

    source: str
    scale: Numbers  # (C,), or () of 1
    shift: Numbers  # (C,), or () of 0
    kernel: Numbers | None = None  # (C, I / groups, kh, kw); None: the source itself
    groups: int = 1
    strides: tuple[int, int] = (1, 1)
    before: tuple[int, int] = (0, 0)  # padding at top and left
    after: tuple[int, int] = (0, 0)

    @property
    def taps(self) -> int:
        """Multiplications for each number of the result and channel that it reads."""
        return 0 if self.kernel is None else int(np.prod(self.kernel.shape[2:]))

    @property
    def reach(self) -> tuple[int, int]:
        """The last row and column that a window reads, counted from the pixel that it stands on."""
        rows, columns = (1, 1) if self.kernel is None else self.kernel.shape[2:]
        return rows - 1 - self.before[0], columns - 1 - self.before[1]


def merge_branches(model: ModelProto) -> tuple[ModelProto, list[str]]:
    """Writes convolutions, batch norms and the identity of one value, all summed, as one convolution.

    Given   Conv 3x3 (x) -> BatchNormalization,  Conv 1x1 (x),  BatchNormalization(x)  -> Add -> Add -> y
    Result  Conv 3x3 (x) -> y

    Convolutions are merged where they agree in stride and groups, and only where that makes no more multiplications.
    Exact but for the rounding of float32.

    Source: Ding et al., RepVGG: Making VGG-style ConvNets Great Again, CVPR 2021, sec. 3.3.

    Args:
        model: With shapes stated.

    Returns:
        The graph, and the results of the convolutions that took the place of several branches.
    """
    result = copied(model)
    view = GraphView(result.graph)
    inner = {name for node in result.graph.node for name in _inner_sums(view, node)}
    replaced: dict[str, list[NodeProto]] = {}
    merged: list[str] = []
    for node in result.graph.node:
        if node.op_type in SUMS and node.output[0] not in inner:
            steps, names = _as_one(view, node)
            if names:
                replaced[node.output[0]] = steps
                merged += names
    if not merged:
        return model, []
    view.set_nodes(step for node in result.graph.node for step in replaced.get(node.output[0], [node]))
    view.drop_unneeded()
    return result, merged


def _inner_sums(view: GraphView, node: NodeProto) -> list[str]:
    """Gives the inputs of a sum that are sums themselves, and read by nothing else."""
    if node.op_type not in SUMS or any(view.constant(name) is not None for name in node.input):
        return []
    producers = [(name, view.producer(name)) for name in node.input]
    return [
        name
        for name, one in producers
        if one is not None
        and one.op_type in SUMS
        and view.sole_consumer(name) is node
        and not any(view.constant(other) is not None for other in one.input)
        and view.shape(name) == view.shape(node.output[0])
    ]


def _terms(view: GraphView, node: NodeProto) -> list[str]:
    inner = _inner_sums(view, node)
    found: list[str] = []
    for name in node.input:
        producer = view.producer(name)
        found += _terms(view, producer) if name in inner and producer is not None else [name]
    return found


def _as_one(view: GraphView, node: NodeProto) -> tuple[list[NodeProto], list[str]]:
    """Gives the nodes that compute the sum with its branches merged, and the results of merged ones; or nothing."""
    import onnx

    names, y = _terms(view, node), node.output[0]
    shape = view.shape(y)
    if shape is None or len(shape) != 4 or any(view.shape(name) != shape for name in names):
        return [], []
    branches = [_branch(view, name) for name in names]
    steps: list[NodeProto] = []
    merged: list[str] = []
    groups = _groups(branches)
    terms = [name for place, name in enumerate(names) if not any(place in group for group in groups)]
    for number, group in enumerate(groups):
        merged.append(f"{y}/merged{number}")
        steps.append(_convolution(view, [branches[place] for place in group], merged[-1], shape[1]))
    if not merged:
        return [], []
    terms += merged
    while len(terms) > 1:
        first, second, *rest = terms
        total = y if not rest else f"{y}/sum{len(rest)}"
        steps.append(onnx.helper.make_node("Add", [first, second], [total], name=total))
        terms = [total, *rest]
    if terms != [y]:  # one convolution is all
        steps[-1].output[0] = steps[-1].name = y
        merged = [y]
    return steps, merged


def _groups(branches: Sequence[Branch]) -> list[list[int]]:
    """Gives the places of branches that one convolution can compute."""
    kinds: dict[Any, list[int]] = {}
    for place, one in enumerate(branches):
        if one.kernel is not None:
            kinds.setdefault((one.source, one.groups, one.strides), []).append(place)
    for place, one in enumerate(branches):
        if one.kernel is None:
            fitting = [key for key in kinds if key[0] == one.source and key[2] == (1, 1)]
            if fitting:
                kinds[fitting[0]].append(place)
    return [places for places in kinds.values() if len(places) > 1 and _pays([branches[place] for place in places])]


def _pays(branches: Sequence[Branch]) -> bool:
    height, width = _window(branches)[1]
    return height * width <= sum(one.taps for one in branches)


def _window(branches: Sequence[Branch]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Gives the padding at top and left, and the sides, of the window that covers those of all branches."""
    before = tuple(max(one.before[axis] for one in branches) for axis in (0, 1))
    sides = tuple(before[axis] + 1 + max(one.reach[axis] for one in branches) for axis in (0, 1))
    return (before[0], before[1]), (sides[0], sides[1])


def _convolution(view: GraphView, branches: Sequence[Branch], name: str, channels: int) -> NodeProto:
    import onnx

    convolved = [one for one in branches if one.kernel is not None]
    first = convolved[0]
    assert first.kernel is not None
    before, sides = _window(branches)
    width = first.kernel.shape[1]
    kernel, shift = np.zeros((channels, width, *sides)), np.zeros(channels)
    for one in branches:
        shift += one.shift
        top, left = before[0] - one.before[0], before[1] - one.before[1]
        scale = np.broadcast_to(one.scale, channels)
        if one.kernel is None:
            own = np.arange(channels) % width  # each filter's own channel, within its group
            kernel[np.arange(channels), own, top, left] += scale
        else:
            rows, columns = one.kernel.shape[2:]
            kernel[:, :, top : top + rows, left : left + columns] += one.kernel * scale[:, None, None, None]
    last = tuple(max(one.after[axis] - one.reach[axis] for one in branches) for axis in (0, 1))
    after = [last[axis] + sides[axis] - 1 - before[axis] for axis in (0, 1)]
    weights = view.set_constant(f"{name}/weights", kernel.astype(np.float32))
    bias = view.set_constant(f"{name}/bias", shift.astype(np.float32))
    return onnx.helper.make_node(
        "Conv",
        [first.source, weights, bias],
        [name],
        name=name,
        kernel_shape=list(sides),
        strides=list(first.strides),
        pads=[*before, *after],
        group=first.groups,
    )


def _branch(view: GraphView, name: str) -> Branch:
    """Follows `name` back over batch norms to a convolution, or as far as that leads."""
    scale, shift = np.ones(()), np.zeros(())
    while True:
        node = view.producer(name)
        if node is None or view.sole_consumer(name) is None or not view.has_constant_weights(node):
            break
        if node.op_type == "BatchNormalization" and len(node.output) == 1:
            gamma, beta, mean, variance = (view.constants[one].astype(np.float64) for one in node.input[1:])
            factor = gamma / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
            shift, scale, name = shift + scale * (beta - mean * factor), scale * factor, node.input[0]
            continue
        convolution = _convolved(view, node, scale, shift) if node.op_type == "Conv" else None
        if convolution is not None:
            return convolution
        break
    return Branch(name, scale, shift)


def _convolved(view: GraphView, node: NodeProto, scale: Numbers, shift: Numbers) -> Branch | None:
    kernel = view.constants[node.input[1]].astype(np.float64)
    plain = attribute(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID")
    if kernel.ndim != 4 or not plain or set(attribute(node, "dilations", [1])) != {1}:
        return None
    bias = view.constants[node.input[2]].astype(np.float64) if len(node.input) > 2 else np.zeros(())
    pads, strides = attribute(node, "pads", [0] * 4), attribute(node, "strides", [1, 1])
    groups = int(attribute(node, "group", 1))
    ends = (pads[0], pads[1]), (pads[2], pads[3])
    return Branch(node.input[0], scale, shift + scale * bias, kernel, groups, (strides[0], strides[1]), *ends)
