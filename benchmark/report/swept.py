"""What a sweep made, as its page shows it: networks of one source, with their rows before and after recovery."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..measurement import Measurement
from .summary import Line, summarise


@dataclass(frozen=True)
class SweptLayer:
    """One layer of a swept network: its filters in the source, and those that were kept."""

    name: str
    filters: int
    kept: int


@dataclass(frozen=True)
class SweptPoint:
    """One network of a sweep."""

    name: str
    series: str  # what it shares with all that differ from it in the budget only; "" of a source
    level: str  # how much was to go: "30 % of parameters"; "source"
    settings: Mapping[str, str]  # the fields of the recipe that vary
    sizes: Mapping[str, tuple[int, int]]  # filters, parameters and macs, before and after
    layers: tuple[SweptLayer, ...]  # in the order in which they run
    cut: Line | None  # the network right after the cut; None where nothing was trained after it
    network: Line | None  # the network that files are made from; None where it could not be made
    files: tuple[Line, ...]  # with their latencies
    folder: str  # where the files lie
    reason: str = ""  # why it could not be made
    seconds: float = 0.0  # that its cells took

    def removed(self, what: str) -> float:
        """Gives the share of `what`, a key of `sizes`, that was removed."""
        before, after = self.sizes[what]
        return 1 - after / before


@dataclass(frozen=True)
class SweptSource:
    """One source network of a sweep, and all that were cut from it, verified on the same pairs."""

    name: str
    point: SweptPoint  # the source itself
    points: tuple[SweptPoint, ...]

    @property
    def lines(self) -> list[Line]:
        """The source's lines, and those of all files and networks after recovery."""
        every = (self.point, *self.points)
        return [line for point in every for line in (point.network, *point.files) if line is not None]


def lines_of(rows: Sequence[Measurement], timed: Sequence[Measurement], folder: str) -> list[Line]:
    """Gives one line per file of a cell, its latencies included; files are named by their path below the sweep.

    Args:
        rows: Of the cell's measurements.json.
        timed: Of its files' latencies, which name them without their folder.
        folder: Of the cell, below the sweep.
    """
    places = {Path(row.artifact).name: row.artifact for row in rows if row.artifact}
    latencies = [dataclasses.replace(row, artifact=places.get(row.artifact, row.artifact)) for row in timed]
    devices = {row.device for row in timed if row.device}
    if len(devices) == 1:  # of a cluster, another machine verified; a line is named after the one that took its time
        rows = [dataclasses.replace(row, device=next(iter(devices))) if row.device else row for row in rows]
    every = [*rows, *latencies]
    moved = [dataclasses.replace(row, artifact=f"{folder}/{row.artifact}" if row.artifact else "") for row in every]
    return summarise(moved)


def layers_of(ancestry: Sequence[Mapping[str, Any]]) -> tuple[SweptLayer, ...]:
    """Gives the layers of a network as its source had them, through all of its cuts.

    Raises:
        KeyError, TypeError: An entry is not as a prune writes it.
    """
    cuts = [entry["layers"] for entry in ancestry if entry.get("stage") == "prune" and entry.get("layers")]
    if not cuts:
        return ()
    return tuple(
        SweptLayer(str(first["name"]), int(first["filters"][0]), int(last["filters"][1]))
        for first, last in zip(cuts[0], cuts[-1], strict=True)
    )


def sizes_of(ancestry: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, int]]:
    """Gives filters, parameters and MACs of a network in its source and after all of its cuts; {} of a source."""
    cuts = [entry for entry in ancestry if entry.get("stage") == "prune" and entry.get("layers")]
    if not cuts:
        return {}
    return {key: (int(cuts[0][key][0]), int(cuts[-1][key][1])) for key in ("filters", "parameters", "macs")}


def ancestry_in(checkpoint: Path) -> list[Mapping[str, Any]]:
    """Reads the history of a network from its checkpoint."""
    description = json.loads((checkpoint / "embedder.json").read_text(encoding="utf-8"))
    return list(description["ancestry"])
