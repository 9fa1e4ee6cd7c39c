"""ONNX to .tflite: each operator against onnxruntime and numbers counted by hand, each zoo net against PyTorch."""

import os
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from pocketface.export.artifact import METADATA_KEY, Artifact, Card, ConversionError
from pocketface.export.graph.to_onnx import to_onnx
from pocketface.export.session import OnnxRuntimeSession
from pocketface.export.tflite.flatbuffer import pack, set_metadata, unpack
from pocketface.export.tflite.litert import LiteRTSession, read_tflite_card, xnnpack_partitions
from pocketface.export.tflite.to_tflite import to_tflite
from pocketface.faces.contract import IMAGENET, InputContract
from pocketface.models.batch_norm import reestimate_batch_norms
from pocketface.models.embedder import Embedder, unit
from pocketface.models.torchvision_shim import import_torchvision
from pocketface.models.zoo import ZOO, create

RNG = np.random.default_rng(0)
TINY = InputContract(8, 8)
FACES = RNG.normal(0, 2, (3, 3, 8, 8)).astype(np.float32)

Constants = dict[str, NDArray[Any]]


def node(operator: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), [output], name=f"the_{output}", **attributes)


def written(
    folder: Path,
    nodes: list[onnx.NodeProto],
    constants: Constants,
    size: int | str,
    batch: int | str = 1,
    side: int = 8,
    opset: int = 18,
) -> Path:
    """An ONNX file that maps `input` (batch, 3, side, side) to `embedding` (batch, size)."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [batch, 3, side, side])],
        [helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, [batch, size])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    path = folder / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9), path)
    return path


def converted(path: Path, size: int, contract: InputContract = TINY) -> Artifact:
    return to_tflite(path, Card("net", contract, size), path.with_suffix(".tflite"))


def operators(path: Path) -> list[str]:
    from ai_edge_litert import schema_py_generated as schema

    names = {number: name for name, number in vars(schema.BuiltinOperator).items()}
    model = unpack(path.read_bytes())
    return [names[model.operatorCodes[row.opcodeIndex].builtinCode] for row in model.subgraphs[0].operators]


def channels(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32).reshape(-1, 1, 1)


def weights(*shape: int) -> NDArray[np.float32]:
    return RNG.normal(0, 0.5, shape).astype(np.float32)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small networks: more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
    "concat along the width": ([node("Concat", "input input", "map", axis=-1)], {}, ["CONCATENATION"]),
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
    "mean over height and width": ([node("ReduceMean", "input a", "map")], {"a": np.array([-1, 2])}, ["MEAN"]),
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
    "unit length of each pixel": ([node("LpNormalization", "input", "map", axis=1)], {}, ["L2_NORMALIZATION"]),
}


@pytest.mark.parametrize("case", CASES)
def test_operator_computes_what_onnxruntime_computes(tmp_path: Path, case: str) -> None:
    nodes, constants, expected = CASES[case]
    shaped = onnx.shape_inference.infer_shapes(
        onnx.load(written(tmp_path, [*nodes, node("GlobalMaxPool", "map", "embedding")], constants, 1))
    )
    sides = next(value for value in shaped.graph.value_info if value.name == "map").type.tensor_type.shape.dim
    size = int(np.prod([side.dim_value for side in sides]))
    nodes = [*nodes, node("Flatten", "map", "row"), node("MatMul", "row one", "embedding")]
    path = written(tmp_path, nodes, constants | {"one": np.eye(size, dtype=np.float32)}, size)
    artifact = converted(path, size)
    ours = LiteRTSession(artifact.path).run(FACES)
    theirs = OnnxRuntimeSession(path).run(FACES)
    np.testing.assert_allclose(ours, theirs, atol=5e-6)
    assert operators(artifact.path) == [*expected, "RESHAPE", "FULLY_CONNECTED"]


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_of_one_operator(tmp_path: Path, approximate: str) -> None:
    nodes = [
        node("Gelu", "input", "h", approximate=approximate),
        node("GlobalAveragePool", "h", "g"),
        node("Flatten", "g", "embedding"),
    ]
    path = written(tmp_path, nodes, {}, 3, opset=20)
    artifact = converted(path, 3)
    np.testing.assert_allclose(LiteRTSession(artifact.path).run(FACES), OnnxRuntimeSession(path).run(FACES), atol=1e-6)
    assert operators(artifact.path) == ["GELU", "MEAN", "RESHAPE"]


def test_one_by_one_conv_by_hand(tmp_path: Path) -> None:
    mixing = np.float32([[1, 0, 2], [0, -1, 0]]).reshape(2, 3, 1, 1)
    nodes = [node("Conv", "input w b", "c"), node("GlobalAveragePool", "c", "g"), node("Flatten", "g", "embedding")]
    path = written(tmp_path, nodes, {"w": mixing, "b": np.float32([0, 10])}, 2)
    faces = np.ones((1, 3, 8, 8), np.float32) * channels(1, 2, 3)
    assert LiteRTSession(converted(path, 2).path).run(faces).tolist() == [[7, 8]]  # 1 + 2*3; 10 - 2


def test_stride_two_conv_pads_the_first_row_not_the_last(tmp_path: Path) -> None:
    ones = np.ones((1, 3, 3, 3), np.float32) / 3
    nodes = [node("Conv", "input w", "c", pads=[1] * 4, strides=[2, 2]), node("Flatten", "c", "embedding")]
    path = written(tmp_path, nodes, {"w": ones}, 16)
    result = LiteRTSession(converted(path, 16).path).run(np.ones((1, 3, 8, 8), np.float32)).reshape(4, 4)
    # The corner window sees 2x2 pixels, the upper and left ones 2x3, the rest 3x3.
    np.testing.assert_allclose(result, [[4, 6, 6, 6], [6, 9, 9, 9], [6, 9, 9, 9], [6, 9, 9, 9]], rtol=1e-6)


@pytest.mark.parametrize("stride", [1, 2])
def test_padding_never_wins_a_max_pool_of_negative_values(tmp_path: Path, stride: int) -> None:
    nodes = [
        node("Conv", "input w", "c"),
        node("MaxPool", "c", "m", kernel_shape=[3, 3], pads=[1] * 4, strides=[stride, stride]),
        node("Flatten", "m", "embedding"),
    ]
    size = (8 // stride) ** 2
    path = written(tmp_path, nodes, {"w": np.float32([-1, 0, 0]).reshape(1, 3, 1, 1)}, size)
    result = LiteRTSession(converted(path, size).path).run(np.full((1, 3, 8, 8), 5, np.float32))
    assert result.tolist() == [[-5] * size]


def test_prelu_slopes_by_hand(tmp_path: Path) -> None:
    nodes = [node("PRelu", "input s", "p"), node("GlobalAveragePool", "p", "g"), node("Flatten", "g", "embedding")]
    path = written(tmp_path, nodes, {"s": channels(0.5, -1, 3)}, 3)
    result = LiteRTSession(converted(path, 3).path).run(np.full((1, 3, 8, 8), -2, np.float32))
    assert result.tolist() == [[-1, 2, -6]]


def test_slopes_of_shape_c_mean_channels_as_older_exporters_write_them(tmp_path: Path) -> None:
    nodes = [node("PRelu", "input s", "p"), node("GlobalAveragePool", "p", "g"), node("Flatten", "g", "embedding")]
    path = written(tmp_path, nodes, {"s": np.float32([0.5, -1, 3])}, 3, opset=7)
    result = LiteRTSession(converted(path, 3).path).run(np.full((1, 3, 8, 8), -2, np.float32))
    assert result.tolist() == [[-1, 2, -6]]


def test_flattened_rows_keep_their_order_through_everything_elementwise(tmp_path: Path) -> None:
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


def test_a_flatten_of_channels_last_needs_no_transpose(tmp_path: Path) -> None:
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


def test_a_map_of_one_pixel_is_an_embedding_too(tmp_path: Path) -> None:
    path = written(tmp_path, [node("Conv", "input w", "embedding")], {"w": weights(4, 3, 8, 8)}, 4)
    model = onnx.load(path)
    for side in (1, 1):
        model.graph.output[0].type.tensor_type.shape.dim.add(dim_value=side)
    onnx.save(model, path)
    ours = LiteRTSession(converted(path, 4).path).run(FACES)
    assert ours.shape == (3, 4)
    np.testing.assert_allclose(ours, OnnxRuntimeSession(path).run(FACES)[:, :, 0, 0], rtol=1e-4, atol=1e-5)


def test_a_free_batch_becomes_one(tmp_path: Path) -> None:
    nodes = [
        node("GlobalAveragePool", "input", "g"),
        node("Shape", "input", "s"),
        node("Gather", "s zero", "n"),
        node("Unsqueeze", "n first", "m"),
        node("Concat", "m rest", "shape", axis=0),
        node("Reshape", "g shape", "embedding"),
    ]
    constants = {"zero": np.array(0), "first": np.array([0]), "rest": np.array([3])}
    path = written(tmp_path, nodes, constants, 3, batch="N")
    artifact = converted(path, 3)
    np.testing.assert_allclose(LiteRTSession(artifact.path).run(FACES), FACES.mean((2, 3)), rtol=1e-5, atol=1e-6)
    assert operators(artifact.path) == ["MEAN", "RESHAPE"]


class Normalised(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 8)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(self.conv(faces).flatten(1))


@pytest.mark.parametrize("dynamo", [True, False])
def test_torchs_normalize_becomes_one_operator(tmp_path: Path, dynamo: bool) -> None:
    torch.manual_seed(0)
    path, network = tmp_path / "net.onnx", Normalised().eval()
    _export(network, torch.from_numpy(FACES[:1]), path, dynamo)
    artifact = converted(path, 4)
    result = LiteRTSession(artifact.path).run(FACES)
    np.testing.assert_allclose(result, network(torch.from_numpy(FACES)).detach(), atol=1e-6)
    assert operators(artifact.path)[-1] == "L2_NORMALIZATION"


REFUSED: dict[str, tuple[list[onnx.NodeProto], Constants, str]] = {
    "a Slice with steps": (
        [
            node("Slice", "input from to axes steps", "s"),
            node("GlobalAveragePool", "s", "g"),
            node("Flatten", "g", "embedding"),
        ],
        {"from": np.array([0]), "to": np.array([8]), "axes": np.array([2]), "steps": np.array([2])},
        "Slice 'the_s' takes every other value, or cuts a flattened image; only plain parts are supported",
    ),
    "an Erf of its own": (
        [node("Erf", "input", "e"), node("GlobalAveragePool", "e", "g"), node("Flatten", "g", "embedding")],
        {},
        "Erf 'the_e' is no part of x (1 + erf(x / sqrt 2)) / 2; only that use of it is supported",
    ),
    "almost a GELU: sqrt 2 / x": (
        [
            node("Div", "root input", "d"),
            node("Erf", "d", "e"),
            node("Add", "e plus", "a"),
            node("Mul", "half a", "h"),
            node("Mul", "input h", "m"),
            node("GlobalAveragePool", "m", "g"),
            node("Flatten", "g", "embedding"),
        ],
        {"root": np.float32(2**0.5), "plus": np.float32(1), "half": np.float32(0.5)},
        "Erf 'the_e' is no part of x (1 + erf(x / sqrt 2)) / 2; only that use of it is supported",
    ),
    "almost a GELU: x squared": (
        [
            node("Div", "input root", "d"),
            node("Mul", "input d", "q"),
            node("Erf", "q", "e"),
            node("Add", "e plus", "a"),
            node("Mul", "half a", "h"),
            node("GlobalAveragePool", "h", "g"),
            node("Flatten", "g", "embedding"),
        ],
        {"root": np.float32(2**0.5), "plus": np.float32(1), "half": np.float32(0.5)},
        "Erf 'the_e' is no part of x (1 + erf(x / sqrt 2)) / 2; only that use of it is supported",
    ),
    "unknown operator": (
        [node("Sin", "input", "s"), node("Flatten", "s", "embedding")],
        {},
        "Sin 'the_s' has no counterpart here",
    ),
    "transpose of a flattened image": (
        [node("Flatten", "input", "f"), node("Transpose", "f", "t"), node("Reshape", "t row", "embedding")],
        {"row": np.array([1, 192])},
        "reorders a flattened image",
    ),
    "some of the values": (
        [
            node("GlobalAveragePool", "input", "g"),
            node("Reshape", "g row", "r"),
            node("Gather", "r places", "p"),
            node("Reshape", "p one", "embedding"),
        ],
        {"row": np.array([3]), "places": np.array([0, 2]), "one": np.array([1, 2])},
        "picks some of the values",
    ),
    "layer norm of an image": (
        [
            node("LayerNormalization", "input scale", "n", axis=1),
            node("Flatten", "n", "embedding"),
        ],
        {"scale": weights(3, 8, 8)},
        "normalises along several axes",
    ),
    "flattened output": ([node("Flatten", "input", "embedding")], {}, "the card's embedding is"),
    "mean over a flattened image": (
        [node("Flatten", "input", "f"), node("ReduceMean", "f a", "embedding")],
        {"a": np.array([1])},
        "averages a flattened image",
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
    "floor under a length": (
        [
            node("GlobalAveragePool", "input", "g"),
            node("Flatten", "g", "f"),
            node("ReduceL2", "f a", "l"),
            node("Clip", "l one", "c"),
            node("Div", "f c", "embedding"),
        ],
        {"a": np.array([1]), "one": np.float32(1)},
        "is no part of x / |x|",
    ),
    "length that does not divide": (
        [node("ReduceL2", "input a", "l"), node("Flatten", "l", "embedding")],
        {"a": np.array([1])},
        "is no part of x / |x|",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_said_in_tflite_is_one_sentence(tmp_path: Path, case: str) -> None:
    nodes, constants, sentence = REFUSED[case]
    path = written(tmp_path, nodes, constants, "D")
    with pytest.raises(ConversionError, match=r"^net\.onnx.*") as caught:
        converted(path, 3)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not path.with_suffix(".tflite").exists()


def test_another_input_size_than_the_cards_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, [node("Flatten", "input", "embedding")], {}, 192)
    with pytest.raises(ConversionError, match="takes 1x3x8x8; the card's input is 1x3x16x16"):
        converted(path, 192, InputContract(16, 16))


def test_another_embedding_size_than_the_cards_is_refused(tmp_path: Path) -> None:
    nodes = [node("GlobalAveragePool", "input", "g"), node("Flatten", "g", "embedding")]
    path = written(tmp_path, nodes, {}, 3)
    with pytest.raises(ConversionError, match=r"gives \(1, 3\); the card's embedding is \(1, 4\)"):
        converted(path, 4)


# Whole networks


def _export(network: torch.nn.Module, example: torch.Tensor, path: Path, dynamo: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example,),
            str(path),
            dynamo=dynamo,
            external_data=False,
            input_names=["input"],
            output_names=["embedding"],
            verbose=False,
        )


def _images(embedder: Embedder, count: int, seed: int) -> NDArray[np.float32]:
    """Noise in blocks of 16 pixels, as smooth as photos are."""
    height, width = embedder.contract.height, embedder.contract.width
    blocks = np.random.default_rng(seed).integers(0, 256, (count, height // 16 + 1, width // 16 + 1, 3))
    pixels = blocks.repeat(16, 1).repeat(16, 2)[:, :height, :width].astype(np.uint8)
    return embedder.contract.preprocess(pixels)


def _settled(name: str, **options: Any) -> tuple[Embedder, NDArray[np.float32]]:
    embedder = create(name, **options)
    if any(isinstance(module, torch.nn.BatchNorm2d) for module in embedder.backbone.modules()):
        reestimate_batch_norms(embedder.backbone, [torch.from_numpy(_images(embedder, 4, 1))])
    embedder.backbone.eval()
    return embedder, _images(embedder, 2, 2)


@pytest.mark.parametrize("name", sorted(ZOO))
def test_zoo_net_computes_what_pytorch_and_onnxruntime_compute(tmp_path: Path, name: str) -> None:
    embedder, faces = _settled(name)
    path = tmp_path / f"{name}.onnx"
    _export(embedder.backbone, embedder.example(), path, dynamo=False)  # in a second; the other one below
    artifact = converted(path, embedder.embedding_size, embedder.contract)
    ours = unit(LiteRTSession(artifact.path).run(faces))
    with torch.inference_mode():
        torchs = unit(embedder.backbone(torch.from_numpy(faces)).numpy())
    assert np.abs(ours - unit(OnnxRuntimeSession(path).run(faces))).max() <= 1e-5
    assert np.abs(ours - torchs).max() <= 1e-5
    assert (tuple(map(str, artifact.notes)), xnnpack_partitions(artifact.path)) == (("1 XNNPACK partition",), 1)
    assert "TRANSPOSE" not in operators(artifact.path)
    # Each pads an image of even size at the top and left; TFLite's own SAME would at the bottom and right.
    evens = {"mobilefacenet": [112, 56, 28, 14], "resnet50v2": [56, 28, 14]}
    assert _padded(artifact.path) == [
        ([[0, 0], [1, 0], [1, 0], [0, 0]], side, 2) for side in evens.get(name, [])
    ]  # all others need no PAD


def _padded(path: Path) -> list[tuple[list[list[int]], int, int]]:
    """Gives of each PAD its amounts, its image's side, and the stride of the convolution that reads it."""
    from ai_edge_litert import schema_py_generated as schema

    model = unpack(path.read_bytes())
    graph = model.subgraphs[0]
    pads = [
        row for row in graph.operators if model.operatorCodes[row.opcodeIndex].builtinCode == schema.BuiltinOperator.PAD
    ]
    found = []
    for row in pads:
        image, amounts = (graph.tensors[place] for place in row.inputs)
        (reader,) = (other for other in graph.operators if row.outputs[0] in other.inputs)
        values = model.buffers[amounts.buffer].data.view(np.int32).reshape(4, 2)
        found.append((values.tolist(), int(image.shape[1]), reader.builtinOptions.strideH))
    return found


@pytest.fixture(scope="module")
def mobilefacenet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Embedder, Artifact, Artifact]:
    """A settled net with its ONNX and its TFLite file, made as the exporter makes them."""
    embedder, _ = _settled("mobilefacenet")
    folder = tmp_path_factory.mktemp("mobilefacenet")
    card = Card(embedder.name, embedder.contract, embedder.embedding_size)
    graph = to_onnx(embedder, card, folder / "m.onnx")
    return embedder, graph, to_tflite(graph.path, card, folder / "m.tflite")


def test_mobilefacenet_of_the_dynamo_exporter(mobilefacenet: tuple[Embedder, Artifact, Artifact]) -> None:
    embedder, _, artifact = mobilefacenet
    faces = _images(embedder, 2, 3)
    with torch.inference_mode():
        torchs = unit(embedder.backbone(torch.from_numpy(faces)).numpy())
    assert np.abs(unit(LiteRTSession(artifact.path).run(faces)) - torchs).max() <= 1e-5
    assert Counter(operators(artifact.path)) == {
        "CONV_2D": 33,
        "DEPTHWISE_CONV_2D": 17,
        "PRELU": 33,
        "ADD": 12,
        "PAD": 4,  # before the four convolutions of stride 2
        "RESHAPE": 1,
    }
    assert xnnpack_partitions(artifact.path) == 1


def test_tensorflows_interpreter_agrees(mobilefacenet: tuple[Embedder, Artifact, Artifact]) -> None:
    pytest.importorskip("tensorflow")
    embedder, _, artifact = mobilefacenet
    faces = _images(embedder, 1, 4)
    script = (
        "import sys, numpy as np, tensorflow as tf\n"
        "run = tf.lite.Interpreter(sys.argv[1]).get_signature_runner('serving_default')\n"
        "np.save(sys.argv[3], run(input=np.load(sys.argv[2]))['embedding'])\n"
    )
    given, gives = artifact.path.with_name("in.npy"), artifact.path.with_name("out.npy")
    np.save(given, faces.transpose(0, 2, 3, 1))
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    arguments = [sys.executable, "-c", script, str(artifact.path), str(given), str(gives)]
    subprocess.run(arguments, check=True, env=environment, capture_output=True)  # beside LiteRT it may clash
    np.testing.assert_allclose(unit(np.load(gives)), unit(LiteRTSession(artifact.path).run(faces)), atol=1e-5)


def test_the_same_graph_gives_the_same_bytes(mobilefacenet: tuple[Embedder, Artifact, Artifact]) -> None:
    _, graph, artifact = mobilefacenet
    again = to_tflite(graph.path, graph.card, artifact.path.with_name("again.tflite"))
    assert again.path.read_bytes() == artifact.path.read_bytes()


def test_the_file_carries_its_card(mobilefacenet: tuple[Embedder, Artifact, Artifact]) -> None:
    _, _, artifact = mobilefacenet
    card = read_tflite_card(artifact.path)
    assert card == artifact.card
    assert card is not None and len(card.source_sha256) == 64
    assert any(tool.startswith("ai-edge-litert ") for tool in card.tools)
    model = unpack(artifact.path.read_bytes())
    assert model.description.startswith(b"Face embedder mobilefacenet, fp32\n")
    assert [entry.name for entry in model.metadata] == [METADATA_KEY.encode()]


def test_ports_have_names_and_weights_are_aligned(mobilefacenet: tuple[Embedder, Artifact, Artifact]) -> None:
    from ai_edge_litert import schema_py_generated as schema

    _, _, artifact = mobilefacenet
    content = artifact.path.read_bytes()
    model = unpack(content)
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    assert graph.tensors[graph.inputs[0]].name == signature.inputs[0].name == b"input"
    assert graph.tensors[graph.outputs[0]].name == signature.outputs[0].name == b"embedding"
    assert signature.signatureKey == b"serving_default"
    root = schema.Model.GetRootAs(content)
    buffers = [root.Buffers(index) for index in range(root.BuffersLength())]
    starts = [buffer._tab.Vector(buffer._tab.Offset(4)) for buffer in buffers if buffer.DataLength()]
    assert starts and not any(start % 16 for start in starts)


def test_foreign_onnx_converts_as_it_is(shared: Path, tmp_path: Path) -> None:
    path = shared / "models" / "foreign_mobilefacenet_relu6.onnx"
    artifact = to_tflite(path, Card("foreign", IMAGENET, 128), tmp_path / "f.tflite")
    faces = RNG.normal(0, 1, (2, 3, 112, 112)).astype(np.float32)
    ours, theirs = unit(LiteRTSession(artifact.path).run(faces)), unit(OnnxRuntimeSession(path).run(faces))
    assert np.abs(ours - theirs).max() <= 1e-5
    assert xnnpack_partitions(artifact.path) == 1
    assert set(operators(artifact.path)) == {"ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "PAD", "RESHAPE"}


@pytest.mark.parametrize(
    ("name", "some"), [("shufflenet_v2_x0_5", {"SLICE": 26, "TRANSPOSE": 16}), ("repvit_m0_9", {"GELU": 27})]
)
def test_a_net_of_others_runs_in_one_piece(tmp_path: Path, name: str, some: dict[str, int]) -> None:
    models = import_torchvision().models
    timm = pytest.importorskip("timm", reason="wants the extra `test`")
    torch.manual_seed(0)
    network = (getattr(models, name) if hasattr(models, name) else partial(timm.create_model, name))(num_classes=32)
    path = tmp_path / "net.onnx"
    _export(network.eval(), torch.zeros(1, 3, 64, 64), path, dynamo=False)
    artifact = converted(path, 32, InputContract(64, 64))
    faces = RNG.normal(0, 1, (2, 3, 64, 64)).astype(np.float32)
    ours, theirs = unit(LiteRTSession(artifact.path).run(faces)), unit(OnnxRuntimeSession(path).run(faces))
    assert np.abs(ours - theirs).max() <= 1e-5
    assert tuple(map(str, artifact.notes)) == ("1 XNNPACK partition",)
    assert some.items() <= Counter(operators(artifact.path)).items()


# Files that are not what they seem

TINY_NODES = [node("Conv", "input w", "c"), node("Relu", "c", "r"), node("Flatten", "r", "embedding")]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return converted(written(tmp_path, TINY_NODES, {"w": weights(4, 3, 8, 8)}, 4), 4).path


@pytest.mark.parametrize("reader", [read_tflite_card, LiteRTSession])
def test_a_truncated_file_is_one_sentence(tiny: Path, reader: Callable[[Path], object]) -> None:
    content = tiny.read_bytes()
    for share in (0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98):
        tiny.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match=r"^net\.tflite: [^\n]+$"):
            reader(tiny)


def test_read_card_survives_any_damage(tiny: Path) -> None:
    content, random = tiny.read_bytes(), np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content)
        for place in random.integers(0, len(content), 4):
            damaged[place] = random.integers(256)
        tiny.write_bytes(damaged)
        try:
            read_tflite_card(tiny)
        except ValueError as error:
            assert str(error).startswith("net.tflite: ")


def test_a_file_without_a_card_has_none(tiny: Path) -> None:
    model = unpack(tiny.read_bytes())
    model.metadata = []
    tiny.write_bytes(pack(model))
    assert read_tflite_card(tiny) is None
    assert LiteRTSession(tiny).run(FACES).shape == (3, 4)


@pytest.mark.parametrize("text", [b"[" * 100_000, b"{}", b"\xff\xfe", b" " * (2 << 20)])
def test_metadata_that_is_no_card_is_one_sentence(tiny: Path, text: bytes) -> None:
    model = unpack(tiny.read_bytes())
    set_metadata(model, METADATA_KEY, text)
    tiny.write_bytes(pack(model))
    with pytest.raises(ValueError, match=r"^net\.tflite: [^\n]+$"):
        read_tflite_card(tiny)


def test_session_names_the_shape_it_wants(tiny: Path) -> None:
    with pytest.raises(ValueError, match=r"net\.tflite wants \(N, 3, 8, 8\), not \(1, 3, 9, 9\)"):
        LiteRTSession(tiny).run(np.zeros((1, 3, 9, 9), np.float32))
