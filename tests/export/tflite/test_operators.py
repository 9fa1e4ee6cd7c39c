"""Operators that map each value by itself, and what cannot be said in TFLite: against onnxruntime, and by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from pocketface.export.artifact import Artifact, ConversionError
from pocketface.export.tflite.litert import LiteRTSession

from .conftest import channels, node

RNG = np.random.default_rng(0)
FACES = RNG.normal(0, 2, (3, 3, 8, 8)).astype(np.float32)


Constants = dict[str, NDArray[Any]]


def weights(*shape: int) -> NDArray[np.float32]:
    return RNG.normal(0, 0.5, shape).astype(np.float32)


CASES: dict[str, tuple[list[onnx.NodeProto], Constants, list[str]]] = {
    "relu alone": ([node("Relu", "input", "map")], {}, ["RELU"]),
    "clip to -1..1": (
        [node("Clip", "input low high", "map")],
        {"low": np.float32(-1), "high": np.float32(1)},
        ["RELU_N1_TO_1"],
    ),
    "clip to other bounds": (
        [node("Clip", "input low high", "map")],
        {"low": np.float32(-0.5), "high": np.float32(2)},
        ["MAXIMUM", "MINIMUM"],
    ),
    "clip below only": ([node("Clip", "input low", "map")], {"low": np.float32(-1)}, ["MAXIMUM"]),
    "clip to nothing": ([node("Clip", "input", "i"), node("Relu", "i", "map")], {}, ["RELU"]),
    "prelu (C, 1, 1)": ([node("PRelu", "input s", "map")], {"s": channels(0.1, -0.5, 2)}, ["PRELU"]),
    "prelu (1, C, 1, 1)": ([node("PRelu", "input s", "map")], {"s": channels(0.1, -0.5, 2)[None]}, ["PRELU"]),
    "prelu (1,)": ([node("PRelu", "input s", "map")], {"s": np.float32([-0.3])}, ["LEAKY_RELU"]),
    "leaky relu": ([node("LeakyRelu", "input", "map", alpha=0.2)], {}, ["LEAKY_RELU"]),
    "sigmoid": ([node("Sigmoid", "input", "map")], {}, ["LOGISTIC"]),
    "tanh": ([node("Tanh", "input", "map")], {}, ["TANH"]),
    "hard sigmoid": ([node("HardSigmoid", "input", "map")], {}, ["MUL", "ADD", "MUL"]),
    "hard sigmoid of PyTorch": ([node("HardSigmoid", "input", "map", alpha=1 / 6)], {}, ["ADD", "MUL"]),
    "hard swish": ([node("HardSwish", "input", "map")], {}, ["HARD_SWISH"]),
    "constant on the left, along the width": (
        [node("Sub", "k input", "map")],
        {"k": np.arange(8, dtype=np.float32)},
        ["SUB"],
    ),
    "constant of a whole image": ([node("Mul", "input k", "map")], {"k": weights(1, 3, 8, 8)}, ["MUL"]),
    "division by channel": ([node("Div", "input k", "map")], {"k": channels(2, 4, 8)}, ["DIV"]),
    "sum, relu": ([node("Add", "input input", "s"), node("Relu", "s", "map")], {}, ["ADD"]),
    "squeeze and excite": (
        [node("GlobalAveragePool", "input", "g"), node("Sigmoid", "g", "s"), node("Mul", "input s", "map")],
        {},
        ["MEAN", "LOGISTIC", "MUL"],
    ),
    "concat of channels": (
        [node("Relu", "input", "r"), node("Concat", "input r", "map", axis=1)],
        {},
        ["RELU", "CONCATENATION"],
    ),
    "concat with a constant": (
        [node("Concat", "k input", "map", axis=2)],
        {"k": weights(1, 3, 2, 8)},
        ["CONCATENATION"],
    ),
    "class token": (
        [
            node("Reshape", "input sides", "r"),
            node("Concat", "token r", "c", axis=1),
            node("ReduceMean", "c tokens", "m", keepdims=0),
            node("Reshape", "m map_sides", "map"),
        ],
        {
            "sides": np.array([1, 24, 8]),
            "token": weights(1, 1, 8),
            "tokens": np.array([1]),
            "map_sides": np.array([1, 2, 2, 2]),
        },
        ["TRANSPOSE", "RESHAPE", "CONCATENATION", "MEAN", "RESHAPE"],
    ),
    "concat along the width": ([node("Concat", "input input", "map", axis=-1)], {}, ["CONCATENATION"]),
    "what does nothing": (
        [
            node("Identity", "input", "i"),
            node("Dropout", "i", "j"),
            node("Cast", "j", "k", to=1),
            node("Relu", "k", "map"),
        ],
        {},
        ["RELU"],
    ),
    "constant nodes": (
        [
            node("Constant", "", "k", value=numpy_helper.from_array(channels(1, 2, 3))),
            node("Constant", "", "six", value_float=6.0),
            node("Add", "input k", "s"),
            node("Clip", "s zero six", "map"),
        ],
        {"zero": np.float32(0)},
        ["ADD"],
    ),
    "the larger and the smaller of three": (
        [node("Neg", "input", "n"), node("Max", "input n k", "m"), node("Min", "m k", "map")],
        {"k": channels(0.1, 0.2, 0.3)},
        ["NEG", "MAXIMUM", "MAXIMUM", "MINIMUM"],
    ),
    "sum of three": ([node("Sum", "input input input", "map")], {}, ["ADD", "ADD"]),
    "mish in one": ([node("Mish", "input", "map")], {}, ["MINIMUM", "EXP", "ADD", "MUL", "ADD", "DIV", "MUL"]),
    "softplus": ([node("Softplus", "input", "map")], {}, ["ABS", "NEG", "EXP", "ADD", "LOG", "RELU", "ADD"]),
    "elu": ([node("Elu", "input", "map")], {}, ["ELU"]),
    "powers": (
        [
            node("Pow", "input two", "p"),
            node("Exp", "p", "e"),
            node("Pow", "e half", "r"),
            node("Reciprocal", "r", "map"),
        ],
        {"two": np.float32(2), "half": np.float32(0.5)},
        ["MUL", "EXP", "SQRT", "DIV"],
    ),
    "sums over axes": (
        [node("ReduceSum", "input a", "s"), node("ReduceMax", "input b", "m"), node("Add", "s m", "map")],
        {"a": np.array([2]), "b": np.array([3])},
        ["SUM", "REDUCE_MAX", "ADD"],
    ),
    "squares and lengths": (
        [node("ReduceSumSquare", "input a", "s"), node("ReduceL2", "input a", "l"), node("Add", "s l", "map")],
        {"a": np.array([1])},
        ["MUL", "SUM", "MUL", "SUM", "SQRT", "ADD"],
    ),
    "pixels copied by whole factors": (
        [node("Resize", "input none twice", "map", coordinate_transformation_mode="asymmetric", nearest_mode="floor")],
        {"none": np.zeros(0, np.float32), "twice": np.float32([1, 1, 2, 3])},
        ["RESIZE_NEAREST_NEIGHBOR"],
    ),
    "pixels between middles": (
        [node("Resize", "input none twice", "map", mode="linear")],
        {"none": np.zeros(0, np.float32), "twice": np.float32([1, 1, 2, 2])},
        ["RESIZE_BILINEAR"],
    ),
    "unit length of each pixel": ([node("LpNormalization", "input", "map", axis=1)], {}, ["L2_NORMALIZATION"]),
}


def test_prelu_slopes_by_hand(written: Callable[..., Path], converted: Callable[..., Artifact], tmp_path: Path) -> None:
    nodes = [node("PRelu", "input s", "p"), node("GlobalAveragePool", "p", "g"), node("Flatten", "g", "embedding")]
    path = written(tmp_path, nodes, {"s": channels(0.5, -1, 3)}, 3)
    result = LiteRTSession(converted(path, 3).path).run(np.full((1, 3, 8, 8), -2, np.float32))
    assert result.tolist() == [[-1, 2, -6]]


def test_slopes_of_shape_c_mean_channels_as_older_exporters_write_them(
    written: Callable[..., Path], converted: Callable[..., Artifact], tmp_path: Path
) -> None:
    nodes = [node("PRelu", "input s", "p"), node("GlobalAveragePool", "p", "g"), node("Flatten", "g", "embedding")]
    path = written(tmp_path, nodes, {"s": np.float32([0.5, -1, 3])}, 3, opset=7)
    result = LiteRTSession(converted(path, 3).path).run(np.full((1, 3, 8, 8), -2, np.float32))
    assert result.tolist() == [[-1, 2, -6]]


class Normalised(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 8)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(self.conv(faces).flatten(1))


@pytest.mark.parametrize("dynamo", [True, False])
def test_torchs_normalize_becomes_one_operator(
    converted: Callable[..., Artifact],
    operators: Callable[[Path], list[str]],
    exported: Callable[..., None],
    tmp_path: Path,
    dynamo: bool,
) -> None:
    torch.manual_seed(0)
    path, network = tmp_path / "net.onnx", Normalised().eval()
    exported(network, torch.from_numpy(FACES[:1]), path, dynamo)
    artifact = converted(path, 4)
    result = LiteRTSession(artifact.path).run(FACES)
    np.testing.assert_allclose(result, network(torch.from_numpy(FACES)).detach(), atol=1e-6)
    assert operators(artifact.path)[-1] == "L2_NORMALIZATION"


REFUSED: dict[str, tuple[list[onnx.NodeProto], Constants, str]] = {
    "unknown operator": (
        [node("Tan", "input", "s"), node("Flatten", "s", "embedding")],
        {},
        "Tan 'the_s' has no counterpart here",
    ),
    "transpose of a flattened image": (
        [node("Flatten", "input", "f"), node("Transpose", "f", "t"), node("Reshape", "t row", "embedding")],
        {"row": np.array([1, 192])},
        "reorders a flattened image",
    ),
    "flattened output": ([node("Flatten", "input", "embedding")], {}, "the card's embedding is"),
    "mean over a flattened image": (
        [node("Flatten", "input", "f"), node("ReduceMean", "f a", "embedding")],
        {"a": np.array([1])},
        "reduces a flattened image along one axis",
    ),
    "dilated pool": (
        [
            node("MaxPool", "input", "m", kernel_shape=[2, 2], dilations=[2, 2]),
            node("Flatten", "m", "embedding"),
        ],
        {},
        "has dilation",
    ),
    "computed weights": (
        [node("Conv", "input w", "c"), node("Conv", "input c", "d"), node("Flatten", "d", "embedding")],
        {"w": weights(3, 3, 1, 1)},
        "only a constant is supported there",
    ),
    "pixels by other curves": (
        [
            node("Resize", "input none more", "r", mode="cubic"),
            node("GlobalAveragePool", "r", "g"),
            node("Flatten", "g", "embedding"),
        ],
        {"none": np.zeros(0, np.float32), "more": np.float32([1, 1, 1.5, 1.5])},
        "Resize 'the_r' takes pixels by cubic at half_pixel places; nearest and linear are known",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_said_in_tflite_is_one_sentence(
    written: Callable[..., Path], converted: Callable[..., Artifact], tmp_path: Path, case: str
) -> None:
    nodes, constants, sentence = REFUSED[case]
    path = written(tmp_path, nodes, constants, "D")
    with pytest.raises(ConversionError, match=r"^net\.onnx.*") as caught:
        converted(path, 3)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not path.with_suffix(".tflite").exists()


@pytest.mark.parametrize("case", CASES)
def test_operators_compute_what_onnxruntime_computes(computes_the_same: Callable[..., None], case: str) -> None:
    computes_the_same(*CASES[case])
