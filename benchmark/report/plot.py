"""The data of the page's scatter plot: axes, points, and the front of every pair of axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..figures import interval
from .cells import Cell
from .columns import Column
from .summary import Line, pareto_front

MOST_FACTS = 7  # in the box beside a point, which has its name and place too
UNITS = {  # on axes: a unit, and how many of it is 1
    "bytes": ("MB", 1e-6),
    "count": ("M", 1e-6),
    "ms": ("ms", 1.0),
    "share": ("%", 100.0),
    "points": ("points", 100.0),
}


def plot_of(
    lines: Sequence[Line],
    table: Sequence[Mapping[str, Cell]],
    columns: Sequence[Column],
    best: set[int],
    comparable: bool = True,
) -> dict[str, Any]:
    """Gives the data of the plot.

    Args:
        lines: Of all runs.
        table: The cells of each.
        columns: Of the table.
        best: Indices of the recommended lines.
        comparable: Whether all were verified on one set of pairs; without that there are no fronts.
    """
    axes = [c for c in columns if c.axis and any(line.value(c.key) is not None for line in lines)]
    sides = {side: [c for c in axes if c.axis == side] for side in "xy"}
    fronts: dict[str, list[int]] = {}
    for x in sides["x"]:
        for y in sides["y"]:
            low, high = ([x.key], [y.key]) if y.better == "high" else ([x.key, y.key], [])
            fronts[f"{x.key} {y.key}"] = pareto_front(lines, low, high)
    points = []
    for index, (line, cells) in enumerate(zip(lines, table, strict=True)):
        titled = [(c.title, cells[c.key]) for c in columns if c.main and cells[c.key].text][:MOST_FACTS]
        rows = {c.key: line.cells[c.key] for c in axes if line.value(c.key) is not None}
        points.append(
            {
                "name": line.name,
                "where": ", ".join(filter(None, (line.model, line.runtime, line.run))),
                "format": line.format,
                "precision": line.precision,
                "best": index in best,
                "facts": [(title, f"{cell.text} {cell.interval}".strip()) for title, cell in titled],
                "values": {key: [row.value, *interval(row)] for key, row in rows.items()},
            }
        )
    titles = {c.key: (c.title, *UNITS.get(c.kind, ("", 1.0))) for c in axes}
    keys = {side: [c.key for c in of_side] for side, of_side in sides.items()}
    return {"axes": titles, **keys, "fronts": fronts if comparable else None, "points": points}
