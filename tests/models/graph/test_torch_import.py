"""An ONNX file becomes a network of torch's layers that computes the same, comes back bit for bit, or says why not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper
from torch import nn

from pocketface.export.exporter import export
from pocketface.export.formats import open_session
from pocketface.export.recipe import ExportRecipe
from pocketface.export.session import unit_embeddings
from pocketface.faces.contract import IMAGENET, InputContract
from pocketface.models.embedder import Embedder
from pocketface.models.graph.conversion_error import ConversionError
from pocketface.models.graph.face_operators import FACE_OPERATORS
from pocketface.models.graph.reading import parse_onnx
from pocketface.models.graph.torch_import import OPERATORS, import_onnx, rebuild
from pocketface.prune.channels.groups import find_groups, uncut_reasons

CONTRACT = InputContract(8, 8)
Write = Callable[..., Path]
Rows = Callable[[Path, NDArray[np.float32]], NDArray[np.float32]]


def node(kind: str, inputs: str, output: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), output.split(), **attributes)


def numbers(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.5, shape).astype(np.float32)


def integers(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


ONE_NODE: dict[str, tuple[onnx.NodeProto, dict[str, NDArray[Any]]]] = {
    "Conv, uneven pads": (node("Conv", "face w b", pads=[0, 1, 2, 1]), {"w": numbers(4, 3, 3, 3), "b": numbers(4)}),
    "Conv, groups": (node("Conv", "face w", group=3, strides=[2, 2], dilations=[2, 1]), {"w": numbers(6, 1, 2, 3)}),
    "Conv, SAME_UPPER": (node("Conv", "face w", strides=[2, 2], auto_pad="SAME_UPPER"), {"w": numbers(4, 3, 3, 3)}),
    "Conv, SAME_LOWER": (node("Conv", "face w", auto_pad="SAME_LOWER"), {"w": numbers(4, 3, 2, 4)}),
    "ConvTranspose": (
        node("ConvTranspose", "face w b", strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 0]),
        {"w": numbers(3, 4, 3, 3), "b": numbers(4)},
    ),
    "BatchNormalization": (
        node("BatchNormalization", "face s b m v", epsilon=1e-3),
        {"s": numbers(3), "b": numbers(3, seed=1), "m": numbers(3, seed=2), "v": numbers(3, seed=3) ** 2 + 0.5},
    ),
    "PRelu": (node("PRelu", "face s"), {"s": numbers(3, 1, 1)}),
    "PRelu, one slope": (node("PRelu", "face s"), {"s": np.array([-0.3], np.float32)}),
    "PRelu, a slope per column": (node("PRelu", "face s"), {"s": numbers(8)}),
    "LayerNormalization": (
        node("LayerNormalization", "face s b", axis=2, epsilon=1e-3),
        {"s": numbers(8, 8), "b": numbers(8, 8, seed=1)},
    ),
    "InstanceNormalization": (node("InstanceNormalization", "face s b"), {"s": numbers(3), "b": numbers(3, seed=1)}),
    "LeakyRelu": (node("LeakyRelu", "face", alpha=0.2), {}),
    "Relu": (node("Relu", "face"), {}),
    "Clip": (node("Clip", "face low high"), {"low": np.float32(-0.5), "high": np.float32(0.25)}),
    "Clip, from below": (node("Clip", "face low"), {"low": np.float32(-0.5)}),
    "HardSigmoid": (node("HardSigmoid", "face"), {}),
    "HardSigmoid, sixth": (node("HardSigmoid", "face", alpha=1 / 6), {}),
    "Elu": (node("Elu", "face", alpha=0.7), {}),
    "Selu": (node("Selu", "face", alpha=1.5, gamma=1.2), {}),
    "Celu": (node("Celu", "face", alpha=0.7), {}),
    "ThresholdedRelu": (node("ThresholdedRelu", "face", alpha=0.3), {}),
    "Softmax": (node("Softmax", "face", axis=1), {}),
    "LogSoftmax": (node("LogSoftmax", "face", axis=2), {}),
    "Add": (node("Add", "face w"), {"w": numbers(3, 1, 1)}),
    "Sub": (node("Sub", "w face"), {"w": numbers(8)}),
    "Mul": (node("Mul", "face w"), {"w": numbers(1, 3, 8, 8)}),
    "Div": (node("Div", "face c"), {"c": np.array([0.3], np.float32)}),
    "Div, of a number": (node("Div", "c face"), {"c": np.array(0.3, np.float32)}),
    "Pow": (node("Pow", "face c"), {"c": np.array(2, np.float32)}),
    "Max": (node("Max", "face c face w"), {"c": np.array(0.1, np.float32), "w": numbers(8)}),
    "Min": (node("Min", "w face c"), {"c": np.array(0.1, np.float32), "w": numbers(3, 1, 1)}),
    "Sum": (node("Sum", "face face w"), {"w": numbers(3, 1, 1)}),
    "Mean": (node("Mean", "face w"), {"w": numbers(3, 1, 1)}),
    "ReduceMean": (node("ReduceMean", "face a", keepdims=0), {"a": integers(2, 3)}),
    "ReduceMean, negative": (node("ReduceMean", "face a"), {"a": integers(-3)}),
    "ReduceMax": (node("ReduceMax", "face a"), {"a": integers(1)}),
    "ReduceMin": (node("ReduceMin", "face a"), {"a": integers(2)}),
    "ReduceL1": (node("ReduceL1", "face a"), {"a": integers(1, 2)}),
    "ReduceL2": (node("ReduceL2", "face a"), {"a": integers(1)}),
    "ReduceSumSquare": (node("ReduceSumSquare", "face a"), {"a": integers(3)}),
    "ReduceLogSumExp": (node("ReduceLogSumExp", "face a"), {"a": integers(3)}),
    "LpNormalization": (node("LpNormalization", "face", axis=1), {}),
    "AveragePool": (node("AveragePool", "face", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), {}),
    "AveragePool, uneven": (node("AveragePool", "face", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]), {}),
    "AveragePool, uneven, all": (
        node("AveragePool", "face", kernel_shape=[3, 2], pads=[0, 0, 1, 1], count_include_pad=1),
        {},
    ),
    "MaxPool": (node("MaxPool", "face", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), {}),
    "MaxPool, uneven": (node("MaxPool", "face", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]), {}),
    "MaxPool, up": (node("MaxPool", "face", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1), {}),
    "LpPool": (node("LpPool", "face", kernel_shape=[2, 2], strides=[2, 2], p=2), {}),
    "LRN": (node("LRN", "face", size=3, alpha=0.1, beta=0.6, bias=1.2), {}),
    "Flatten": (node("Flatten", "face"), {}),
    "Transpose": (node("Transpose", "face", perm=[0, 2, 3, 1]), {}),
    "Slice": (
        node("Slice", "face s e a t"),
        {"s": integers(1, -7), "e": integers(3, 2**62), "a": integers(1, 3), "t": integers(1, 2)},
    ),
    "Slice, backwards": (
        node("Slice", "face s e a t"),
        {"s": integers(-1), "e": integers(-(2**62)), "a": integers(1), "t": integers(-1)},
    ),
    "Gather": (node("Gather", "face i", axis=1), {"i": integers(2, 1, -3)}),
    "Gather, one": (node("Gather", "face i", axis=2), {"i": np.array(-1)}),
    "Gather, a table": (node("Gather", "face i", axis=3), {"i": integers(0, 7, 3, 3).reshape(2, 2)}),
    "Pad": (node("Pad", "face p c"), {"p": integers(0, 1, 0, 2, 0, 0, 1, 0), "c": np.float32(0.5)}),
    "Pad, reflect": (node("Pad", "face p", mode="reflect"), {"p": integers(0, 0, 1, 2, 0, 0, 3, 0)}),
    "Pad, edge": (node("Pad", "face p", mode="edge"), {"p": integers(0, 0, 1, 2, 0, 0, 3, 0)}),
    "Resize, nearest": (
        node("Resize", "face r s", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        {"r": np.zeros(0, np.float32), "s": np.array([1, 1, 1.5, 2], np.float32)},
    ),
    "Resize, linear": (
        node("Resize", "face r s", mode="linear"),
        {"r": np.zeros(0, np.float32), "s": np.array([1, 1, 2, 1.5], np.float32)},
    ),
    "Resize, corners": (
        node("Resize", "face r s", mode="linear", coordinate_transformation_mode="align_corners"),
        {"r": np.zeros(0, np.float32), "s": np.array([1, 1, 2, 2], np.float32)},
    ),
    "Tile": (node("Tile", "face r"), {"r": integers(1, 2, 1, 3)}),
    "SpaceToDepth": (node("SpaceToDepth", "face", blocksize=2), {}),
    "Einsum": (node("Einsum", "face w", equation="nchw,cd->ndhw"), {"w": numbers(3, 5)}),
    "Unsqueeze": (node("Unsqueeze", "face a"), {"a": integers(1, 3)}),
    "Softmax, last": (node("Softmax", "face"), {}),
}
PLAIN = "Sigmoid HardSwish Erf Tanh Softplus Softsign Mish Abs Neg Exp Sin Cos Floor Ceil Round Sign".split()
PLAIN += "Reciprocal GlobalAveragePool GlobalMaxPool".split()


@pytest.mark.parametrize("case", [*ONE_NODE, *PLAIN])
def test_one_operator_computes_what_onnxruntime_does(case: str, write: Write, rows: Rows) -> None:
    one, constants = ONE_NODE.get(case, (node(case, "face"), {}))
    path, faces = write([one], constants), numbers(2, 3, 8, 8, seed=9)
    network = import_onnx(path, CONTRACT)
    with torch.inference_mode():
        ours = network(torch.from_numpy(faces)).numpy()
    theirs = rows(path, faces)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1e-5 * max(1.0, np.abs(theirs).max())


SEVERAL: dict[str, tuple[list[onnx.NodeProto], dict[str, NDArray[Any]], int]] = {
    "gelu of opset 20": ([node("Gelu", "face", approximate="tanh")], {}, 20),
    "group norm of opset 21, a scale per channel": (
        [node("Conv", "face w", "c"), node("GroupNormalization", "c s b", num_groups=2)],
        {"w": numbers(4, 3, 1, 1), "s": numbers(4), "b": numbers(4, seed=1)},
        21,
    ),
    "comparisons": (
        [
            node("Greater", "face c", "g"),
            node("LessOrEqual", "face d", "l"),
            node("And", "g l", "both"),
            node("Not", "both", "not"),
            node("Where", "not face d"),
        ],
        {"c": np.array(-0.3, np.float32), "d": np.array(0.4, np.float32)},
        18,
    ),
    "square root of a sum": (
        [
            node("Abs", "face", "a"),
            node("Sqrt", "a", "r"),
            node("Add", "a e", "p"),
            node("Log", "p", "l"),
            node("Sub", "r l"),
        ],
        {"e": np.array(0.1, np.float32)},
        18,
    ),
    "parts of other widths": (
        [node("Conv", "face w", "c"), node("Split", "c s", "one two", axis=1), node("Concat", "two one", axis=1)],
        {"w": numbers(6, 3, 1, 1), "s": integers(2, 4)},
        18,
    ),
    "halves": (
        [node("Conv", "face w", "c"), node("Split", "c", "one two", axis=1, num_outputs=2), node("Mul", "one two")],
        {"w": numbers(6, 3, 1, 1)},
        18,
    ),
    "depth to space, both orders": (
        [
            node("Conv", "face w", "c"),
            node("DepthToSpace", "c", "d", blocksize=2),
            node("DepthToSpace", "c", "e", blocksize=2, mode="CRD"),
            node("Sub", "d e"),
        ],
        {"w": numbers(8, 3, 1, 1)},
        18,
    ),
    "a shuffle of channels": (
        [
            node("Conv", "face w", "c"),
            node("Reshape", "c r", "five"),
            node("Transpose", "five", "turned", perm=[0, 2, 1, 3, 4]),
            node("Reshape", "turned s"),
        ],
        {"w": numbers(6, 3, 1, 1), "r": integers(1, 2, 3, 8, 8), "s": integers(1, 6, 8, 8)},
        18,
    ),
    "one head of attention": (
        [
            node("Reshape", "face r", "flat"),
            node("Transpose", "flat", "tokens", perm=[0, 2, 1]),
            node("MatMul", "tokens q", "qx"),
            node("Add", "qx bias", "queries"),
            node("MatMul", "tokens k", "keys"),
            node("Transpose", "keys", "turned", perm=[0, 2, 1]),
            node("MatMul", "queries turned", "scores"),
            node("Softmax", "scores", "shares"),
            node("MatMul", "shares keys"),
        ],
        {"r": integers(1, 3, 64), "q": numbers(3, 4), "k": numbers(3, 4, seed=1), "bias": numbers(4, seed=2)},
        18,
    ),
    "a class token": (
        [
            node("Reshape", "face r", "flat"),
            node("Transpose", "flat", "tokens", perm=[0, 2, 1]),
            node("Concat", "token tokens", "all", axis=1),
            node("Add", "all positions", "placed"),
            node("Gather", "placed zero", axis=1),
        ],
        {"r": integers(1, 3, 64), "token": numbers(1, 1, 3), "positions": numbers(1, 65, 3), "zero": np.array(0)},
        18,
    ),
    "a row without its batch": ([node("ReduceMean", "face a", "m"), node("Squeeze", "m")], {"a": integers(2, 3)}, 18),
    "axes as attributes": (
        [
            node("ReduceSum", "face", "s", axes=[3]),
            node("Squeeze", "s", "q", axes=[3]),
            node("Unsqueeze", "q", axes=[1]),
        ],
        {},
        11,
    ),
    "a clip, a slice and a pad as opset 9 writes them": (
        [
            node("Clip", "face", "c", min=-0.4, max=0.5),
            node("Slice", "c", "s", axes=[2], starts=[1], ends=[7]),
            node("Pad", "s", "p", pads=[0, 0, 1, 0, 0, 0, 0, 1], value=0.5),
            node("Upsample", "p t"),
        ],
        {"t": np.array([1, 1, 2, 2], np.float32)},
        9,
    ),
    "softmax of opset 11 goes over all that follows": ([node("Softmax", "face", axis=2)], {}, 11),
    "a product with a matrix on its left": (
        [node("MatMul", "w face", "m"), node("Expand", "m s")],
        {"w": numbers(5, 8), "s": integers(1, 3, 5, 8)},
        18,
    ),
    "gemm with factors": (
        [node("Flatten", "face", "f"), node("Gemm", "f w b", alpha=0.5, beta=2.0)],
        {"w": numbers(192, 4), "b": numbers(1, 4)},
        18,
    ),
    "a cast": ([node("Cast", "face", "i", to=onnx.TensorProto.INT32), node("Cast", "i", to=1)], {}, 18),
}


@pytest.mark.parametrize("case", SEVERAL)
def test_some_operators_compute_what_onnxruntime_does(case: str, write: Write, rows: Rows) -> None:
    nodes, constants, opset = SEVERAL[case]
    shape = (1, 4, 8, 8) if "group norm" in case else None
    path, faces = write(nodes, constants, opset, shape), numbers(2, 3, 8, 8, seed=9)
    with torch.inference_mode():
        ours = import_onnx(path, CONTRACT)(torch.from_numpy(faces)).numpy()
    assert np.abs(ours - rows(path, faces)).max() <= 1e-5


def operators_tried() -> set[str]:
    several = {one.op_type for nodes, _, _ in SEVERAL.values() for one in nodes}
    return {one.op_type for one, _ in ONE_NODE.values()} | set(PLAIN) | several


def test_every_operator_of_the_table_is_tried() -> None:
    assert set(OPERATORS) - operators_tried() <= set(FACE_OPERATORS)  # which `test_face_operators` tries


def test_values_that_one_sees(write: Write) -> None:
    nodes = [node("PRelu", "face s", "p"), node("GlobalAveragePool", "p", "g"), node("Flatten", "g", "f")]
    nodes.append(node("Gemm", "f w b"))
    constants = {
        "s": np.array([0.5, 0.25, 0], np.float32).reshape(3, 1, 1),
        "w": np.array([[1, 0], [0, 1], [0, 0]], np.float32),
        "b": np.array([10, 20], np.float32),
    }
    network = import_onnx(write(nodes, constants), CONTRACT)
    with torch.inference_mode():
        assert network(torch.full((2, 3, 8, 8), -4.0)).tolist() == [[8, 19], [8, 19]]  # -4 * 0.5 + 10, -4 * 0.25 + 20


def test_layers_are_torch_layers_under_the_names_of_the_file(write: Write) -> None:
    nodes = [
        node("Conv", "face w", "c", name="/stem/conv.0/Conv"),
        node("BatchNormalization", "c s b m v", "n", name="bn"),
        node("PRelu", "n p", "r", name="slopes"),
        node("GlobalAveragePool", "r", "g"),
        node("Flatten", "g", "f"),
        node("Gemm", "f fc", transB=1, name="forward"),
    ]
    constants = {"w": numbers(4, 3, 3, 3), "p": numbers(4, 1, 1), "fc": numbers(5, 4)}
    constants |= {name: numbers(4, seed=n) ** 2 + 0.1 for n, name in enumerate("sbmv")}
    network = import_onnx(write(nodes, constants), CONTRACT)
    kinds = {name: type(layer) for name, layer in network.named_children()}
    assert kinds == {"stem_conv_0_Conv": nn.Conv2d, "bn": nn.BatchNorm2d, "slopes": nn.PReLU, "forward_2": nn.Linear}
    assert torch.equal(network.bn.running_mean, torch.from_numpy(constants["m"]))


def test_constants_before_the_first_layer_are_not_trained_those_behind_are(write: Write) -> None:
    nodes = [
        node("Sub", "face mean", "centred"),
        node("Conv", "centred w", "c", name="c"),
        node("Sigmoid", "c", "s"),
        node("Mul", "s scale"),
    ]
    constants = {"mean": numbers(1, 3, 1, 1), "w": numbers(4, 3, 1, 1), "scale": numbers(4, 1, 1)}
    network = import_onnx(write(nodes, constants), CONTRACT)
    assert [name for name, _ in network.named_buffers()] == ["mean"]
    assert sorted(name for name, _ in network.named_parameters()) == ["c.weight", "scale"]


def test_the_graph_holds_no_weights_and_rebuilds_the_network_bit_for_bit(write: Write) -> None:
    nodes = [
        node("Conv", "face w b", "c"),
        node("Relu", "c", "r"),
        node("Flatten", "r", "f"),
        node("MatMul", "f m", "p"),
    ]
    nodes += [node("Add", "p t")]
    constants = {"w": numbers(4, 3, 3, 3), "b": numbers(4), "m": numbers(144, 6), "t": numbers(6)}
    network = import_onnx(write(nodes, constants), CONTRACT)
    model = parse_onnx(network.onnx_graph, "graph")
    assert all(tensor.data_type == onnx.TensorProto.INT64 for tensor in model.graph.initializer)
    again = rebuild(network.onnx_graph, "graph")
    assert not any(parameter.any() for parameter in again.parameters())
    again.load_state_dict(network.state_dict())
    faces = torch.from_numpy(numbers(3, 3, 8, 8))
    with torch.inference_mode():
        assert torch.equal(again(faces), network(faces))
    assert again.onnx_graph == network.onnx_graph


def test_channels_of_an_imported_network_are_cut_through_a_flatten_but_not_through_heads(write: Write) -> None:
    nodes = [
        node("Conv", "face w", "c", name="first"),
        node("Relu", "c", "r"),
        node("Reshape", "r flat", "f"),
        node("Gemm", "f m b", "hidden", name="middle"),
        node("Reshape", "hidden heads", "two"),
        node("Softmax", "two", "s"),
        node("Reshape", "s row", "g"),
        node("Gemm", "g n", name="last"),
    ]
    constants: dict[str, NDArray[Any]] = {
        "w": numbers(4, 3, 3, 3),
        "flat": integers(1, 144),
        "m": numbers(144, 6),
        "b": numbers(6),
        "heads": integers(1, 2, 3),
        "row": integers(1, 6),
        "n": numbers(6, 5),
    }
    network, example = import_onnx(write(nodes, constants), CONTRACT), torch.zeros(1, 3, 8, 8)
    groups = find_groups(network, example)
    assert [(group.name, group.width) for group in groups] == [("first", 4)]
    assert set(uncut_reasons(network, example, groups)) == {"middle", "last"}


@pytest.mark.parametrize("opset", [9, 18])
def test_channels_are_cut_through_halves_that_slices_take(opset: int, write: Write, rows: Rows) -> None:
    # the larger of two channels each, as LightCNN has it and converters write it
    if opset == 9:
        halves = [node("Slice", "c", "b", starts=[8], ends=[16], axes=[1])]
        halves.append(node("Slice", "c", "a", starts=[0], ends=[8], axes=[1]))
    else:
        halves = [node("Slice", "c eight sixteen one", "b"), node("Slice", "c zero eight one", "a")]
    nodes = [node("Conv", "face w", "c"), *halves, node("Max", "a b", "m"), node("Conv", "m v", "d")]
    nodes += [node("Relu", "d", "r"), node("GlobalAveragePool", "r")]
    constants = {"w": numbers(16, 3, 3, 3), "v": numbers(8, 8, 3, 3)}
    constants |= {"zero": integers(0), "eight": integers(8), "sixteen": integers(16), "one": integers(1)}
    path, faces = write(nodes, constants, opset), numbers(2, 3, 8, 8)
    network = import_onnx(path, CONTRACT)
    with torch.inference_mode():
        np.testing.assert_allclose(network(torch.from_numpy(faces)).numpy(), rows(path, faces), atol=1e-6)
    groups = find_groups(network, torch.zeros(1, 3, 8, 8))
    assert [(group.name, group.width) for group in groups] == [("Conv_0", 8)]


@pytest.mark.parametrize("ends", [(8, 15), (9, 16)])
def test_slices_that_are_no_equal_parts_stay(ends: tuple[int, int], write: Write) -> None:
    nodes = [
        node("Conv", "face w", "c"),
        node("Slice", "c zero first one", "a"),
        node("Slice", "c eight last one", "b"),
    ]
    nodes += [node("Concat", "a b", axis=1)]
    constants = {"w": numbers(16, 3, 3, 3), "zero": integers(0), "eight": integers(8), "one": integers(1)}
    constants |= {"first": integers(ends[0]), "last": integers(ends[1])}
    graph = parse_onnx(import_onnx(write(nodes, constants), CONTRACT).onnx_graph, "graph").graph
    assert [one.op_type for one in graph.node].count("Slice") == 2


def test_a_scale_and_a_shift_behind_a_layer_do_not_keep_its_channels_from_being_cut(write: Write) -> None:
    nodes = [
        node("Conv", "face w", "c", name="first"),
        node("Mul", "c s", "m"),
        node("Add", "m t", "a"),
        node("Relu", "a", "r"),
        node("Conv", "r v", "d"),
        node("GlobalAveragePool", "d"),
    ]
    constants = {"w": numbers(4, 3, 3, 3), "s": numbers(4, 1, 1), "t": numbers(1, 4, 1, 1), "v": numbers(5, 4, 1, 1)}
    network = import_onnx(write(nodes, constants), CONTRACT)
    assert [group.name for group in find_groups(network, torch.zeros(1, 3, 8, 8))] == ["first"]


def test_what_cannot_be_trained_is_named(write: Write) -> None:
    path = write([node("CumSum", "face a", name="sums")], {"a": np.array(2)})
    with pytest.raises(ConversionError) as error:
        import_onnx(path, CONTRACT)
    assert str(error.value) == (
        "net.onnx cannot be trained, as CumSum 'sums' has no form in PyTorch here; "
        "it can be exported and measured as it is"
    )


def test_a_network_that_mixes_the_faces_of_a_batch_is_refused(write: Write) -> None:
    nodes = [
        node("Transpose", "face", "t", perm=[1, 0, 2, 3]),
        node("ReduceMax", "t one", "m", keepdims=0),
        node("Reshape", "m row"),
    ]
    path = write(nodes, {"one": integers(1), "row": integers(1, 192)})
    with pytest.raises(ConversionError, match=r"net\.onnx mixes the faces of a batch; export it with a dynamic batch"):
        import_onnx(path, CONTRACT)


def test_a_network_that_does_not_look_at_the_face_is_refused(write: Write) -> None:
    with pytest.raises(ConversionError, match=r"net\.onnx gives the same numbers for every face"):
        import_onnx(write([node("Softmax", "face", axis=0)]), CONTRACT)


def test_a_damaged_or_hostile_graph_is_one_sentence() -> None:
    with pytest.raises(ConversionError, match="graph is damaged or no ONNX file"):
        rebuild(b"no graph", "graph")
    huge = helper.make_graph(
        [node("Flatten", "input", "f"), node("MatMul", "f w", "embedding")],
        "net",
        [
            helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 3, 8, 8]),
            helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [192, 1 << 21]),
        ],
        [helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, [1, 1 << 21])],
    )
    model = helper.make_model(huge, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    with pytest.raises(ConversionError, match="graph claims more than 268435456 weights"):
        rebuild(model.SerializeToString(), "graph")


def test_a_real_foreign_file_embeds_as_onnxruntime_does(shared: Path, rows: Rows) -> None:
    path = shared / "models" / "foreign_mobilefacenet_relu6.onnx"
    faces = numbers(3, 3, 112, 112)
    network = import_onnx(path, IMAGENET)
    with torch.inference_mode():
        ours = network(torch.from_numpy(faces)).numpy()
    theirs = rows(path, faces)
    assert np.abs(ours - theirs).max() <= 1e-5 * np.linalg.norm(theirs, axis=1).min()
    assert len(find_groups(network, torch.zeros(1, 3, 112, 112))) == 21  # as in the author's PyTorch network


def test_what_torch_writes_of_an_imported_network_is_read_again(write: Write, tmp_path: Path) -> None:
    # a channel order turned round, neighbours summed, and a length that is held above zero: all of old networks
    nodes = [
        node("Slice", "face last end channels back", "bgr"),
        node("Conv", "bgr w", "c"),
        node("LRN", "c", "n", size=3, alpha=0.5),
        node("GlobalAveragePool", "n", "g"),
        node("Flatten", "g", "f"),
        node("ReduceL2", "f one", "l"),
        node("Clip", "l tiny", "held"),
        node("Div", "f held"),
    ]
    constants = {"w": numbers(8, 3, 3, 3), "tiny": np.float32(1e-12), "one": integers(1), "channels": integers(1)}
    constants |= {"last": integers(-1), "end": integers(-(2**62)), "back": integers(-1)}
    embedder = Embedder("net", import_onnx(write(nodes, constants), CONTRACT), CONTRACT, "onnx")
    faces = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3)).astype(np.uint8)
    recipe = ExportRecipe(targets=("onnx", "tflite-fp32", "coreml-fp32"), parity_faces=8)
    made = export(embedder, faces, recipe, tmp_path / "made")
    assert [result.reason for result in made] == ["", "", ""]
    for result in made:
        assert result.artifact is not None
        again = unit_embeddings(open_session(result.artifact.path), CONTRACT, faces)
        np.testing.assert_allclose(again, embedder.embed(faces), atol=1e-5)


def folded(write: Write, *tail: onnx.NodeProto) -> Path:
    """A network whose batch norms were folded: a 3x3 convolution, one that looks at one pixel, one of one pixel."""
    nodes = [
        node("Conv", "face w b", "c", name="stem"),
        node("Relu", "c", "r"),
        node("Conv", "r v d", "e", name="whole"),
        node("Conv", "e u f", "g", name="pixel"),
        *tail,
    ]
    constants = {"w": numbers(4, 3, 3, 3), "b": numbers(4), "v": numbers(5, 4, 6, 6), "d": numbers(5)}
    return write(nodes, {**constants, "u": numbers(5, 5, 1, 1), "f": numbers(5), "s": numbers(1), "t": numbers(1)})


def test_folded_batch_norms_are_new_ones_that_change_nothing(write: Write, rows: Rows) -> None:
    path = folded(write, node("Sigmoid", "g", "h"), node("Flatten", "h"))
    network, faces = import_onnx(path, CONTRACT), numbers(2, 3, 8, 8)
    norms = {name: layer for name, layer in network.named_children() if isinstance(layer, nn.BatchNorm2d)}
    assert list(norms) == ["stem_norm", "whole_norm"]  # not behind the one that maps one pixel to one
    assert network.get_submodule("stem").bias is None and network.get_submodule("pixel").bias is not None
    assert torch.equal(norms["stem_norm"].bias.detach(), torch.from_numpy(numbers(4)))
    sizes = network.get_submodule("stem").weight.square().mean((1, 2, 3)).sqrt()
    assert torch.allclose(sizes, torch.full((4,), (2 / 27) ** 0.5))
    with torch.inference_mode():
        assert np.abs(network(torch.from_numpy(faces)).numpy() - rows(path, faces)).max() <= 1e-5


def test_convolutions_that_share_their_filters_under_one_of_their_names_have_norms_too(
    write: Write, rows: Rows
) -> None:
    # as a converter names them that keeps equal weights once
    nodes = [
        node("Conv", "face c/filters c/bias", "c", group=3),
        node("Relu", "c", "r"),
        node("Conv", "r c/filters c/bias", "d", group=3),
        node("GlobalAveragePool", "d"),
    ]
    path, faces = write(nodes, {"c/filters": numbers(3, 1, 3, 3), "c/bias": numbers(3, seed=1)}), numbers(2, 3, 8, 8)
    with torch.inference_mode():
        ours = import_onnx(path, CONTRACT)(torch.from_numpy(faces)).numpy()
    np.testing.assert_allclose(ours, rows(path, faces), atol=1e-6)


def test_the_convolution_that_makes_the_embedding_has_a_norm_too(write: Write) -> None:
    network = import_onnx(folded(write, node("Flatten", "g")), CONTRACT)
    assert isinstance(network.get_submodule("pixel_norm"), nn.BatchNorm2d)


def test_a_network_with_norms_of_its_own_gets_no_others(write: Write) -> None:
    nodes = [node("Conv", "face w b", "c"), node("InstanceNormalization", "c s t")]
    constants = {"w": numbers(4, 3, 3, 3), "b": numbers(4), "s": numbers(4), "t": numbers(4)}
    network = import_onnx(write(nodes, constants), CONTRACT)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in network.children())
