"""PReLUs that fade into cheaper activations during training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.activations import Activation, replace_activations
from ..recipe import TrainingRecipe

FADED = 0.5  # share of the batches after which fading is complete; the rest trains the final activations


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
"""By kind of activation, the blend of a PReLU (share 0) and that activation (share 1)."""


@contextmanager
def fading(backbone: nn.Module, recipe: TrainingRecipe) -> Iterator[Callable[[float], None]]:
    """Makes the PReLUs that the recipe replaces compute a blend of themselves and their replacement.

    Replacing all at once would give the layers behind inputs that they never saw; instead the blend moves evenly over
    the first half of the training. The slopes are trained on: a leaky ReLU's one slope is their mean.

    Args:
        backbone: Changed in place until the end.
        recipe: Replaces nothing if its `activation` is None.

    Yields:
        A function to call before each batch with the share of the training that is done, 0 to 1.

    Raises:
        ValueError: There are no PReLUs, or fewer than the recipe says.
    """
    chosen = fading_prelus(backbone, recipe).values()
    share = 0.0

    def set_progress(done: float) -> None:
        nonlocal share
        share = min(1.0, done / FADED)

    def forward(layer: nn.PReLU, x: Tensor) -> Tensor:
        return FADING[str(recipe.activation)](layer, x, share)

    for layer in chosen:
        layer.forward = MethodType(forward, layer)  # type: ignore[method-assign]
    try:
        yield set_progress
    finally:
        for layer in chosen:
            del layer.forward


def finish_fading(backbone: nn.Module, recipe: TrainingRecipe) -> None:
    """Replaces, in place, the faded PReLUs by the recipe's activations."""

    def final(layer: nn.PReLU) -> Activation:
        return float(layer.weight.mean()) if recipe.activation == "leaky" else str(recipe.activation)

    with torch.no_grad():
        replace_activations(backbone, {name: final(layer) for name, layer in fading_prelus(backbone, recipe).items()})


def fading_prelus(backbone: nn.Module, recipe: TrainingRecipe) -> dict[str, nn.PReLU]:
    """Gives, by name, the PReLUs that the recipe replaces: the first ones in the order of the network's modules.

    Raises:
        ValueError: There are no PReLUs, or fewer than the recipe says.
    """
    if recipe.activation is None:
        return {}
    prelus = {name: layer for name, layer in backbone.named_modules() if isinstance(layer, nn.PReLU)}
    count = recipe.activation_layers or max(1, len(prelus))
    if count > len(prelus):
        raise ValueError(f"{count} PReLUs cannot become {recipe.activation}: the network has {len(prelus)}")
    return dict(list(prelus.items())[:count])
