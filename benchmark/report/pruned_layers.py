"""The layers of a run folder: what pruning removed from each, and what cutting each group alone would cost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from ...models.group_sensitivity import Sensitivity, read_sensitivity
from ..figures import number_text

SENSITIVITY = "sensitivity.json"
CHECKPOINTS = ("checkpoint/embedder.json", "checkpoints/*/embedder.json")  # of `prune`, of `run`

BeforeAfter = tuple[int, int]
"""Before and after."""


@dataclass(frozen=True)
class LayerChange:
    """One convolution or linear layer before and after pruning."""

    name: str
    kind: str  # "convolution 3x3", "depthwise 3x3", "linear"
    filters: BeforeAfter
    parameters: BeforeAfter
    macs: BeforeAfter

    @property
    def kept(self) -> float:
        """The share of its filters that was kept."""
        return self.filters[1] / self.filters[0]


@dataclass(frozen=True)
class PrunedModel:
    """The layers of one embedder before and after its latest pruning."""

    name: str
    summary: str  # how it was pruned, and how much of it
    layers: tuple[LayerChange, ...]  # in the order in which they run


@dataclass(frozen=True)
class GroupCurve:
    """What is lost as more and more of one group alone is cut."""

    number: int  # in the order of the network
    name: str
    layers: tuple[str, ...]
    points: tuple[Sensitivity, ...]  # by share


def pruned_models_in(folder: Path) -> list[PrunedModel]:
    """Reads the latest pruning of each checkpoint in a run folder; one that removed nothing is left out.

    Raises:
        ValueError: A checkpoint's description is damaged.
    """
    paths = [path for pattern in CHECKPOINTS for path in sorted(folder.glob(pattern))]
    return [model for path in paths for model in _pruned(path)]


def group_curves_in(folder: Path) -> list[GroupCurve]:
    """Reads sensitivity.json, a curve for each group; none where there is no such file.

    Raises:
        ValueError: It is damaged.
    """
    path = folder / SENSITIVITY
    if not path.is_file():
        return []
    points = [(name, tuple(rows)) for name, rows in groupby(read_sensitivity(path), key=lambda row: row.group)]
    return [GroupCurve(number, name, rows[0].layers, rows) for number, (name, rows) in enumerate(points, 1)]


def charts_of(models: Sequence[PrunedModel], curves: Sequence[Sequence[GroupCurve]]) -> dict[str, Any]:
    """Gives the data of the page's charts: bars for each model, and the curves of each run that has some."""
    return {
        "bars": [
            [{"name": layer.name, "kept": layer.kept, "facts": _facts(layer)} for layer in model.layers]
            for model in models
        ],
        "curves": [
            [
                {
                    "name": curve.name,
                    "where": ", ".join(curve.layers),
                    "points": [[row.share, row.drift, row.accuracy] for row in curve.points],
                    "facts": [(f"{row.cut} of {row.width} cut", _loss(row)) for row in curve.points],
                }
                for curve in of_run
            ]
            for of_run in curves
        ],
    }


def before_and_after(change: BeforeAfter, kind: str = "count") -> str:
    """Writes two numbers; where they are equal, one.

    >>> before_and_after((64, 40)), before_and_after((1_000_000, 700_000)), before_and_after((64, 64))
    ('64 → 40', '1.00 M → 700 k', '64')
    """
    return " → ".join(dict.fromkeys(number_text(number, kind) for number in change))


def _pruned(path: Path) -> Iterator[PrunedModel]:
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        entries = [entry for entry in description["ancestry"] if entry["stage"] == "prune" and "layers" in entry]
        for entry in entries[-1:]:
            layers = tuple(_layer(layer) for layer in entry["layers"])
            if any(layer.kept < 1 for layer in layers):
                yield PrunedModel(str(description["name"]), _summary(entry), layers)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {type(error).__name__}: {error}") from error


def _layer(layer: Mapping[str, Any]) -> LayerChange:
    height, width = layer["kernel"]
    convolution = "depthwise" if layer["groups"][0] > 1 else "convolution"
    kind = "linear" if layer["kind"] == "Linear" else f"{convolution} {int(height)}x{int(width)}"
    return LayerChange(str(layer["name"]), kind, *(_change(layer[key]) for key in ("filters", "parameters", "macs")))


def _change(numbers: Sequence[int]) -> BeforeAfter:
    before, after = numbers
    return int(before), int(after)


def _summary(entry: Mapping[str, Any]) -> str:
    losses = []
    for title, key in (("Parameters", "parameters"), ("MACs", "macs"), ("filters", "filters")):
        before, after = _change(entry[key])
        losses.append(f"{title} {before_and_after((before, after))} (−{1 - after / before:.0%})".replace("%", " %"))
    recipe = entry["recipe"]
    settings = [f"{key} {recipe[key]}" for key in ("schedule", "criterion", "by", "scope", "signal") if key in recipe]
    return f"{', '.join(losses)}. Recipe: {', '.join(settings)}."


def _facts(layer: LayerChange) -> list[tuple[str, str]]:
    return [
        ("Kind", layer.kind),
        ("Filters", f"{before_and_after(layer.filters)}, {number_text(layer.kept, 'share')} kept"),
        ("Parameters", before_and_after(layer.parameters)),
        ("MACs", before_and_after(layer.macs)),
    ]


def _loss(row: Sensitivity) -> str:
    accuracy = "" if row.accuracy is None else f", accuracy {number_text(row.accuracy, 'share')}"
    return f"drift {row.drift:.4f}{accuracy}"
