"""Runs a .tflite file in LiteRT, and reads the card it carries."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artifact import LARGEST_CARD, METADATA_KEY, Card
from ..quiet import quiet_native
from .flatbuffer import read_metadata

DELEGATE = "DELEGATE"  # a partition that XNNPACK runs; LiteRT lists it beside the operators inside it
LARGEST_FILE = 1 << 31  # bytes: offsets in a FlatBuffer have 31 bits


class LiteRTSession:
    """A .tflite file, ready to run on the CPU."""

    runtime = "litert"

    def __init__(self, path: Path, threads: int = 1, interpreter: Callable[..., Any] | None = None) -> None:
        """Loads `path`, into an interpreter of another make where `interpreter` gives one.

        Raises:
            ValueError: LiteRT cannot load it, or it is no embedder.
        """
        self.path = path
        self._interpreter = open_interpreter(path, threads, interpreter)
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0]["shape"]) != 4 or inputs[0]["shape"][0] != 1:
            raise ValueError(f"{path.name} is no embedder: it must have one input (1, H, W, 3) and one output (1, D)")
        self._input, self._output = inputs[0], outputs[0]

    @property
    def takes(self) -> dict[str, Any]:
        """LiteRT's description of the input: "dtype", and for int8 "quantization" (scale, zero)."""
        return dict(self._input)

    @property
    def arena_bytes(self) -> int | None:
        """Bytes of the arena that inputs, outputs and intermediate tensors share; None where a delegate manages it."""
        operators = self._interpreter._get_ops_details()
        if any(op["op_name"] == DELEGATE for op in operators):
            return None
        written = {int(index) for op in operators for index in op["outputs"]} | {int(self._input["index"])}
        read = {int(index) for op in operators for index in op["inputs"]}
        indices = {tensor["index"] for tensor in self._interpreter.get_tensor_details()}
        return _covered(_places(self._interpreter, sorted(indices - (read - written))))

    def run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Gives the network's output, face by face.

        Args:
            inputs: (N, 3, H, W) float32, preprocessed.

        Returns:
            (N, D) float32, dequantised where the file gives integers, of any length.

        Raises:
            ValueError: The inputs have another shape, or LiteRT cannot run the file.
        """
        _, height, width, channels = (int(side) for side in self._input["shape"])
        if inputs.ndim != 4 or inputs.shape[1:] != (channels, height, width):
            raise ValueError(f"{self.path.name} takes (N, {channels}, {height}, {width}), not {inputs.shape}")
        images = quantised(inputs.transpose(0, 2, 3, 1), self._input)
        rows = np.empty((len(inputs), int(np.prod(self._output["shape"]))), np.float32)
        for row, image in zip(rows, images, strict=True):
            try:
                self._interpreter.set_tensor(self._input["index"], image[None])
                self._interpreter.invoke()
                embedding = self._interpreter.get_tensor(self._output["index"])
                row[:] = dequantised(embedding, self._output).reshape(-1)
            except (RuntimeError, ValueError) as error:  # damaged, where loading does not look
                reason = " ".join(str(error).split())
                raise ValueError(f"{self.path.name}: LiteRT cannot run it: {reason}") from error
        return rows


def _places(interpreter: Any, indices: Iterable[int]) -> list[tuple[int, int]]:
    """Gives the first address of each tensor and the one behind its last."""
    places: list[tuple[int, int]] = []
    for index in indices:
        try:
            values = interpreter.tensor(index)()
        except ValueError:  # it has no memory: nothing uses it
            continue
        places.append((values.ctypes.data, values.ctypes.data + values.nbytes))
    return places


def _covered(places: Iterable[tuple[int, int]]) -> int:
    """Counts the bytes that lie in at least one of `places`."""
    covered, reached = 0, 0
    for first, behind in sorted(places):
        covered += max(0, behind - max(first, reached))
        reached = max(reached, behind)
    return covered


def quantised(values: NDArray[np.float32], port: dict[str, Any]) -> NDArray[Any]:
    """Gives `values` as a port of a LiteRT interpreter takes them: float32, or value / scale + zero."""
    dtype = port["dtype"]
    if np.issubdtype(dtype, np.floating):
        return values.astype(dtype)
    scale, zero = port["quantization"]
    limits = np.iinfo(dtype)
    steps: NDArray[Any] = np.clip(np.round(values / np.float32(scale) + zero), limits.min, limits.max)
    return steps.astype(dtype)


def dequantised(values: NDArray[Any], port: dict[str, Any]) -> NDArray[np.float32]:
    """Gives what a port holds as float32."""
    scale, zero = port["quantization"]
    if np.issubdtype(values.dtype, np.floating) or not scale:
        return values.astype(np.float32)
    return np.asarray((values.astype(np.float32) - zero) * np.float32(scale), np.float32)


def read_tflite_card(path: Path) -> Card | None:
    """Gives the card of a .tflite file, or None where it carries none.

    Safe on any file: the network is not looked at, and the work is in proportion to the file's size.

    Raises:
        ValueError: No TFLite file, cut short, or its card is none.
    """
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise ValueError(f"{path.name} has {size} bytes; a .tflite file has at most {LARGEST_FILE}")
    try:
        text = read_metadata(path.read_bytes(), METADATA_KEY, LARGEST_CARD)
        return None if text is None else Card.from_json(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name}: {error}") from error


def open_interpreter(path: Path, threads: int = 1, interpreter: Callable[..., Any] | None = None) -> Any:
    """Gives the interpreter of a .tflite file, ready to run: LiteRT's, or one that is made by `interpreter`.

    Raises:
        ValueError: LiteRT cannot load it.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        with quiet_native():  # it announces its delegate
            opened = (interpreter or Interpreter)(model_path=str(path), num_threads=threads)
            opened.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path.name}: LiteRT cannot load it: {reason}") from error
    return opened
