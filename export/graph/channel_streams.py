"""Channel streams: channels that sums tie together, so that one factor can scale each through a residual branch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...models.graph.channel_paths import MOVES, NORMS, axis_after, channels_of, is_last_axis_norm, layer_takes
from ...models.graph.view import GraphView, attribute

if TYPE_CHECKING:
    from onnx import NodeProto

Ids = NDArray[np.intp]

HOMOGENEOUS = ("Relu", "PRelu", "LeakyRelu", "AveragePool", "GlobalAveragePool", "MaxPool", "GlobalMaxPool")
"""Operators of (N, C, ...) with f(s x) = s f(x) for s > 0, channel by channel."""


@dataclass(frozen=True)
class Channels:
    """The channels of one value: where they lie, and to which stream each belongs."""

    axis: int
    ids: Ids  # (C,) of streams, before they are merged


class _Forest:
    """Disjoint sets of numbers (Tarjan, 1975); each set is known by one of them, its root."""

    def __init__(self, count: int = 0) -> None:
        self._parent = list(range(count))

    def add(self) -> int:
        self._parent.append(len(self._parent))
        return self._parent[-1]

    def alone(self) -> _Forest:
        """Gives as many numbers, none joined."""
        return _Forest(len(self._parent))

    def root(self, one: int) -> int:
        while self._parent[one] != one:
            self._parent[one] = self._parent[self._parent[one]]
            one = self._parent[one]
        return one

    def join(self, one: int, other: int) -> None:
        self._parent[self.root(one)] = self.root(other)


@dataclass
class ChannelStreams:
    """The streams of a graph, and what would have to know the factor of each."""

    of: dict[str, Channels] = field(default_factory=dict)  # by the name of the value
    makers: list[NodeProto] = field(default_factory=list)  # layers and norms, whose weights take the factors of results
    readers: list[NodeProto] = field(default_factory=list)  # layers whose weights take back those of their inputs
    norms: list[NodeProto] = field(default_factory=list)  # that read a stream: the factors must be taken back before
    shifts: list[NodeProto] = field(default_factory=list)  # Adds of a constant, which takes the factors too
    _tied: _Forest = field(default_factory=lambda: _Forest())
    _fixed: set[int] = field(default_factory=set)

    def fresh(self, count: int) -> Ids:
        """Gives new streams."""
        return np.array([self._tied.add() for _ in range(count)], np.intp)

    def roots(self, name: str) -> list[int]:
        """Gives the stream that each channel of a value belongs to now."""
        return [self._tied.root(int(one)) for one in self.of[name].ids]

    def merge(self, ids: Ids, others: Ids) -> None:
        """Ties streams together, pair by pair."""
        for one, other in zip(ids, others, strict=True):
            self._tied.join(int(one), int(other))

    def fix(self, name: str) -> None:
        """Says that the channels of a value cannot be scaled."""
        if name in self.of:
            self._fixed.update(map(int, self.of[name].ids))

    def fixed(self) -> set[int]:
        """Gives the streams that cannot be scaled."""
        return {self._tied.root(one) for one in self._fixed}

    def side_by_side(self) -> list[set[int]]:
        """Gives sets of streams that lie in the same values, directly or by way of others."""
        sets = self._tied.alone()
        for name in self.of:
            first, *others = self.roots(name)
            for other in others:
                sets.join(first, other)
        together: dict[int, set[int]] = {}
        for name in self.of:
            for root in self.roots(name):
                together.setdefault(sets.root(root), set()).add(root)
        return list(together.values())


def channel_streams(view: GraphView) -> ChannelStreams:
    """Finds the streams of a graph of batch 1 with all shapes known."""
    streams = ChannelStreams()
    for node in view.graph.node:
        if not _follow(view, streams, node):
            for name in node.input:
                streams.fix(name)
    for name in view.outputs:
        streams.fix(name)
    return streams


def _follow(view: GraphView, streams: ChannelStreams, node: NodeProto) -> bool:
    """Adds what a node makes of its inputs' streams; False where it cannot read them scaled."""
    source, result = node.input[0] if node.input else "", node.output[0]
    channels = streams.of.get(source)
    if node.op_type in NORMS and is_last_axis_norm(view, node):
        sides = view.shape(result) or ()
        streams.of[result] = Channels(len(sides) - 1, streams.fresh(sides[-1]))
        streams.makers.append(node)
        if channels is not None and channels.axis == len(sides) - 1:
            streams.norms.append(node)
            return True
        return False
    if (axis := channels_of(view, node)) is not None and view.has_constant_weights(node):
        streams.of[result] = Channels(axis, streams.fresh((view.shape(result) or ())[axis]))
        streams.makers.append(node)
        if channels is not None and layer_takes(view, node, channels.axis):
            streams.readers.append(node)
            return True
        return False
    if node.op_type in MOVES and channels is not None:
        after = axis_after(view, node, channels.axis)
        if after is not None:
            streams.of[result] = Channels(after, channels.ids)
        return after is not None
    if node.op_type in HOMOGENEOUS and channels is not None and channels.axis == 1:
        streams.of[result] = channels
        return True
    follow = {"Add": _add, "Split": _split, "Concat": _concat, "ReduceMean": _mean}.get(node.op_type)
    return follow is not None and follow(view, streams, node)


def _add(view: GraphView, streams: ChannelStreams, node: NodeProto) -> bool:
    computed = [name for name in node.input if name not in view.constants]
    shape, parts = view.shape(node.output[0]), [streams.of.get(name) for name in computed]
    first = parts[0]
    if first is None or any(view.shape(name) != shape for name in computed):
        return False
    streams.of[node.output[0]] = first
    if len(computed) == 1:
        streams.shifts.append(node)
        return True
    other = parts[1]
    if other is None or other.axis != first.axis:
        streams.fix(node.output[0])
        return False
    streams.merge(first.ids, other.ids)
    return True


def _split(view: GraphView, streams: ChannelStreams, node: NodeProto) -> bool:
    channels, shape = streams.of.get(node.input[0]), view.shape(node.input[0]) or ()
    if channels is None:
        return False
    if int(attribute(node, "axis", 0)) % len(shape) != channels.axis:
        streams.of.update(dict.fromkeys(node.output, channels))
        return True
    sides = [(view.shape(name) or (0,) * len(shape))[channels.axis] for name in node.output]
    if sum(sides) != len(channels.ids):
        return False
    for name, ids in zip(node.output, np.split(channels.ids, np.cumsum(sides)[:-1]), strict=True):
        streams.of[name] = Channels(channels.axis, ids)
    return True


def _concat(view: GraphView, streams: ChannelStreams, node: NodeProto) -> bool:
    rank, parts = len(view.shape(node.output[0]) or ()), [streams.of.get(name) for name in node.input]
    axis = int(attribute(node, "axis")) % max(rank, 1)
    if not all(part is not None and part.axis == axis for part in parts):
        return False
    streams.of[node.output[0]] = Channels(axis, np.concatenate([part.ids for part in parts if part is not None]))
    return True


def _mean(view: GraphView, streams: ChannelStreams, node: NodeProto) -> bool:
    channels, sides, kept = streams.of.get(node.input[0]), view.shape(node.input[0]), view.shape(node.output[0])
    if channels is None or not sides or not kept or len(sides) != len(kept):
        return False
    if kept[channels.axis] != len(channels.ids) or len(channels.ids) == 1:
        return False
    streams.of[node.output[0]] = channels
    return True
