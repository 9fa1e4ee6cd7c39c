"""GELU, splits, slices and gathers against onnxruntime."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

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
    "GELU as PyTorch writes it": (
        [
            node("Div", "input root", "d"),
            node("Erf", "d", "e"),
            node("Add", "e plus", "a"),
            node("Mul", "half a", "h"),
            node("Mul", "input h", "map"),
        ],
        {"root": np.float32(2**0.5), "plus": np.float32(1), "half": np.float32(0.5)},
        ["GELU"],
    ),
    "GELU as older exporters write it": (
        [
            node("Mul", "input root", "d"),
            node("Erf", "d", "e"),
            node("Add", "plus e", "a"),
            node("Mul", "input a", "h"),
            node("Mul", "h half", "map"),
        ],
        {"root": np.float32(0.5**0.5), "plus": np.float32(1), "half": np.float32([0.5])},
        ["GELU"],
    ),
    "split in halves": (
        [
            node("Conv", "input w", "c"),
            helper.make_node("Split", ["c"], ["left", "right"], axis=1, num_outputs=2),
            node("Concat", "right left", "map", axis=1),
        ],
        {"w": weights(4, 3, 1, 1)},
        ["CONV_2D", "SPLIT", "CONCATENATION"],
    ),
    "split unevenly": (
        [
            helper.make_node("Split", ["input", "sizes"], ["first", "others"], axis=1),
            node("Concat", "others first", "map", axis=1),
        ],
        {"sizes": np.array([1, 2])},
        ["SPLIT_V", "CONCATENATION"],
    ),
    "slices": (
        [
            node("Slice", "input from to axes", "s"),
            node("Slice", "s zero far last", "map"),
        ],
        {
            "from": np.array([1, -6]),
            "to": np.array([3, -1]),
            "axes": np.array([1, 2]),
            "zero": np.array([2]),
            "far": np.array([2**62]),
            "last": np.array([-1]),
        },
        ["SLICE", "SLICE"],
    ),
    "split of rows of pixels": (
        [
            helper.make_node("Split", ["input"], ["upper", "lower"], axis=2, num_outputs=2),
            node("Sub", "upper lower", "map"),
        ],
        {},
        ["SPLIT", "SUB"],
    ),
}


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_of_one_operator(
    written: Callable[..., Path],
    converted: Callable[..., Artifact],
    operators: Callable[[Path], list[str]],
    tmp_path: Path,
    approximate: str,
) -> None:
    nodes = [
        node("Gelu", "input", "h", approximate=approximate),
        node("GlobalAveragePool", "h", "g"),
        node("Flatten", "g", "embedding"),
    ]
    path = written(tmp_path, nodes, {}, 3, opset=20)
    artifact = converted(path, 3)
    np.testing.assert_allclose(LiteRTSession(artifact.path).run(FACES), OnnxRuntimeSession(path).run(FACES), atol=1e-6)
    assert operators(artifact.path) == ["GELU", "MEAN", "RESHAPE"]


@pytest.mark.parametrize("case", CASES)
def test_patterns_compute_what_onnxruntime_computes(computes_the_same: Callable[..., None], case: str) -> None:
    computes_the_same(*CASES[case])
