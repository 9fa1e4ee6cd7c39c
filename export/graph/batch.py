"""Makes the batch of a one-face ONNX graph dynamic, and checks that several faces embed as each does alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...models.graph.view import GraphView, copied, sides
from ...spelling import first_line
from ..artifact import ConversionError
from .intermediates import session_of

if TYPE_CHECKING:
    import onnx

BATCHES = (1, 2, 7)
LARGEST_DIFFERENCE = 1e-5  # of unit embeddings: float32 sums in another order


def free_batch(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Gives `model` for any number of faces at once.

    Given:   input (1, 3, 112, 112) -> Conv -> (1, 512, 1, 1) -> Reshape (1, 512) -> embedding (1, 128)
    Result:  input (N, 3, 112, 112) -> Conv -> (N, 512, 1, 1) -> Reshape (-1, 512) -> embedding (N, 128)

    Batches of 1, 2 and 7 different faces are run, and compared with the faces one by one in the given network.

    Args:
        model: Batch 1, shapes constant: folded by onnxsim.
        name: Of the network, for errors.

    Raises:
        ConversionError: Something in the graph holds for one face only.
    """
    import onnx

    result = copied(model)
    known, view = GraphView(onnx.shape_inference.infer_shapes(model).graph), GraphView(result.graph)
    for node in result.graph.node:
        shape = known.shape(node.output[0])
        if node.op_type == "Reshape" and node.input[1] in view.constants and shape and min(shape) > 0:
            free = np.array([-1, *shape[1:]], np.int64)
            node.input[1] = view.set_constant(f"{node.output[0]}/sides", free)  # others may share the old one
    for value in (result.graph.input[0], result.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del result.graph.value_info[:]
    view.drop_unread()
    _prove(model, result, name)
    return result


def _prove(one: onnx.ModelProto, many: onnx.ModelProto, name: str) -> None:
    shape = sides(one.graph.input[0])
    faces = np.random.default_rng(0).normal(0, 0.5, (max(BATCHES), *shape[1:])).astype(np.float32)
    try:
        alone = np.concatenate([_run(one, face[None]) for face in faces])
        together = [_run(many, faces[:count]) for count in BATCHES]
    except Exception as error:  # onnxruntime has a class for each of its failures
        raise ConversionError(
            f"{name} computes with the batch of 1 it was exported with ({first_line(error)}); "
            "export it with a dynamic batch, or give the PyTorch network"
        ) from error
    lengths = np.maximum(np.linalg.norm(alone, axis=1, keepdims=True), 1e-12)
    for count, embeddings in zip(BATCHES, together, strict=True):
        expected = alone[:count]
        if (
            embeddings.shape != expected.shape
            or (np.abs(embeddings - expected) / lengths[:count]).max() > LARGEST_DIFFERENCE
        ):
            raise ConversionError(
                f"{name} mixes the faces of a batch of {count}; export it with a dynamic batch, "
                "or give the PyTorch network"
            )


def _run(model: onnx.ModelProto, faces: NDArray[np.float32]) -> NDArray[np.float64]:
    session = session_of(model)
    return np.asarray(session.run(None, {session.get_inputs()[0].name: faces})[0], np.float64)
