"""How long one run takes, how long loading, and how much memory: each file timed in processes of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..accuracy.intervals import Estimate
from ..measurement import Measurement
from .stopwatch import Latency, measure_latency

__all__ = [
    "Job",
    "Latency",
    "cores",
    "device_name",
    "latency_in_fresh_process",
    "measure_all",
    "measure_latency",
    "measurements",
    "merged",
]

OPENER = "pocketface.export.session:open_session"
QUANTILES = {"latency_ms_p50": 0.5, "latency_ms_p90": 0.9, "latency_ms_p99": 0.99}
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Job:
    """A file to time, and how."""

    path: Path
    threads: int = 1
    shape: tuple[int, int, int, int] = (1, 3, 112, 112)  # N, C, H, W
    factory: str | None = None  # the code of a checkpoint that is not of the zoo
    opener: str = OPENER  # module:function(path, threads[, factory]) -> an object with run(inputs)

    def __str__(self) -> str:
        """The file and its threads, for people."""
        return f"{self.path.name} ({self.threads} thread{'s' if self.threads != 1 else ''})"

    @property
    def conditions(self) -> dict[str, Any]:
        """What a row says of it."""
        return {"threads": self.threads, "batch": self.shape[0], "cores": cores()}


def measure_all(
    jobs: Sequence[Job],
    rounds: int = 3,
    minimum_runs: int = 40,
    minimum_seconds: float = 0.5,
    timeout: float = 120,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Latency]:
    """Times every job once a round, in a fresh process each time, and merges the rounds.

    Going round and round, instead of finishing one job before the next, spreads a machine that warms up or
    gets busy over all jobs alike. A job that fails is not tried again; its latency is the reason.

    Args:
        jobs: Files with their threads.
        rounds: Processes per job.
        minimum_runs: Per process; three rounds of 40 carry a p99.
        minimum_seconds: Per process.
        timeout: Seconds that one process may take.
        progress: Told one line before each process.

    Returns:
        One latency per job, in the order of `jobs`.
    """
    taken: list[list[Latency]] = [[] for _ in jobs]
    for number in range(1, rounds + 1):
        for job, latencies in zip(jobs, taken, strict=True):
            if latencies and latencies[-1].reason:
                continue
            progress(f"latency, round {number} of {rounds}: {job}")
            try:
                latencies.append(latency_in_fresh_process(job, minimum_runs, minimum_seconds, timeout))
            except RuntimeError as error:
                latencies.append(Latency((), conditions=job.conditions, reason=str(error)))
    return [merged(latencies) for latencies in taken]


def merged(latencies: Sequence[Latency]) -> Latency:
    """Makes one latency of at least one round; a round that failed spoils the rest."""
    for latency in latencies:
        if latency.reason:
            return latency
    conditions = [latency.conditions for latency in latencies]
    peaks = [latency.peak_memory_bytes for latency in latencies if latency.peak_memory_bytes is not None]
    return Latency(
        rounds_ms=tuple(round_ms for latency in latencies for round_ms in latency.rounds_ms),
        first_ms=_median(latency.first_ms for latency in latencies),
        load_ms=_median(latency.load_ms for latency in latencies),
        peak_memory_bytes=max(peaks, default=None),
        conditions={
            **conditions[0],
            "load_average": max(of_round["load_average"] for of_round in conditions),
            "involuntary_switches": sum(of_round["involuntary_switches"] for of_round in conditions),
        },
    )


def latency_in_fresh_process(
    job: Job, minimum_runs: int = 30, minimum_seconds: float = 0.5, timeout: float = 120
) -> Latency:
    """Loads and times a file in a new Python process, which knows nothing of earlier files.

    Raises:
        RuntimeError: The process failed, crashed or took longer than `timeout` seconds.
    """
    request = {**dataclasses.asdict(job), "path": str(job.path.absolute())}
    request |= {"minimum_runs": minimum_runs, "minimum_seconds": minimum_seconds}
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(job.threads))}
    # -P: a numpy.py in the folder where somebody works is not ours
    command = [sys.executable, "-P", "-m", "pocketface.benchmark.speed.stopwatch", json.dumps(request)]
    try:
        process = subprocess.run(command, env=environment, capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{job} was not loaded and timed within {timeout:g} s") from None
    if process.returncode < 0:
        raise RuntimeError(f"{job} crashed its process with {signal.Signals(-process.returncode).name}")
    printed = process.stdout.decode(errors="replace").splitlines()
    reports = [json.loads(line) for line in printed if line.startswith("{")]  # runtimes print too
    if process.returncode or not reports:
        said = process.stderr.decode(errors="replace").strip().splitlines() or [f"exit {process.returncode}"]
        raise RuntimeError(f"{job} could not be timed: {said[-1]}")
    report = reports[-1]
    if "error" in report:
        raise RuntimeError(f"{job} could not be timed: {report['error']}")
    report["rounds_ms"] = tuple(tuple(round_ms) for round_ms in report["rounds_ms"])
    report["conditions"] = {**job.conditions, **report["conditions"]}
    return Latency(**report)


def measurements(latency: Latency, row: Callable[..., Measurement]) -> list[Measurement]:
    """Gives the rows of measurements.json; `row` makes one and knows model ... device already."""
    conditions = {
        **latency.conditions,
        "rounds": len(latency.rounds_ms),
        "p50_by_round_ms": [round(statistics.median(round_ms), 4) for round_ms in latency.rounds_ms],
        "interval": "order statistics, widened to the rounds",
    }

    def one(metric: str, estimate: Estimate, unit: str, n: int) -> Measurement:
        return row(
            metric=metric,
            value=estimate.value,
            unit=unit,
            low=estimate.low,
            high=estimate.high,
            n=n,
            valid=not estimate.reason,
            reason=estimate.reason,
            conditions=conditions if metric in QUANTILES else latency.conditions,
        )

    def of_rounds(value: float | None) -> Estimate:
        return Estimate(value, reason=latency.reason or ("this system does not tell" if value is None else ""))

    runs, rounds = len(latency.samples_ms), len(latency.rounds_ms)
    return [
        *(one(metric, latency.quantile(share), "ms", runs) for metric, share in QUANTILES.items()),
        one("load_ms", of_rounds(latency.load_ms), "ms", rounds),
        one("first_ms", of_rounds(latency.first_ms), "ms", rounds),
        one("peak_memory_bytes", of_rounds(latency.peak_memory_bytes), "bytes", rounds),
    ]


def device_name() -> str:
    """Names the CPU, how many of its cores are lent, and their kind: "AMD EPYC, 2 cores, x86_64"."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Hardware"))]
    name = named[0] if named else platform.processor() or platform.system()
    count = cores()
    return f"{name}, {count} core{'s' if count != 1 else ''}, {platform.machine()}"


def cores() -> int:
    """Gives how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
