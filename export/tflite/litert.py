"""Runs a .tflite file in LiteRT, and reads the card it carries."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...models.file_kinds import NO_NETWORKS, way_in
from ...models.graph.ports import Port, ports_of
from ...models.quiet import quiet_native
from ...models.tflite.tables import read_metadata
from ..artifact import LARGEST_CARD, METADATA_KEY, Card

DELEGATE = "DELEGATE"  # a partition that XNNPACK runs; LiteRT lists it beside the operators inside it
LARGEST_FILE = 1 << 31  # bytes: offsets in a FlatBuffer have 31 bits


class LiteRTSession:
    """A .tflite file, ready to run on the CPU."""

    runtime = "litert"

    def __init__(
        self, path: Path, threads: int = 1, interpreter: Callable[..., Any] | None = None, output: str = ""
    ) -> None:
        """Loads `path`, into an interpreter of another make where `interpreter` gives one.

        Args:
            path: A .tflite file.
            threads: Of the CPU.
            interpreter: Makes the interpreter; None: LiteRT's.
            output: Names the embedding where the file has several outputs.

        Raises:
            ValueError: LiteRT cannot load it, or it is no embedder.
        """
        self.path = path
        self._interpreter = open_interpreter(path, threads, interpreter)
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self.ports = ports_of(path.name, list(map(port_of, inputs)), list(map(port_of, outputs)), output)
        self._input = int(inputs[0]["index"])
        self._output = next(int(one["index"]) for one in outputs if one["name"] == self.ports.embedding.name)

    @property
    def arena_bytes(self) -> int | None:
        """Bytes of the arena that inputs, outputs and intermediate tensors share; None where a delegate manages it."""
        operators = self._interpreter._get_ops_details()
        if any(op["op_name"] == DELEGATE for op in operators):
            return None
        written = {int(index) for op in operators for index in op["outputs"]} | {self._input}
        read = {int(index) for op in operators for index in op["inputs"]}
        indices = {tensor["index"] for tensor in self._interpreter.get_tensor_details()}
        return _covered(_places(self._interpreter, sorted(indices - (read - written))))

    def run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Gives the network's output, face by face.

        Args:
            inputs: (N, C, H, W) float32, preprocessed.

        Returns:
            (N, D) float32, dequantised where the file gives integers, of any length.

        Raises:
            ValueError: The inputs have another shape, or LiteRT cannot run the file.
        """
        return self.ports.run(self._call, inputs)

    def _call(self, images: NDArray[Any]) -> NDArray[Any]:
        try:
            self._interpreter.set_tensor(self._input, images)
            self._interpreter.invoke()
            return np.asarray(self._interpreter.get_tensor(self._output))
        except (RuntimeError, ValueError) as error:  # damaged, where loading does not look
            reason = " ".join(str(error).split())
            raise ValueError(f"{self.path.name}: LiteRT cannot run it: {reason}") from error


def mean_cosine(session: LiteRTSession, inputs: NDArray[np.float32], exact: NDArray[np.float32]) -> float:
    """Gives the mean cosine of what a file makes of (N, C, H, W) preprocessed faces to (N, D) unit embeddings."""
    from ...models.embedder import unit

    return float((unit(session.run(inputs)) * exact).sum(axis=1).mean())


def cosine_of(content: bytes, inputs: NDArray[np.float32], exact: NDArray[np.float32]) -> float:
    """Gives the `mean_cosine` of a file that is not written yet."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tried.tflite"
        path.write_bytes(content)
        return mean_cosine(LiteRTSession(path), inputs, exact)


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


def port_of(details: Mapping[str, Any]) -> Port:
    """Describes a tensor by an interpreter's details of it."""
    scale, zero = details["quantization"]
    shape = tuple(int(side) for side in details["shape"])
    return Port(details["name"], shape, np.dtype(details["dtype"]).name, float(scale), int(zero))


def read_tflite_card(path: Path) -> Card | None:
    """Gives the card of a .tflite file, or None where it carries none.

    Safe on any file: the network is not looked at, and the work is in proportion to the file's size.

    Raises:
        ValueError: No TFLite file, cut short, or its card is none.
    """
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise ValueError(f"{path.name} has {size} bytes; a .tflite file has at most {LARGEST_FILE}")
    if known := way_in(path, NO_NETWORKS):
        raise ValueError(f"{path.name} {known}")
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
