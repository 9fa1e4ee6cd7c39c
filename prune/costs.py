"""What layers cost on a device, by shape and width: a table that was measured elsewhere, and is read here."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..models.embedder import Embedder

Unit = Literal["milliseconds", "instructions"]
Kind = Literal["dense", "depthwise", "slopes"]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Shape:
    """What besides its widths decides the cost of a layer; a linear layer is a 1x1 convolution of as many places."""

    kind: Kind  # slopes: a PReLU
    size: Pair  # height and width of the map that goes in
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right

    def __str__(self) -> str:
        """As people call it."""
        (height, width), (rows, columns) = self.size, self.kernel
        kernel = "" if self.kind == "slopes" else f" {rows}x{columns}"
        return f"{self.kind}{kernel} stride {self.stride[0]} on {height}x{width}"


@dataclass(frozen=True)
class Run:
    """One run of a layer on one face."""

    shape: Shape
    inputs: int
    outputs: int


@dataclass(frozen=True)
class Grid:
    """Costs of one shape at some widths."""

    inputs: tuple[int, ...]  # ascending; one number where a layer treats each channel alone
    outputs: tuple[int, ...]  # ascending
    costs: tuple[tuple[float, ...], ...]  # a row for each of `inputs`

    def cost(self, inputs: int, outputs: int) -> float:
        """Gives the cost at any widths: linear between those of the grid, and beyond it, never negative."""
        rows = [_at(self.outputs, row, outputs) for row in self.costs]
        return max(0.0, _at(self.inputs, rows, inputs))

    def covers(self, inputs: int, outputs: int) -> bool:
        """Says whether widths up to these lie inside."""
        return inputs <= self.inputs[-1] and outputs <= self.outputs[-1]

    def monotone(self) -> Grid:
        """Gives the grid in which no layer costs more than a wider one: what disturbs a measurement only adds to it."""
        rows = [list(row) for row in self.costs]
        for i in reversed(range(len(rows))):
            for j in reversed(range(len(rows[i]))):
                wider = [rows[i][j + 1]] if j + 1 < len(rows[i]) else []
                wider += [rows[i + 1][j]] if i + 1 < len(rows) else []
                rows[i][j] = min([rows[i][j], *wider])
        return dataclasses.replace(self, costs=tuple(map(tuple, rows)))


@dataclass(frozen=True)
class CostTable:
    """Measured costs of every layer shape of an embedder, on one device."""

    unit: Unit
    device: str
    runtime: str  # with its version
    threads: int
    grids: Mapping[Shape, Grid]
    rest: float = 0.0  # what the whole network costs beyond its layers: additions, pools, copies; it stays

    def cost(self, shape: Shape, inputs: int, outputs: int) -> float:
        """Gives what one run of a layer costs.

        Raises:
            ValueError: The shape was not measured.
        """
        grid = self.grids.get(shape)
        if grid is None:
            raise ValueError(f"no cost of {shape} is known; a table that was measured for this network would do")
        return grid.cost(inputs, outputs)

    @property
    def sha256(self) -> str:
        """Of all that decides a cost."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Gives one JSON object; the same table is the same text."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return json.dumps(values | {"grids": to_plain(self.grids.items())})

    @classmethod
    def from_json(cls, text: str) -> CostTable:
        """Reads what `to_json` gave.

        Raises:
            ValueError: The text is no such table.
        """
        try:
            values = json.loads(text)
            return cls(**values | {"grids": dict(from_plain(values["grids"]))})
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError(f"no table of costs: {error}") from error


def to_plain(grids: Iterable[tuple[Shape, Grid]]) -> list[Any]:
    """Gives shapes and grids as JSON can hold them."""
    return [[dataclasses.asdict(shape), dataclasses.asdict(grid)] for shape, grid in grids]


def from_plain(plain: Iterable[Any]) -> list[tuple[Shape, Grid]]:
    """Reads what `to_plain` gave, and JSON made of it.

    Raises:
        ValueError, TypeError: It is something else.
    """
    return [(Shape(**_frozen(shape)), Grid(**_frozen(grid))) for shape, grid in plain]


def runs_of(embedder: Embedder) -> dict[str, list[Run]]:
    """Gives what `recorded_runs` records of one face; the backbone is left in eval mode, as by `Embedder.embed`."""
    embedder.backbone.eval()
    with recorded_runs(embedder.backbone) as runs, torch.inference_mode():
        embedder.backbone(embedder.example())
    return runs


@contextmanager
def recorded_runs(backbone: nn.Module) -> Iterator[dict[str, list[Run]]]:
    """Records, by layer name, how each layer that has a cost of its own runs while it lasts.

    Those are convolutions, linear layers, PReLUs, and batch norms that follow neither of the first two: on export they
    become depthwise 1x1 convolutions, where the others are folded. A layer that runs twice has two entries. Left out is
    what is never cut: convolutions in groups, other than depthwise ones, and PReLUs with one slope for all channels.
    """
    found: dict[str, list[Run]] = {}
    made: list[Tensor] = []  # what a batch norm can be folded into; kept, so that no other tensor takes its place

    def recorder(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def record(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            folded = isinstance(layer, _BatchNorm) and any(inputs[0] is tensor for tensor in made)
            run = None if folded else _run(layer, inputs[0])
            if run is not None:
                found.setdefault(name, []).append(run)
            if isinstance(layer, nn.Conv2d | nn.Linear):
                made.append(output)

        return record

    hooks = [
        layer.register_forward_hook(recorder(name))
        for name, layer in backbone.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.PReLU | _BatchNorm)
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _run(layer: nn.Module, given: Tensor) -> Run | None:
    channels = given.shape[1]
    size = _pair(given.shape[2:]) if given.ndim == 4 else (1, 1)
    match layer:
        case nn.Conv2d():
            kind = _kind(layer)
            if kind is None:
                return None
            kernel, stride, dilation = _pair(layer.kernel_size), _pair(layer.stride), _pair(layer.dilation)
            shape = Shape(kind, size, kernel, stride, dilation, _padding(layer))
            return Run(shape, layer.in_channels, layer.out_channels)
        case nn.Linear():
            places = given.numel() // layer.in_features
            return Run(Shape("dense", (places, 1)), layer.in_features, layer.out_features)
        case nn.PReLU():
            return Run(Shape("slopes", size), channels, channels) if layer.num_parameters > 1 else None
    return Run(Shape("depthwise", size), channels, channels)


def _kind(layer: nn.Conv2d) -> Kind | None:
    if layer.groups == 1:
        return "dense"
    return "depthwise" if layer.groups == layer.in_channels == layer.out_channels else None


def _padding(layer: nn.Conv2d) -> tuple[int, int, int, int]:
    left, right, top, bottom = layer._reversed_padding_repeated_twice  # also of padding="same"
    return top, left, bottom, right


def _pair(numbers: Sequence[int | Any]) -> Pair:
    first, second = numbers
    return int(first), int(second)


def _at(places: Sequence[int], values: Sequence[float], place: int) -> float:
    """Interpolates `values`, known at `places`; beyond them the outermost two go on as a line."""
    if len(places) == 1:
        return values[0]
    i = min(max(bisect_right(places, place) - 1, 0), len(places) - 2)
    slope = (values[i + 1] - values[i]) / (places[i + 1] - places[i])
    return values[i] + slope * (place - places[i])


def _frozen(value: Any) -> Any:
    """Gives lists as tuples, however deep."""
    if isinstance(value, dict):
        return {key: _frozen(inner) for key, inner in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
