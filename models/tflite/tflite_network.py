"""The network of a .tflite file, beside what LiteRT itself computes with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..network_conversion import Batch, OtherNetwork, Sides
from .from_tflite import tflite_to_onnx
from .tflite_graph import read_tflite_graph


def read_tflite(path: Path, sides: Sides | None = None) -> OtherNetwork:
    """Reads a .tflite file; the process that calls it has limits, as LiteRT opens the file.

    Args:
        path: The file.
        sides: Not needed: a .tflite file has its own.

    Raises:
        ConversionError: See `tflite_to_onnx`.
    """
    graph = tflite_to_onnx(path)
    return OtherNetwork(graph, _runner(path))


def _runner(path: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    lite = read_tflite_graph(path)
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()

    def run(faces: Batch) -> Mapping[str, Batch]:
        interpreter.set_tensor(lite.inputs[0], faces)
        interpreter.invoke()
        return {lite.tensors[index].name: interpreter.get_tensor(index) for index in lite.outputs}

    return run
