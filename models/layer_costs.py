"""What layers cost on a device, by shape and width: a table that was measured elsewhere, and is read here."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .layer_runs import LayerShape

Unit = Literal["milliseconds", "instructions"]


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
    grids: Mapping[LayerShape, Grid]
    scale: float = 1.0  # the whole network's cost by the sum of its layers': additions, pools, and caches gone cold

    def cost(self, shape: LayerShape, inputs: int, outputs: int) -> float:
        """Gives what one run of a layer costs, its share of what lies between the layers included.

        Raises:
            ValueError: The shape was not measured.
        """
        grid = self.grids.get(shape)
        if grid is None:
            raise ValueError(f"no cost of {shape} is known; a table that was measured for this network would do")
        return self.scale * grid.cost(inputs, outputs)

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


def to_plain(grids: Iterable[tuple[LayerShape, Grid]]) -> list[Any]:
    """Gives shapes and grids as JSON can hold them."""
    return [[dataclasses.asdict(shape), dataclasses.asdict(grid)] for shape, grid in grids]


def from_plain(plain: Iterable[Any]) -> list[tuple[LayerShape, Grid]]:
    """Reads what `to_plain` gave, and JSON made of it.

    Raises:
        ValueError, TypeError: It is something else.
    """
    return [(LayerShape(**_frozen(shape)), Grid(**_frozen(grid))) for shape, grid in plain]


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
