"""The report of several sweeps and runs on one page, where their accuracies compare."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from .limits import DIFFERENCE, limits_for
from .summary import sets_of_pairs
from .sweep_data import NAME, read_swept, sources_of_run
from .sweep_page import write_sweep_report
from .swept import SweptPoint, SweptSource


def is_swept(folder: Path) -> bool:
    """Tells whether a folder is that of a sweep."""
    return (folder / NAME).is_file() or (folder / "sweep.html").is_file()


def write_folders_report(
    folders: Sequence[Path],
    out: Path,
    max_mb: float | None = None,
    max_ms: float | None = None,
    max_drop: float | None = None,
) -> tuple[Path, Path]:
    """Writes report.html, report.md and report.csv of several sweeps, and runs beside them, into `out`.

    Sources of one name that measure the same are one source, with the series of every folder in one chart.

    Args:
        folders: Of sweeps, and run folders.
        out: Folder of the report.
        max_mb: As in `write_report`, like the two below.
        max_ms: See above.
        max_drop: See above.

    Returns:
        The paths of report.html, which needs nothing but a browser, and of report.md.

    Raises:
        ValueError: A folder cannot be read, or they were verified on different pairs.
    """
    read = [(_name(folder, folders), *_read(folder, folders)) for folder in folders]
    pairs = {name: _pairs(sources) for name, sources, _ in read}
    first, *others = pairs
    for other in others:
        if pairs[other] != pairs[first]:
            raise ValueError(
                f"{first} and {other} were verified on different pairs ({_told(pairs[first])} and "
                f"{_told(pairs[other])}), so their accuracies do not compare; report each by itself"
            )
    joined: list[SweptSource] = []
    for name, sources, _ in read:
        for source in sources:
            _join(joined, _called(source, name) if len(read) > 1 else source)
    inputs = {_titled(key, name, read): text for name, _, facts in read for key, text in facts.items()}
    rows = (line.cells[DIFFERENCE] for source in joined for line in source.lines if DIFFERENCE in line.cells)
    page = write_sweep_report(joined, out, limits_for(rows, max_mb, max_ms, max_drop), (), inputs, "report")
    return page, page.with_suffix(".md")


def _read(folder: Path, folders: Sequence[Path]) -> tuple[list[SweptSource], dict[str, str]]:
    if (folder / NAME).is_file():
        return read_swept(folder)
    if is_swept(folder):
        raise ValueError(f"{folder} has sweep.html and no {NAME}; the sweep's command, given again, writes it")
    return sources_of_run(folder, folders), {}


def _name(folder: Path, folders: Sequence[Path]) -> str:
    name = folder.resolve().name
    return str(folder) if [other.resolve().name for other in folders].count(name) > 1 else name


def _pairs(sources: Sequence[SweptSource]) -> list[str]:
    return sorted(sets_of_pairs([line for source in sources for line in source.lines]))


def _told(pairs: Sequence[str]) -> str:
    return ", ".join(each[:8] for each in pairs) or "none"


def _titled(fact: str, folder: str, folders: Sequence[object]) -> str:
    return f"{folder}: {fact}" if len(folders) > 1 else fact


def _called(source: SweptSource, folder: str) -> SweptSource:
    """Gives a source whose series bear the name of their folder."""
    points = [dataclasses.replace(point, series=_series(point, folder)) for point in source.points]
    return dataclasses.replace(source, points=tuple(points))


def _series(point: SweptPoint, folder: str) -> str:
    return folder if point.series in ("", folder) else f"{folder}: {point.series}"


def _join(joined: list[SweptSource], source: SweptSource) -> None:
    """Adds a source, to the one of its name where that is the same network."""
    for number, other in enumerate(joined):
        if other.name == source.name and list(_figures(other)) == list(_figures(source)):
            joined[number] = dataclasses.replace(other, points=(*other.points, *source.points))
            return
    joined.append(source)


def _figures(source: SweptSource) -> Iterator[float | None]:
    network = source.point.network
    for key in ("parameters", "macs", "verification_accuracy", "eer"):
        yield None if network is None else network.value(key)
