"""PReLUs that fade into cheaper activations while the network learns to do without them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.activations import Activation, replace_activations
from ..recipe import TrainingRecipe

FADED = 0.5  # of the batches; in the rest the network learns with what it will have


def _to_relu(layer: nn.PReLU, x: Tensor, share: float) -> Tensor:
    return F.prelu(x, (1 - share) * layer.weight)


def _to_relu6(layer: nn.PReLU, x: Tensor, share: float) -> Tensor:
    y = _to_relu(layer, x, share)
    return y - share * F.relu(y - 6)


def _to_leaky(layer: nn.PReLU, x: Tensor, share: float) -> Tensor:
    return F.prelu(x, layer.weight.lerp(layer.weight.mean().expand_as(layer.weight), share))


FADING: dict[str, Callable[[nn.PReLU, Tensor, float], Tensor]] = {
    "relu": _to_relu,
    "relu6": _to_relu6,
    "leaky": _to_leaky,
}
"""What lies between a PReLU (share 0) and each kind of activation (share 1)."""


@contextmanager
def fading(backbone: nn.Module, recipe: TrainingRecipe) -> Iterator[Callable[[float], None]]:
    """Makes the PReLUs that the recipe replaces compute what lies between them and what will stand there.

    A step of all slopes at once would leave the layers behind with numbers that they never saw; half of the training
    goes from the one to the other, evenly. The slopes go on learning: a leaky ReLU's one slope is the mean of them.

    Args:
        backbone: Changed in place until the end.
        recipe: Replaces nothing if its `activation` is None.

    Yields:
        To be told, before each batch, the share of the training that is over, 0 to 1.

    Raises:
        ValueError: There are no PReLUs, or fewer than the recipe says.
    """
    chosen = replaced(backbone, recipe).values()
    share = 0.0

    def tell(done: float) -> None:
        nonlocal share
        share = min(1.0, done / FADED)

    def forward(layer: nn.PReLU, x: Tensor) -> Tensor:
        return FADING[str(recipe.activation)](layer, x, share)

    for layer in chosen:
        layer.forward = MethodType(forward, layer)  # type: ignore[method-assign]
    try:
        yield tell
    finally:
        for layer in chosen:
            del layer.forward


def settle(backbone: nn.Module, recipe: TrainingRecipe) -> None:
    """Puts, in place, the recipe's activations where its PReLUs have faded."""

    def final(layer: nn.PReLU) -> Activation:
        return float(layer.weight.mean()) if recipe.activation == "leaky" else str(recipe.activation)

    with torch.no_grad():
        replace_activations(backbone, {name: final(layer) for name, layer in replaced(backbone, recipe).items()})


def replaced(backbone: nn.Module, recipe: TrainingRecipe) -> dict[str, nn.PReLU]:
    """Gives, by name, the PReLUs that the recipe replaces: the first ones, in the order in which the network has them.

    Raises:
        ValueError: There are no PReLUs, or fewer than the recipe says.
    """
    if recipe.activation is None:
        return {}
    prelus = {name: layer for name, layer in backbone.named_modules() if isinstance(layer, nn.PReLU)}
    wanted = recipe.activation_layers or max(1, len(prelus))
    if wanted > len(prelus):
        raise ValueError(f"{wanted} PReLUs shall become {recipe.activation}; the network has {len(prelus)}")
    return dict(list(prelus.items())[:wanted])
