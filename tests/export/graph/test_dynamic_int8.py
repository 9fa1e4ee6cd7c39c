"""Dense layers in int8 whose inputs are rounded as they come, in onnxruntime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from pocketface.export.artifact import Card, ConversionError
from pocketface.export.graph.dynamic_int8 import quantise_dense_layers
from pocketface.export.session import OnnxRuntimeSession
from pocketface.export.stored_precision import onnx_precision
from pocketface.faces.contract import InputContract
from pocketface.models.embedder import unit

SIDE, SIZE, WIDE = 8, 32, 512
FACES = np.random.default_rng(0).normal(0, 1, (8, 3, SIDE, SIDE)).astype(np.float32)


def net(dense: bool) -> onnx.ModelProto:
    rng = np.random.default_rng(1)

    def weights(*shape: int) -> NDArray[np.float32]:
        return (rng.normal(0, 1, shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    constants: dict[str, Any] = {"w": weights(SIZE, 3, SIDE, SIDE)}
    nodes = [helper.make_node("Conv", ["input", "w"], ["c"])]
    if dense:
        constants |= {"a": weights(WIDE, SIZE).T.copy(), "b": weights(SIZE, WIDE), "bias": weights(SIZE, 1).reshape(-1)}
        nodes += [
            helper.make_node("Flatten", ["c"], ["f"]),
            helper.make_node("MatMul", ["f", "a"], ["m"]),
            helper.make_node("Relu", ["m"], ["r"]),
            helper.make_node("Gemm", ["r", "b", "bias"], ["embedding"], transB=1),
        ]
    else:
        nodes.append(helper.make_node("Flatten", ["c"], ["embedding"]))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, [1, SIZE])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_dense_layers_are_int8_and_embed_nearly_alike(tmp_path: Path) -> None:
    model, card = net(True), Card("net", InputContract(SIDE, SIDE), SIZE)
    onnx.save(model, tmp_path / "whole.onnx")
    small = quantise_dense_layers(model, card, tmp_path / "small.onnx")
    kinds = [node.op_type for node in onnx.load(small.path).graph.node]
    assert kinds.count("MatMulInteger") == kinds.count("DynamicQuantizeLinear") == 2
    assert kinds.count("Conv") == 1
    assert small.card.precision == onnx_precision(small.path) == "w8-dynamic"
    exact, ours = (unit(OnnxRuntimeSession(path).run(FACES)) for path in (tmp_path / "whole.onnx", small.path))
    assert (exact * ours).sum(axis=1).min() > 0.995
    assert not np.array_equal(exact, ours)


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    card = Card("net", InputContract(SIDE, SIDE), SIZE)
    first, second = (quantise_dense_layers(net(True), card, tmp_path / f"{name}.onnx").path for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_a_network_without_dense_layers_is_refused(tmp_path: Path) -> None:
    card = Card("net", InputContract(SIDE, SIDE), SIZE)
    with pytest.raises(ConversionError, match=r"net has no dense layers.*take onnx-w8a8"):
        quantise_dense_layers(net(False), card, tmp_path / "small.onnx")
    assert not list(tmp_path.iterdir())
