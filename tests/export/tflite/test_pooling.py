"""Pools and padding: against onnxruntime, and numbers counted by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from pocketface.export.artifact import Artifact
from pocketface.export.tflite.litert import LiteRTSession

from .conftest import node

Constants = dict[str, NDArray[Any]]


CASES: dict[str, tuple[list[onnx.NodeProto], Constants, list[str]]] = {
    "max pool": (
        [node("MaxPool", "input", "map", kernel_shape=[2, 2], strides=[2, 2])],
        {},
        ["MAX_POOL_2D"],
    ),
    "max pool, ceil": (
        [node("MaxPool", "input", "map", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)],
        {},
        ["MAX_POOL_2D"],
    ),
    "max pool, stride 2, pad 1, negative values": (
        [node("MaxPool", "input", "map", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)],
        {},
        ["MAX_POOL_2D", "DEPTHWISE_CONV_2D"],
    ),
    "max pool, stride 2, pad 1, after relu": (
        [
            node("Relu", "input", "r"),
            node("MaxPool", "r", "map", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
        ],
        {},
        ["RELU", "PAD", "MAX_POOL_2D"],
    ),
    "max pool of one pixel": (
        [node("MaxPool", "input", "map", kernel_shape=[1, 1], strides=[2, 2])],
        {},
        ["DEPTHWISE_CONV_2D"],
    ),
    "average pool, SAME, padding left out": (
        [node("AveragePool", "input", "map", kernel_shape=[3, 3], pads=[1] * 4)],
        {},
        ["AVERAGE_POOL_2D"],
    ),
    "average pool, SAME, padding counted": (
        [node("AveragePool", "input", "map", kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1)],
        {},
        ["PAD", "AVERAGE_POOL_2D"],
    ),
    "average pool, stride 2, padding left out": (
        [node("AveragePool", "input", "map", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)],
        {},
        ["PAD", "AVERAGE_POOL_2D", "MUL"],
    ),
    "average pool, ceil, padding left out": (
        [node("AveragePool", "input", "map", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)],
        {},
        ["AVERAGE_POOL_2D"],
    ),
    "pad with 0": ([node("Pad", "input p", "map")], {"p": np.array([0, 0, 1, 2, 0, 0, 3, 0])}, ["PAD"]),
    "pad with 2": (
        [node("Pad", "input p v", "map")],
        {"p": np.array([0, 0, 1, 2, 0, 0, 3, 0]), "v": np.float32(2)},
        ["PADV2"],
    ),
    "pad by reflection": (
        [node("Pad", "input p", "map", mode="reflect")],
        {"p": np.array([0, 0, 1, 2, 0, 0, 3, 0])},
        ["MIRROR_PAD"],
    ),
}


@pytest.mark.parametrize("stride", [1, 2])
def test_padding_never_wins_a_max_pool_of_negative_values(
    written: Callable[..., Path], converted: Callable[..., Artifact], tmp_path: Path, stride: int
) -> None:
    nodes = [
        node("Conv", "input w", "c"),
        node("MaxPool", "c", "m", kernel_shape=[3, 3], pads=[1] * 4, strides=[stride, stride]),
        node("Flatten", "m", "embedding"),
    ]
    size = (8 // stride) ** 2
    path = written(tmp_path, nodes, {"w": np.float32([-1, 0, 0]).reshape(1, 3, 1, 1)}, size)
    result = LiteRTSession(converted(path, size).path).run(np.full((1, 3, 8, 8), 5, np.float32))
    assert result.tolist() == [[-5] * size]


@pytest.mark.parametrize("case", CASES)
def test_pools_and_pads_compute_what_onnxruntime_computes(computes_the_same: Callable[..., None], case: str) -> None:
    computes_the_same(*CASES[case])
