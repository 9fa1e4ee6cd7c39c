"""Parallel linear branches become one convolution that computes the same; others stay."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pocketface.export.artifact import Card
from pocketface.export.graph.to_onnx import adopt_onnx
from pocketface.faces.contract import InputContract
from pocketface.models.graph.parallel_branches import merge_branches
from pocketface.models.graph.rewrite import Rewrite
from pocketface.models.graph.torch_import import import_onnx

Array = NDArray[np.float32]
RNG = np.random.default_rng(0)
FACE = RNG.normal(0, 1, (1, 4, 9, 9)).astype(np.float32)


def numbers(*shape: int) -> Array:
    return (RNG.normal(0, 1, shape) / np.sqrt(max(1, np.prod(shape[1:])))).astype(np.float32)


class Net:
    """Nodes from x (1, 4, 9, 9), one after the other."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}

    def constant(self, values: Any) -> str:
        self.constants[name := f"k{len(self.constants)}"] = np.asarray(values, np.float32)
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def conv(self, x: str, shape: tuple[int, ...], pads: int | list[int], bias: bool = True, **attributes: Any) -> str:
        inputs = [x, self.constant(numbers(*shape))] + ([self.constant(numbers(shape[0]))] if bias else [])
        return self.op("Conv", *inputs, pads=[pads] * 4 if isinstance(pads, int) else pads, **attributes)

    def norm(self, x: str) -> str:
        values = numbers(4), numbers(4), numbers(4), np.abs(numbers(4)) + 0.5
        return self.op("BatchNormalization", x, *map(self.constant, values))

    def model(self, *outputs: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, FACE.shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(values, name) for name, values in self.constants.items()],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return onnx.shape_inference.infer_shapes(made, strict_mode=True)


def repvgg(net: Net) -> str:
    square, point = net.norm(net.conv("x", (4, 4, 3, 3), 1, bias=False)), net.norm(net.conv("x", (4, 4, 1, 1), 0))
    return net.op("Add", net.op("Add", square, point), net.norm("x"))


def strided(net: Net) -> str:
    return net.op("Add", net.conv("x", (6, 4, 3, 3), 1, strides=[2, 2]), net.conv("x", (6, 4, 1, 1), 0, strides=[2, 2]))


def mobileone(net: Net) -> str:
    several = [net.norm(net.conv("x", (4, 1, 3, 3), 1, group=4, bias=False)) for _ in range(3)]
    return net.op("Sum", *several, net.norm(net.conv("x", (4, 1, 1, 1), 0, group=4)), net.norm("x"))


def asymmetric(net: Net) -> str:
    square = net.conv("x", (4, 4, 3, 3), 1)
    wide, tall = net.conv("x", (4, 4, 1, 3), [0, 1, 0, 1]), net.conv("x", (4, 4, 3, 1), [1, 0, 1, 0])
    return net.op("Add", wide, net.op("Add", square, tall))


def unevenly_padded(net: Net) -> str:
    return net.op("Add", net.conv("x", (4, 4, 4, 4), [2, 1, 1, 2]), net.conv("x", (4, 4, 2, 2), [0, 1, 1, 0]))


def grouped(net: Net) -> str:
    return net.op("Add", net.conv("x", (4, 2, 3, 3), 1, group=2), "x")


MERGED: dict[str, Callable[[Net], str]] = {
    "RepVGG": repvgg,
    "RepVGG with a stride": strided,
    "MobileOne": mobileone,
    "asymmetric": asymmetric,
    "unevenly padded": unevenly_padded,
    "groups and the identity": grouped,
}


def computed(model: onnx.ModelProto) -> list[Array]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": FACE})


@pytest.mark.parametrize("name", MERGED)
def test_branches_become_one_convolution_that_computes_the_same(name: str) -> None:
    net = Net()
    model = net.model(MERGED[name](net))
    smaller, merged = merge_branches(model)
    assert [node.op_type for node in smaller.graph.node] == ["Conv"]
    assert merged == [smaller.graph.node[0].output[0]]
    onnx.checker.check_model(smaller)
    np.testing.assert_allclose(computed(smaller)[0], computed(model)[0], atol=1e-5)


def test_the_merged_kernel_by_hand() -> None:
    net = Net()
    ones = net.op("Conv", "x", net.constant(np.ones((4, 1, 3, 3))), pads=[1, 1, 1, 1], group=4)
    twos = net.op("Conv", "x", net.constant(np.full((4, 1, 1, 1), 2)), net.constant([5, 6, 7, 8]), group=4)
    smaller, _ = merge_branches(net.model(net.op("Sum", ones, twos, "x")))
    kernel, bias = (numpy_helper.to_array(tensor) for tensor in smaller.graph.initializer)
    assert kernel[2, 0].tolist() == [[1, 1, 1], [1, 4, 1], [1, 1, 1]]
    assert bias.tolist() == [5, 6, 7, 8]


def test_what_is_left_of_a_sum_is_added() -> None:
    net = Net()
    other = net.op("Relu", "x")
    pair = net.op("Add", net.conv("x", (4, 4, 3, 3), 1), net.conv("x", (4, 4, 1, 1), 0))
    model = net.model(net.op("Add", pair, other))
    smaller, merged = merge_branches(model)
    assert sorted(node.op_type for node in smaller.graph.node) == ["Add", "Conv", "Relu"] and len(merged) == 1
    np.testing.assert_allclose(computed(smaller)[0], computed(model)[0], atol=1e-5)


def apart(net: Net) -> tuple[str, ...]:
    return (net.op("Add", net.conv("x", (4, 4, 3, 3), 1), net.conv(net.op("Relu", "x"), (4, 4, 1, 1), 0)),)


def cross(net: Net) -> tuple[str, ...]:
    wide, tall = net.conv("x", (4, 4, 1, 7), [0, 3, 0, 3]), net.conv("x", (4, 4, 7, 1), [3, 0, 3, 0])
    return (net.op("Add", wide, tall),)


def depthwise_and_dense(net: Net) -> tuple[str, ...]:
    return (net.op("Add", net.conv("x", (4, 1, 3, 3), 1, group=4), net.conv("x", (4, 4, 1, 1), 0)),)


def read_elsewhere(net: Net) -> tuple[str, ...]:
    first = net.conv("x", (4, 4, 3, 3), 1)
    return net.op("Add", first, net.conv("x", (4, 4, 1, 1), 0)), net.op("Relu", first)


def residual(net: Net) -> tuple[str, ...]:
    return (net.op("Add", "x", net.conv(net.op("Relu", "x"), (4, 4, 3, 3), 1)),)


@pytest.mark.parametrize("build", [apart, cross, depthwise_and_dense, read_elsewhere, residual])
def test_what_one_convolution_does_not_compute_or_not_for_less_stays(build: Callable[[Net], tuple[str, ...]]) -> None:
    net = Net()
    model = net.model(*build(net))
    smaller, merged = merge_branches(model)
    assert merged == []
    assert smaller.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


@pytest.fixture
def unfused(tmp_path: Path) -> Path:
    """An embedder of two un-fused RepVGG blocks, as torch exports it in training's form."""

    class Block(torch.nn.Module):
        def __init__(self, width: int, out: int) -> None:
            super().__init__()
            self.square, self.point = torch.nn.Conv2d(width, out, 3, 1, 1, bias=False), torch.nn.Conv2d(width, out, 1)
            self.norms = torch.nn.ModuleList(torch.nn.BatchNorm2d(out) for _ in range(2))
            self.own = torch.nn.BatchNorm2d(width) if width == out else None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.norms[0](self.square(x)) + self.norms[1](self.point(x))
            return torch.relu(y if self.own is None else y + self.own(x))

    torch.manual_seed(0)
    head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8 * 64, 16), torch.nn.BatchNorm1d(16))
    net = torch.nn.Sequential(Block(3, 8), Block(8, 8), head)
    for norm in (one for one in net.modules() if isinstance(one, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d)):
        torch.nn.init.uniform_(norm.running_mean, -0.5, 0.5)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2)
    path = tmp_path / "unfused.onnx"
    names = dict(input_names=["face"], output_names=["y"], opset_version=13)
    free = {"face": {0: "n"}, "y": {0: "n"}}
    training = torch.onnx.TrainingMode.PRESERVE
    torch.onnx.export(
        net.eval(), (torch.zeros(1, 3, 8, 8),), str(path), dynamo=False, training=training, dynamic_axes=free, **names
    )
    return path


def test_an_unfused_file_is_exported_and_trained_with_one_convolution_a_block(unfused: Path, tmp_path: Path) -> None:
    contract = InputContract(8, 8)
    ours = adopt_onnx(unfused, Card("net", contract, 16), tmp_path / "ours.onnx")
    kinds = [node.op_type for node in onnx.load(ours.path).graph.node]
    assert kinds.count("Conv") == 2 and "Add" not in kinds
    assert Rewrite("merge-branches", 2) in ours.card.rewrites
    faces = RNG.normal(0, 1, (2, 3, 8, 8)).astype(np.float32)
    theirs, mine = (onnxruntime.InferenceSession(path) for path in (unfused, ours.path))
    wanted = theirs.run(None, {"face": faces})[0]
    found = np.concatenate([mine.run(None, {"input": face[None]})[0] for face in faces])
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    network = import_onnx(unfused, contract)
    layers = [type(layer).__name__ for layer in network.children()]
    assert layers.count("Conv2d") == 2 and layers.count("BatchNorm2d") == 2
    with torch.inference_mode():
        np.testing.assert_allclose(network(torch.from_numpy(faces)).numpy(), wanted, atol=1e-5)
