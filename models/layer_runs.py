"""How the layers of a network run on one face: what decides, besides their widths, what they cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .embedder import Embedder

Kind = Literal["dense", "depthwise", "slopes"]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Shape:
    """What besides its widths decides the cost of a layer; a linear layer is a 1x1 convolution of as many places."""

    kind: Kind  # slopes: a PReLU
    size: Pair  # height and width of the map that goes in
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right

    def __str__(self) -> str:
        """As people call it."""
        (height, width), (rows, columns) = self.size, self.kernel
        kernel = "" if self.kind == "slopes" else f" {rows}x{columns}"
        return f"{self.kind}{kernel} stride {self.stride[0]} on {height}x{width}"


@dataclass(frozen=True)
class Run:
    """One run of a layer on one face."""

    shape: Shape
    inputs: int
    outputs: int


def runs_of(embedder: Embedder) -> dict[str, list[Run]]:
    """Gives what `recorded_runs` records of one face; the backbone is left in eval mode, as by `Embedder.embed`."""
    embedder.backbone.eval()
    with recorded_runs(embedder.backbone) as runs, torch.inference_mode():
        embedder.backbone(embedder.example())
    return runs


@contextmanager
def recorded_runs(backbone: nn.Module) -> Iterator[dict[str, list[Run]]]:
    """Records, by layer name, how each layer that has a cost of its own runs while it lasts.

    Those are convolutions, linear layers, PReLUs, and batch norms that follow neither of the first two: on export they
    become depthwise 1x1 convolutions, where the others are folded. A layer that runs twice has two entries. Left out is
    what is never cut: convolutions in groups, other than depthwise ones, and PReLUs with one slope for all channels.
    """
    found: dict[str, list[Run]] = {}
    made: list[Tensor] = []  # what a batch norm can be folded into; kept, so that no other tensor takes its place

    def recorder(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def record(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            folded = isinstance(layer, _BatchNorm) and any(inputs[0] is tensor for tensor in made)
            run = None if folded else _run(layer, inputs[0])
            if run is not None:
                found.setdefault(name, []).append(run)
            if isinstance(layer, nn.Conv2d | nn.Linear):
                made.append(output)

        return record

    hooks = [
        layer.register_forward_hook(recorder(name))
        for name, layer in backbone.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.PReLU | _BatchNorm)
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _run(layer: nn.Module, given: Tensor) -> Run | None:
    channels = given.shape[1]
    size = _pair(given.shape[2:]) if given.ndim == 4 else (1, 1)
    match layer:
        case nn.Conv2d():
            kind = _kind(layer)
            if kind is None:
                return None
            kernel, stride, dilation = _pair(layer.kernel_size), _pair(layer.stride), _pair(layer.dilation)
            shape = Shape(kind, size, kernel, stride, dilation, _padding(layer))
            return Run(shape, layer.in_channels, layer.out_channels)
        case nn.Linear():
            places = given.numel() // layer.in_features
            return Run(Shape("dense", (places, 1)), layer.in_features, layer.out_features)
        case nn.PReLU():
            return Run(Shape("slopes", size), channels, channels) if layer.num_parameters > 1 else None
    return Run(Shape("depthwise", size), channels, channels)


def _kind(layer: nn.Conv2d) -> Kind | None:
    if layer.groups == 1:
        return "dense"
    return "depthwise" if layer.groups == layer.in_channels == layer.out_channels else None


def _padding(layer: nn.Conv2d) -> tuple[int, int, int, int]:
    left, right, top, bottom = layer._reversed_padding_repeated_twice  # also of padding="same"
    return top, left, bottom, right


def _pair(numbers: Sequence[int]) -> Pair:
    first, second = numbers
    return int(first), int(second)
