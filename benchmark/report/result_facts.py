"""The result of measured files for programs: what the table in the terminal shows, as numbers and kinds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from ..figures import interval
from ..measurement import Measurement, is_of_rendered_faces
from .drift import COSINE, OVERLAP
from .limits import DIFFERENCE, SIZE, JudgedFile, ShippingLimits, limits_for
from .recommendation import Recommendation, recommend
from .speed_evidence import COUNTED_CORES
from .summary import ACCURACY, summarise

COUNTS = {core: f"arm64_instructions@{core}" for core in COUNTED_CORES}


def result_facts(
    runs: Iterable[tuple[str, Sequence[Measurement]]], limits: ShippingLimits | None = None
) -> dict[str, Any]:
    """Gives "files", one object each, and "ship", one object for each use of each run.

    Args:
        runs: The name and the rows of each.
        limits: What the app allows; None: those of the rows' own verdicts.
    """
    advised = [(name, recommend(summarise(rows), limits or limits_for(rows))) for name, rows in runs]
    return {
        "files": [fact for name, advice in advised for fact in _files(name, advice)],
        "ship": [fact for name, advice in advised for fact in choice_facts(name, advice)],
    }


def number_facts(row: Measurement | None) -> dict[str, Any] | None:
    """Gives a number with its interval, and whether it counts; None where there is no such row."""
    if row is None:
        return None
    low, high = interval(row)
    return {"value": row.value, "low": low, "high": high, "n": row.n, "valid": row.valid}


def _files(run: str, advice: Recommendation) -> Iterator[dict[str, Any]]:
    for _, choice in advice.choices:
        yield from (_file(run, file, file in advice.best) for file in choice.files)


def _file(run: str, file: JudgedFile, ships: bool) -> dict[str, Any]:
    line, latency, accuracy = file.line, number_facts(file.latency), number_facts(file.line.cells.get(ACCURACY))
    if latency is not None and file.latency is not None:
        latency |= {"runtime": file.latency.runtime, "device": file.latency.device}
    if accuracy is not None:
        accuracy["rendered"] = is_of_rendered_faces(line.cells[ACCURACY])
    return {
        "run": run,
        "file": line.name,
        "artifact": line.artifact,
        "model": line.model,
        "format": line.format,
        "precision": line.precision,
        "size_bytes": line.value(SIZE),
        "latency_ms": latency,
        "arm64_instructions": {core: line.value(key) for core, key in COUNTS.items() if line.value(key) is not None},
        "accuracy": accuracy,
        "accuracy_difference": number_facts(line.cells.get(DIFFERENCE)),
        "cosine_mean": line.value(COSINE),
        "nearest_kept": line.value(OVERLAP),
        "verdict": file.accuracy,
        "misses": [miss.limit for miss in file.misses],
        "ship": ships,
    }


def choice_facts(run: str, advice: Recommendation) -> Iterator[dict[str, Any]]:
    """Gives for each use of a run the file that is recommended, by what, and under which limits."""
    for use, choice in advice.choices:
        yield {
            "run": run,
            "for": use,
            "artifact": choice.best.line.artifact if choice.best else None,
            "nearest": choice.nearest.line.artifact if choice.nearest else None,
            "speed_evidence": choice.evidence.kind if choice.evidence else None,
            "limits": asdict(advice.limits),
        }
