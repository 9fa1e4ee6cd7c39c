"""Coupled channels: which channels of which layers must go together, read off Torch-Pruning's DependencyGraph."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...models.widths import widths_of

Side = Literal["out", "in", "through"]
CUTTABLE = (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.PReLU)

Place = tuple[Any, Callable[..., Any], int]
"""A node of the dependency graph, its side (Torch-Pruning's function that would cut it), and a channel."""


@dataclass(frozen=True)
class CoupledChannels:
    """Channels that can only be cut together, and the obstacle if they cannot be cut at all."""

    parts: dict[tuple[str, Side], list[int]]  # by layer and side, its channels among them, ascending
    obstacle: str  # "they make the embedding"; empty if they can be cut


def coupled_channels(backbone: nn.Module, example: Tensor) -> Iterator[CoupledChannels]:
    """Gives every set of channels that can only be cut together.

    Args:
        backbone: Any network that autograd can trace, its parameters with gradients.
        example: (N, 3, H, W).

    Yields:
        Disjoint sets. Those that reach the embedding, or a layer that cannot be cut by channel, have an obstacle.

    Raises:
        ValueError: Torch-Pruning cannot trace the network.
    """
    names = {layer: name for name, layer in (*backbone.named_modules(), *backbone.named_parameters())}
    widths = widths_of(backbone)
    # In the reshapes of an attention, indices grow without end; those beyond the widest layer are meaningless.
    widest = max((max(width) for width in widths.values()), default=0)
    graph = _graph(backbone, example)
    obstacles = {node: _obstacle(names, node) for node in graph.module2node.values()}
    for places in _coupled(graph, widest):
        yield _named(names, widths, obstacles, places)


def is_through(layer: nn.Module) -> bool:
    """Tells whether `layer` treats each channel alone: depthwise convolution, batch norm, PReLU."""
    if isinstance(layer, nn.Conv2d):
        return layer.groups > 1
    return not isinstance(layer, nn.Linear)


def _named(
    names: Mapping[Any, str],
    widths: Mapping[str, Sequence[int]],
    obstacles: Mapping[Any, str],
    places: Sequence[Place],
) -> CoupledChannels:
    """Gives the layers of coupled `places`, and the obstacle to a cut."""
    parts: dict[tuple[str, Side], list[int]] = defaultdict(list)
    obstacle = ""
    for node, function, channel in places:
        layer = node.module
        obstacle = obstacle or obstacles[node]
        if layer not in names or not isinstance(layer, CUTTABLE):
            continue
        if isinstance(layer, nn.PReLU) and layer.num_parameters == 1:
            continue
        name = names[layer]
        side: Side = "through" if is_through(layer) else "in" if "in_channels" in function.__name__ else "out"
        parts[name, side].append(channel)
        if channel >= widths[name][side == "out"]:
            obstacle = obstacle or f"Torch-Pruning loses track of them at {name!r}"
    if not any(side == "in" for _, side in parts):  # whatever is traced ends there
        obstacle = obstacle or "they make the embedding"
    return CoupledChannels({key: sorted(index) for key, index in parts.items()}, obstacle)


def _obstacle(names: Mapping[Any, str], node: Any) -> str:
    """Gives why channels that reach `node` cannot be cut; empty if they can."""
    from torch_pruning import ops

    layer = node.module
    if node.type == ops.OPTYPE.OUTPUT:
        return "they make the embedding"
    if isinstance(layer, nn.Parameter):
        return f"they meet the bare parameter {names[layer]!r}"
    if isinstance(layer, nn.Conv2d) and 1 < layer.groups < max(layer.in_channels, layer.out_channels):
        return f"they reach {names[layer]!r}, a convolution in {layer.groups} groups"
    if layer in names and not isinstance(layer, CUTTABLE) and any(True for _ in layer.parameters()):
        return f"they reach {names[layer]!r}, a {type(layer).__name__}"
    return ""


def _graph(backbone: nn.Module, example: Tensor) -> Any:
    """Gives Torch-Pruning's graph of the network."""
    import torch_pruning
    from torch_pruning import ops
    from torch_pruning.dependency.shape_infer import infer_in_channels_recursively

    graph = torch_pruning.DependencyGraph()
    connect = graph._build_dependency

    def connect_and_mend(nodes: dict[Any, Any]) -> None:
        connect(nodes)
        for node in nodes.values():
            if node.type != ops.OPTYPE.RESHAPE:
                continue
            # Behind a channel shuffle it infers 0 channels and would divide by 0: such a reshape is not followed.
            if any(infer_in_channels_recursively(graph, reader, [0]) == 0 for reader in node.outputs):
                node.type = ops.OPTYPE.ELEMENTWISE

    graph._build_dependency = connect_and_mend
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")  # it warns about bare parameters, which are an obstacle here
        try:
            return graph.build_dependency(backbone, (example,), verbose=False)
        except Exception as error:  # both it and the network may raise anything
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(
                f"Torch-Pruning cannot follow the channels of {type(backbone).__name__}: {first}"
            ) from error


def _coupled(graph: Any, widest: int) -> Iterator[list[Place]]:
    """Follows every filter through the dependency graph; channels that meet are coupled.

    On a merge Torch-Pruning's own `get_pruning_group` loses that two channels of its root are the same one (a depthwise
    "ghost" of a channel, concatenated to it, does that), so only its edges and index mappings are used.
    """
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
            pairs = _mapped(channels, edge, widest)
            meet(edge.target, edge.handler, sorted({there for _, there in pairs}))
            for here, there in pairs:
                parent[root((edge.target, edge.handler, there))] = root((node, function, here))
    coupled: dict[Place, list[Place]] = defaultdict(list)
    for place in parent:
        coupled[root(place)].append(place)
    yield from coupled.values()


def _mapped(channels: Sequence[int], edge: Any, widest: int) -> list[tuple[int, int]]:
    """Gives (channel here, channel there) along an edge of the graph; nothing where Torch-Pruning's mapping fails."""
    from torch_pruning._helpers import _HybridIndex

    pairs = [_HybridIndex(idx=channel, root_idx=channel) for channel in channels]
    try:
        for mapping in edge.index_mapping:
            pairs = [pair for pair in mapping(pairs) if pair.idx < widest] if mapping is not None else pairs
    except IndexError:  # it miscounts parts of some splits; a cut without them fits nowhere
        return []
    return [(pair.root_idx, pair.idx) for pair in pairs]
