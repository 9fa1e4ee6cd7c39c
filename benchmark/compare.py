"""Two runs side by side: the changes of each file, whether they exceed the noise, and whether the gate is shut."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ..files import written_whole
from .accuracy.record import NAME as RECORD
from .accuracy.record import read_record
from .changes import ACCURACY, Change, GateLimits, Side, changes_between
from .markdown import escape_markdown
from .measurement import NAME as ROWS
from .measurement import Measurement, read_measurements
from .run_files import named_values, read_mapping

__all__ = ["Comparison", "GateLimits", "compare", "write_comparison"]


class ComparedFile(NamedTuple):
    """A file in a runtime, under the name by which two runs are compared."""

    model: str
    format: str
    precision: str
    runtime: str
    artifact: str  # its name, without the folder

    def __str__(self) -> str:
        """The file and its runtime, for people."""
        return f"{self.artifact or self.model} in {self.runtime}" if self.runtime else self.artifact or self.model


@dataclass(frozen=True)
class Comparison:
    """The changes from one run to another."""

    before: str
    after: str
    files: Mapping[str, Sequence[Change]]
    missing: Mapping[str, str]  # files only in the run before, and why the other could not make it if it says so
    added: Sequence[str]
    environment: Sequence[str]  # "versions.torch: 2.12.0 -> 2.13.0"
    allow_unjudged: bool = False  # whether the gate stays open where something could not be judged
    unverified: Sequence[str] = ()  # files whose accuracy neither run measured, in any runtime

    @property
    def failures(self) -> list[str]:
        """Why the gate is shut, a sentence each; empty where it is open."""
        worse = [(file, change) for file, of_file in self.files.items() for change in of_file if change.fails]
        return [
            *(f"{file}: {change.what}, {change.explanation}" for file, change in worse),
            *(f"{file}: not made any more: {reason}" for file, reason in self.missing.items() if reason),
            *(
                f"{file}: could not be judged: {self.after} has no such file"
                for file, reason in self.missing.items()
                if not reason and not self.allow_unjudged
            ),
            *(
                f"{file}: accuracy could not be judged: neither run verified this file"
                for file in self.unverified
                if not self.allow_unjudged
            ),
        ]

    @property
    def unjudged(self) -> bool:
        """Whether something that could not be judged shuts the gate."""
        every = [change for of_file in self.files.values() for change in of_file]
        missing = [*self.unverified, *(file for file, reason in self.missing.items() if not reason)]
        return any(change.fails and change.verdict == "not judged" for change in every) or (
            bool(missing) and not self.allow_unjudged
        )

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Gives titles, and the cells of a line per file; what is equal in all files or of all numbers is left out."""
        every = [change for of_file in self.files.values() for change in of_file]
        differing = {change.what for change in every if change.verdict not in ("equal", "not judged")}
        titles = [what for what in dict.fromkeys(change.what for change in every) if what in differing]
        lines = []
        for file, of_file in self.files.items():
            cells = {change.what: f"{change.short} {change.verdict}".strip() for change in of_file}
            if any(title in cells for title in titles):
                lines.append([file, *(cells.get(title, "") for title in titles)])
        return ["file", *titles], lines

    def gate(self) -> list[str]:
        """Gives what shuts the gate, and whether it is shut."""
        hint = "; --allow-unjudged opens it for what could not be judged" if self.unjudged else ""
        state = "shut" if self.failures else "open"
        return [*(f"gate: {failure}" for failure in self.failures), f"gate: {state}{hint}"]

    def sentences(self) -> list[str]:
        """Gives what the table does not show: counts, reasons, files of one run alone, other versions and recipes."""
        every = [(file, change) for file, of_file in self.files.items() for change in of_file]
        verdicts = Counter(change.verdict for _, change in every).most_common()
        counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts) or "nothing to compare"
        files = f"{len(self.files)} file{'s' if len(self.files) != 1 else ''}"
        not_judged = Counter(change.explanation for _, change in every if change.verdict == "not judged")
        return [
            f"{files} compared, {self.before} with {self.after}: {counts}",
            *(f"{count} not judged: {reason}" for reason, count in not_judged.items()),
            *(
                f"{file}: {change.what} {change.before} -> {change.after}, {change.explanation}"
                for file, change in every
                if change.verdict in ("better", "worse")
            ),
            *([f"verified in neither run: {', '.join(self.unverified)}"] if self.unverified else []),
            *([f"only in {self.before}: {', '.join(self.missing)}"] if self.missing else []),
            *([f"only in {self.after}: {', '.join(self.added)}"] if self.added else []),
            *(f"changed: {line}" for line in self.environment),
        ]


def compare(before: Path, after: Path, limits: GateLimits) -> Comparison:
    """Compares the run in one folder with that in another.

    Args:
        before: A run folder with measurements.json. Its verification.npz, manifest.json and recipe.toml are compared
            where the other has them too.
        after: Likewise.
        limits: What counts as equal, and how much worse a file must be to shut the gate.

    Raises:
        ValueError: A folder has no measurements, damaged ones, or the two have no file in common.
    """
    rows = read_measurements(after / ROWS)
    old, new = _sides(read_measurements(before / ROWS), before), _sides(rows, after)
    not_made = {(row.model, row.format, row.precision): row.reason for row in rows if row.metric == "export"}
    matches = _matches(list(old), list(new))
    if not matches:
        raise ValueError(f"{before} and {after} have no file in common")
    return Comparison(
        before=before.name or str(before),
        after=after.name or str(after),
        files={
            str(other) if file == other else f"{file.artifact} -> {other}": changes_between(
                old[file], new[other], limits
            )
            for file, other in matches.items()
        },
        missing={str(file): not_made.get(file[:3], "") for file in old if file not in matches},
        added=[str(file) for file in new if file not in matches.values()],
        environment=[*_versions(old, new), *_differing(_about(before), _about(after))],
        allow_unjudged=limits.allow_unjudged,
        unverified=_unverified(matches, old, new),
    )


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Writes the comparison as Markdown, whole or not at all."""
    lines = [f"# {escape_markdown(comparison.before)} and {escape_markdown(comparison.after)}", ""]
    lines += [f"- {escape_markdown(line)}" for line in comparison.sentences()]
    lines += [f"- **shuts the gate**: {escape_markdown(line)}" for line in comparison.failures]
    lines += ["", "| file | what | before | after | verdict | |", "| --- | --- | ---: | ---: | --- | --- |"]
    for file, of_file in comparison.files.items():
        for change in of_file:
            cells = (file, change.what, change.before, change.after, change.verdict, change.explanation)
            lines.append(f"| {' | '.join(escape_markdown(cell) for cell in cells)} |")
    with written_whole(path) as beside:
        beside.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _sides(rows: Iterable[Measurement], folder: Path) -> dict[ComparedFile, Side]:
    by_file: dict[ComparedFile, list[Measurement]] = {}
    for row in rows:
        if row.metric != "export":  # the reason why there is no file
            file = ComparedFile(row.model, row.format, row.precision, row.runtime, PurePosixPath(row.artifact).name)
            by_file.setdefault(file, []).append(row)
    record = read_record(folder / RECORD) if (folder / RECORD).is_file() else None
    return {file: Side(of_file, record) for file, of_file in by_file.items()}


def _matches(old: Sequence[ComparedFile], new: Sequence[ComparedFile]) -> dict[ComparedFile, ComparedFile]:
    """Gives for files of one run the same file in the other.

    First files of the same name and model; then of the same name but for the model's, as where another share was
    pruned; then of the same kind, where neither run has another of that kind.
    """
    same = {file: file for file in old if file in new}
    for kind, among_all in ((_name_without_model, False), (_of_model, True), (_of_kind, True)):
        rest = [file for file in old if file not in same], [file for file in new if file not in same.values()]
        counts = [Counter(map(kind, files)) for files in ((old, new) if among_all else rest)]
        by_kind = {kind(file): file for file in rest[1]}
        for file in rest[0]:
            if kind(file) in by_kind and counts[0][kind(file)] == counts[1][kind(file)] == 1:
                same[file] = by_kind[kind(file)]
    return same


def _unverified(
    matches: Mapping[ComparedFile, ComparedFile],
    old: Mapping[ComparedFile, Side],
    new: Mapping[ComparedFile, Side],
) -> list[str]:
    """Names the files that have an accuracy in neither run: in one of their runtimes they should."""
    verified: dict[str, bool] = {}
    for file, other in matches.items():
        name = other.artifact or other.model
        has_row = any(side.row(ACCURACY) is not None for side in (old[file], new[other]))
        verified[name] = verified.get(name, False) or has_row
    return [name for name, is_verified in verified.items() if not is_verified]


def _name_without_model(file: ComparedFile) -> tuple[str, ...]:
    return (*_of_kind(file), file.artifact.removeprefix(file.model))


def _of_model(file: ComparedFile) -> tuple[str, ...]:
    return (file.model, *_of_kind(file))


def _of_kind(file: ComparedFile) -> tuple[str, ...]:
    return (file.format, file.precision, file.runtime)


def _versions(old: Mapping[ComparedFile, Side], new: Mapping[ComparedFile, Side]) -> Iterator[str]:
    """Gives a line for each runtime whose version changed."""

    def versions_of(sides: Mapping[ComparedFile, Side]) -> dict[str, set[str]]:
        by_runtime: dict[str, set[str]] = {}
        for file, side in sides.items():
            versions = (row.conditions.get("runtime_version") for row in side.rows)
            by_runtime.setdefault(file.runtime, set()).update(str(version) for version in versions if version)
        return by_runtime

    before, after = versions_of(old), versions_of(new)
    for runtime in before:
        if before[runtime] != after.get(runtime, before[runtime]):
            yield f"{runtime}: {', '.join(sorted(before[runtime]))} -> {', '.join(sorted(after[runtime]))}"


def _about(folder: Path) -> dict[str, str]:
    """Gives the inputs, versions and recipe of a run by dotted names."""
    manifest, recipe = read_mapping(folder / "manifest.json"), read_mapping(folder / "recipe.toml", tomllib.loads)
    facts = {key: manifest[key] for key in ("inputs", "versions") if key in manifest}
    return dict(named_values({**facts, "recipe": recipe}, "."))


def _differing(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return [f"{name}: {_short(old.get(name, 'none'))} -> {_short(new.get(name, 'none'))}" for name in names]


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:28] + " … " + text[-28:]
