"""What the commands that export, measure and compare files end with: lines for people, facts for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .benchmark.changes import Change
from .benchmark.compare import Comparison
from .benchmark.figures import number_text
from .benchmark.measurement import NAME as ROWS
from .benchmark.measurement import Measurement
from .benchmark.report.limits import limits_for
from .benchmark.report.result_facts import result_facts
from .benchmark.report.run_folders import read_run
from .benchmark.report.stage_times import TITLES as STAGE_TITLES
from .benchmark.report.stage_times import stage_times
from .benchmark.report.terminal import result_of, terminal_width
from .benchmark.report.text_table import text_lines, text_table
from .benchmark.report.verdict import advice_on
from .benchmark.run_files import read_mapping
from .benchmark.size import size_bytes
from .command_output import CommandResult
from .export.exporter import Exported
from .export.targets import TARGETS


def report_result(
    folders: Sequence[Path], report: Path, command: str, limits: Sequence[float | None] = ()
) -> CommandResult:
    """Gives the result of runs that were reported on.

    Args:
        folders: Of the runs.
        report: The page.
        command: That was given: "run" or "report".
        limits: MB, ms and points that an app allows, None where it does not say; empty: those of the runs' verdicts.
    """
    runs = [read_run(folder, folders) for folder in folders]
    allowed = limits_for((row for run in runs for row in run.rows), *limits)
    named = len(runs) > 1
    lines = [line for run in runs for line in ([run.name] * named + result_of(run.rows, allowed))]
    facts = {"command": command, "report": str(report)} | result_facts([(run.name, run.rows) for run in runs], allowed)
    details = [line for run in runs for line in _stage_table(run.manifest)]
    return CommandResult([*lines, f"report: {report}"], facts, details)


def _stage_table(manifest: Mapping[str, Any]) -> list[str]:
    times = stage_times(manifest)
    return [*text_table(STAGE_TITLES, times, terminal_width()), ""] if times else []


def benchmark_result(rows: Sequence[Measurement], out: Path) -> CommandResult:
    """Gives the result of a benchmark, on pairs or on faces without labels.

    Args:
        rows: As they were written into `out`.
        out: The folder.
    """
    path = out / ROWS
    facts = {"command": "benchmark", "measurements": str(path), **result_facts([(out.resolve().name, rows)])}
    return CommandResult([*result_of(rows), f"{path}: {len(rows)} rows"], facts, advice_on(rows))


def export_result(source: str, name: str, exported: Sequence[Exported], folder: Path) -> CommandResult:
    """Gives the result of an export: a line for each file, and why others were not made.

    Args:
        source: What the user called it.
        name: Of the embedder.
        exported: One for each target.
        folder: Of the files.
    """
    width = terminal_width()
    titles = ("file", "format", "precision", "MB", "cosine", "least", "XNNPACK")
    made = [result for result in exported if result.artifact is not None]
    failed = [result for result in exported if result.artifact is None]
    table = text_table(titles, [[name], *(_cells(result, name) for result in exported)], width, left=(0, 1, 2))
    count = f"{len(made)} of {len(exported)} files" if failed else f"{len(made)} file{'s' * (len(made) != 1)}"
    said = f"{count} of {name} in {folder}; cosine: mean and least to the source's embeddings of "
    said += f"{made[0].parity.faces} faces. " if made and made[0].parity else "no faces. "
    checkpoint = f"{source} " if Path(source).is_dir() else ""  # all else has no contract of its own, or is no file
    said += (
        f"Nothing was timed, and no accuracy was judged; next: pocketface benchmark {checkpoint}{folder} --pairs PAIRS"
    )
    lines = [*table, "", *text_lines(said, width)]
    facts = {"command": "export", "folder": str(folder), "model": name, "files": [_facts(each) for each in exported]}
    reason = f"{len(failed)} of {len(exported)} targets failed; the first: {failed[0].reason}" if failed else ""
    return CommandResult(lines, facts, failure=reason)


def _cells(result: Exported, model: str) -> list[str]:
    artifact, parity = result.artifact, result.parity
    if artifact is None or parity is None:
        target = TARGETS[result.target]
        return [result.target, target.format, target.precision, "–", "–", "–", "not made"]
    partitions = _partitions(result)
    return [
        artifact.path.name.removeprefix(model),
        artifact.format,
        artifact.card.precision,
        f"{size_bytes(artifact.path) / 1e6:.2f}",
        number_text(parity.cosine_mean, "cosine"),
        number_text(parity.cosine_min, "cosine"),
        "–" if partitions is None else f"{partitions} part{'s' * (partitions != 1)}",
    ]


def _facts(result: Exported) -> dict[str, Any]:
    artifact, parity, target = result.artifact, result.parity, TARGETS[result.target]
    return {
        "target": result.target,
        "file": None if artifact is None else artifact.path.name,
        "format": target.format,
        "precision": target.precision if artifact is None else artifact.card.precision,
        "size_bytes": None if artifact is None else size_bytes(artifact.path),
        "cosine_mean": None if parity is None else parity.cosine_mean,
        "cosine_min": None if parity is None else parity.cosine_min,
        "largest_difference": None if parity is None else parity.largest_difference,
        "faces": None if parity is None else parity.faces,
        "xnnpack_partitions": _partitions(result),
        "notes": [note.kind for note in artifact.notes] if artifact else [],
        "made": artifact is not None,
    }


def _partitions(result: Exported) -> int | None:
    """Gives in how many parts XNNPACK runs the file, None where the export did not look."""
    notes = result.artifact.notes if result.artifact else ()
    return next((note.count for note in notes if note.kind in ("one-partition", "partitions")), None)


def comparison_result(found: Comparison, gate: bool, written: Path | None) -> CommandResult:
    """Gives the result of a comparison of two runs.

    Args:
        found: What changed.
        gate: Whether what is worse, or cannot be judged, is to give exit code 1.
        written: The Markdown file with all of it, None where none was asked for.
    """
    failures = found.failures if gate else []
    lines = [*_comparison_table(found), *found.sentences()]
    lines += ([] if written is None else [str(written)]) + (found.gate() if gate else [])
    facts = {
        "command": "compare",
        "before": found.before,
        "after": found.after,
        "files": [_compared(name, changes) for name, changes in found.files.items()],
        "only_before": list(found.missing),
        "only_after": list(found.added),
        "unverified": list(found.unverified),
        "gate": ("shut" if failures else "open") if gate else None,
    }
    return CommandResult(lines, facts, code=1 if failures else 0)


def _compared(name: str, changes: Sequence[Change]) -> dict[str, Any]:
    shown = ("before", "after", "verdict", "fails")
    return {
        "file": name,
        "changes": [{"metric": each.key, **{key: getattr(each, key) for key in shown}} for each in changes],
    }


def _comparison_table(found: Comparison) -> list[str]:
    """Gives what differs, a block for each file; nothing where nothing does."""
    rows: list[list[str]] = []
    for name, changes in found.files.items():
        differing = [each for each in changes if each.verdict not in ("equal", "not judged")]
        rows += [[name]] * bool(differing)
        rows += [[f"  {each.what}", each.before, each.after, each.short, each.verdict] for each in differing]
    titles = ("file", "before", "after", "change", "verdict")
    return [*text_table(titles, rows, terminal_width(), left=(0, 4)), ""] if rows else []


def sweep_result(report: Path, command: str = "sweep") -> CommandResult:
    """Gives the result of sweeps: their networks, and which file to ship.

    Args:
        report: The page; its facts lie beside it, as .json.
        command: That was given: "sweep" or "report".
    """
    facts = read_mapping(report.with_suffix(".json"))
    width = terminal_width()
    table = text_table(
        ("network", "parameters", "MACs", "accuracy %", "points"),
        [
            [
                each["network"],
                *(_number(each[key], "count") for key in ("parameters", "macs")),
                _number((each["verification_accuracy"] or {}).get("value"), "share").removesuffix(" %"),
                _number((each["accuracy_difference"] or {}).get("value"), "points").removesuffix(" points"),
            ]
            for each in facts["networks"]
        ],
        width,
    )
    said = [
        f"{each['for']} ({each['run']}): "
        + (f"ship {each['artifact']}" if each["artifact"] else "ship none: no file meets the limits for sure")
        for each in facts["ship"]
    ]
    lines = [*table, "", *(line for each in said for line in text_lines(each, width))]
    kept = {key: facts[key] for key in ("networks", "ship")}
    return CommandResult([*lines, f"report: {report}"], {"command": command, "report": str(report), **kept})


def _number(value: float | None, kind: str) -> str:
    return "–" if value is None else number_text(value, kind)
