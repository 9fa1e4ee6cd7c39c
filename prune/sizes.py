"""What a network would measure if some of its channels were gone: exact, and without cutting anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from ..models.complexity import layers, parameters
from ..models.embedder import Embedder
from .coupling import CUTTABLE
from .groups import Group


@dataclass(frozen=True)
class Size:
    """Filters, parameters and multiply-accumulates (MACs) of a network."""

    filters: int  # output channels of all convolutions and linear layers
    parameters: int
    macs: int

    def __add__(self, other: Size) -> Size:
        """Adds each count."""
        return Size(self.filters + other.filters, self.parameters + other.parameters, self.macs + other.macs)

    def __sub__(self, other: Size) -> Size:
        """Subtracts each count."""
        return Size(self.filters - other.filters, self.parameters - other.parameters, self.macs - other.macs)


@dataclass(frozen=True)
class Layer:
    """How the size of one layer follows from its inputs and outputs."""

    inputs: int
    outputs: int
    per_pair: int  # weights for every (input, output): kernel area of a convolution, 0 of a depthwise one
    per_output: int  # weights and biases that belong to an output alone
    macs_per_pair: int
    macs_per_output: int
    has_filters: bool

    def size(self, lost_inputs: int = 0, lost_outputs: int = 0) -> Size:
        """Gives the layer's size with so many channels less."""
        outputs = self.outputs - lost_outputs
        pairs = (self.inputs - lost_inputs) * outputs
        return Size(
            outputs * self.has_filters,
            pairs * self.per_pair + outputs * self.per_output,
            pairs * self.macs_per_pair + outputs * self.macs_per_output,
        )


class Sizes:
    """Sizes of an embedder with channels of some groups gone."""

    def __init__(self, embedder: Embedder, groups: Sequence[Group]) -> None:
        """Measures `embedder`, in which `groups` were found, once."""
        backbone = embedder.backbone
        macs: Counter[str] = Counter()
        for run in layers(embedder):  # a layer that runs twice is listed twice
            macs[run.name] += run.macs
        self._layers = {
            name: _layer(layer, macs[name]) for name, layer in backbone.named_modules() if isinstance(layer, CUTTABLE)
        }
        self._shares = {
            group.name: [(share.layer, share.side, share.index.shape[1]) for share in group.shares] for group in groups
        }
        self._touching: dict[str, list[tuple[str, int, int]]] = {}  # layer: (group, inputs, outputs per channel)
        for group, shares in self._shares.items():
            for layer, side, k in shares:
                place = (group, k * (side != "out"), k * (side != "in"))
                self._touching.setdefault(layer, []).append(place)
        counted = sum((layer.size() for layer in self._layers.values()), Size(0, 0, 0))
        # Layer norms and bare parameters: they are never cut.
        others = parameters(backbone) - counted.parameters
        self.before = counted + Size(0, others, 0)

    def without(self, gone: Mapping[str, int]) -> Size:
        """Gives the size with `gone` channels of each group cut."""
        touched = dict.fromkeys(layer for group in gone for layer, _, _ in self._shares[group])
        return sum((self._size(layer, gone) - self._size(layer, {}) for layer in touched), self.before)

    def saved(self, group: str, channels: int, gone: Mapping[str, int]) -> Size:
        """Gives what cutting `channels` more of `group` saves, where `gone` channels of each group are cut already."""
        more = {**gone, group: gone.get(group, 0) + channels}
        saved = Size(0, 0, 0)
        for layer in dict.fromkeys(layer for layer, _, _ in self._shares[group]):
            saved += self._size(layer, gone) - self._size(layer, more)
        return saved

    def _size(self, layer: str, gone: Mapping[str, int]) -> Size:
        places = self._touching[layer]
        return self._layers[layer].size(
            sum(inputs * gone.get(group, 0) for group, inputs, _ in places),
            sum(outputs * gone.get(group, 0) for group, _, outputs in places),
        )


def size_of(embedder: Embedder) -> Size:
    """Counts filters, parameters and MACs of `embedder`."""
    return Sizes(embedder, ()).before


def _layer(layer: nn.Module, macs: int) -> Layer:
    match layer:
        case nn.Conv2d() if layer.groups > 1:  # depthwise; other grouped ones are in no group
            own = layer.weight[0].numel() + (layer.bias is not None)
            return Layer(layer.in_channels, layer.out_channels, 0, own, 0, macs // layer.out_channels, True)
        case nn.Conv2d():
            area, own = layer.kernel_size[0] * layer.kernel_size[1], int(layer.bias is not None)
            pairs = layer.in_channels * layer.out_channels
            return Layer(layer.in_channels, layer.out_channels, area, own, macs // pairs, 0, True)
        case nn.Linear():
            own, pairs = int(layer.bias is not None), layer.in_features * layer.out_features
            return Layer(layer.in_features, layer.out_features, 1, own, macs // pairs, 0, True)
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            return Layer(layer.num_features, layer.num_features, 0, 2 * layer.affine, 0, 0, False)
        case nn.PReLU():
            return Layer(layer.num_parameters, layer.num_parameters, 0, 1, 0, 0, False)
    raise TypeError(f"{type(layer).__name__} has no size")
