"""What an ONNX file takes and gives, as its graph says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .ports import Port, Ports, ports_of
from .reading import read_onnx
from .view import GraphView

if TYPE_CHECKING:
    import onnx


def onnx_ports(path: Path, output: str = "") -> Ports:
    """Describes face and embedding of the file at `path`; see `ports_of`.

    Raises:
        ConversionError: It is damaged, or no embedder.
    """
    return model_ports(read_onnx(path), path.name, output)


def model_ports(model: onnx.ModelProto, file: str, output: str = "") -> Ports:
    """Describes face and embedding of a model that is called `file`; see `ports_of`."""
    inputs, outputs = GraphView(model.graph).entries(), model.graph.output
    return ports_of(file, [_port(value) for value in inputs], [_port(value) for value in outputs], output)


def _port(value: onnx.ValueInfoProto) -> Port:
    import onnx

    tensor = value.type.tensor_type
    sides = tuple(int(side.dim_value) if side.HasField("dim_value") else None for side in tensor.shape.dim)
    kind = {number: name for name, number in onnx.TensorProto.DataType.items()}.get(tensor.elem_type, "?").lower()
    return Port(value.name, sides, {"float": "float32", "double": "float64"}.get(kind, kind))
