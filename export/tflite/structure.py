"""What a .tflite file says of its tensors and operators, read from its tables: no runtime looks at the file."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...models.graph.ports import Port, Ports, ports_of
from ...models.tflite.tables import read_metadata

LARGEST_FILE = 1 << 31  # bytes: offsets in a FlatBuffer have 31 bits
MOST_TENSORS = 100_000  # an embedder has some hundred
MOST_SIDES = 8


@dataclass(frozen=True)
class LiteTensor:
    """A tensor of the file's graph."""

    port: Port  # its dtype in the schema's words in lower case: "float32", "int4"
    stored: int  # bytes that the file holds of it; 0: it is computed


@dataclass(frozen=True)
class LiteGraph:
    """The first graph of a file: tensors by their index, and operators in their order."""

    tensors: Sequence[LiteTensor]
    operators: Sequence[tuple[str, Sequence[int], Sequence[int]]]  # the schema's name, inputs, outputs; -1: left out
    inputs: Sequence[int]
    outputs: Sequence[int]


def read_lite_graph(path: Path) -> LiteGraph:
    """Reads the tables of a .tflite file; the work and the memory are in proportion to its size.

    Raises:
        ValueError: It is no TFLite file, is cut short or damaged.
    """
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise ValueError(f"{path.name} has {size} bytes; a .tflite file has at most {LARGEST_FILE}")
    content = path.read_bytes()
    try:
        read_metadata(content, "", 0)  # checks the tables of codes and buffers
        return _graph(content)
    except (ValueError, struct.error, IndexError, TypeError, AttributeError, OverflowError, KeyError) as error:
        reason = str(error) if isinstance(error, ValueError) else "cut short or damaged: its tables contradict it"
        raise ValueError(f"{path.name}: {reason}") from error


def tflite_ports(path: Path, output: str = "") -> Ports:
    """Describes face and embedding of the file at `path`; see `ports_of`.

    Raises:
        ValueError: It is damaged, or no embedder.
    """
    graph = read_lite_graph(path)
    try:
        inputs, outputs = ([graph.tensors[index].port for index in each] for each in (graph.inputs, graph.outputs))
    except IndexError:
        raise ValueError(f"{path.name}: damaged: its graph has an input or output that is no tensor") from None
    return ports_of(path.name, inputs, outputs, output)


def _graph(content: bytes) -> LiteGraph:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content)
    graph = model.Subgraphs(0)
    codes = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    types = {number: name.lower() for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
    count, steps = graph.TensorsLength(), graph.OperatorsLength()
    if max(count, steps, model.OperatorCodesLength()) > MOST_TENSORS:
        raise ValueError(f"it lists {max(count, steps)} tensors or operators; an embedder has some hundred")
    kinds = []
    for i in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(i)
        kinds.append(codes.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "CUSTOM"))
    operators = [graph.Operators(i) for i in range(steps)]
    return LiteGraph(
        [_tensor(model, graph.Tensors(i), types) for i in range(count)],
        [
            (kinds[one.OpcodeIndex()], _indices(one.InputsAsNumpy()), _indices(one.OutputsAsNumpy()))
            for one in operators
        ],
        _indices(graph.InputsAsNumpy()),
        _indices(graph.OutputsAsNumpy()),
    )


def _tensor(model: Any, tensor: Any, types: dict[int, str]) -> LiteTensor:
    if tensor.ShapeLength() > MOST_SIDES:
        raise ValueError(f"it has a tensor of {tensor.ShapeLength()} axes; {MOST_SIDES} are the most")
    scale, zero = 0.0, 0
    steps = tensor.Quantization()
    if steps is not None and steps.ScaleLength() == 1 and steps.ZeroPointLength() == 1:
        scale, zero = float(steps.Scale(0)), int(steps.ZeroPoint(0))
    buffer = model.Buffers(tensor.Buffer())
    stored = buffer.Size() if buffer.Offset() > 1 else buffer.DataLength()
    name = (tensor.Name() or b"").decode("utf-8", "replace")
    shape = tuple(int(tensor.Shape(i)) for i in range(tensor.ShapeLength()))
    return LiteTensor(Port(name, shape, types[tensor.Type()], scale, zero), stored)


def _indices(numbers: Any) -> tuple[int, ...]:
    return () if isinstance(numbers, int) else tuple(int(number) for number in numbers)
