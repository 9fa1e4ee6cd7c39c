"""What the tests of TFLite share: small ONNX files, what they become, and how they compare with onnxruntime."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from pocketface.export.artifact import Artifact, Card
from pocketface.export.session import OnnxRuntimeSession
from pocketface.export.tflite.litert import LiteRTSession
from pocketface.export.tflite.to_tflite import to_tflite
from pocketface.faces.contract import InputContract
from pocketface.models.tflite.tables import unpack

TINY = InputContract(8, 8)
FACES = np.random.default_rng(0).normal(0, 2, (3, 3, 8, 8)).astype(np.float32)


def node(operator: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), [output], name=f"the_{output}", **attributes)


def channels(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32).reshape(-1, 1, 1)


def _written(
    folder: Path,
    nodes: list[onnx.NodeProto],
    constants: dict[str, NDArray[Any]],
    size: int | str,
    batch: int | str = 1,
    side: int = 8,
    opset: int = 18,
) -> Path:
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


def _converted(path: Path, size: int, contract: InputContract = TINY) -> Artifact:
    return to_tflite(path, Card("net", contract, size), path.with_suffix(".tflite"))


def _operators(path: Path) -> list[str]:
    from ai_edge_litert import schema_py_generated as schema

    names = {number: name for name, number in vars(schema.BuiltinOperator).items()}
    model = unpack(path.read_bytes())
    return [names[model.operatorCodes[row.opcodeIndex].builtinCode] for row in model.subgraphs[0].operators]


@pytest.fixture(scope="session")
def written() -> Callable[..., Path]:
    """Writes an ONNX file that maps `input` (batch, 3, side, side) to `embedding` (batch, size)."""
    return _written


@pytest.fixture(scope="session")
def converted() -> Callable[..., Artifact]:
    """Makes a .tflite file of an ONNX file, for faces of 8x8 pixels unless a contract says otherwise."""
    return _converted


@pytest.fixture(scope="session")
def operators() -> Callable[[Path], list[str]]:
    """Lists the operators of a .tflite file, in order."""
    return _operators


@pytest.fixture
def computes_the_same(tmp_path: Path) -> Callable[[list[onnx.NodeProto], dict[str, NDArray[Any]], list[str]], None]:
    """Converts nodes from `input` (1, 3, 8, 8) to `map`, compares with onnxruntime, and counts the operators.

    `map` is flattened and multiplied by the identity, so that every one of its values is compared, in ONNX's order.
    """

    def check(nodes: list[onnx.NodeProto], constants: dict[str, NDArray[Any]], expected: list[str]) -> None:
        pooled = [*nodes, helper.make_node("GlobalMaxPool", ["map"], ["embedding"], name="the_embedding")]
        shaped = onnx.shape_inference.infer_shapes(onnx.load(_written(tmp_path, pooled, constants, 1)))
        sides = next(value for value in shaped.graph.value_info if value.name == "map").type.tensor_type.shape.dim
        size = int(np.prod([side.dim_value for side in sides]))
        flat = helper.make_node("Flatten", ["map"], ["row"], name="the_row")
        product = helper.make_node("MatMul", ["row", "one"], ["embedding"], name="the_embedding")
        one = {"one": np.eye(size, dtype=np.float32)}
        path = _written(tmp_path, [*nodes, flat, product], constants | one, size)
        artifact = _converted(path, size)
        ours = LiteRTSession(artifact.path).run(FACES)
        theirs = OnnxRuntimeSession(path).run(FACES)
        np.testing.assert_allclose(ours, theirs, atol=5e-6)
        assert _operators(artifact.path) == [*expected, "RESHAPE", "FULLY_CONNECTED"]

    return check


@pytest.fixture(scope="session")
def exported() -> Callable[[torch.nn.Module, torch.Tensor, Path, bool], None]:
    """Writes a PyTorch network as ONNX by either of torch's exporters."""

    def export(network: torch.nn.Module, example: torch.Tensor, path: Path, dynamo: bool) -> None:
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

    return export


@pytest.fixture(scope="session")
def net() -> Callable[..., Artifact]:
    """Conv, PReLU, padded depthwise, sum, dense; one channel of the first is `loud`, which the depthwise undoes."""

    def convert(folder: Path, loud: float = 1.0) -> Artifact:
        scale, random = np.float32([loud, *[1] * 7]), np.random.default_rng(0)

        def weights(*shape: int) -> NDArray[np.float32]:
            return (random.normal(0, 1, shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

        constants: dict[str, NDArray[np.float32]] = {
            "w": weights(8, 3, 1, 1) * scale[:, None, None, None],
            "slopes": np.full((8, 1, 1), 0.25, np.float32),
            "v": weights(8, 1, 3, 3) / scale[:, None, None, None],
            "u": weights(8, 8, 1, 1),
            "dense": weights(4, 8 * 8 * 8),
            "d": np.zeros(4, np.float32),
        }
        nodes = [
            helper.make_node("Conv", ["input", "w"], ["c1"]),
            helper.make_node("PRelu", ["c1", "slopes"], ["p1"]),
            helper.make_node("Conv", ["p1", "v"], ["c2"], pads=[0, 0, 2, 2], group=8),
            helper.make_node("Conv", ["c2", "u"], ["c3"]),
            helper.make_node("Add", ["c2", "c3"], ["s"]),
            helper.make_node("Flatten", ["s"], ["f"]),
            helper.make_node("Gemm", ["f", "dense", "d"], ["embedding"], transB=1),
        ]
        return _converted(_written(folder, nodes, constants, 4), 4)

    return convert
