"""Latency, loading time and peak memory of files, each timed in fresh processes."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ...export.formats import FORMATS, OPENER
from ...steps import ProgressStep
from ..accuracy.intervals import Estimate
from ..machine import lent_cores
from ..measurement import Measurement, RowMaker
from ..processes import ask
from .noise import Noise
from .stopwatch import Latency

QUANTILES = {"latency_ms_p50": 0.5, "latency_ms_p90": 0.9, "latency_ms_p99": 0.99}
PER_FACE = "latency_per_face_ms_p50"  # of a file that takes several faces in a call
TRIES = 2  # of a process that was disturbed: what lasts longer than both will not be waited for
TIMEOUT = 300.0  # seconds that one process may take


@dataclass(frozen=True)
class TimingJob:
    """A file to time, and how."""

    path: Path
    threads: int = 1
    shape: tuple[int, int, int, int] = (1, 3, 112, 112)  # N, C, H, W
    factory: str | None = None  # the code of a checkpoint that is not of the zoo
    opener: str = OPENER  # module:function(path, threads[, factory][, output]) -> an object with run(inputs)
    output: str = ""  # the name of the embedding, where the file has several outputs
    batch: int = 1  # faces that the file takes in a call, whatever the number of `shape`

    def __str__(self) -> str:
        """The file and its threads, for people; and what opens it, if that is not the usual runtime."""
        usual = self.opener in (OPENER, *(each.opener for each in FORMATS.values()))
        other = "" if usual else f" in {self.opener.partition(':')[2]}"
        return f"{self.path.name}{other} ({self.threads} thread{'s' if self.threads != 1 else ''})"

    @property
    def request(self) -> dict[str, Any]:
        """What a process of its own must know to open the file and to feed it."""
        path = str(self.path.absolute())
        return {"path": path, "shape": self.shape, "factory": self.factory, "output": self.output}

    @property
    def conditions(self) -> dict[str, Any]:
        """What a row says of it."""
        return {"threads": self.threads, "batch": max(self.shape[0], self.batch), "cores": lent_cores()}


def measure_all(
    jobs: Sequence[TimingJob],
    rounds: int = 3,
    minimum_runs: int = 40,
    minimum_seconds: float = 0.5,
    timeout: float = TIMEOUT,
    progress: Callable[[str], None] = lambda line: None,
    warm_up_seconds: float = 0.0,
) -> list[Latency]:
    """Times every job once a round, in a fresh process each time, and merges the rounds.

    The jobs take turns, so that a machine that warms up or gets busy affects all alike. A process that was disturbed
    is repeated once at once; if both were, the less disturbed one stays, marked. A job that fails is not repeated; its
    latency is the reason.

    Args:
        jobs: Files with their threads.
        rounds: Processes per job.
        minimum_runs: Per process; three rounds of 40 carry a p99.
        minimum_seconds: Per process.
        timeout: Seconds that one process may take.
        progress: Gets one line before each process.
        warm_up_seconds: Per process, five runs at least.

    Returns:
        One latency per job, in the order of `jobs`.
    """
    taken: list[list[Latency]] = [[] for _ in jobs]
    best: float | None = None  # the reference kernel, over all processes
    for number in range(1, rounds + 1):
        for place, (job, latencies) in enumerate(zip(jobs, taken, strict=True), len(jobs) * (number - 1)):
            if latencies and latencies[-1].reason:
                continue
            line = f"latency, round {number} of {rounds}: {job}"
            progress(ProgressStep(line, "timing", place, rounds * len(jobs)))
            tries: list[Latency] = []
            try:
                while len(tries) < TRIES and (not tries or _disturbance(tries[-1], best)):
                    if tries:
                        progress(f"{line}, again: {_disturbance(tries[-1], best)}")
                    tries.append(latency_in_fresh_process(job, minimum_runs, minimum_seconds, timeout, warm_up_seconds))
                    best = min((time for latency in tries for time in _references(latency, best)), default=None)
                latencies.append(min(tries, key=lambda latency: _taken(latency, best)))
            except RuntimeError as error:
                latencies.append(Latency((), conditions=job.conditions, reason=str(error)))
    return [merged_rounds(latencies, best) for latencies in taken]


def merged_rounds(latencies: Sequence[Latency], best_reference_ms: float | None = None) -> Latency:
    """Makes one latency of at least one round; if a round failed, that round's is given.

    Each round is judged again by the best time of the reference kernel in all of them.
    """
    for latency in latencies:
        if latency.reason:
            return latency
    noise = tuple(of_round for latency in latencies for of_round in latency.noise)
    disturbances = tuple(of_round.disturbance(best_reference_ms) for of_round in noise)
    clean = [latency for latency, why in zip_longest(latencies, disturbances) if not why] or latencies
    conditions = [latency.conditions for latency in latencies]
    peaks = [latency.peak_memory_bytes for latency in latencies if latency.peak_memory_bytes is not None]
    return Latency(
        rounds_ms=tuple(round_ms for latency in latencies for round_ms in latency.rounds_ms),
        first_ms=_median(latency.first_ms for latency in clean),
        load_ms=_median(latency.load_ms for latency in clean),
        peak_memory_bytes=max(peaks, default=None),
        arena_bytes=latencies[0].arena_bytes,
        conditions={
            **conditions[0],
            "load_average": max(of_round["load_average"] for of_round in conditions),
            "involuntary_switches": sum(of_round["involuntary_switches"] for of_round in conditions),
        },
        noise=noise,
        disturbances=disturbances,
        cpu_ms=tuple(cpu_ms for latency in latencies for cpu_ms in latency.cpu_ms),
    )


def latency_in_fresh_process(
    job: TimingJob,
    minimum_runs: int = 30,
    minimum_seconds: float = 0.5,
    timeout: float = TIMEOUT,
    warm_up_seconds: float = 0.0,
) -> Latency:
    """Loads and times a file in a new Python process, free of effects of earlier files.

    The process is pinned to as many cores as the job has threads, where the system allows it.

    Raises:
        RuntimeError: The process failed, crashed or took longer than `timeout` seconds.
    """
    request = {
        **job.request,
        "minimum_runs": minimum_runs,
        "minimum_seconds": minimum_seconds,
        "warm_up_seconds": warm_up_seconds,
        "opener": job.opener,
        "threads": job.threads,
    }
    report = ask("pocketface.benchmark.speed.stopwatch", request, str(job), "timed", job.threads, timeout)
    report["rounds_ms"] = tuple(tuple(round_ms) for round_ms in report["rounds_ms"])
    report["cpu_ms"] = tuple(report["cpu_ms"])
    report["conditions"] = {**job.conditions, **report["conditions"]}
    rounds: list[dict[str, Any]] = [
        {name: tuple(value) if isinstance(value, list) else value for name, value in of_round.items()}
        for of_round in report["noise"]
    ]
    report["noise"] = tuple(Noise(**of_round) for of_round in rounds)
    return Latency(**report)


def latency_rows(latency: Latency, row: RowMaker) -> list[Measurement]:
    """Gives the rows of a file's latency; disturbed times stay in their rows, which are not valid.

    What a run costs in CPU time does not count the time that others had the core, so that its row stays valid.
    """
    common = {**latency.conditions, **_noise_conditions(latency)}
    of_quantiles = {
        **common,
        "rounds": len(latency.kept_ms),
        "p50_by_round_ms": [round(statistics.median(round_ms), 4) for round_ms in latency.rounds_ms],
        "interval": "order statistics, widened to the rounds",
    }

    def disturbed(estimate: Estimate) -> Estimate:
        return dataclasses.replace(estimate, reason=estimate.reason or latency.disturbed)

    def of_rounds(value: float | None) -> Estimate:
        return Estimate(value, reason=latency.reason or ("this system does not tell" if value is None else ""))

    runs, rounds = len(latency.samples_ms), len(latency.kept_ms)
    batch = int(latency.conditions.get("batch", 1))
    of_face = {PER_FACE: disturbed(_divided(latency.quantile(0.5), batch))} if batch > 1 else {}
    estimates = {metric: disturbed(latency.quantile(share)) for metric, share in QUANTILES.items()}
    rows = [
        *(row.estimate(metric, found, runs, **of_quantiles) for metric, found in (estimates | of_face).items()),
        row.estimate("load_ms", disturbed(of_rounds(latency.load_ms)), rounds, **common),
        row.estimate("first_ms", disturbed(of_rounds(latency.first_ms)), rounds, **common),
        row.estimate("peak_memory_bytes", of_rounds(latency.peak_memory_bytes), rounds, **common),
    ]
    if latency.cpu_ms:
        ends = (min(latency.cpu_ms), max(latency.cpu_ms)) if len(latency.cpu_ms) > 1 else (None, None)
        cpu = Estimate(statistics.median(latency.cpu_ms), *ends)
        rows.append(row.estimate("cpu_ms", cpu, runs, **common, interval="the least and the most of the rounds"))
    if latency.arena_bytes is not None:
        rows.append(row.value("arena_bytes", latency.arena_bytes, rounds, **common))
    return rows


def _divided(call: Estimate, batch: int) -> Estimate:
    """Gives the share of a call's time that each of `batch` faces takes."""
    value, low, high = (None if time is None else time / batch for time in (call.value, call.low, call.high))
    return dataclasses.replace(call, value=value, low=low, high=high)


def _noise_conditions(latency: Latency) -> dict[str, Any]:
    if not latency.noise:
        return {}
    clocks = [told for noise in latency.noise for told in noise.mhz or ()]
    return {
        "taken_share": round(max(noise.taken_share for noise in latency.noise), 4),
        "reference_ms": [[round(time, 4) for time in noise.reference_ms] for noise in latency.noise],
        "mhz": [min(clocks), max(clocks)] if clocks else None,
        "disturbed_rounds": len(latency.rounds_ms) - len(latency.clean),
    }


def _disturbance(latency: Latency, best_reference_ms: float | None) -> str:
    return next(filter(None, (noise.disturbance(best_reference_ms) for noise in latency.noise)), "")


def _references(latency: Latency, best: float | None) -> list[float]:
    times = [time for noise in latency.noise for time in noise.reference_ms]
    return times if best is None else [*times, best]


def _taken(latency: Latency, best_reference_ms: float | None) -> tuple[bool, float]:
    shares = (noise.taken_share for noise in latency.noise)
    return bool(_disturbance(latency, best_reference_ms)), max(shares, default=0.0)


def _median(values: Iterable[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return statistics.median(numbers) if numbers else None
