"""Axes that move: transposes, reshapes, layer norms, attention and means against onnxruntime."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from pocketface.export.artifact import Artifact
from pocketface.export.session import OnnxRuntimeSession
from pocketface.export.tflite.litert import LiteRTSession

from .conftest import node

RNG = np.random.default_rng(0)
FACES = RNG.normal(0, 2, (3, 3, 8, 8)).astype(np.float32)


Constants = dict[str, NDArray[Any]]


def weights(*shape: int) -> NDArray[np.float32]:
    return RNG.normal(0, 0.5, shape).astype(np.float32)


CASES: dict[str, tuple[list[onnx.NodeProto], Constants, list[str]]] = {
    "mean over height and width": ([node("ReduceMean", "input a", "map")], {"a": np.array([-1, 2])}, ["MEAN"]),
    "channels shuffled": (
        [
            node("Conv", "input w", "c"),
            node("Reshape", "c parts", "p"),
            node("Transpose", "p", "t", perm=[0, 2, 1, 3, 4]),
            node("Reshape", "t whole", "map"),
        ],
        {"w": weights(6, 3, 1, 1), "parts": np.array([1, 2, 3, 8, 8]), "whole": np.array([1, 6, 8, 8])},
        ["CONV_2D", "RESHAPE", "TRANSPOSE", "RESHAPE"],
    ),
    "channels shuffled, pixels in a row": (
        [
            node("Conv", "input w", "c"),
            node("Reshape", "c parts", "p"),
            node("Transpose", "p", "t", perm=[0, 2, 1, 3]),
            node("Reshape", "t whole", "map"),
        ],
        {"w": weights(6, 3, 1, 1), "parts": np.array([1, 3, 2, 64]), "whole": np.array([1, 6, 8, 8])},
        ["CONV_2D", "RESHAPE", "TRANSPOSE", "RESHAPE"],
    ),
    "block of ConvNeXt": (  # its transposes go, its layer scale goes into the weights
        [
            node("Transpose", "input", "t", perm=[0, 2, 3, 1]),
            node("LayerNormalization", "t scale shift", "n", axis=-1, epsilon=1e-6),
            node("MatMul", "n wide", "m"),
            node("Add", "m bias", "a"),
            node("Relu", "a", "r"),
            node("MatMul", "r narrow", "o"),
            node("Mul", "gamma o", "g"),
            node("Transpose", "g", "back", perm=[0, 3, 1, 2]),
            node("Add", "input back", "map"),
        ],
        {
            "scale": weights(3),
            "shift": weights(3),
            "wide": weights(3, 5),
            "bias": weights(5),
            "narrow": weights(5, 3),
            "gamma": weights(3),
        },
        [*"MEAN SUB MUL MEAN ADD RSQRT MUL MUL ADD".split(), "FULLY_CONNECTED", "FULLY_CONNECTED", "ADD"],
    ),
    "attention between pixels": (  # the image lies as a row of pixels, and the keys need no transpose
        [
            node("Reshape", "input rows", "f"),
            node("Transpose", "f", "x", perm=[0, 2, 1]),
            node("MatMul", "x wq", "q"),
            node("MatMul", "x wk", "k"),
            node("MatMul", "x wv", "v"),
            node("Transpose", "k", "kt", perm=[0, 2, 1]),
            node("MatMul", "q kt", "s"),
            node("Softmax", "s", "p", axis=-1),
            node("MatMul", "p v", "o"),
            node("Transpose", "o", "ot", perm=[0, 2, 1]),
            node("Reshape", "ot image", "map"),
        ],
        {
            "rows": np.array([1, 3, 64]),
            "image": np.array([1, 3, 8, 8]),
            **{name: weights(3, 3) for name in ("wq", "wk", "wv")},
        },
        ["RESHAPE", *["FULLY_CONNECTED"] * 3, "BATCH_MATMUL", "SOFTMAX", "BATCH_MATMUL", "RESHAPE"],
    ),
    "attention between channels, with heads": (
        [
            node("Conv", "input w", "c"),
            node("Reshape", "c heads", "h"),
            node("LpNormalization", "h", "q", axis=-1),
            node("Transpose", "q", "k", perm=[0, 1, 3, 2]),
            node("MatMul", "q k", "s"),
            node("Softmax", "s", "p", axis=-1),
            node("MatMul", "p h", "o"),
            node("Reshape", "o image", "map"),
        ],
        {"w": weights(4, 3, 1, 1), "heads": np.array([1, 2, 2, 64]), "image": np.array([1, 4, 8, 8])},
        "CONV_2D RESHAPE TRANSPOSE L2_NORMALIZATION BATCH_MATMUL SOFTMAX BATCH_MATMUL RESHAPE".split(),
    ),
    "layer norm without a shift": (
        [
            node("Transpose", "input", "t", perm=[0, 2, 3, 1]),
            node("LayerNormalization", "t scale", "n"),
            node("Transpose", "n", "map", perm=[0, 3, 1, 2]),
        ],
        {"scale": weights(3)},
        "MEAN SUB MUL MEAN ADD RSQRT MUL MUL".split(),
    ),
    "softmax over channels": ([node("Softmax", "input", "map", axis=1)], {}, ["SOFTMAX"]),
    "softmax over columns": ([node("Softmax", "input", "map", axis=3)], {}, ["TRANSPOSE", "SOFTMAX", "TRANSPOSE"]),
    "rows and columns swapped": ([node("Transpose", "input", "map", perm=[0, 1, 3, 2])], {}, ["TRANSPOSE"]),
    "mean over channels": ([node("ReduceMean", "input a", "map")], {"a": np.array([1])}, ["MEAN"]),
    "mean over pixels in a row": (
        [
            node("Reshape", "input rows", "f"),
            node("Transpose", "f", "x", perm=[0, 2, 1]),
            node("ReduceMean", "x a", "m", keepdims=0),
            node("Reshape", "m image", "map"),
        ],
        {"rows": np.array([1, 3, 64]), "a": np.array([1]), "image": np.array([1, 3, 1, 1])},
        ["RESHAPE", "MEAN", "RESHAPE"],
    ),
    "all values in their order": (
        [
            node("GlobalAveragePool", "input", "g"),
            node("Reshape", "g three", "r"),
            node("Gather", "r places", "map"),
        ],
        {"three": np.array([3]), "places": np.arange(3).reshape(1, 3, 1, 1)},
        ["MEAN", "RESHAPE", "RESHAPE"],
    ),
}


def test_flattened_rows_keep_their_order_through_everything_elementwise(
    written: Callable[..., Path], converted: Callable[..., Artifact], tmp_path: Path
) -> None:
    nodes = [
        node("Flatten", "input", "f"),
        node("BatchNormalization", "f gamma beta mean variance", "n"),
        node("PRelu", "n slopes", "p"),
        node("Add", "p offsets", "a"),
        node("Gemm", "a w b", "embedding", transB=1, alpha=0.5, beta=2.0),
    ]
    constants = {name: weights(192) for name in ("gamma", "beta", "mean", "slopes", "offsets")}
    constants |= {"variance": np.abs(weights(192)) + 1, "w": weights(5, 192), "b": weights(5)}
    path = written(tmp_path, nodes, constants, 5)
    ours = LiteRTSession(converted(path, 5).path).run(FACES)
    np.testing.assert_allclose(ours, OnnxRuntimeSession(path).run(FACES), rtol=1e-4, atol=1e-4)


def test_a_flatten_of_channels_last_needs_no_transpose(
    written: Callable[..., Path],
    converted: Callable[..., Artifact],
    operators: Callable[[Path], list[str]],
    tmp_path: Path,
) -> None:
    nodes = [
        node("Transpose", "input", "t", perm=[0, 2, 3, 1]),
        node("Reshape", "t shape", "r"),
        node("MatMul", "r w", "embedding"),
    ]
    path = written(tmp_path, nodes, {"shape": np.array([1, 192]), "w": weights(192, 4)}, 4)
    artifact = converted(path, 4)
    ours = LiteRTSession(artifact.path).run(FACES)
    np.testing.assert_allclose(ours, OnnxRuntimeSession(path).run(FACES), rtol=1e-4, atol=1e-4)
    assert operators(artifact.path) == ["RESHAPE", "FULLY_CONNECTED"]


@pytest.mark.parametrize("case", CASES)
def test_moved_axes_hold_what_onnxruntime_computes(computes_the_same: Callable[..., None], case: str) -> None:
    computes_the_same(*CASES[case])
