"""Times every file that has a runtime here, and keeps what an earlier try has taken."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from ..export.cards import fingerprint
from ..models.files import written_whole
from .entries import Entry, row_maker
from .measurement import Measurement
from .recipe import BenchmarkRecipe
from .speed.latency import Job, device_name, measure_all
from .speed.latency import measurements as latency_rows

NO_MAC = (
    "latency is not measured off a Mac: the evaluator that checks the numbers is no phone runtime; "
    "on a Mac run mac/measure.py of the hand-off, or open the file in Xcode (Performance tab)"
)


def latencies(
    entries: Sequence[Entry], recipe: BenchmarkRecipe, folder: Path, progress: Callable[[str], None]
) -> list[Measurement]:
    """Times every file that has a runtime here, all in turns; Core ML files get a row that says how to time them."""
    timed = [entry for entry in entries if entry.artifact.format != "coreml"]
    jobs = [(entry, _job(entry, threads)) for entry in timed for threads in recipe.threads]
    hashes = [fingerprint(job.path) + repr(job) for _, job in jobs]
    key = hashlib.sha256((recipe.model_dump_json() + device_name() + "".join(hashes)).encode()).hexdigest()
    path = folder / "latency.json"
    rows = _kept_rows(path, key)
    if rows is None:
        taken = measure_all(
            [job for _, job in jobs],
            recipe.rounds,
            recipe.minimum_runs,
            recipe.minimum_seconds,
            progress=progress,
        )
        rows = [
            row
            for (entry, _), latency in zip(jobs, taken, strict=True)
            for row in latency_rows(latency, row_maker(entry.artifact, folder))
        ]
        with written_whole(path) as beside:
            text = {"key": key, "rows": [dataclasses.asdict(row) for row in rows]}
            beside.write_text(json.dumps(text, indent=1), encoding="utf-8")
    absent = [row_maker(entry.artifact, folder) for entry in entries if entry.artifact.format == "coreml"]
    return rows + [
        row(
            metric="latency_ms_p50",
            value=None,
            unit="ms",
            valid=False,
            reason=NO_MAC,
            conditions={"threads": threads},
        )
        for row in absent
        for threads in recipe.threads
    ]


def _job(entry: Entry, threads: int) -> Job:
    contract = entry.artifact.card.contract
    return Job(entry.artifact.path, threads, (1, 3, contract.height, contract.width), entry.factory)


def _kept_rows(path: Path, key: str) -> list[Measurement] | None:
    """Gives the latencies that an earlier try took of the very same files."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return [Measurement(**row) for row in kept["rows"]] if kept["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # there is none, or none that can be trusted: take them again
