"""How big a network is and how much it computes: parameters and multiply-accumulates, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .embedder import Embedder


@dataclass(frozen=True)
class Layer:
    """What one call of a convolution or linear layer computes for one face."""

    name: str  # "blocks.0.expand.0"
    kind: str  # "Conv2d", "Linear"
    in_channels: int
    out_channels: int
    groups: int
    kernel: tuple[int, int]  # height, width; (1, 1) for a linear layer
    height: int  # of the output; for a linear layer how many vectors it maps
    width: int  # of the output; 1 for a linear layer
    parameters: int  # weights and biases
    macs: int


def parameters(backbone: nn.Module) -> int:
    """Counts every trained number once: batch norms' scales and shifts too, but not their running statistics.

    >>> parameters(nn.Linear(3, 2))
    8
    """
    return sum(parameter.numel() for parameter in backbone.parameters())


def layers(embedder: Embedder) -> list[Layer]:
    """Lists the convolutions and linear layers in the order they run on one face.

    A layer that runs twice is listed twice. The backbone is left in eval mode, as by `Embedder.embed`.
    """
    found: list[Layer] = []
    hooks = [
        module.register_forward_hook(_recorder(name, found))
        for name, module in embedder.backbone.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    try:
        embedder.backbone.eval()
        with torch.inference_mode():
            embedder.backbone(embedder.example())
    finally:
        for hook in hooks:
            hook.remove()
    return found


def macs(embedder: Embedder) -> int:
    """Counts the multiply-accumulates for one face: 1 MAC = 2 FLOPs.

    Convolutions and linear layers only. Biases, batch norms (folded away on export), activations, additions
    and pooling are not counted, and neither is what runs outside `nn.Conv2d` and `nn.Linear`, such as the
    products inside an attention.
    """
    return sum(layer.macs for layer in layers(embedder))


def _recorder(name: str, found: list[Layer]) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            _, out_channels, height, width = output.shape
            in_channels, groups = module.in_channels, module.groups
            kernel = (module.weight.shape[2], module.weight.shape[3])
        else:
            assert isinstance(module, nn.Linear)
            in_channels, out_channels, groups, kernel = module.in_features, module.out_features, 1, (1, 1)
            height, width = output.numel() // out_channels, 1
        found.append(
            Layer(
                name=name,
                kind=type(module).__name__,
                in_channels=in_channels,
                out_channels=out_channels,
                groups=groups,
                kernel=kernel,
                height=height,
                width=width,
                parameters=parameters(module),
                macs=module.weight.numel() * height * width,  # each weight meets each output position once
            )
        )

    return record
