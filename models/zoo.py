"""The zoo: every embedder that can be made by name."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..faces.contract import ARCFACE, IMAGENET, InputContract
from ..spelling import known_names

if TYPE_CHECKING:
    from torch import nn

    from .embedder import Embedder


@dataclass(frozen=True)
class Architecture:
    """A network that can be built, and its input contract."""

    name: str  # also of its module and of the function there that builds it
    contract: InputContract
    paper: str

    @property
    def build(self) -> Callable[..., nn.Module]:
        """Its function, imported when wanted; its keyword arguments, all with defaults, are the options."""
        function: Callable[..., nn.Module] = getattr(importlib.import_module(f".{self.name}", __package__), self.name)
        return function


IMAGENET_113 = InputContract(113, 113, mean=IMAGENET.mean, scale=IMAGENET.scale)

# Means that the authors' script subtracts, without scaling. Source: SqueezeFacePoseNet, usage.m.
VGGFACE2_113 = InputContract(113, 113, mean=(131.0912, 103.8827, 91.4953), scale=(1.0, 1.0, 1.0))

ZOO: dict[str, Architecture] = {
    "mobilefacenet": Architecture("mobilefacenet", ARCFACE, "arXiv 1804.07573"),
    "squeezefacenet": Architecture("squeezefacenet", VGGFACE2_113, "arXiv 2307.10697"),
    "mobilenetv2": Architecture("mobilenetv2", IMAGENET_113, "arXiv 1801.04381, 2405.18302"),
    "resnet50": Architecture("resnet50", IMAGENET_113, "arXiv 1512.03385, 2405.18302"),
    "resnet50v2": Architecture("resnet50v2", ARCFACE, "arXiv 1603.05027, IASC 2023 38(3) 315-332"),
    "vgg16": Architecture("vgg16", IMAGENET, "arXiv 1409.1556, IASC 2023 38(3) 315-332"),
}


def create(name: str, seed: int = 0, **options: Any) -> Embedder:
    """Builds a fresh, untrained embedder on the CPU: same name, seed and options, same weights.

    Its batch norms have no statistics yet; `reestimate_batch_norms` estimates them.

    Args:
        name: A key of `ZOO`.
        seed: Of the weights; torch's global generator is restored.
        options: Keyword arguments of the architecture's `build`.

    Returns:
        The embedder, on the CPU.

    Raises:
        ValueError: No such name or option, or a value of another type than the option's.
    """
    import torch

    from .embedder import Embedder

    if name not in ZOO:
        raise ValueError(f"no embedder {name!r}; {known_names(name, sorted(ZOO))}")
    architecture = ZOO[name]
    _check_options(architecture, options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = architecture.build(**options)
    return Embedder(name, backbone, architecture.contract, architecture=name, options=options)


def _check_options(architecture: Architecture, options: dict[str, Any]) -> None:
    # Options come from recipes and command lines, so a string may be given for a number.
    parameters = inspect.signature(architecture.build).parameters.values()
    known = {parameter.name: parameter.default for parameter in parameters}
    for option, value in options.items():
        if option not in known:
            names = known_names(option, sorted(known)) if known else "it has none"
            raise ValueError(f"{architecture.name} has no option {option!r}; {names}")
        usual = known[option]
        if type(value) is not type(usual) and not (type(usual) is float and type(value) is int):
            raise ValueError(f"{architecture.name}'s {option} needs a value such as {usual!r}, not {value!r}")
