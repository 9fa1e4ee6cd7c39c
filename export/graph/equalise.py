"""Gives the channels between two convolutions the same range, so that one int8 step fits them all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .initializers import drop_unread
from .intermediates import watched

if TYPE_CHECKING:
    import onnx

HOMOGENEOUS = ("PRelu", "Relu", "LeakyRelu")
"""Operators with f(s x) = s f(x) for every s > 0, channel by channel."""

LARGEST_SCALE = 64.0  # a channel that hardly speaks is not blown up to the loudest
HEADROOM = 1.25  # of a channel under a clip, above what was seen


@dataclass(frozen=True)
class Site:
    """Two convolutions and the tensors between them, which nothing else reads."""

    first: Any  # NodeProto of a Conv
    second: Any
    tensors: tuple[str, ...]  # what is scaled: the first's result, and the activation's; of a clip its result alone
    strength: float  # 1: all channels alike; 0.5: half of the way, as the square root
    ceiling: float  # what the activation clips to, such as the 6 of ReLU6; infinite where it does not


def equalise(model: onnx.ModelProto, inputs: NDArray[np.float32]) -> tuple[onnx.ModelProto, int]:
    """Scales each channel between two convolutions to the range of the loudest, and undoes it in the second one.

    Given:   conv W, b -> PReLU -> depthwise V            channels reach 20, 1, 0.5: one int8 step of 20 / 127 for all
    Result:  conv s W, s b -> PReLU -> depthwise V / s    s = 1, 20, 40: all reach 20

    No operator is added, and without clips the network computes what it computed, up to the rounding of float32.
    A depthwise convolution is quantised per channel and loses nothing by it; where the second convolution mixes the
    channels, they share its weights' step, and the scale goes half of the way.

    Given:   conv W -> ReLU6 -> depthwise V               channels reach 6, 1.2, 0.3
    Result:  conv s W -> ReLU6 -> depthwise V / s         s = 1, 4, 16: the clip cuts at 6, 1.5 and 0.375

    Under a clip a channel is scaled so far that a quarter more than was seen still passes; an int8 range cuts there
    as well. Before a convolution that mixes channels it gains nothing and is left out.

    Args:
        model: Batch 1; changed in a copy.
        inputs: (N, 3, H, W) float32, preprocessed faces that show the ranges.

    Returns:
        The network, and how many sites were scaled.

    Raises:
        ValueError: There are no faces.

    Source: the scaling property of Nagel et al., Data-Free Quantization Through Weight Equalization and Bias
    Correction, ICCV 2019, sec. 4.1, with ranges of activations in place of weights.
    """
    import onnx

    if not len(inputs):
        raise ValueError("equalisation wants faces to see the channels' ranges; pass at least one")
    result = onnx.ModelProto()
    result.CopyFrom(model)
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in result.graph.initializer}
    sites = list(_sites(result.graph, weights))
    ranges = _ranges(result, [name for site in sites for name in site.tensors], inputs) if sites else {}
    rescaled: dict[tuple[str, int], NDArray[np.float32]] = {}  # by a convolution's result and its input's place

    def multiply(node: Any, place: int, factors: NDArray[Any]) -> None:
        key = node.output[0], place
        rescaled[key] = rescaled.get(key, weights[node.input[place]]) * factors

    for site in sites:
        largest = np.maximum.reduce([ranges[name] for name in site.tensors])
        scale = _scale(largest, site.strength)
        if np.isfinite(site.ceiling):
            scale = np.clip(scale, 1, np.maximum(site.ceiling / np.maximum(HEADROOM * largest, 1e-30), 1)).astype(
                np.float32
            )
        multiply(site.first, 1, scale[:, None, None, None])
        if len(site.first.input) > 2:
            multiply(site.first, 2, scale)
        filters, channels, *_ = weights[site.second.input[1]].shape
        if channels == len(scale):
            multiply(site.second, 1, 1 / scale[None, :, None, None])
        else:  # depthwise, perhaps with several filters a channel
            undo = 1 / scale.repeat(filters // len(scale))
            multiply(site.second, 1, undo[:, None, None, None])
    for node in result.graph.node:
        for place in range(len(node.input)):
            if (node.output[0], place) in rescaled:  # under a name of its own: others may share the old one
                name = f"{node.output[0]}/equalised_{place}"
                values = rescaled[node.output[0], place]
                result.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
                node.input[place] = name
    drop_unread(result.graph)
    return result, len(sites)


def _sites(graph: Any, weights: dict[str, NDArray[Any]]) -> Iterator[Site]:
    consumers: dict[str, list[Any]] = {output.name: [None] for output in graph.output}
    for node in graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    for first in graph.node:
        if first.op_type != "Conv" or not set(first.input[1:]) <= set(weights):
            continue
        tensors, following, ceiling = [first.output[0]], consumers.get(first.output[0], []), np.inf
        while len(following) == 1 and following[0] is not None and ceiling == np.inf:
            if following[0].op_type == "Clip" and _bounds(following[0], weights)[0] == 0:
                ceiling = _bounds(following[0], weights)[1]
                tensors.clear()  # what is clipped before it is stored needs no range
            elif following[0].op_type not in HOMOGENEOUS:
                break
            tensors.append(following[0].output[0])
            following = consumers.get(tensors[-1], [])
        if len(following) != 1 or following[0] is None or following[0].op_type != "Conv":
            continue
        second, channels = following[0], len(weights[first.input[1]])
        groups = next((attribute.i for attribute in second.attribute if attribute.name == "group"), 1)
        if second.input[1] in weights and groups in ((1, channels) if ceiling == np.inf else (channels,)):
            strength = 1.0 if groups == channels else 0.5
            yield Site(first, second, tuple(tensors), strength, ceiling)


def _bounds(clip: Any, weights: dict[str, NDArray[Any]]) -> tuple[float, float]:
    """Gives what a Clip clips to; a bound that is left out is infinite, and so are both where one is computed."""
    given = {attribute.name: attribute.f for attribute in clip.attribute}  # before opset 11
    for name, constant in zip(("min", "max"), clip.input[1:], strict=False):
        if constant in weights:
            given[name] = float(weights[constant])
        elif constant:
            return -np.inf, np.inf
    return given.get("min", -np.inf), given.get("max", np.inf)


def _ranges(model: Any, names: list[str], inputs: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """Gives (C,) the largest magnitude of each channel of each tensor, over all inputs."""
    watch = watched(model, names)
    largest: dict[str, NDArray[np.float64]] = {}
    for face in inputs:
        for name, values in watch(face[None]).items():
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
