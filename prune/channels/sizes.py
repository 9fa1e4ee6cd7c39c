"""The size of a network with some of its channels cut: exact, without cutting anything."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from torch import nn

from ...models.complexity import parameters
from ...models.embedder import Embedder
from ...models.layer_costs import CostTable
from ...models.layer_runs import LayerRun, LayerShape, layer_runs
from .coupling import CUTTABLE
from .groups import Group

BYTES_PER_LAYER = 250  # in a .tflite file: an operator, the names and shapes of its tensors
BYTES_PER_FILE = 3000  # the card, the operator codes, the signature


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a network, or of a part that is cut from it."""

    filters: int = 0  # output channels of all convolutions and linear layers
    parameters: int = 0
    macs: int = 0  # multiply-accumulates for one face
    bytes: int = 0  # of an fp32 TFLite file, batch norms folded, to about 2 %
    measured: float = 0.0  # milliseconds or instructions as a `CostTable` predicts; 0 without one

    def of(self, budget: str) -> float:
        """Gives the count that `budget` names: a field, or "milliseconds" or "instructions" for `measured`."""
        return float(getattr(self, budget if budget in _FIELDS else "measured"))

    def __add__(self, other: Size) -> Size:
        """Adds each count."""
        return self._plus(other, 1)

    def __sub__(self, other: Size) -> Size:
        """Subtracts each count."""
        return self._plus(other, -1)

    def _plus(self, other: Size, sign: int) -> Size:
        return Size(
            self.filters + sign * other.filters,
            self.parameters + sign * other.parameters,
            self.macs + sign * other.macs,
            self.bytes + sign * other.bytes,
            self.measured + sign * other.measured,
        )

    def __str__(self) -> str:
        """As a person reads it."""
        return f"{self.parameters:,} parameters, {self.macs / 1e6:,.1f} M MACs, {self.filters:,} filters"


_FIELDS = {field.name for field in dataclasses.fields(Size)}


@dataclass(frozen=True)
class LayerFormula:
    """The size of one layer as a function of its inputs and outputs."""

    inputs: int
    outputs: int
    per_pair: int = 0  # weights for every (input, output): kernel area of a convolution, 0 of a depthwise one
    per_output: int = 0  # weights and biases for every output
    stored_per_output: int = 0  # the same in a file: always with a bias, without folded batch norms
    macs_per_pair: int = 0
    macs_per_output: int = 0
    has_filters: bool = False
    shapes: tuple[LayerShape, ...] = ()  # one for each run

    def size(self, inputs: int, outputs: int, table: CostTable | None) -> Size:
        """Gives the layer's size with so many channels."""
        pairs = inputs * outputs
        return Size(
            outputs * self.has_filters,
            pairs * self.per_pair + outputs * self.per_output,
            pairs * self.macs_per_pair + outputs * self.macs_per_output,
            4 * (pairs * self.per_pair + outputs * self.stored_per_output),
            0.0 if table is None else sum(table.cost(shape, inputs, outputs) for shape in self.shapes),
        )


class Sizes:
    """Sizes of an embedder with channels of some groups cut."""

    def __init__(self, embedder: Embedder, groups: Sequence[Group], table: CostTable | None = None) -> None:
        """Runs `embedder` once.

        Args:
            embedder: A network.
            groups: Of its backbone.
            table: The costs of its layers, for `Size.measured`.

        Raises:
            ValueError: The table lacks a layer of the network.
        """
        backbone = embedder.backbone
        self._layers = _formulas(embedder)
        self._shares = {
            group.name: [(share.layer, share.side, share.index.shape[1]) for share in group.shares] for group in groups
        }
        self._touching: dict[str, list[tuple[str, int, int]]] = {}  # layer: (group, inputs, outputs per channel)
        for group, shares in self._shares.items():
            for layer, side, k in shares:
                place = (group, k * (side != "out"), k * (side != "in"))
                self._touching.setdefault(layer, []).append(place)

        @cache  # the greedy selection asks for the same widths again and again
        def size(layer: str, lost_inputs: int, lost_outputs: int) -> Size:
            whole = self._layers[layer]
            return whole.size(whole.inputs - lost_inputs, whole.outputs - lost_outputs, table)

        self._size_of_layer: Callable[[str, int, int], Size] = size
        counted = sum((size(layer, 0, 0) for layer in self._layers), Size())
        # Layer norms and bare parameters are never cut.
        others = parameters(backbone) - counted.parameters
        exported = sum(bool(layer.shapes) for layer in self._layers.values())
        stored = 4 * others + BYTES_PER_FILE + BYTES_PER_LAYER * exported
        self.before = counted + Size(parameters=others, bytes=stored)

    def neighbours(self, group: str) -> set[str]:
        """Gives the groups whose savings change when channels of `group` are cut, itself among them."""
        return {other for layer, _, _ in self._shares[group] for other, _, _ in self._touching[layer]}

    def without(self, cuts: Mapping[str, int]) -> Size:
        """Gives the size with `cuts[name]` channels of each group cut."""
        touched = dict.fromkeys(layer for group in cuts for layer, _, _ in self._shares[group])
        return sum((self._size(layer, cuts) - self._size(layer, {}) for layer in touched), self.before)

    def saved(self, group: str, channels: int, cuts: Mapping[str, int]) -> Size:
        """Gives the saving of cutting `channels` more of `group` when `cuts[name]` of each group are cut already."""
        more = {**cuts, group: cuts.get(group, 0) + channels}
        saved = Size()
        for layer in dict.fromkeys(layer for layer, _, _ in self._shares[group]):
            saved += self._size(layer, cuts) - self._size(layer, more)
        return saved

    def _size(self, layer: str, cuts: Mapping[str, int]) -> Size:
        inputs = outputs = 0
        for group, per_input, per_output in self._touching[layer]:
            lost = cuts.get(group, 0)
            inputs, outputs = inputs + per_input * lost, outputs + per_output * lost
        return self._size_of_layer(layer, inputs, outputs)


def size_of(embedder: Embedder, table: CostTable | None = None) -> Size:
    """Counts filters, parameters, MACs and bytes of `embedder`, and predicts its cost from `table`."""
    return Sizes(embedder, (), table).before


def _formulas(embedder: Embedder) -> dict[str, LayerFormula]:
    runs: dict[str, list[LayerRun]] = {}
    for run in layer_runs(embedder):
        runs.setdefault(run.name, []).append(run)
    return {
        name: _formula(layer, runs.get(name, ()))
        for name, layer in embedder.backbone.named_modules()
        if isinstance(layer, CUTTABLE)
    }


def _formula(layer: nn.Module, runs: Sequence[LayerRun]) -> LayerFormula:
    macs, shapes = sum(run.macs for run in runs), tuple(run.shape for run in runs if run.shape is not None)
    match layer:
        case nn.Conv2d() if layer.groups > 1:  # depthwise; other grouped ones are in no group
            inputs, outputs, weights = layer.in_channels, layer.out_channels, layer.weight[0].numel()
            own = weights + (layer.bias is not None)
            return LayerFormula(inputs, outputs, 0, own, weights + 1, 0, macs // outputs, True, shapes)
        case nn.Conv2d() | nn.Linear():
            inputs, outputs = layer.weight.shape[1], layer.weight.shape[0]
            area, own, pairs = layer.weight[0, 0].numel(), int(layer.bias is not None), inputs * outputs
            return LayerFormula(inputs, outputs, area, own, 1, macs // pairs, 0, True, shapes)
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            width, stored = layer.num_features, 2 * bool(shapes)
            return LayerFormula(width, width, 0, 2 * layer.affine, stored, shapes=shapes)
        case nn.PReLU():
            return LayerFormula(layer.num_parameters, layer.num_parameters, 0, 1, 1, shapes=shapes)
    raise TypeError(f"{type(layer).__name__} has no size")
