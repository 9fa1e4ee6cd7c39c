"""A network that was read from an ONNX file: layers and functions in the file's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from .imported_node import Compute


@dataclass(frozen=True)
class NetworkStep:
    """What is computed at one place."""

    compute: Compute | str  # a function, or the name of a layer of the network
    inputs: tuple[str | float, ...]  # names of values, or numbers
    outputs: tuple[str, ...]
    prepare: Compute | None = None  # of the first input
    frees: tuple[str, ...] = ()  # values that nobody reads afterwards


class ImportedNetwork(nn.Module):
    """Maps (N, 3, H, W) to (N, D) as an ONNX file does; its layers are `torch.nn` modules that can be trained and cut.

    `onnx_graph` is the file without its weights: with them, and the widths of cut layers, it is rebuilt bit for bit.
    """

    def __init__(
        self,
        graph: bytes,
        face: str,
        embedding: str,
        steps: Sequence[NetworkStep],
        layers: Mapping[str, nn.Module],
        constants: Mapping[str, tuple[str, Tensor, bool]],
    ) -> None:
        """Takes the steps in their order.

        Args:
            graph: The weight-free ONNX file.
            face: The name of the input's value.
            embedding: The name of the result's value.
            steps: In an order in which they can be computed.
            layers: By name, what steps name.
            constants: By the name of a value: the name of the tensor here, the tensor, and whether it is trained.
        """
        super().__init__()
        self.onnx_graph = graph
        self._face, self._embedding, self._steps = face, embedding, tuple(steps)
        self._constants = {value: name for value, (name, _, _) in constants.items()}
        for name, layer in layers.items():
            self.add_module(name, layer)
        for name, tensor, trained in constants.values():
            if trained:
                self.register_parameter(name, nn.Parameter(tensor))
            else:
                self.register_buffer(name, tensor)

    def forward(self, faces: Tensor) -> Tensor:
        """Embeds (N, 3, H, W)."""
        values: dict[str, Any] = {value: getattr(self, name) for value, name in self._constants.items()}
        values[self._face] = faces
        for step in self._steps:
            given = [values[name] if isinstance(name, str) else name for name in step.inputs]
            if step.prepare is not None:
                given[0] = step.prepare(given[0])
            compute = getattr(self, step.compute) if isinstance(step.compute, str) else step.compute
            result = compute(*given)
            if len(step.outputs) == 1:
                values[step.outputs[0]] = result
            else:
                values.update(zip(step.outputs, result, strict=True))
            for name in step.frees:
                del values[name]
        embedding: Tensor = values[self._embedding]
        return embedding if embedding.ndim == 2 else embedding.flatten(1)
