"""The activations of a backbone: their kinds, read and replaced by module name."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import nn

KINDS: dict[str, type[nn.Module]] = {"prelu": nn.PReLU, "relu": nn.ReLU, "relu6": nn.ReLU6}

Activation = str | float
"""A key of `KINDS`, or the slope of a leaky ReLU."""


def activations_of(backbone: nn.Module) -> dict[str, Activation]:
    """Gives the kind of each activation by module name.

    >>> activations_of(nn.Sequential(nn.Conv2d(3, 8, 3), nn.PReLU(8), nn.ReLU6(), nn.LeakyReLU(0.1)))
    {'1': 'prelu', '2': 'relu6', '3': 0.1}
    """
    kinds = {name: _kind(layer) for name, layer in backbone.named_modules()}
    return {name: kind for name, kind in kinds.items() if kind is not None}


def replace_activations(backbone: nn.Module, activations: Mapping[str, Activation]) -> None:
    """Replaces activations of `backbone` in place; those that are not in `activations` stay.

    Raises:
        ValueError: There is no activation of that name, or the new kind has weights, which cannot be invented.
    """
    known = activations_of(backbone)
    for name, kind in activations.items():
        if name not in known:
            raise ValueError(f"the activations are of another architecture: there is none at {name!r}")
        if kind != known[name]:
            _replace(backbone, backbone.get_submodule(name), _fresh(name, kind))


def _kind(layer: nn.Module) -> Activation | None:
    if isinstance(layer, nn.LeakyReLU):
        return float(layer.negative_slope)
    return next((kind for kind, module in KINDS.items() if isinstance(layer, module)), None)


def _fresh(name: str, kind: Activation) -> nn.Module:
    if isinstance(kind, int | float) and not isinstance(kind, bool) and math.isfinite(kind):
        return nn.LeakyReLU(float(kind))
    if kind in ("relu", "relu6"):
        return KINDS[str(kind)]()
    raise ValueError(f"activation {name!r} cannot become {kind!r}; known: relu, relu6, or the slope of a leaky ReLU")


def _replace(backbone: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for parent in list(backbone.modules()):
        for key, child in list(parent._modules.items()):
            if child is old:
                setattr(parent, key, new)
