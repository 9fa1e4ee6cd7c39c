"""Runs an ONNX graph and returns its intermediate tensors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...models.graph.view import copied

if TYPE_CHECKING:
    import onnx

Capture = Callable[[NDArray[np.float32]], Mapping[str, NDArray[np.float32]]]
"""Takes one face (1, 3, H, W), preprocessed; gives tensors by their names."""


def capture_of(model: onnx.ModelProto, names: Collection[str]) -> Capture:
    """Gives a function that runs `model` in onnxruntime, on one thread, and returns the float tensors `names`.

    The graph's input may be among them.
    """
    import onnx

    probed = copied(model)
    outputs = {output.name for output in probed.graph.output}
    computed = {name for node in probed.graph.node for name in node.output}
    probed.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in dict.fromkeys(names)
        if name in computed - outputs
    )
    session = session_of(probed)
    port, handed_out = session.get_inputs()[0].name, [output.name for output in session.get_outputs()]

    def capture(face: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        seen = {port: face, **dict(zip(handed_out, session.run(handed_out, {port: face}), strict=True))}
        return {name: seen[name] for name in names}

    return capture


def session_of(model: onnx.ModelProto) -> Any:
    """Opens a graph in onnxruntime on one thread of the CPU, silent but for its errors, which it raises."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
