"""Cutting channels so that the network's means stay: in biases and in batch norms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...models.batch_norm import reestimate_batch_norms
from .groups import Group, cut_channels


def cut_keeping_means(
    backbone: nn.Module,
    groups: Sequence[Group],
    cuts: Mapping[str, Tensor],
    batches: Callable[[], Iterable[Tensor]],
) -> None:
    """Cuts channels from `backbone` in place, and sets biases and batch norms to what `batches` show.

    Args:
        backbone: The network that `groups` were found in.
        groups: The groups; those that `cuts` does not name stay whole.
        cuts: By group name, which of its channels are cut.
        batches: Gives batches, each (N, 3, H, W) and preprocessed; called at most twice.
    """
    absorb_means(backbone, groups, cuts, batches())
    cut_channels(backbone, groups, cuts)
    if any(isinstance(layer, _BatchNorm) for layer in backbone.modules()):
        reestimate_batch_norms(backbone, batches())


@torch.no_grad()
def absorb_means(
    backbone: nn.Module, groups: Sequence[Group], cuts: Mapping[str, Tensor], batches: Iterable[Tensor]
) -> None:
    """Adds to the readers' biases the mean contribution of the channels that will be cut, in place.

    Readers without a bias are skipped: the batch norm that follows them is re-estimated. Networks without batch norms,
    such as VGG, have only this. Where a convolution pads, its outermost pixels get slightly too much.

    Args:
        backbone: Before the cut; in eval mode afterwards.
        groups: Of the backbone.
        cuts: By group name, the channels that will be cut.
        batches: Each (N, 3, H, W), preprocessed; not used if no reader has a bias.
    """
    lost: dict[str, list[int]] = {}
    for group in groups:
        for share in group.readers if group.name in cuts else ():
            if backbone.get_submodule(share.layer).bias is not None:
                lost.setdefault(share.layer, []).extend(share.index[cuts[group.name]].flatten().tolist())
    for name, mean in _means(backbone, sorted(lost), batches).items():
        layer = backbone.get_submodule(name)
        assert isinstance(layer.bias, Tensor) and isinstance(layer.weight, Tensor)
        of_inputs = layer.weight.flatten(2).sum(2) if layer.weight.ndim > 2 else layer.weight
        layer.bias += of_inputs[:, lost[name]] @ mean[lost[name]]


def _means(backbone: nn.Module, names: Sequence[str], batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """Gives, by layer, the mean of each of its inputs over faces and places."""
    if not names:
        return {}
    sums: dict[str, Tensor] = {}
    counts = dict.fromkeys(names, 0)

    def hook_of(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def before(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            values = inputs[0].movedim(1 if isinstance(layer, nn.Conv2d) else -1, 0).flatten(1)
            sums[name] = sums.get(name, torch.zeros((), device=values.device)) + values.sum(1)
            counts[name] += values.shape[1]

        return before

    with ExitStack() as hooks:
        for name in names:
            hooks.enter_context(backbone.get_submodule(name).register_forward_pre_hook(hook_of(name)))
        for batch in batches:
            backbone.eval()(batch.to(next(backbone.parameters()).device))
    return {name: total / counts[name] for name, total in sums.items()}
