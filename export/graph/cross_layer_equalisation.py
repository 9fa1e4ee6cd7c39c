"""Cross-layer equalisation: channels between two convolutions get one range, so that one int8 step fits them all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...models.graph.view import Array, GraphView, attribute, clip_bounds, copied
from .intermediates import capture_of

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

HOMOGENEOUS = ("PRelu", "Relu", "LeakyRelu")
"""Operators with f(s x) = s f(x) for every s > 0, channel by channel."""

LARGEST_SCALE = 64.0  # a nearly silent channel is scaled by no more than this
HEADROOM = 1.25  # between the largest value seen of a channel and the clip


@dataclass(frozen=True)
class ConvolutionPair:
    """Two convolutions and the tensors between them, which no other node reads."""

    first: NodeProto
    second: NodeProto
    tensors: tuple[str, ...]  # to scale: results of the first and the activation; of a clip alone
    strength: float  # 1: all channels reach one range; 0.5: the square root of that scale
    ceiling: float  # upper bound of the activation, such as 6 of ReLU6; infinite without one


def equalise_across_layers(model: ModelProto, inputs: NDArray[np.float32]) -> tuple[ModelProto, int]:
    """Scales each channel between two convolutions to the range of the loudest, and undoes it in the second one.

    Given:   conv W, b -> PReLU -> depthwise V            channels reach 20, 1, 0.5: one int8 step of 20 / 127 for all
    Result:  conv s W, s b -> PReLU -> depthwise V / s    s = 1, 20, 40: all reach 20

    No operator is added, and without clips the network computes what it computed, up to the rounding of float32.
    A depthwise convolution is quantised per channel and loses nothing by it; where the second convolution mixes the
    channels, they share its weights' step, and the scale goes half of the way.

    Given:   conv W -> ReLU6 -> depthwise V               channels reach 6, 1.2, 0.3
    Result:  conv s W -> ReLU6 -> depthwise V / s         s = 1, 4, 16: the clip cuts at 6, 1.5 and 0.375

    Under a clip, a channel keeps room for a quarter more than its largest value seen, as an int8 range would. Before
    a convolution that mixes channels this gains nothing and is left out.

    Args:
        model: Batch 1; changed in a copy.
        inputs: (N, 3, H, W) float32, preprocessed faces that show the ranges.

    Returns:
        The network, and how many pairs were scaled.

    Raises:
        ValueError: There are no faces.

    Source: the scaling property of Nagel et al., Data-Free Quantization Through Weight Equalization and Bias
    Correction, ICCV 2019, sec. 4.1, with ranges of activations in place of weights.
    """
    if not len(inputs):
        raise ValueError("equalisation needs faces to measure the channels' ranges; pass at least one")
    result = copied(model)
    view = GraphView(result.graph)
    sites = list(_sites(view))
    ranges = _ranges(result, [name for site in sites for name in site.tensors], inputs) if sites else {}
    scalings: dict[tuple[str, int], list[Array]] = {}  # by a convolution's result and its input's place
    for site in sites:
        largest = np.maximum.reduce([ranges[name] for name in site.tensors])
        scale = _scale(largest, site.strength)
        if np.isfinite(site.ceiling):
            scale = np.clip(scale, 1, np.maximum(site.ceiling / np.maximum(HEADROOM * largest, 1e-30), 1)).astype(
                np.float32
            )
        scalings.setdefault((site.first.output[0], 1), []).append(scale[:, None, None, None])
        if len(site.first.input) > 2:
            scalings.setdefault((site.first.output[0], 2), []).append(scale)
        filters, channels, *_ = view.constants[site.second.input[1]].shape
        if channels == len(scale):
            undo = 1 / scale[None, :]
        else:  # depthwise, perhaps with several filters a channel
            undo = 1 / scale.repeat(filters // len(scale))[:, None]
        scalings.setdefault((site.second.output[0], 1), []).append(undo[:, :, None, None])
    for node in result.graph.node:
        for place in (1, 2):
            for factors in scalings.get((node.output[0], place), ()):
                view.scale_input(node, place, factors, "equalised")
    view.drop_unread()
    return result, len(sites)


def _sites(view: GraphView) -> Iterator[ConvolutionPair]:
    for first in view.graph.node:
        if first.op_type != "Conv" or not view.has_constant_weights(first):
            continue
        tensors, following, ceiling = [first.output[0]], view.sole_consumer(first.output[0]), np.inf
        while following is not None and ceiling == np.inf:
            if following.op_type == "Clip" and (bounds := _bounds(view, following))[0] == 0:
                ceiling = bounds[1]
                tensors.clear()  # a clip is fused into the convolution, whose own result needs no range
            elif following.op_type not in HOMOGENEOUS:
                break
            tensors.append(following.output[0])
            following = view.sole_consumer(tensors[-1])
        if following is None or following.op_type != "Conv" or following.input[1] not in view.constants:
            continue
        groups, channels = attribute(following, "group", 1), len(view.constants[first.input[1]])
        if groups in ((1, channels) if ceiling == np.inf else (channels,)):
            strength = 1.0 if groups == channels else 0.5
            yield ConvolutionPair(first, following, tuple(tensors), strength, ceiling)


def _bounds(view: GraphView, clip: NodeProto) -> tuple[float, float]:
    """Gives the bounds of a Clip, infinite where one of them is computed."""
    names = clip.input[1:]
    if any(name and name not in view.constants for name in names):
        return -np.inf, np.inf
    return clip_bounds(clip, *(view.constant(name) for name in names))


def _ranges(model: ModelProto, names: list[str], inputs: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """Gives (C,) the largest magnitude of each channel of each tensor, over all inputs."""
    capture = capture_of(model, names)
    largest: dict[str, NDArray[np.float64]] = {}
    for face in inputs:
        for name, values in capture(face[None]).items():
            peaks = np.abs(values).max(axis=(0, 2, 3)).astype(np.float64)
            largest[name] = np.maximum(largest.get(name, 0.0), peaks)
    return largest


def _scale(largest: NDArray[np.float64], strength: float) -> NDArray[np.float32]:
    """Gives (C,) the factors that bring each channel to the range of the loudest.

    >>> _scale(np.array([8.0, 4.0, 1.0, 0.0]), 1.0).tolist()
    [1.0, 2.0, 8.0, 64.0]
    """
    top = max(float(largest.max()), 1e-30)
    return np.asarray((top / np.maximum(largest, top / LARGEST_SCALE)) ** strength, np.float32)
