"""The report: the measurements of one or several runs as one offline page and as Markdown."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from ...models.files import written_whole
from ..measurement import Measurement, read_measurements
from .conditions import how, notes
from .figures import KINDS, interval, written
from .layers import Curve, Pruned, changed, curves_in, drawn, pruned_in
from .mac_results import PLACES, read_mac_results
from .summary import COLUMNS, Column, Line, columns_of, pareto_front, summarise
from .verdict import best_files, verdict

__all__ = ["Line", "pareto_front", "summarise", "write_report"]

EXPORT = Column("export", "Export", "any")
UNITS = {"bytes": ("MB", 1e-6), "count": ("M", 1e-6), "ms": ("ms", 1.0), "share": ("%", 100.0)}  # on axes


class Run(NamedTuple):
    """A run folder, read."""

    name: str
    rows: list[Measurement]
    manifest: dict[str, Any]
    recipe: str
    pruned: list[Pruned]
    curves: list[Curve]


@dataclass(frozen=True)
class Cell:
    """What stands in one cell of the table."""

    text: str = ""
    interval: str = ""
    value: float | None = None
    hint: str = ""
    note: int = 0  # number of the reason it is not valid for, 0 where it is


def write_report(folders: Sequence[Path], out: Path) -> tuple[Path, Path]:
    """Writes what is known of the runs in `folders` into `out`, each file whole or not at all.

    Returns:
        The paths of report.html, which needs nothing but a browser, and of report.md.

    Raises:
        ValueError: A folder has neither measurements.json nor sensitivity.json, or a file that cannot be read.
    """
    if not folders:
        raise ValueError("a report wants at least one run folder; none was given")
    page = describe([read_run(folder, folders) for folder in folders])
    pages = Environment(
        loader=PackageLoader(__name__.rpartition(".")[0], "."),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {"md": _markdown, "changed": changed, "percent": lambda share: KINDS["share"](share, None)}
    texts = {out / name: pages.get_template(f"{name}.jinja").render(page) for name in ("report.html", "report.md")}
    for path, text in texts.items():
        with written_whole(path) as beside:
            beside.write_text(text, encoding="utf-8")
    return out / "report.html", out / "report.md"


def read_run(folder: Path, folders: Sequence[Path]) -> Run:
    """Reads a run folder; its name is the folder's, or its path where `folders` has two of that name."""
    path, curves = folder / "measurements.json", curves_in(folder)
    if not path.is_file() and not curves:
        raise ValueError(f"{folder} has no measurements.json; `pocketface benchmark` writes one")
    name = folder.resolve().name
    if [other.resolve().name for other in folders].count(name) > 1:
        name = str(folder)
    manifest: Any = {}
    if (folder / "manifest.json").is_file():
        try:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{folder / 'manifest.json'} is no JSON: {error}") from error
    recipe = folder / "recipe.toml"
    rows = read_measurements(path) if path.is_file() else []
    return Run(
        name,
        [*rows, *_of_mac(folder, rows)],
        manifest if isinstance(manifest, dict) else {"manifest": manifest},
        recipe.read_text(encoding="utf-8") if recipe.is_file() else "",
        pruned_in(folder),
        curves,
    )


def _of_mac(folder: Path, rows: Sequence[Measurement]) -> list[Measurement]:
    """Gives what a Mac measured of the run's files, under the names that they bear in the run."""
    found = [row for place in PLACES if (folder / place).is_file() for row in read_mac_results(folder / place)]
    names = {Path(row.artifact).name: row.artifact for row in rows}
    return [dataclasses.replace(row, artifact=names.get(row.artifact, row.artifact)) for row in found]


def describe(runs: Sequence[Run]) -> dict[str, Any]:
    """Gives all that both templates say, in words and numbers that need no further thought."""
    by_run = [summarise(run.rows, run.name if len(runs) > 1 else "") for run in runs]
    lines = [line for of_run in by_run for line in of_run]
    columns = columns_of(lines)
    reasons = _reasons(lines)
    picks = [pick for of_run in by_run for pick in best_files(of_run)]
    table = [{c.key: _cell(line, c, reasons) for c in (*columns, EXPORT)} for line in lines]
    pruned = [each for run in runs for each in run.pruned]
    curves = [(run.name, run.curves) for run in runs if run.curves]
    return {
        "title": ", ".join(dict.fromkeys(line.source for line in lines)) or "no files",
        "verdict": [verdict(of_run) for of_run in by_run],
        "picks": picks,
        "columns": columns,
        "rows": list(zip(lines, table, strict=True)),
        "several": len(runs) > 1,
        "front": pareto_front(lines, ["size_bytes"], ["verification_accuracy"]),
        "plot": (plot := _plot(lines, table, columns)),
        "pruned": pruned,
        "curves": curves,
        "drawn": plot | drawn(pruned, [of_run for _, of_run in curves]),
        "how": how([row for run in runs for row in run.rows]),
        "notes": notes(lines),
        "thresholds": list(_thresholds(lines)),
        "certified": any(row.conditions.get("certified") for line in lines for row in line.cells.values()),
        "failures": [(number, reason, _whose(reason, lines, columns)) for reason, number in reasons.items()],
        "runs": [(run.name, _command(run.manifest), dict(_flat(run.manifest)), run.recipe) for run in runs],
    }


def _reasons(lines: Sequence[Line]) -> dict[str, int]:
    """Numbers the reasons, 1, 2, ..., in the order in which the table meets them."""
    reasons = dict.fromkeys(row.reason for line in lines for row in line.cells.values() if not row.valid)
    return {reason: number for number, reason in enumerate(reasons, 1)}


def _whose(reason: str, lines: Sequence[Line], columns: Sequence[Column]) -> list[str]:
    """Says which metrics of which files `reason` is given for: "a.tflite, b.tflite: Latency on 1 thread"."""
    titles = {column.key: column.title for column in columns}
    files: dict[tuple[str, ...], dict[str, None]] = {}
    for line in lines:
        rows = line.cells.items()
        metrics = tuple(titles.get(key, key) for key, row in rows if not row.valid and row.reason == reason)
        if metrics:
            files.setdefault(metrics, {})[line.name] = None
    return [f"{', '.join(names)}: {'; '.join(metrics)}" for metrics, names in files.items()]


def _cell(line: Line, column: Column, reasons: Mapping[str, int]) -> Cell:
    row = line.cells.get(column.key)
    if row is None:
        return Cell()
    if not row.valid:
        text = "not measured" if row.value is None else f"{written(row, column.kind)[0]} (not valid)"
        return Cell(text, hint=f"{text}: {row.reason}", note=reasons[row.reason])
    text, ends = written(row, column.kind)
    if column.kind == "times" and row.value is not None:
        worse = {"latency_ratio": "slower", "size_ratio": "larger"}[column.key] if row.value < 0.95 else ""
        return Cell(text, worse, row.value, f"against {row.conditions['against']}")
    return Cell(text, ends, row.value, f"n = {row.n}" if row.n else "")


def _plot(lines: Sequence[Line], table: Sequence[Mapping[str, Cell]], columns: Sequence[Column]) -> dict[str, Any]:
    """Gives what the page's script draws: axes, points, and the front of every pair of axes."""
    axes = [c for c in columns if c.axis and any(line.value(c.key) is not None for line in lines)]
    sides = {side: [c for c in axes if c.axis == side] for side in "xy"}
    fronts = {}
    for x in sides["x"]:
        for y in sides["y"]:
            low, high = ([x.key], [y.key]) if y.better == "high" else ([x.key, y.key], [])
            fronts[f"{x.key} {y.key}"] = pareto_front(lines, low, high)
    points = []
    for line, cells in zip(lines, table, strict=True):
        named = [(c.title, cells[c.key]) for c in columns if c in COLUMNS and cells[c.key].text]
        facts = [(title, f"{cell.text} {cell.interval}".strip()) for title, cell in named]
        rows = {c.key: line.cells[c.key] for c in axes if line.value(c.key) is not None}
        where = ", ".join(filter(None, (line.model, line.runtime, line.run)))
        points.append(
            {
                "name": line.name,
                "where": where,
                "format": line.format,
                "precision": line.precision,
                "facts": facts,
                "values": {key: [row.value, *interval(row)] for key, row in rows.items()},
            }
        )
    titles = {c.key: (c.title, *UNITS.get(c.kind, ("", 1.0))) for c in axes}
    keys = {side: [c.key for c in of_side] for side, of_side in sides.items()}
    return {"axes": titles, **keys, "fronts": fronts, "points": points}


def _thresholds(lines: Sequence[Line]) -> Iterator[tuple[Line, str, Cell, str]]:
    """Gives (line, FAR, threshold on the cosine, the same on the squared L2 distance of unit vectors)."""
    for line in lines:
        for key, row in line.cells.items():
            if key.startswith("threshold_at_far_") and row.valid and row.value is not None:
                # a setting to copy, so with more digits than its interval would warrant
                cosine = Cell(f"{row.value:.4f}", written(row, "plain")[1], hint=f"{row.n}" if row.n else "")
                yield line, key.removeprefix("threshold_at_far_"), cosine, f"{2 - 2 * row.value:.4f}"


def _command(manifest: Mapping[str, Any]) -> str:
    command = manifest.get("command", "")
    return shlex.join(map(str, command)) if isinstance(command, list) else str(command)


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Gives ("host cores", "2") and the like for all that stands in `value`, but for the command."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if name or key != "command":
                yield from _flat(inner, f"{name} {key}".strip())
    elif isinstance(value, list):
        for number, inner in enumerate(value, 1):
            yield from _flat(inner, f"{name} {number}")
    else:
        yield name, f"{value}"


def _markdown(text: object) -> str:
    """Gives `text` so that Markdown shows it as it is, also inside a table."""
    plain = " ".join(str(text).replace("&", "&amp;").replace("<", "&lt;").split())
    return "".join(f"\\{letter}" if letter in "\\`*[]|" else letter for letter in plain)
