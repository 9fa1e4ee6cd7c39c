"""How the layers of a network run on one face: their sizes, what they compute, and what decides their cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .embedder import Embedder

ShapeKind = Literal["dense", "depthwise", "slopes"]
Pair = tuple[int, int]


@dataclass(frozen=True)
class LayerShape:
    """What decides the cost of a layer besides its widths; a linear layer is a 1x1 convolution on as many places."""

    kind: ShapeKind  # slopes: a PReLU
    size: Pair  # height and width of the input map
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right

    def __str__(self) -> str:
        """A short name for people."""
        (height, width), (rows, columns) = self.size, self.kernel
        kernel = "" if self.kind == "slopes" else f" {rows}x{columns}"
        return f"{self.kind}{kernel} stride {self.stride[0]} on {height}x{width}"


@dataclass(frozen=True)
class LayerRun:
    """One run of a layer on one face."""

    name: str  # "blocks.0.expand.0"
    kind: str  # "Conv2d", "Linear", "PReLU", "BatchNorm2d"
    inputs: int  # channels
    outputs: int
    groups: int
    kernel: Pair  # height, width; (1, 1) for all but convolutions
    height: int  # of the output; for a linear layer how many vectors it maps
    width: int  # of the output; 1 for a linear layer
    parameters: int
    macs: int  # of convolutions and linear layers; biases, batch norms and activations count 0
    shape: LayerShape | None  # None: never cut, so without a measured cost


def layer_runs(embedder: Embedder) -> list[LayerRun]:
    """Lists, in the order they run on one face, the layers that an exported file computes.

    These are convolutions, linear layers, PReLUs, and batch norms that follow neither of the first two: those are
    exported as depthwise 1x1 convolutions, all others are folded. A layer that runs twice is listed twice. Without a
    `shape` are layers that are never cut: grouped convolutions, other than depthwise ones, and PReLUs with one slope
    for all channels. The backbone is left in eval mode, as by `Embedder.embed`.
    """
    backbone = embedder.backbone.eval()
    runs: list[LayerRun] = []
    foldable: list[Tensor] = []  # outputs that a batch norm folds into; kept, so that no other tensor gets their id

    def recorder(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def record(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if not isinstance(layer, _BatchNorm) or not any(inputs[0] is tensor for tensor in foldable):
                runs.append(_run(name, layer, inputs[0], output))
            if isinstance(layer, nn.Conv2d | nn.Linear):
                foldable.append(output)

        return record

    with ExitStack() as hooks, torch.inference_mode():
        for name, layer in backbone.named_modules():
            if isinstance(layer, nn.Conv2d | nn.Linear | nn.PReLU | _BatchNorm):
                hooks.enter_context(layer.register_forward_hook(recorder(name)))
        backbone(embedder.example())
    return runs


def _run(name: str, layer: nn.Module, entering: Tensor, leaving: Tensor) -> LayerRun:
    kind, parameters = type(layer).__name__, sum(parameter.numel() for parameter in layer.parameters())
    match layer:
        case nn.Conv2d():
            size, kernel = _pair(leaving.shape[2:]), _pair(layer.kernel_size)
            macs = layer.weight.numel() * size[0] * size[1]  # each weight meets each output position once
            widths, shape = (layer.in_channels, layer.out_channels, layer.groups), _convolution_shape(layer, entering)
            return LayerRun(name, kind, *widths, kernel, *size, parameters, macs, shape)
        case nn.Linear():
            places, widths = leaving.numel() // layer.out_features, (layer.in_features, layer.out_features, 1)
            macs, shape = layer.weight.numel() * places, LayerShape("dense", (places, 1))
            return LayerRun(name, kind, *widths, (1, 1), places, 1, parameters, macs, shape)
    channels, size = entering.shape[1], _pair(entering.shape[2:]) if entering.ndim == 4 else (1, 1)
    shape = LayerShape("slopes" if isinstance(layer, nn.PReLU) else "depthwise", size)
    shared = isinstance(layer, nn.PReLU) and layer.num_parameters == 1
    return LayerRun(name, kind, channels, channels, channels, (1, 1), *size, parameters, 0, None if shared else shape)


def _convolution_shape(layer: nn.Conv2d, entering: Tensor) -> LayerShape | None:
    if layer.groups != 1 and not layer.groups == layer.in_channels == layer.out_channels:
        return None
    left, right, top, bottom = layer._reversed_padding_repeated_twice  # also of padding="same"
    return LayerShape(
        "dense" if layer.groups == 1 else "depthwise",
        _pair(entering.shape[2:]),
        _pair(layer.kernel_size),
        _pair(layer.stride),
        _pair(layer.dilation),
        (top, left, bottom, right),
    )


def _pair(numbers: Sequence[int]) -> Pair:
    first, second = numbers
    return int(first), int(second)
