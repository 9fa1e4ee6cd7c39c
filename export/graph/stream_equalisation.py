"""Equalisation through residual streams: channels that sums tie together get one range, so that one int8 step fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...models.graph.channel_paths import along, by_input, is_depthwise, scale_results
from ...models.graph.view import GraphView, copied, with_shapes
from .channel_streams import ChannelStreams, channel_streams
from .composition import WIDE
from .intermediates import capture_of

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Ranges = Mapping[str, NDArray[np.float64]]  # (C,) the largest magnitude of each channel, by the name of a value

STRENGTH = 0.75  # 1: channels reach one range where each is loudest, but where a stream begins these are faint
DENSE_STRENGTH = 0.5 * STRENGTH  # before a layer that mixes channels, whose weights share a step: half of the way
LARGEST_SCALE = 64.0  # of a nearly silent channel, and of a loud one
LEAST_SPREAD = 3.0  # of the loudest channel to the median before a norm, where taking the factors back costs a product


def equalise_streams(model: ModelProto, inputs: NDArray[np.float32]) -> tuple[ModelProto, int]:
    """Scales each channel of a residual stream that layer norms read towards one range, and takes it back after it.

    Given:   x = conv W -> Add(x, MatMul U) -> y, which LayerNormalization and depthwise V read     one channel of y
             reaches 13, the median 0.2: an int8 step of 13 / 127 for all
    Result:  conv s W -> Add(_, MatMul s U) -> s y;  s y -> Mul 1 / s -> LayerNormalization;  s y -> depthwise V / s

    A factor per channel goes through sums, transposes, reshapes, splits and joins; the layers and norms that give the
    stream take it into their weights, the layers that read it take it back. Only a norm that reads it needs a product,
    which stays in float as the norm does. Channels that anything else reads are left alone; so are networks without
    layer norms, which `equalise_across_layers` serves.

    Args:
        model: Batch 1; changed in a copy.
        inputs: (N, 3, H, W) float32, preprocessed faces that show the ranges.

    Returns:
        The network, which computes what it computed up to the rounding of float32, and how many channels were scaled.

    Raises:
        ValueError: There are no faces.

    Source: the idea of Xiao et al., SmoothQuant, ICML 2023, through residual streams; the factors are ours.
    """
    if not len(inputs):
        raise ValueError("equalisation needs faces to measure the channels' ranges; pass at least one")
    result = with_shapes(copied(model))
    view = GraphView(result.graph)
    streams = channel_streams(view)
    if not streams.norms:
        return model, 0
    factors = _factors(view, streams, _ranges(result, streams, inputs))
    if not factors:
        return model, 0
    _scale(view, streams, factors)
    return with_shapes(result), len(factors)


def _ranges(model: ModelProto, streams: ChannelStreams, inputs: NDArray[np.float32]) -> Ranges:
    capture = capture_of(model, list(streams.of))
    largest: dict[str, NDArray[np.float64]] = {}
    for face in inputs:
        for name, values in capture(face[None]).items():
            axes = tuple(axis for axis in range(values.ndim) if axis != streams.of[name].axis)
            largest[name] = np.maximum(largest.get(name, 0.0), np.abs(values).max(axis=axes).astype(np.float64))
    return largest


def _factors(view: GraphView, streams: ChannelStreams, ranges: Ranges) -> dict[int, float]:
    """Gives the factor of each stream that is to be scaled."""
    loudest: dict[int, float] = {}  # of a channel, wherever its stream goes
    for name, magnitudes in ranges.items():
        for root, magnitude in zip(streams.roots(name), magnitudes, strict=True):
            loudest[root] = max(loudest.get(root, 0.0), float(magnitude))
    for norm in streams.norms:
        spread = np.array([loudest[root] for root in streams.roots(norm.input[0])])
        if spread.max() < LEAST_SPREAD * np.median(spread):
            streams.fix(norm.input[0])
    dense = {root for node in streams.readers if not is_depthwise(view, node) for root in streams.roots(node.input[0])}
    fixed, beside = streams.fixed(), dict[int, float]()
    for name, magnitudes in ranges.items():
        pairs = list(zip(streams.roots(name), map(float, magnitudes), strict=True))
        if 0 < sum(root in fixed for root, _ in pairs) < len(pairs):
            most = max(magnitude for root, magnitude in pairs if root in fixed)
            beside |= {root: max(beside.get(root, 0.0), most) for root, _ in pairs}
    factors: dict[int, float] = {}
    for roots in streams.side_by_side():
        free = roots - fixed
        level = max((beside[root] for root in free if root in beside), default=max(loudest[root] for root in roots))
        for root in free:
            wanted = level / max(loudest[root], level / LARGEST_SCALE, 1e-30)
            factor = max(wanted, 1 / LARGEST_SCALE) ** (DENSE_STRENGTH if root in dense else STRENGTH)
            if factor != 1:
                factors[root] = factor
    return factors


def _scale(view: GraphView, streams: ChannelStreams, factors: Mapping[int, float]) -> None:
    """Writes the factors into the weights, and a product before each norm."""

    def of(name: str) -> NDArray[np.float32] | None:
        each = np.array([factors.get(root, 1.0) for root in streams.roots(name)], np.float32)
        return each if (each != 1).any() else None

    for node in streams.makers:
        if (scale := of(node.output[0])) is not None:
            scale_results(view, node, scale, "equalised")
    for node in streams.shifts:
        if (scale := of(node.output[0])) is not None:
            constant = next(place for place, name in enumerate(node.input) if name in view.constants)
            rank = len(view.shape(node.output[0]) or ())
            view.scale_input(node, constant, along(scale, streams.of[node.output[0]].axis, rank), "equalised")
    for node in streams.readers:
        if (scale := of(node.input[0])) is not None:
            weights = by_input(node, view.constants[node.input[1]], 1 / scale)
            node.input[1] = view.set_constant(f"{node.output[0]}/taken_back", weights.astype(np.float32))
    steps: dict[str, NodeProto] = {}
    for node in streams.norms:
        if (scale := of(node.input[0])) is not None:
            steps[node.output[0]] = _taken_back(view, node, scale)
    view.set_nodes(one for node in view.graph.node for one in (steps.get(node.output[0]), node) if one is not None)
    view.drop_unread()


def _taken_back(view: GraphView, norm: NodeProto, scale: NDArray[np.float32]) -> NodeProto:
    """Gives the product that a norm reads in the place of its input; it stays in float."""
    import onnx

    name = f"{norm.output[0]}/{WIDE}/taken_back"
    factors = view.set_constant(f"{norm.output[0]}/factors", 1 / scale)
    product = onnx.helper.make_node("Mul", [norm.input[0], factors], [name], name=name)
    norm.input[0] = name
    return product
