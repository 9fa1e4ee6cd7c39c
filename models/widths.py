"""The widths of a backbone: input and output channels of each layer, read and set by module name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

SIZED = (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.PReLU, nn.LayerNorm)
LARGEST_WIDTH = 1 << 16  # channels; a checkpoint that claims more is damaged or hostile


def _width(layer: nn.Module) -> list[int]:
    match layer:
        case nn.Conv2d():
            return [layer.in_channels, layer.out_channels, layer.groups]
        case nn.Linear():
            return [layer.in_features, layer.out_features]
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            return [layer.num_features]
        case nn.PReLU():
            return [layer.num_parameters]
        case nn.LayerNorm():
            return [int(size) for size in layer.normalized_shape]
    raise TypeError(f"{type(layer).__name__} has no width")


def widths_of(backbone: nn.Module) -> dict[str, list[int]]:
    """Gives, by module name, `[in, out, groups]` of convolutions, `[in, out]` of linear layers, `[n]` of the others.

    >>> widths_of(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)))
    {'0': [3, 8, 1], '1': [8]}
    """
    return {name: _width(layer) for name, layer in backbone.named_modules() if isinstance(layer, SIZED)}


def resize(backbone: nn.Module, widths: Mapping[str, Sequence[int]], device: str | None = None) -> None:
    """Gives `backbone`'s layers these widths, in place; the parameters of a changed layer become zeros.

    Args:
        backbone: Its layers keep their names and kinds.
        widths: As `widths_of` gives them.
        device: Of the zeros; None: each layer's own. On "meta" they are shapes alone and take no memory.

    Raises:
        ValueError: `widths` has a layer that the backbone lacks, or lacks one, or has an impossible width.
    """
    layers = {name: layer for name, layer in backbone.named_modules() if isinstance(layer, SIZED)}
    if set(layers) != set(widths):
        stranger = sorted(set(layers) ^ set(widths))[0]
        raise ValueError(f"the widths are of another architecture: only one of them has layer {stranger!r}")
    for name, layer in layers.items():
        width = [int(number) for number in widths[name]]
        if width != _width(layer):
            _check(name, width, _width(layer))
            _set(layer, width, device)


def _check(name: str, width: list[int], before: list[int]) -> None:
    if len(width) != len(before) or not all(1 <= number <= LARGEST_WIDTH for number in width):
        raise ValueError(f"layer {name!r} cannot be {width} wide; it was {before}")
    if len(width) == 3 and (width[0] % width[2] or width[1] % width[2]):
        raise ValueError(f"layer {name!r} cannot split {width[0]} -> {width[1]} channels into {width[2]} groups")


def _set(layer: nn.Module, width: list[int], device: str | None) -> None:
    shapes: dict[str, tuple[int, ...]] = {}
    match layer:
        case nn.Conv2d():
            layer.in_channels, layer.out_channels, layer.groups = width
            shapes = {"weight": (width[1], width[0] // width[2], *layer.kernel_size), "bias": (width[1],)}
        case nn.Linear():
            layer.in_features, layer.out_features = width
            shapes = {"weight": (width[1], width[0]), "bias": (width[1],)}
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            layer.num_features = width[0]
            shapes = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (width[0],))
        case nn.PReLU():
            layer.num_parameters = width[0]
            shapes = {"weight": (width[0],)}
        case nn.LayerNorm():
            layer.normalized_shape = tuple(width)
            shapes = dict.fromkeys(("weight", "bias"), tuple(width))
    for name, shape in shapes.items():
        tensor = getattr(layer, name)
        if tensor is None:
            continue
        zeros = torch.zeros(shape, dtype=tensor.dtype, device=device or tensor.device)
        setattr(layer, name, nn.Parameter(zeros, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else zeros)
