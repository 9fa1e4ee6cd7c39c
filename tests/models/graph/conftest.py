"""Small ONNX files: nodes and constants in, a file out, and what onnxruntime says that it computes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Write = Callable[..., Path]
SIDE = 8


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a graph from `face` (1, 3, 8, 8) to `y`, of shape `result` where onnx cannot infer it, made a row."""

    def written(
        nodes: Sequence[onnx.NodeProto],
        constants: Mapping[str, NDArray[Any]] | None = None,
        opset: int = 18,
        result: Sequence[int] | None = None,
    ) -> Path:
        graph = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("face", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, result)],
            [numpy_helper.from_array(values, name) for name, values in (constants or {}).items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        if len(model.graph.output[0].type.tensor_type.shape.dim) != 2:  # an embedder gives a row of numbers
            model.graph.node.append(helper.make_node("Flatten", ["y"], ["row"]))
            model.graph.value_info.append(model.graph.output[0])
            model.graph.output[0].CopyFrom(helper.make_tensor_value_info("row", TensorProto.FLOAT, None))
            model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        path = tmp_path / "net.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return written


@pytest.fixture(scope="session")
def rows() -> Callable[[Path, NDArray[np.float32]], NDArray[np.float32]]:
    """Gives what onnxruntime computes for each face alone, as rows."""

    def computed(path: Path, faces: NDArray[np.float32]) -> NDArray[np.float32]:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return np.concatenate([session.run(None, {name: face[None]})[0].reshape(1, -1) for face in faces])

    return computed
