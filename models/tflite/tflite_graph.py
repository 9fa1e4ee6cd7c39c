"""The graph of a .tflite file: tensors with their values, operators with their options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph.conversion_error import ConversionError
from .tables import DAMAGES, name_text, unpack

Array = NDArray[Any]

LARGEST_FILE = 1 << 30  # bytes; as of an ONNX file
MOST_OPERATORS = 20_000  # the largest embedder has some thousand
FLOATS = ("FLOAT32", "FLOAT16")
STORED = {"FLOAT32": "float32", "FLOAT16": "float16", "INT32": "int32", "INT64": "int64", "BOOL": "bool"}
"""The types whose values are read, with NumPy's names."""
INTEGERS = ("INT4", "INT8", "UINT8", "INT16")  # of weights and activations that are rounded to steps


@dataclass(frozen=True)
class TfliteTensor:
    """One tensor of the file."""

    name: str
    shape: tuple[int, ...]
    kind: str  # in the schema's words: "FLOAT32"
    values: Array | None  # None: it is computed
    rounded: bool  # its numbers stand for others, by a scale


@dataclass(frozen=True)
class TfliteOperator:
    """One operator; the indices are those of tensors, -1 for an input that is left out."""

    code: str  # the schema's name: "CONV_2D"
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any  # the schema's record of its options; None where it has none


@dataclass(frozen=True)
class TfliteGraph:
    """A file's one graph."""

    tensors: Sequence[TfliteTensor]
    operators: Sequence[TfliteOperator]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_tflite_graph(path: Path) -> TfliteGraph:
    """Reads the graph of a .tflite file.

    Raises:
        ConversionError: It is too large, damaged, has several graphs or operators of its own.
    """
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise ConversionError(f"{path.name} has {size} bytes; an embedder's .tflite file has at most {LARGEST_FILE}")
    content = path.read_bytes()
    if content[4:8] != b"TFL3":
        raise ConversionError(f"{path.name} is no TFLite file: it has no TFL3 at byte 4")
    try:
        return _graph(unpack(content), path.name)
    except ConversionError:
        raise
    except (*DAMAGES, ValueError) as error:
        raise ConversionError(f"{path.name} is cut short or damaged: its tables contradict it") from error


def _graph(model: Any, file: str) -> TfliteGraph:
    from ai_edge_litert import schema_py_generated as schema

    if len(model.subgraphs) != 1:
        raise ConversionError(f"{file} has {len(model.subgraphs)} graphs; an embedder has one, without control flow")
    graph = model.subgraphs[0]
    if len(graph.operators) > MOST_OPERATORS:
        raise ConversionError(f"{file} has {len(graph.operators)} operators; an embedder has at most {MOST_OPERATORS}")
    codes = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    types = {number: name for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
    kinds = []
    for code in model.operatorCodes:
        name = codes[max(code.builtinCode, code.deprecatedBuiltinCode)]
        kinds.append(f"{name} {name_text(code.customCode)}" if name == "CUSTOM" else name)
    return TfliteGraph(
        [_tensor(tensor, model.buffers[tensor.buffer].data, types) for tensor in graph.tensors],
        [
            TfliteOperator(kinds[one.opcodeIndex], _indices(one.inputs), _indices(one.outputs), one.builtinOptions)
            for one in graph.operators
        ],
        _indices(graph.inputs),
        _indices(graph.outputs),
    )


def _tensor(tensor: Any, data: Any, types: dict[int, str]) -> TfliteTensor:
    kind, shape = types[tensor.type], tuple(int(side) for side in _numbers(tensor.shape))
    steps = tensor.quantization
    rounded = kind in INTEGERS and steps is not None and steps.scale is not None and len(steps.scale) > 0
    values = None
    if data is not None and len(data) and kind in STORED:
        values = np.frombuffer(bytes(data), STORED[kind]).reshape(shape)
    elif data is not None and len(data):  # what it holds is not needed to say that it is rounded
        values = np.zeros(0, np.float32)
    return TfliteTensor(name_text(tensor.name), shape, kind, values, rounded)


def _numbers(vector: Any) -> Sequence[int]:
    return () if vector is None else vector


def _indices(vector: Any) -> tuple[int, ...]:
    return tuple(int(number) for number in _numbers(vector))
