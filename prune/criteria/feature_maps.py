"""Scores from feature maps: channels whose maps are dead, or copies of others, are worth nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from ..channels.coupling import is_through
from ..channels.groups import Group
from .capture import Capture, places_of

LARGEST_DEAD_SUM = 0.02  # sum of a dead map's values: the paper's delta
LEAST_CORRELATION = 0.95  # of two maps that count as copies: the paper's rho
TIE = 1e-4  # largest share of a score that breaks ties: less than one face in ten thousand


def feature_map(capture: Capture, group: Group) -> Tensor:
    """Scores each channel by the share of faces in which its map is alive and its own.

    A map is deactivated if its values sum to 0..0.02, or if its Pearson correlation with another map of the layer is
    0.95 or more; of maps that correlate the first one stays, if it is not dead. The paper first normalises maps to
    0..1, which changes no correlation. It removes what is deactivated in 80 % of 100 faces: scores up to 0.2. Of
    channels that are alive equally often the fainter one scores less, by at most a ten-thousandth.

    The map of a filter is the output of its convolution after batch norm and activation, before pooling; a depthwise
    convolution passes it on, unless its output has a single place. A channel that several layers make, as in residual
    streams, is deactivated where all their maps are. Activations that are not modules are missed: without a ReLU few
    sums lie in the window.

    Args:
        capture: The network's maps of a mini-batch.
        group: Coupled channels.

    Returns:
        (width,) float32 in 0..1; to be averaged over mini-batches.

    Source: Diba & Khosravi, IASC 38(3), 2024, sec. 3, eq. 1-10; their 100 faces are of the 100 people with most images,
    here they are random.
    """
    alive, activity, layers = torch.zeros(1, group.width, dtype=torch.bool), torch.zeros(group.width), 0
    for share in group.makers(capture.backbone):
        for values in capture.maps.get(share.layer, ()):
            maps = places_of(values)[:, share.index].flatten(2)
            faint = maps.abs().mean((0, 2))
            activity = activity.to(faint) + faint / faint.max().clamp_min(torch.finfo(faint.dtype).tiny)
            alive, layers = alive.to(maps.device) | _alive(maps), layers + 1
    # Half of the tie-breaker always counts, so that shares at the paper's threshold stay below it despite rounding.
    return alive.float().mean(0) * (1 - TIE * (1 - activity / max(2 * layers, 2)))


def _alive(maps: Tensor) -> Tensor:
    """Gives (N, width) of maps (N, width, places): not dead, and no copy of an earlier one that is not dead."""
    sums = maps.sum(2)
    excited = ~((sums >= 0) & (sums <= LARGEST_DEAD_SUM))
    deviations = maps - maps.mean(2, keepdim=True)
    units = nn.functional.normalize(deviations, dim=2)  # a flat map becomes zeros, and correlates with none
    copies = [
        ((face @ face.T).tril(-1) >= LEAST_CORRELATION).logical_and(own).any(1)
        for face, own in zip(units, excited, strict=True)
    ]
    return excited & ~torch.stack(copies)


@contextmanager
def capturing_maps(capture: Capture, groups: Sequence[Group]) -> Iterator[None]:
    """Adds to `capture.maps`, at each forward, the maps of the groups' convolutions and linear layers.

    A map is followed from layer to layer while each treats every channel alone and keeps the map's size; only
    depthwise convolutions may change the size.
    """
    makers = {share.layer for group in groups for share in group.makers(capture.backbone)}

    def hook_of(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def after(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            maps = _maps_with(capture, inputs[0]) if inputs and is_through(layer) else None
            if maps is None:
                if name in makers:
                    capture.maps.setdefault(name, []).append(output)
            elif _passes_on(layer, inputs[0], output):
                maps[:] = [output if values is inputs[0] else values for values in maps]

        return after

    with ExitStack() as hooks:
        for name, layer in capture.backbone.named_modules():
            if not any(layer.children()):
                hooks.enter_context(layer.register_forward_hook(hook_of(name)))
        yield


def _maps_with(capture: Capture, values: Tensor) -> list[Tensor] | None:
    """Gives the list of maps that contains this very tensor, if one does."""
    return next((maps for maps in capture.maps.values() if any(known is values for known in maps)), None)


def _passes_on(layer: nn.Module, before: Tensor, after: Tensor) -> bool:
    if isinstance(layer, nn.Conv2d):
        return after.shape[2:].numel() > 1  # one place correlates with nothing
    return isinstance(after, Tensor) and before.shape == after.shape
