"""A sweep's results in one file, swept.json, from which a report is made without the sweep's cells or inputs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...export.formats import CHECKPOINT
from ...files import written_whole
from ..measurement import checked_measurement
from .pruned_layers import CHECKPOINTS
from .run_folders import read_run
from .summary import Line, summarise
from .swept import SweptLayer, SweptPoint, SweptSource, ancestry_in, layers_of, sizes_of

NAME = "swept.json"
VERSION = 1


def write_swept(sources: Sequence[SweptSource], inputs: Mapping[str, str], out: Path) -> None:
    """Writes what a sweep made, and from what, into `out`."""
    values = {"version": VERSION, "sources": [dataclasses.asdict(each) for each in sources], "inputs": dict(inputs)}
    with written_whole(out / NAME) as beside:
        beside.write_text(json.dumps(values), encoding="utf-8")


def read_swept(folder: Path) -> tuple[list[SweptSource], dict[str, str]]:
    """Reads what `write_swept` wrote.

    Raises:
        ValueError: It is damaged, or of another version.
    """
    path = folder / NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["version"] != VERSION:
            raise ValueError(f"its version is {values['version']}, not {VERSION}")
        sources = [
            SweptSource(str(each["name"]), _point(each["point"]), tuple(_point(point) for point in each["points"]))
            for each in values["sources"]
        ]
        return sources, {str(key): str(text) for key, text in values["inputs"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} holds no sweep ({error}); the sweep's command, given again, writes it anew") from None


def sources_of_run(folder: Path, folders: Sequence[Path]) -> list[SweptSource]:
    """Gives a run folder as a sweep: each source network, and what was pruned from it.

    Raises:
        ValueError: The folder holds no measurements, or some that cannot be read.
    """
    run = read_run(folder, folders)
    histories = {}
    for path in (path for pattern in CHECKPOINTS for path in sorted(folder.glob(pattern))):
        name = json.loads(path.read_text(encoding="utf-8")).get("name")
        histories[name] = ancestry_in(path.parent)
    of_model: dict[str, list[Line]] = {}
    for line in summarise(run.rows):
        of_model.setdefault(line.model, []).append(line)
    sources = []
    for name in dict.fromkeys(lines[0].source for lines in of_model.values()):
        pruned = [model for model, lines in of_model.items() if lines[0].source == name and model != name]
        points = tuple(_point_of_run(model, run.name, of_model[model], histories.get(model, [])) for model in pruned)
        source = _point_of_run(name, "", of_model.get(name, []), [])
        sources.append(SweptSource(name, dataclasses.replace(source, level="source"), points))
    return sources


def _point_of_run(model: str, series: str, lines: Sequence[Line], history: Sequence[Mapping[str, Any]]) -> SweptPoint:
    sizes = sizes_of(history)
    level = ""
    if "parameters" in sizes:
        before, after = sizes["parameters"]
        level = f"{100 * (1 - after / before):.0f} % of parameters"
    network = next((line for line in lines if line.format == CHECKPOINT), None)
    files = tuple(line for line in lines if line.format != CHECKPOINT)
    return SweptPoint(model, series, level or model, {}, sizes, layers_of(history), None, network, files, "")


def _point(values: Mapping[str, Any]) -> SweptPoint:
    read = {
        "sizes": {str(key): (int(before), int(after)) for key, (before, after) in values["sizes"].items()},
        "layers": tuple(SweptLayer(**layer) for layer in values["layers"]),
        "cut": _line(values["cut"]),
        "network": _line(values["network"]),
        "files": tuple(line for each in values["files"] if (line := _line(each)) is not None),
    }
    return SweptPoint(**{**values, **read})


def _line(values: Mapping[str, Any] | None) -> Line | None:
    if values is None:
        return None
    cells = {key: checked_measurement(row, f"the row {key}") for key, row in values["cells"].items()}
    return Line(**{**values, "cells": cells})
