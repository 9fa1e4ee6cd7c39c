"""A model card per file, from its own metadata, its certificate and the measurements alone.

Source of the headings: Mitchell et al., Model Cards for Model Reporting, FAT* 2019.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ...export.artifact import Card
from ...export.formats import format_of
from ...files import sha256_of
from ..figures import row_text, setting_and_interval
from ..measurement import NOT_PEOPLE, Measurement, is_of_rendered_faces
from ..metric_keys import phrase_of, title_of
from ..metrics import DISTURBED, SLICES, STORED, TEMPLATES, metric_of
from .columns import columns_of
from .hub_metadata import hub_metadata
from .run_folders import RunFolder
from .summary import Line, part_of

NOT_MEASURED = "not measured"
ALWAYS = (  # a card says so where these were not measured
    *("size_bytes", "latency_ms_p50@1", "verification_accuracy", "accuracy_difference"),
    *("tar_at_far_1e-3", "threshold_at_far_1e-3"),
)

Fact = tuple[str, str, str]
"""A title, the number with its interval, and where or on how many it was measured."""


def cards_of(runs: Sequence[RunFolder], by_run: Sequence[Sequence[Line]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Gives the name below `cards/` and the template's values, for each file that was made.

    Args:
        runs: Run folders, read.
        by_run: The lines of each.
    """
    names: set[str] = set()
    for run, lines in zip(runs, by_run, strict=True):
        for artifact in dict.fromkeys(line.artifact for line in lines if line.artifact):
            of_file = [line for line in lines if line.artifact == artifact]
            name = PurePosixPath(artifact).name
            if name in names:  # in another run, or another folder
                name = f"{run.folder.resolve().name}-{artifact.replace('/', '-')}"
            names.add(name)
            yield f"{name}.md", _facts(run, artifact, of_file)


def _facts(run: RunFolder, artifact: str, lines: Sequence[Line]) -> dict[str, Any]:
    path = run.folder / artifact
    card, unread = _card(path)
    line = next((line for line in lines if "verification_accuracy" in line.cells), lines[0])
    parts = [row for row in run.rows if row.artifact == artifact and part_of(row) and row.valid]
    inputs = run.manifest.get("inputs", {}) if isinstance(run.manifest.get("inputs", {}), dict) else {}
    pairs = inputs.get("pairs")
    return {
        "hub": hub_metadata(lines, card, str(pairs.get("name", "")) if isinstance(pairs, dict) else ""),
        "line": line,
        "card": card,
        "unread": unread,
        "sentences": card.sentences() if card else {},
        "sha256": sha256_of(path) if path.exists() else "",
        "measured": list(_measured(lines)),
        "slices": [_part(row) for row in parts if metric_of(row.metric).family == SLICES],
        "others": [_part(row) for row in parts if metric_of(row.metric).family in (DISTURBED, TEMPLATES, STORED)],
        "notes": list(run.notes.get(artifact, ())),
        "invalid": list(dict.fromkeys(row.reason for at in lines for row in at.cells.values() if not row.valid)),
        "inputs": inputs,
        "command": _command(run.manifest.get("command")),
        "run": run,
    }


def _command(recorded: Any) -> str:
    """Gives the command of a run as text, "" where the manifest's is of another kind than it writes."""
    if isinstance(recorded, list):
        return " ".join(map(str, recorded))
    return recorded if isinstance(recorded, str) else ""


def _card(path: Path) -> tuple[Card | None, str]:
    """Reads the file's own card; none, and why, where there is none to read."""
    if not path.exists():
        return None, "the file is no longer in the run folder"
    try:
        # an ExecuTorch program holds its card as code, which a report does not run
        file_format = format_of(path)
        card = file_format.read_card(path) if file_format.write_card else None
    except (ValueError, ImportError, OSError) as error:
        return None, " ".join(str(error).split())
    return card, "" if card else "its format carries no card that can be read without running it"


def _measured(lines: Sequence[Line]) -> Iterator[Fact]:
    for key in ALWAYS:
        if all(line.value(key) is None for line in lines):
            reason = next((line.cells[key].reason for line in lines if key in line.cells), "")
            yield title_of(key), NOT_MEASURED, reason
    for line in lines:
        for column in columns_of(line.cells.items()):
            row = line.cells[column.key]
            if row.valid and column.kind != "times":
                rendered = NOT_PEOPLE if is_of_rendered_faces(row) else ""
                where = ", ".join(filter(None, (row.runtime or line.runtime, row.device, rendered)))
                is_setting = column.kind == "plain"
                text = " ".join(setting_and_interval(row)).strip() if is_setting else row_text(row, column.kind)
                yield column.title, text, where + (f", n = {row.n}" if row.n else "")


def _part(row: Measurement) -> Fact:
    family = metric_of(row.metric).family
    part = part_of(row) if family == SLICES else f"{family}, {part_of(row)}"
    return f"{part}, {phrase_of(row.metric)}", row_text(row), f"n = {row.n}" if row.n else ""
