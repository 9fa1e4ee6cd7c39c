"""The report: the measurements of one or several runs as a page, Markdown, tables and a card per file."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ...files import written_whole
from ..figures import number_text, setting_and_interval
from ..markdown import escape_markdown
from ..metric_keys import title_of
from ..metrics import metric_of
from ..run_files import named_values
from .cells import EXPORT, Cell, cell_of, reasons_of
from .columns import columns_of
from .conditions import conditions_of, runtime_notes
from .curves import curves_of
from .data_files import csv_of, json_of
from .details import details_of, matrix_of
from .device_matrix import device_matrix
from .file_table import csv_of_files
from .limits import DIFFERENCE, LATENCY, SIZE, ShippingLimits, limits_for
from .model_card import cards_of
from .plot import plot_of
from .pruned_layers import before_and_after, charts_of
from .recommendation import recommend
from .run_folders import RunFolder, read_run
from .stage_times import stage_times
from .summary import ACCURACY, Line, pareto_front, sets_of_pairs, summarise
from .verdict import Pick, outcome, picks_of, recommendation_sentences, short_sentences, warnings_of

PICK_KEYS = (SIZE, LATENCY, ACCURACY, DIFFERENCE)


def write_report(
    folders: Sequence[Path],
    out: Path,
    max_mb: float | None = None,
    max_ms: float | None = None,
    max_drop: float | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> tuple[Path, Path]:
    """Writes the report of the runs in `folders` into `out`, each file whole or not at all.

    Besides the two that it returns: files.csv (a line for each file), report.csv (every row), report.json (lines and
    recommendation) and cards/<file>.md, a model card for each file.

    Args:
        folders: Run folders.
        out: Folder of the report.
        max_mb: Largest file that the app allows, in MB of 10^6 bytes.
        max_ms: Longest median latency on one thread that it allows.
        max_drop: Most points of accuracy to lose against the source; None: the margin of the runs' own verdicts.
        progress: Told what must be known before the accuracies are read.

    Returns:
        The paths of report.html, which needs nothing but a browser, and of report.md.

    Raises:
        ValueError: A folder has neither measurements.json nor sensitivity.json, or a file that cannot be read.
    """
    if not folders:
        raise ValueError("a report needs at least one run folder; none was given")
    runs = [read_run(folder, folders) for folder in folders]
    limits = limits_for((row for run in runs for row in run.rows), max_mb, max_ms, max_drop)
    page = page_facts(runs, limits)
    pages = templates()
    texts = {out / name: pages.get_template(f"{name}.jinja").render(page) for name in ("report.html", "report.md")}
    texts[out / "report.csv"] = csv_of((run.name, run.rows) for run in runs)
    advised = [(name, lines, each) for (name, each), lines in zip(page["recommendations"], page["by_run"], strict=True)]
    texts[out / "files.csv"] = csv_of_files(advised)
    texts[out / "report.json"] = json_of([line for line, _ in page["rows"]], page["recommendations"])
    for name, facts in cards_of(runs, page["by_run"]):
        texts[out / "cards" / name] = pages.get_template("card.md.jinja").render(facts)
    for path, text in texts.items():
        with written_whole(path) as beside:
            beside.write_text(text, encoding="utf-8")
    for line in page["warnings"]:
        progress(line)
    return out / "report.html", out / "report.md"


def recommended_files(run: Path) -> list[Path]:
    """Gives the files that the report of a run folder recommends, under its own limits.

    Raises:
        ValueError: The folder holds no measurements, or some that cannot be read.
    """
    folder = read_run(run, [run])
    recommendation = recommend(summarise(folder.rows), limits_for(folder.rows))
    return [run / judged.line.artifact for judged in recommendation.best]


def templates() -> Environment:
    """Gives the environment of the templates: HTML escapes by itself, Markdown by the filter `md`."""
    pages = Environment(
        loader=PackageLoader(__name__.rpartition(".")[0], "."),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {
        "title_of": title_of,
        "md": escape_markdown,
        "changed": before_and_after,
        "percent": lambda share: number_text(share, "share"),
    }
    return pages


def page_facts(runs: Sequence[RunFolder], limits: ShippingLimits) -> dict[str, Any]:
    """Gives what both templates show: words, and numbers as text."""
    by_run = [summarise(run.rows, run.name if len(runs) > 1 else "") for run in runs]
    lines = [line for of_run in by_run for line in of_run]
    columns = columns_of([item for line in lines for item in line.cells.items()])
    notes = {artifact: of_file for run in runs for artifact, of_file in run.notes.items()}
    reasons = reasons_of(lines, notes)
    numbers = {reason: number for number, reason in enumerate(reasons, 1)}
    advice = [recommend(of_run, limits) for of_run in by_run]
    best = {i for i, line in enumerate(lines) for each in advice for judged in each.best if judged.line is line}
    table = [{c.key: cell_of(line, c, numbers, notes) for c in (*columns, EXPORT)} for line in lines]
    pruned = [each for run in runs for each in run.pruned]
    layer_curves = [(run.name, run.curves) for run in runs if run.curves]
    verified = list(_verified(runs, by_run, best))
    details = details_of([(run.name if len(runs) > 1 else "", run.rows) for run in runs], lines, best)
    comparable = len(sets_of_pairs(lines)) <= 1
    plot = plot_of(lines, table, columns, best, comparable)
    picks = [pick for of_run, each in zip(by_run, advice, strict=True) for pick in picks_of(of_run, each)]
    return {
        "title": ", ".join(dict.fromkeys(line.source for line in lines)) or "no files",
        "warnings": warnings_of(lines),
        "limits": limits,
        "verdict": [outcome(of_run) for of_run in by_run],
        "recommended": [recommendation_sentences(of_run, each) for of_run, each in zip(by_run, advice, strict=True)],
        "advice": [short_sentences(each) for each in advice],
        "recommendations": [(run.name, each) for run, each in zip(runs, advice, strict=True)],
        "picks": picks,
        "pick_keys": (SIZE, LATENCY, *_others(picks), ACCURACY, DIFFERENCE),
        "why_not": [(title, choice) for each in advice for title, choice in each.choices],
        "columns": columns,
        "rows": list(zip(lines, table, strict=True)),
        "by_run": by_run,
        "several": len(runs) > 1,
        "front": pareto_front(lines, [SIZE], [ACCURACY]) if comparable else [],
        "comparable": comparable,
        "best": best,
        "plot": plot,
        "verified": verified,
        "details": details,
        "matrices": [matrix_of(family, tables) for family, tables in details],
        "devices": device_matrix(lines),
        "pruned": pruned,
        "curves": layer_curves,
        "charts": plot | charts_of(pruned, [of_run for _, of_run in layer_curves]) | {"verified": verified},
        "conditions_table": conditions_of([row for run in runs for row in run.rows]),
        "notes": runtime_notes(lines),
        "thresholds": list(_thresholds(lines)),
        "certified": any(row.conditions.get("certified") for line in lines for row in line.cells.values()),
        "failures": reasons,
        "runs": [(run.name, _command(run.manifest), _facts(run.manifest), run.recipe) for run in runs],
        "stages": [(run.name, times) for run in runs if (times := stage_times(run.manifest))],
    }


def _others(picks: Sequence[Pick]) -> list[str]:
    """Gives the keys of other numbers that decided: emulated instructions, drift without labels."""
    return list(dict.fromkeys(key for pick in picks for key in pick.figures if key not in PICK_KEYS))


def _verified(runs: Sequence[RunFolder], by_run: Sequence[Sequence[Line]], best: set[int]) -> Iterator[dict[str, Any]]:
    first = 0
    for run, lines in zip(runs, by_run, strict=True):
        if run.record is not None and (curves := curves_of(run.record, lines, first, best)):
            yield curves
        first += len(lines)


def _thresholds(lines: Sequence[Line]) -> Iterator[tuple[Line, str, Cell, str]]:
    """Gives (line, FAR, threshold on the cosine, the same on the squared L2 distance of unit vectors)."""
    for line in lines:
        for key, row in line.cells.items():
            far = metric_of(row.metric).parameter
            if row.metric == f"threshold_at_far_{far}" and row.valid and row.value is not None:
                cosine = Cell(*setting_and_interval(row), hint=f"{row.n}" if row.n else "")
                yield line, far + key.removeprefix(row.metric), cosine, f"{2 - 2 * row.value:.4f}"


def _command(manifest: Mapping[str, Any]) -> str:
    command = manifest.get("command", "")
    return shlex.join(map(str, command)) if isinstance(command, list) else str(command)


def _facts(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Gives "host cores": "2" and the like, without the command and the stages, which stand by themselves."""
    facts = {key: value for key, value in manifest.items() if key not in ("command", "stages")}
    return dict(named_values(facts, " "))
