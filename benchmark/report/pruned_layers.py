"""What a run folder tells of its layers: what each lost by pruning, and what cutting each alone would cost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from ...prune.sensitivity_analysis import Sensitivity, read_sensitivity
from .figures import KINDS

SENSITIVITY = "sensitivity.json"
CHECKPOINTS = ("checkpoint/embedder.json", "checkpoints/*/embedder.json")  # of `prune`, of `run`

Change = tuple[int, int]
"""Before and after."""


@dataclass(frozen=True)
class Layer:
    """What pruning made of one convolution or linear layer."""

    name: str
    kind: str  # "convolution 3x3", "depthwise 3x3", "linear"
    filters: Change
    parameters: Change
    macs: Change

    @property
    def kept(self) -> float:
        """The share of its filters that stayed."""
        return self.filters[1] / self.filters[0]


@dataclass(frozen=True)
class Pruned:
    """What pruning made of one embedder."""

    name: str
    said: str  # how it was pruned, and how much went
    layers: tuple[Layer, ...]  # in the order in which they run


@dataclass(frozen=True)
class Curve:
    """What is lost by more and more of one group alone."""

    number: int  # in the order of the network
    name: str
    layers: tuple[str, ...]
    points: tuple[Sensitivity, ...]  # by share


def pruned_in(folder: Path) -> list[Pruned]:
    """Reads what the checkpoints of a run folder tell of the latest pruning of each, those that lost nothing left out.

    Raises:
        ValueError: A checkpoint's description is damaged.
    """
    paths = [path for pattern in CHECKPOINTS for path in sorted(folder.glob(pattern))]
    return [pruned for path in paths for pruned in _pruned(path)]


def curves_in(folder: Path) -> list[Curve]:
    """Reads sensitivity.json, a curve for each group; none where there is no such file."""
    if not (folder / SENSITIVITY).is_file():
        return []
    by_group = groupby(read_sensitivity(folder / SENSITIVITY), key=lambda row: row.group)
    points = [(name, tuple(rows)) for name, rows in by_group]
    return [Curve(number, name, rows[0].layers, rows) for number, (name, rows) in enumerate(points, 1)]


def drawn(pruned: Sequence[Pruned], curves: Sequence[Sequence[Curve]]) -> dict[str, Any]:
    """Gives what the page's script draws: bars for each of `pruned`, and the curves of each run that has some."""
    return {
        "bars": [
            [{"name": layer.name, "kept": layer.kept, "facts": _facts(layer)} for layer in each.layers]
            for each in pruned
        ],
        "curves": [
            [
                {
                    "name": curve.name,
                    "where": ", ".join(curve.layers),
                    "points": [[row.share, row.drift, row.accuracy] for row in curve.points],
                    "facts": [(f"{row.cut} of {row.width} cut", _lost(row)) for row in curve.points],
                }
                for curve in of_run
            ]
            for of_run in curves
        ],
    }


def changed(change: Change, kind: str = "count") -> str:
    """Writes before and after; what stayed is written once.

    >>> changed((64, 40)), changed((1_000_000, 700_000)), changed((64, 64))
    ('64 → 40', '1.00 M → 700 k', '64')
    """
    return " → ".join(dict.fromkeys(KINDS[kind](number, None) for number in change))


def _pruned(path: Path) -> Iterator[Pruned]:
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        entries = [entry for entry in description["ancestry"] if entry["stage"] == "prune" and "layers" in entry]
        for entry in entries[-1:]:
            layers = tuple(_layer(layer) for layer in entry["layers"])
            if any(layer.kept < 1 for layer in layers):
                yield Pruned(str(description["name"]), _said(entry), layers)
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise ValueError(f"{path} is damaged: {type(error).__name__}: {error}") from error


def _layer(layer: Mapping[str, Any]) -> Layer:
    height, width = layer["kernel"]
    convolution = "depthwise" if layer["groups"][0] > 1 else "convolution"
    kind = "linear" if layer["kind"] == "Linear" else f"{convolution} {int(height)}x{int(width)}"
    return Layer(str(layer["name"]), kind, *(_change(layer[key]) for key in ("filters", "parameters", "macs")))


def _change(numbers: Sequence[int]) -> Change:
    before, after = numbers
    return int(before), int(after)


def _said(entry: Mapping[str, Any]) -> str:
    losses = []
    for title, key in (("Parameters", "parameters"), ("MACs", "macs"), ("filters", "filters")):
        before, after = _change(entry[key])
        losses.append(f"{title} {changed((before, after))} (−{1 - after / before:.0%})".replace("%", " %"))
    recipe = entry["recipe"]
    how = [f"{key} {recipe[key]}" for key in ("schedule", "criterion", "by", "scope", "signal") if key in recipe]
    return f"{', '.join(losses)}. Recipe: {', '.join(how)}."


def _facts(layer: Layer) -> list[tuple[str, str]]:
    return [
        ("Kind", layer.kind),
        ("Filters", f"{changed(layer.filters)}, {KINDS['share'](layer.kept, None)} kept"),
        ("Parameters", changed(layer.parameters)),
        ("MACs", changed(layer.macs)),
    ]


def _lost(row: Sensitivity) -> str:
    accuracy = "" if row.accuracy is None else f", accuracy {KINDS['share'](row.accuracy, None)}"
    return f"drift {row.drift:.4f}{accuracy}"
