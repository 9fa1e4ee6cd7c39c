"""Convolutions and what folds into them: against onnxruntime, and numbers counted by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from pocketface.export.artifact import Artifact
from pocketface.export.tflite.litert import LiteRTSession

from .conftest import channels, node

RNG = np.random.default_rng(0)


Constants = dict[str, NDArray[Any]]


def weights(*shape: int) -> NDArray[np.float32]:
    return RNG.normal(0, 0.5, shape).astype(np.float32)


# Each case: nodes from `input` (1, 3, 8, 8) to `map`, their constants, and the TFLite operators they become.
# `map` is flattened and multiplied by the identity, so that every one of its values is compared, in ONNX's order.
W3 = weights(4, 3, 3, 3)
BATCH_NORM = {"gamma": weights(3), "beta": weights(3), "mean": weights(3), "variance": np.float32([0.5, 1, 2])}
CASES: dict[str, tuple[list[onnx.NodeProto], Constants, list[str]]] = {
    "conv, stride 1, pad 1": ([node("Conv", "input w", "map", pads=[1] * 4)], {"w": W3}, ["CONV_2D"]),
    "conv, stride 2, pad 1: padded first": (
        [node("Conv", "input w b", "map", pads=[1] * 4, strides=[2, 2])],
        {"w": W3, "b": weights(4)},
        ["PAD", "CONV_2D"],
    ),
    "conv, stride 2, padded last: SAME": (
        [node("Conv", "input w", "map", pads=[0, 0, 1, 1], strides=[2, 2])],
        {"w": W3},
        ["CONV_2D"],
    ),
    "conv, stride 2, padding that no window reads": (
        [node("Conv", "input w", "map", pads=[0, 0, 1, 1], strides=[2, 2])],
        {"w": weights(4, 3, 2, 2)},
        ["CONV_2D"],
    ),
    "conv, SAME_UPPER": (
        [node("Conv", "input w", "map", auto_pad="SAME_UPPER", strides=[2, 2])],
        {"w": W3},
        ["CONV_2D"],
    ),
    "conv, SAME_LOWER": (
        [node("Conv", "input w", "map", auto_pad="SAME_LOWER", strides=[2, 2])],
        {"w": W3},
        ["PAD", "CONV_2D"],
    ),
    "conv, oblong, dilated": (
        [node("Conv", "input w", "map", pads=[0, 2, 0, 2], dilations=[1, 2], strides=[2, 1])],
        {"w": weights(4, 3, 2, 3)},
        ["CONV_2D"],
    ),
    "conv, grouped": (
        [node("Conv", "input w", "m"), node("Conv", "m v", "map", group=2)],
        {"w": weights(4, 3, 1, 1), "v": weights(6, 2, 3, 3)},
        ["CONV_2D", "CONV_2D"],
    ),
    "depthwise, two filters a channel": (
        [node("Conv", "input w", "map", group=3, pads=[1] * 4)],
        {"w": weights(6, 1, 3, 3)},
        ["DEPTHWISE_CONV_2D"],
    ),
    "depthwise, dilated": (
        [node("Conv", "input w", "map", group=3, pads=[2] * 4, dilations=[2, 2])],
        {"w": weights(3, 1, 3, 3)},
        ["DEPTHWISE_CONV_2D"],
    ),
    "conv, batch norm, relu": (
        [
            node("Conv", "input w", "c"),
            node("BatchNormalization", "c gamma beta mean variance", "n"),
            node("Relu", "n", "map"),
        ],
        {"w": weights(3, 3, 1, 1), **BATCH_NORM},
        ["CONV_2D"],
    ),
    "conv, product, difference, quotient": (
        [
            node("Conv", "input w", "c"),
            node("Mul", "p c", "n"),
            node("Sub", "q n", "o"),
            node("Div", "o p", "map"),
        ],
        {"w": weights(3, 3, 1, 1), "p": channels(1, 2, 3), "q": np.float32(0.5)},
        ["CONV_2D"],
    ),
    "batch norm alone, relu6": (
        [
            node("BatchNormalization", "input gamma beta mean variance", "n", epsilon=1e-3),
            node("Clip", "n low high", "map"),
        ],
        {**BATCH_NORM, "low": np.float32(0), "high": np.float32(6)},
        ["DEPTHWISE_CONV_2D"],
    ),
}


def test_one_by_one_conv_by_hand(
    written: Callable[..., Path], converted: Callable[..., Artifact], tmp_path: Path
) -> None:
    mixing = np.float32([[1, 0, 2], [0, -1, 0]]).reshape(2, 3, 1, 1)
    nodes = [node("Conv", "input w b", "c"), node("GlobalAveragePool", "c", "g"), node("Flatten", "g", "embedding")]
    path = written(tmp_path, nodes, {"w": mixing, "b": np.float32([0, 10])}, 2)
    faces = np.ones((1, 3, 8, 8), np.float32) * channels(1, 2, 3)
    assert LiteRTSession(converted(path, 2).path).run(faces).tolist() == [[7, 8]]  # 1 + 2*3; 10 - 2


def test_stride_two_conv_pads_the_first_row_not_the_last(
    written: Callable[..., Path], converted: Callable[..., Artifact], tmp_path: Path
) -> None:
    ones = np.ones((1, 3, 3, 3), np.float32) / 3
    nodes = [node("Conv", "input w", "c", pads=[1] * 4, strides=[2, 2]), node("Flatten", "c", "embedding")]
    path = written(tmp_path, nodes, {"w": ones}, 16)
    result = LiteRTSession(converted(path, 16).path).run(np.ones((1, 3, 8, 8), np.float32)).reshape(4, 4)
    # The corner window sees 2x2 pixels, the upper and left ones 2x3, the rest 3x3.
    np.testing.assert_allclose(result, [[4, 6, 6, 6], [6, 9, 9, 9], [6, 9, 9, 9], [6, 9, 9, 9]], rtol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_convolutions_compute_what_onnxruntime_computes(computes_the_same: Callable[..., None], case: str) -> None:
    computes_the_same(*CASES[case])
