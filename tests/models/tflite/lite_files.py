"""Small .tflite files, written operator by operator with the schema, and what LiteRT gives for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketface.export.tflite.flatbuffer import Writer, pack

Array = NDArray[Any]
FACE = (1, 8, 8, 3)


class LiteNet:
    """A file in the making; each method gives the index of a tensor."""

    def __init__(self, face: Sequence[int] = FACE) -> None:
        self.writer, self.draw = Writer(), np.random.default_rng(0)
        self.face, self.shapes = self.writer.tensor("face", face), {0: tuple(face)}

    def weights(self, *shape: int) -> int:
        return self.constant(self.draw.normal(0, 0.3, shape).astype(np.float32))

    def constant(self, values: Array) -> int:
        index = self.writer.constant("constant", values)
        self.shapes[index] = values.shape
        return index

    def op(self, code: str, inputs: Sequence[int], shape: Sequence[int], name: str = "value", **options: Any) -> int:
        index = self.writer.tensor(name, shape)
        self.shapes[index] = tuple(shape)
        self.writer.operator(code, inputs, [index], **options)
        return index

    def conv(self, x: int, channels: int, stride: int = 1, **options: Any) -> int:
        batch, height, width, given = self.shapes[x]
        size = (batch, -(-height // stride), -(-width // stride), channels)
        inputs = [x, self.weights(channels, 3, 3, given), self.weights(channels)]
        known = {"padding": 0, "strideH": stride, "strideW": stride, "dilationHFactor": 1, "dilationWFactor": 1}
        return self.op("CONV_2D", inputs, size, **(known | options))

    def save(self, path: Path, *outputs: int) -> Path:
        names = {f"out{number}": index for number, index in enumerate(outputs)}
        path.write_bytes(pack(self.writer.finish({"face": self.face}, names)))
        return path


def by_litert(path: Path, faces: Array) -> Array:
    """Gives the first output for (B, H, W, C)."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], faces)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
