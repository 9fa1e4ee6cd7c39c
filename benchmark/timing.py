"""Times every file in every runtime that the recipe names; latencies that an earlier try measured are kept."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..export.formats import FORMATS, uncertified_sha256
from ..files import Memo
from .machine import device_name
from .measurement import Measurement, RowMaker, checked_measurement
from .recipe import BenchmarkRecipe
from .runtimes import Runtime, runtimes_for
from .speed.latency import QUANTILES, TimingJob, latency_rows, measure_all
from .speed.operator_profile import operator_rows
from .speed.ratio import ratio_row
from .subjects import Candidate, name_in, row_maker

STRICT_RUNS, STRICT_SECONDS = 1024, 60
"""What MLPerf Mobile asks of the single-stream scenario, which reports the 90th percentile.

Source: MLCommons, Inference: Mobile v3.0, table of scenarios (mlcommons.org/en/inference-mobile-30).
"""
DECIDES = {"threads", "minimum_runs", "minimum_seconds", "rounds", "warm_up_seconds", "runtimes", "strict", "operators"}
"""The fields of a recipe that decide how files are timed: others may change without timing anew."""


@dataclass(frozen=True, eq=False)
class Timing:
    """One file in one runtime with so many threads."""

    candidate: Candidate
    runtime: Runtime
    threads: int

    @property
    def job(self) -> TimingJob:
        """What to do in a process of its own."""
        artifact = self.candidate.artifact
        contract = artifact.card.contract
        shape = (1, contract.channels, contract.height, contract.width)
        how = self.candidate.factory, self.runtime.opener, artifact.output, artifact.batch or 1
        return TimingJob(artifact.path, self.threads, shape, *how)

    def row(self, folder: Path) -> RowMaker:
        """Gives what makes rows about it."""
        return row_maker(self.candidate.artifact, folder, self.runtime.name)


def latencies(
    candidates: Sequence[Candidate], recipe: BenchmarkRecipe, folder: Path, progress: Callable[[str], None]
) -> list[Measurement]:
    """Times every file in every runtime that the recipe names, in turns, and compares each with its reference.

    Files that cannot be timed here, or whose runtime is not installed, get a row that says so.
    """
    requested = [
        Timing(candidate, runtime, threads)
        for candidate in candidates
        for runtime in runtimes_for(candidate.artifact.format, recipe.runtimes)
        for threads in recipe.threads
    ]
    hindered = {
        timing: FORMATS[timing.candidate.artifact.format].why_no_latency or timing.runtime.missing
        for timing in requested
    }
    timings = [timing for timing in requested if not hindered[timing]]
    memo = Memo(folder / "latency.json", _key(timings, recipe))
    rows = memo.read(lambda results: [checked_measurement(row, "rows") for row in results["rows"]], progress)
    if rows is None:
        rows = _timed(timings, recipe, folder, progress)
        if not any(row.metric == "latency_ms_p50" and row.value is None for row in rows):
            # a process that was killed says nothing of its file: the next try measures again
            memo.write(rows=[dataclasses.asdict(row) for row in rows])
    return rows + [
        timing.row(folder).missing("latency_ms_p50", reason, threads=timing.threads)
        for timing, reason in hindered.items()
        if reason
    ]


def latency_reference(timing: Timing, timings: Sequence[Timing]) -> Timing:
    """Gives what a file is compared with: unpruned fp32 in its runtime with as many threads, else the first there."""
    peers = [other for other in timings if (other.runtime, other.threads) == (timing.runtime, timing.threads)]
    source = timings[0].candidate.artifact.card.model
    whole = [peer for peer in peers if peer.candidate.artifact.card.model == source and _precision(peer) == "fp32"]
    return (whole or peers)[0]


def _timed(
    timings: Sequence[Timing], recipe: BenchmarkRecipe, folder: Path, progress: Callable[[str], None]
) -> list[Measurement]:
    runs, seconds = recipe.minimum_runs, recipe.minimum_seconds
    if recipe.strict:  # all rounds together make one row
        runs, seconds = max(runs, math.ceil(STRICT_RUNS / recipe.rounds)), max(seconds, STRICT_SECONDS / recipe.rounds)
    results = measure_all(
        [timing.job for timing in timings],
        recipe.rounds,
        runs,
        seconds,
        progress=progress,
        timeout=300 + 20 * seconds,
        warm_up_seconds=recipe.warm_up_seconds,
    )
    by_timing = dict(zip(timings, results, strict=True))
    rows: list[Measurement] = []
    for timing, latency in by_timing.items():
        row, reference = timing.row(folder), latency_reference(timing, timings)
        rows += [_held_to_rule(found) if recipe.strict else found for found in latency_rows(latency, row)]
        if reference is not timing:
            against = name_in(reference.candidate.artifact.path, folder)
            rows.append(ratio_row(by_timing[reference], latency, against, row))
        if recipe.operators and timing.threads == recipe.threads[0] and not latency.reason:
            progress(f"operators: {timing.job}")
            rows += operator_rows(timing.job, timing.runtime.name, row)
    return rows


def _held_to_rule(row: Measurement) -> Measurement:
    """Marks a quantile of too few undisturbed runs as not valid, and names the rule in every quantile's row."""
    if row.metric not in QUANTILES:
        return row
    row = dataclasses.replace(row, conditions={**row.conditions, "rule": f"{STRICT_RUNS} runs and {STRICT_SECONDS} s"})
    if not row.valid or (row.n or 0) >= STRICT_RUNS:
        return row
    return dataclasses.replace(
        row, valid=False, reason=f"strict needs {STRICT_RUNS} undisturbed runs; there are {row.n}"
    )


def _precision(timing: Timing) -> str:
    return timing.candidate.artifact.card.precision


def _key(timings: Sequence[Timing], recipe: BenchmarkRecipe) -> str:
    """The same for the same files, versions, machine and settings."""
    decides = recipe.model_dump_json(include=DECIDES) + device_name()
    files = [uncertified_sha256(timing.job.path) + repr(timing.job) + timing.runtime.version for timing in timings]
    return hashlib.sha256((decides + "".join(files)).encode()).hexdigest()
