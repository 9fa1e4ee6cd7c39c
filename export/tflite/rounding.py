"""A float .tflite graph as int8 sees it: its layers, its tensors, and what rounding one tensor alone costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...models.tflite.tables import unpack
from ..graph.ranges import STEPS, Range

MOVES = ("PAD", "PADV2", "MIRROR_PAD", "RESHAPE")
"""Operators that only move values, so that int8 rounds them once."""

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
LOWEST = -128  # of int8
LARGEST_EPSILON = 1e-3  # that is added so that nothing is divided by zero


@dataclass(frozen=True)
class IntegerLayer:
    """An operator that computes in int8, with the tensors it reads and its result, by their names in the file."""

    name: str  # of its result
    reads: tuple[str, ...]
    weighted: bool
    macs: int
    elements: int  # of its result


@dataclass(frozen=True)
class RoundingPlan:
    """The layers and tensors that the quantiser turns into int8."""

    layers: tuple[IntegerLayer, ...]
    ports: tuple[str, ...]  # tensors that are rounded whatever the layers do: the input and the embedding
    moved: Mapping[str, str]  # the result of a pad or reshape -> the tensor it hands on

    def rounded_tensors(self, exempt: frozenset[str]) -> set[str]:
        """Gives the tensors that are rounded if the layers `exempt` stay float: what an int8 layer reads or gives."""
        computing = [layer for layer in self.layers if layer.name not in exempt]
        return {*self.ports, *(layer.name for layer in computing), *(name for row in computing for name in row.reads)}


def plan_of(fp32: bytes, int8: bytes) -> RoundingPlan:
    """Finds the operators of `fp32` that are integer in `int8`, the quantiser's version of the same file."""
    model = unpack(fp32)
    graph = model.subgraphs[0]
    integer = {
        _name(tensor) for tensor in unpack(int8).subgraphs[0].tensors if tensor.type == _schema().TensorType.INT8
    }
    names = [_name(tensor) for tensor in graph.tensors]
    moved: dict[str, str] = {}
    layers: list[IntegerLayer] = []
    for operator in graph.operators:
        code, result = _code(model, operator), names[operator.outputs[0]]
        computed = [names[index] for index in operator.inputs if index >= 0 and not _constant(model, graph, index)]
        reads = tuple(moved.get(name, name) for name in computed)
        if code in MOVES:
            moved[result] = reads[0]
        elif result in integer:
            elements = int(np.prod(graph.tensors[operator.outputs[0]].shape))
            weights = graph.tensors[operator.inputs[1]].shape if code in WEIGHTED else [1, 0]
            each = np.prod(weights[1:3]) if code == "DEPTHWISE_CONV_2D" else np.prod(weights[1:])
            layers.append(IntegerLayer(result, reads, code in WEIGHTED, int(elements * each), elements))
    ports = tuple(moved.get(names[index], names[index]) for index in (*graph.inputs, *graph.outputs))
    return RoundingPlan(tuple(layers), ports, moved)


def weighted_in_int8(content: bytes) -> list[str]:
    """Names the results of the layers of a .tflite file whose weights are int8 as the layer takes them."""
    model = unpack(content)
    graph = model.subgraphs[0]
    return [
        _name(graph.tensors[operator.outputs[0]])
        for operator in graph.operators
        if _code(model, operator) in WEIGHTED and graph.tensors[operator.inputs[1]].type == _schema().TensorType.INT8
    ]


def sums_beside(fp32: bytes, step: str) -> list[str]:
    """Names the sums of two computed tensors in a .tflite file that has steps of that name; else none."""
    model = unpack(fp32)
    graph = model.subgraphs[0]
    if not any(_name(tensor).removesuffix("/as it lies").endswith(f"/{step}") for tensor in graph.tensors):
        return []
    return [
        _name(graph.tensors[operator.outputs[0]])
        for operator in graph.operators
        if _code(model, operator) == "ADD" and not any(_constant(model, graph, index) for index in operator.inputs)
    ]


def sums_with_epsilon(fp32: bytes) -> list[str]:
    """Names the sums in a .tflite file of a computed tensor and a number that only keeps it from zero."""
    model = unpack(fp32)
    graph = model.subgraphs[0]
    found: list[str] = []
    for operator in graph.operators:
        if _code(model, operator) != "ADD":
            continue
        numbers = [_number(model, graph, index) for index in operator.inputs if _constant(model, graph, index)]
        if any(number is not None and 0 < abs(number) <= LARGEST_EPSILON for number in numbers):
            found.append(_name(graph.tensors[operator.outputs[0]]))
    return found


def with_rounded(fp32: bytes, tensor: str, bounds: Range) -> Any:
    """Gives the schema's model of `fp32` with one tensor taken through int8 and back.

    Given:   conv -> t -> depthwise
    Result:  conv -> t -> QUANTIZE -> DEQUANTIZE -> depthwise
    """
    schema, model = _schema(), unpack(fp32)
    graph = model.subgraphs[0]
    index = next(number for number, row in enumerate(graph.tensors) if _name(row) == tensor)
    step = max((bounds[1] - bounds[0]) / STEPS, 1e-9)
    steps = schema.QuantizationParametersT(scale=[step], zeroPoint=[round(LOWEST - bounds[0] / step)])
    kinds, shape = schema.TensorType, graph.tensors[index].shape
    graph.tensors.append(schema.TensorT(name=f"{tensor}/int8", shape=shape, type=kinds.INT8, quantization=steps))
    graph.tensors.append(schema.TensorT(name=f"{tensor}/rounded", shape=shape, type=kinds.FLOAT32))
    through, back = len(graph.tensors) - 2, len(graph.tensors) - 1
    place = next((row for row, operator in enumerate(graph.operators) if index in operator.outputs), -1) + 1

    def turned(indices: Any) -> list[int]:
        return [back if number == index else int(number) for number in indices]

    for operator in graph.operators:
        operator.inputs = turned(operator.inputs)
    graph.outputs = turned(graph.outputs)
    for port in model.signatureDefs[0].outputs:
        port.tensorIndex = turned([port.tensorIndex])[0]
    graph.operators[place:place] = [
        schema.OperatorT(opcodeIndex=_added_code(model, code), inputs=[source], outputs=[result])
        for code, source, result in (("QUANTIZE", index, through), ("DEQUANTIZE", through, back))
    ]
    return model


def _schema() -> Any:
    from ai_edge_litert import schema_py_generated as schema

    return schema


def _name(tensor: Any) -> str:
    return tensor.name.decode() if isinstance(tensor.name, bytes) else str(tensor.name)


def _constant(model: Any, graph: Any, index: int) -> bool:
    return model.buffers[graph.tensors[index].buffer].data is not None


def _number(model: Any, graph: Any, index: int) -> float | None:
    """Gives the value of a float constant of one number; None for others."""
    tensor = graph.tensors[index]
    if tensor.type != _schema().TensorType.FLOAT32:
        return None
    values = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float32)
    return float(values[0]) if values.size == 1 else None


def _code(model: Any, operator: Any) -> str:
    number = model.operatorCodes[operator.opcodeIndex].builtinCode
    names: dict[int, str] = {value: name for name, value in vars(_schema().BuiltinOperator).items()}
    return names[number]


def _added_code(model: Any, code: str) -> int:
    number = getattr(_schema().BuiltinOperator, code)
    model.operatorCodes.append(_schema().OperatorCodeT(builtinCode=number, deprecatedBuiltinCode=number, version=1))
    return len(model.operatorCodes) - 1
