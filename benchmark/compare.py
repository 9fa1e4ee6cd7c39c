"""Two runs side by side: what changed of each file, whether it is more than noise, and whether a gate shuts."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from ..files import written_whole
from .accuracy.record import NAME as RECORD
from .accuracy.record import read_record
from .changes import Change, Limits, Side, changes
from .measurement import NAME as ROWS
from .measurement import Measurement, read_measurements

__all__ = ["Comparison", "Limits", "compare", "write_comparison"]


class File(NamedTuple):
    """A file in a runtime, as both runs must call it to be compared."""

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
    """What changed from one run to another."""

    before: str
    after: str
    files: Mapping[str, Sequence[Change]]
    gone: Mapping[str, str]  # only in the run before, and why the other could not make it where it says so
    new: Sequence[str]
    surroundings: Sequence[str]  # "versions.torch: 2.12.0 -> 2.13.0"

    @property
    def failures(self) -> list[str]:
        """What shuts the gate, a sentence each."""
        worse = [(file, change) for file, of_file in self.files.items() for change in of_file if change.fails]
        return [
            *(f"{file}: {change.what}, {change.said}" for file, change in worse),
            *(f"{file}: not made any more: {reason}" for file, reason in self.gone.items() if reason),
        ]

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Gives the titles and the cells of a line per file; what is equal in all of them has no column."""
        every = [change for of_file in self.files.values() for change in of_file]
        telling = {change.what for change in every if change.verdict not in ("equal", "not judged")}
        titles = [what for what in dict.fromkeys(change.what for change in every) if what in telling]
        lines = []
        for file, of_file in self.files.items():
            told = {change.what: f"{change.short} {change.verdict}".strip() for change in of_file}
            lines.append([file, *(told.get(title, "") for title in titles)])
        return ["file", *titles], lines

    def sentences(self) -> list[str]:
        """Gives what is to be said besides the table."""
        count = Counter(change.verdict for of_file in self.files.values() for change in of_file)
        told = ", ".join(f"{number} {word}" for word, number in count.most_common())
        files = f"{len(self.files)} file{'s' if len(self.files) != 1 else ''}"
        said = [f"{files} compared, {self.before} with {self.after}: {told or 'nothing to compare'}"]
        silent = Counter(
            change.said for of_file in self.files.values() for change in of_file if change.verdict == "not judged"
        )
        said += [f"{number} not judged: {reason}" for reason, number in silent.items()]
        said += [
            f"{file}: {change.what} {change.before} -> {change.after}, {change.said}"
            for file, of_file in self.files.items()
            for change in of_file
            if change.verdict in ("better", "worse")
        ]
        said += [f"only in {self.before}: {', '.join(self.gone)}"] if self.gone else []
        said += [f"only in {self.after}: {', '.join(self.new)}"] if self.new else []
        return said + [f"changed: {line}" for line in self.surroundings]


def compare(before: Path, after: Path, limits: Limits) -> Comparison:
    """Gives what changed from the run in one folder to that in another.

    Args:
        before: A run folder, with measurements.json at least. What its verification.npz, manifest.json and
            recipe.toml say is compared where the other has them too.
        after: Likewise.
        limits: What counts as equal, and how much worse shuts the gate.

    Raises:
        ValueError: A folder has no measurements, damaged ones, or the two have no file in common.
    """
    rows = read_measurements(after / ROWS)
    old, new = _sides(read_measurements(before / ROWS), before), _sides(rows, after)
    not_made = {(row.model, row.format, row.precision): row.reason for row in rows if row.metric == "export"}
    matched = _matched(list(old), list(new))
    if not matched:
        raise ValueError(f"{before} and {after} have no file in common; a file is compared with its like")
    return Comparison(
        before=before.name or str(before),
        after=after.name or str(after),
        files={
            str(other) if file == other else f"{file.artifact} -> {other}": changes(old[file], new[other], limits)
            for file, other in matched.items()
        },
        gone={str(file): not_made.get(file[:3], "") for file in old if file not in matched},
        new=[str(file) for file in new if file not in matched.values()],
        surroundings=[*_versions(old, new), *_differing(_about(before), _about(after))],
    )


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Writes it as Markdown, whole or not at all."""
    lines = [f"# {_plain(comparison.before)} and {_plain(comparison.after)}", ""]
    lines += [f"- {_plain(line)}" for line in comparison.sentences()]
    lines += [f"- **shuts the gate**: {_plain(line)}" for line in comparison.failures]
    lines += ["", "| file | what | before | after | verdict | |", "| --- | --- | ---: | ---: | --- | --- |"]
    for file, of_file in comparison.files.items():
        for change in of_file:
            cells = (file, change.what, change.before, change.after, change.verdict, change.said)
            lines.append(f"| {' | '.join(_plain(cell) for cell in cells)} |")
    with written_whole(path) as beside:
        beside.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _plain(text: str) -> str:
    """What a foreign file calls something is no Markdown."""
    return "".join("\\" + letter if letter in "\\|<>*_`[]#" else letter for letter in " ".join(text.split()))


def _sides(rows: Iterable[Measurement], folder: Path) -> dict[File, Side]:
    found: dict[File, list[Measurement]] = {}
    for row in rows:
        if row.metric != "export":  # the reason why there is no file
            file = File(row.model, row.format, row.precision, row.runtime, PurePosixPath(row.artifact).name)
            found.setdefault(file, []).append(row)
    record = read_record(folder / RECORD) if (folder / RECORD).is_file() else None
    return {file: Side(of_file, record) for file, of_file in found.items()}


def _matched(old: Sequence[File], new: Sequence[File]) -> dict[File, File]:
    """Gives which file of one run is which of the other.

    Files of one name and model; then of one name but for the model's, as where another share was pruned; then of one
    kind, where each run has no other of it.
    """
    found = {file: file for file in old if file in new}
    for kind, whole in ((_named, False), (_of_model, True), (_of_kind, True)):
        left = [file for file in old if file not in found], [file for file in new if file not in found.values()]
        counts = [Counter(map(kind, files)) for files in ((old, new) if whole else left)]
        others = {kind(file): file for file in left[1]}
        for file in left[0]:
            if kind(file) in others and counts[0][kind(file)] == counts[1][kind(file)] == 1:
                found[file] = others[kind(file)]
    return found


def _named(file: File) -> tuple[str, ...]:
    return (*_of_kind(file), file.artifact.removeprefix(file.model))


def _of_model(file: File) -> tuple[str, ...]:
    return (file.model, *_of_kind(file))


def _of_kind(file: File) -> tuple[str, ...]:
    return (file.format, file.precision, file.runtime)


def _versions(old: Mapping[File, Side], new: Mapping[File, Side]) -> Iterator[str]:
    """Gives the runtimes of which the rows name other versions."""

    def named(sides: Mapping[File, Side]) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for file, side in sides.items():
            versions = (row.conditions.get("runtime_version") for row in side.rows)
            found.setdefault(file.runtime, set()).update(str(version) for version in versions if version)
        return found

    before, after = named(old), named(new)
    for runtime in before:
        if before[runtime] != after.get(runtime, before[runtime]):
            yield f"{runtime}: {', '.join(sorted(before[runtime]))} -> {', '.join(sorted(after[runtime]))}"


def _about(folder: Path) -> dict[str, str]:
    """Gives what a run was made of and with, by dotted names: inputs, versions and the recipe."""
    manifest = _read(folder / "manifest.json", json.loads)
    kept = {key: manifest[key] for key in ("inputs", "versions") if key in manifest}
    return dict(_flat({**kept, "recipe": _read(folder / "recipe.toml", tomllib.loads)}))


def _read(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = parse(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} cannot be read: it holds no table")
    return found


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, str(value)


def _differing(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return [f"{name}: {_short(old.get(name, 'none'))} -> {_short(new.get(name, 'none'))}" for name in names]


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:28] + " … " + text[-28:]
