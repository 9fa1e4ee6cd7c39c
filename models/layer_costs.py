"""Tables of what layers cost on a device, by shape and width; they are measured in benchmark."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter

from .layer_runs import LayerShape

Unit = Literal["milliseconds", "instructions"]


@dataclass(frozen=True)
class Grid:
    """Measured costs of one layer shape at some widths."""

    inputs: tuple[int, ...]  # ascending; one number if the layer treats each channel alone
    outputs: tuple[int, ...]  # ascending
    costs: tuple[tuple[float, ...], ...]  # a row for each of `inputs`

    def cost(self, inputs: int, outputs: int) -> float:
        """Gives the cost at any widths, linearly interpolated or extrapolated, never negative."""
        rows = [_at(self.outputs, row, outputs) for row in self.costs]
        return max(0.0, _at(self.inputs, rows, inputs))

    def covers(self, inputs: int, outputs: int) -> bool:
        """Tells whether these widths lie within the grid or below it."""
        return inputs <= self.inputs[-1] and outputs <= self.outputs[-1]

    def monotone(self) -> Grid:
        """Gives the grid with no cost above that of a wider layer: disturbances only add to a measurement."""
        rows = [list(row) for row in self.costs]
        for i in reversed(range(len(rows))):
            for j in reversed(range(len(rows[i]))):
                wider = [rows[i][j + 1]] if j + 1 < len(rows[i]) else []
                wider += [rows[i + 1][j]] if i + 1 < len(rows) else []
                rows[i][j] = min([rows[i][j], *wider])
        return dataclasses.replace(self, costs=tuple(map(tuple, rows)))


GRIDS = TypeAdapter(list[tuple[LayerShape, Grid]])
"""Writes shapes and grids as plain values for JSON, and reads them."""


@dataclass(frozen=True)
class CostTable:
    """Measured costs of every layer shape of an embedder, on one device."""

    unit: Unit
    device: str
    runtime: str  # with its version
    threads: int
    grids: Mapping[LayerShape, Grid]
    scale: float = 1.0  # cost of the network / sum of its layers: for additions, pools, cold caches

    def cost(self, shape: LayerShape, inputs: int, outputs: int) -> float:
        """Gives the cost of one run of a layer, with its share of the costs between layers.

        Raises:
            ValueError: The shape was not measured.
        """
        grid = self.grids.get(shape)
        if grid is None:
            raise ValueError(f"no cost of {shape} is known; a table that was measured for this network would do")
        return self.scale * grid.cost(inputs, outputs)

    @property
    def sha256(self) -> str:
        """SHA-256 of the table."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Gives one JSON object; equal tables give equal text."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return json.dumps(values | {"grids": GRIDS.dump_python(list(self.grids.items()), mode="json")})

    @classmethod
    def from_json(cls, text: str) -> CostTable:
        """Reads what `to_json` gave.

        Raises:
            ValueError: The text is not such a table.
        """
        try:
            values = json.loads(text)
            return cls(**values | {"grids": dict(GRIDS.validate_python(values["grids"]))})
        except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"no table of costs: {error}") from error


def _at(places: Sequence[int], values: Sequence[float], place: int) -> float:
    """Interpolates `values` at `places` linearly; beyond the ends, extrapolates from the outermost two."""
    if len(places) == 1:
        return values[0]
    i = min(max(bisect_right(places, place) - 1, 0), len(places) - 2)
    slope = (values[i + 1] - values[i]) / (places[i + 1] - places[i])
    return values[i] + slope * (place - places[i])
