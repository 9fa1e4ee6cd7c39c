"""How many bytes of a file are constants, as they are stored: the weights, and what else the graph needs."""

from __future__ import annotations

import math
import struct
from pathlib import Path


def checkpoint_weights(path: Path) -> int:
    """Gives what safetensors hold after their header, whose length is in the first eight bytes."""
    file = path / "weights.safetensors"
    with file.open("rb") as stream:
        (header,) = struct.unpack("<Q", stream.read(8))
    return file.stat().st_size - 8 - int(header)


def onnx_weights(path: Path) -> int:
    """Sums the initializers and the values of Constant nodes."""
    from onnx.helper import tensor_dtype_to_np_dtype

    from ..models.graph.reading import read_onnx, tensors

    return sum(
        len(tensor.raw_data) or math.prod(tensor.dims) * tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for tensor in tensors(read_onnx(path))
    )


def ort_weights(path: Path) -> int:
    """Sums the initializers of the graph that onnxruntime has optimised."""
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.InferenceSession import InferenceSession

    graph = InferenceSession.GetRootAs(path.read_bytes()).Model().Graph()
    return sum(graph.Initializers(i).RawDataLength() for i in range(graph.InitializersLength()))


def tflite_weights(path: Path) -> int:
    """Sums the buffers except those of the metadata."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(path.read_bytes())
    about = {model.Metadata(i).Buffer() for i in range(model.MetadataLength())}
    buffers = (model.Buffers(i) for i in range(model.BuffersLength()) if i not in about)
    return sum(buffer.Size() if buffer.Offset() > 1 else buffer.DataLength() for buffer in buffers)


def coreml_weights(path: Path) -> int:
    """Gives the size of the file in which a package keeps its weights; small constants lie in the program."""
    return sum(file.stat().st_size for file in path.glob("Data/*/weights/*.bin"))
