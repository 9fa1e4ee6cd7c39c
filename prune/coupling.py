"""Which channels of which layers are one and the same: Torch-Pruning's DependencyGraph behind one small face."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..models.widths import widths_of

Side = Literal["out", "in", "through"]
CUTTABLE = (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.PReLU)

Place = tuple[Any, Callable[..., Any], int]
"""A node of the dependency graph, the side of it (Torch-Pruning's function that would cut it), and a channel."""


def coupled_channels(backbone: nn.Module, example: Tensor) -> Iterator[dict[tuple[str, Side], list[int]]]:
    """Gives every set of channels that can only go together.

    Args:
        backbone: Any network that autograd can trace, its parameters with gradients.
        example: (N, 3, H, W).

    Yields:
        By layer and side, its channels in the set, ascending. Sets that reach the embedding, or a layer that cannot be
        cut channel by channel, are left out.

    Raises:
        ValueError: Torch-Pruning cannot trace the network.
    """
    names = {layer: name for name, layer in backbone.named_modules()}
    for places in _coupled(backbone, example):
        parts = _shares(names, places)
        if parts:
            yield parts


def is_through(layer: nn.Module) -> bool:
    """Says whether `layer` treats each channel alone: depthwise convolution, batch norm, PReLU."""
    if isinstance(layer, nn.Conv2d):
        return layer.groups > 1
    return not isinstance(layer, nn.Linear)


def _shares(names: dict[nn.Module, str], places: Sequence[Place]) -> dict[tuple[str, Side], list[int]]:
    """Gives each layer's channels among coupled `places`; nothing where something among them cannot be cut."""
    from torch_pruning import ops

    parts: dict[tuple[str, Side], list[int]] = defaultdict(list)
    for node, function, channel in places:
        layer = node.module
        if node.type == ops.OPTYPE.OUTPUT or isinstance(layer, nn.Parameter):
            return {}
        if layer not in names:  # an operation without parameters
            continue
        if not isinstance(layer, CUTTABLE):
            if any(True for _ in layer.parameters()):
                return {}
            continue
        if isinstance(layer, nn.PReLU) and layer.num_parameters == 1:
            continue
        if isinstance(layer, nn.Conv2d) and not (
            layer.groups == 1 or layer.groups == layer.in_channels == layer.out_channels
        ):
            return {}
        side: Side = "through" if is_through(layer) else "in" if "in_channels" in function.__name__ else "out"
        parts[names[layer], side].append(channel)
    return {key: sorted(index) for key, index in parts.items()}


def _coupled(backbone: nn.Module, example: Tensor) -> Iterator[list[Place]]:
    """Follows every filter through the dependency graph; what meets is coupled.

    Torch-Pruning's own `get_pruning_group` forgets on a merge that two channels of its root are the same one (a
    depthwise "ghost" of a channel, concatenated to it, does that), so only its edges and index mappings are used.
    """
    import torch_pruning

    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")  # it warns of bare parameters, which are refused above
        try:
            graph = torch_pruning.DependencyGraph().build_dependency(backbone, (example,), verbose=False)
        except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
            raise ValueError(
                f"Torch-Pruning cannot follow the channels of {type(backbone).__name__} ({error}); "
                "networks that shuffle channels are beyond it"
            ) from error
    hybrid = torch_pruning._helpers._HybridIndex
    # Through the reshapes of an attention its indices grow without end; beyond the widest layer none can be meant.
    widest = max(max(width) for width in widths_of(backbone).values())
    parent: dict[Place, Place] = {}

    def root(place: Place) -> Place:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    waiting: list[tuple[Any, Callable[..., Any], list[int]]] = []

    def meet(node: Any, function: Callable[..., Any], channels: Sequence[int]) -> None:
        new = [channel for channel in channels if (node, function, channel) not in parent]
        parent.update({(node, function, channel): (node, function, channel) for channel in new})
        if new:
            waiting.append((node, function, new))

    for layer, node in graph.module2node.items():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            meet(node, graph.get_pruner_of_module(layer).prune_out_channels, range(graph.get_out_channels(layer)))
    while waiting:
        node, function, channels = waiting.pop()
        for edge in node.dependencies:
            if not edge.is_triggered_by(function):
                continue
            pairs = [hybrid(idx=channel, root_idx=channel) for channel in channels]
            for mapping in edge.index_mapping:
                pairs = [pair for pair in mapping(pairs) if pair.idx < widest] if mapping is not None else pairs
            meet(edge.target, edge.handler, sorted({pair.idx for pair in pairs}))
            for pair in pairs:
                here, there = root((node, function, pair.root_idx)), root((edge.target, edge.handler, pair.idx))
                parent[there] = here
    coupled: dict[Place, list[Place]] = defaultdict(list)
    for place in parent:
        coupled[root(place)].append(place)
    yield from coupled.values()
