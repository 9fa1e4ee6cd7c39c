"""Run folders, read: measurements, notes of the export, similarities, pruned layers, and the command."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...export.artifact import Note
from ..accuracy.record import NAME as RECORD
from ..accuracy.record import Record, read_record
from ..measurement import NAME as ROWS
from ..measurement import Measurement, read_measurements
from ..run_files import is_of_prune, read_mapping
from .mac_results import RESULT_FILES, read_mac_results
from .pruned_layers import GroupCurve, PrunedModel, group_curves_in, pruned_models_in

EXPORTED = "exported.json"  # what the export stage leaves beside its files


@dataclass(frozen=True)
class RunFolder:
    """A run folder, read."""

    name: str
    folder: Path
    rows: Sequence[Measurement]
    manifest: Mapping[str, Any]
    recipe: str
    pruned: Sequence[PrunedModel]
    curves: Sequence[GroupCurve]
    record: Record | None = None  # of every pair's similarity, where there is one
    notes: Mapping[str, Sequence[Note]] = field(default_factory=dict)  # of the export, by artifact


def read_run(folder: Path, folders: Sequence[Path]) -> RunFolder:
    """Reads a run folder; its name is the folder's, or its path where `folders` has two of that name.

    Raises:
        ValueError: It has neither measurements.json nor sensitivity.json, or a file that cannot be read.
    """
    path, curves = folder / ROWS, group_curves_in(folder)
    if not path.is_file() and not curves:
        raise ValueError(f"{folder} has no {ROWS}; `pocketface benchmark` writes one")
    name = folder.resolve().name
    if [other.resolve().name for other in folders].count(name) > 1:
        name = str(folder)
    recipe, record = folder / "recipe.toml", folder / RECORD
    rows = read_measurements(path) if path.is_file() else []
    rows = [row for row in rows if not is_of_prune(row)] or rows  # beside files, networks would be in their way
    return RunFolder(
        name,
        folder,
        [*rows, *_of_mac(folder, rows)],
        read_mapping(folder / "manifest.json"),
        recipe.read_text(encoding="utf-8") if recipe.is_file() else "",
        pruned_models_in(folder),
        curves,
        read_record(record) if record.is_file() else None,
        dict(_notes(folder)),
    )


def _of_mac(folder: Path, rows: Sequence[Measurement]) -> Iterator[Measurement]:
    """Gives the measurements that a Mac took of the run's files, under the names that the files have in the run."""
    names = {Path(row.artifact).name: row.artifact for row in rows}
    sources = {row.model: row.source for row in rows}
    for path in (folder / name for name in RESULT_FILES if (folder / name).is_file()):
        for row in read_mac_results(path):
            artifact, source = names.get(row.artifact, row.artifact), sources.get(row.model, row.source)
            yield dataclasses.replace(row, artifact=artifact, source=source)


def _notes(folder: Path) -> Iterator[tuple[str, list[Note]]]:
    """Gives the notes of the export on each file; records of another form have none."""
    for path in sorted((folder / "artifacts").glob(f"**/{EXPORTED}")):
        targets = read_mapping(path).get("targets")
        for target in targets.values() if isinstance(targets, dict) else ():
            if isinstance(target, dict) and target.get("file") and isinstance(target.get("notes"), list):
                artifact = path.parent / str(target["file"])
                yield artifact.relative_to(folder).as_posix(), [Note.from_plain(note) for note in target["notes"]]
