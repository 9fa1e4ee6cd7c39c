"""The activations of a backbone: which kind stands where, read off it and set on it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import nn

KINDS: dict[str, type[nn.Module]] = {"prelu": nn.PReLU, "relu": nn.ReLU, "relu6": nn.ReLU6}

Activation = str | float
"""A key of `KINDS`, or the slope of a leaky ReLU."""


def activations_of(backbone: nn.Module) -> dict[str, Activation]:
    """Gives, by module name, what kind of activation it is.

    >>> activations_of(nn.Sequential(nn.Conv2d(3, 8, 3), nn.PReLU(8), nn.ReLU6(), nn.LeakyReLU(0.1)))
    {'1': 'prelu', '2': 'relu6', '3': 0.1}
    """
    found = {name: _kind(layer) for name, layer in backbone.named_modules()}
    return {name: kind for name, kind in found.items() if kind is not None}


def replace_activations(backbone: nn.Module, activations: Mapping[str, Activation]) -> None:
    """Puts other activations in the place of `backbone`'s, in place; those that `activations` leaves out stay.

    Raises:
        ValueError: There is no such activation, or none that could become it; only what has no weights can.
    """
    known = activations_of(backbone)
    for name, wanted in activations.items():
        if name not in known:
            raise ValueError(f"the activations are of another architecture: there is none at {name!r}")
        if wanted != known[name]:
            _put(backbone, backbone.get_submodule(name), _fresh(name, wanted))


def _kind(layer: nn.Module) -> Activation | None:
    if isinstance(layer, nn.LeakyReLU):
        return float(layer.negative_slope)
    return next((kind for kind, made in KINDS.items() if isinstance(layer, made)), None)


def _fresh(name: str, wanted: Activation) -> nn.Module:
    if isinstance(wanted, int | float) and not isinstance(wanted, bool) and math.isfinite(wanted):
        return nn.LeakyReLU(float(wanted))
    if wanted in ("relu", "relu6"):
        return KINDS[str(wanted)]()
    raise ValueError(f"activation {name!r} cannot become {wanted!r}; relu, relu6, or a leaky ReLU's slope can be put")


def _put(backbone: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Replaces a module wherever it is used."""
    for parent in list(backbone.modules()):
        for key, child in list(parent._modules.items()):
            if child is old:
                setattr(parent, key, new)
