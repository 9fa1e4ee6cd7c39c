"""Times a callable; run as a module, it loads and times one file in a process of its own."""

from __future__ import annotations

import dataclasses
import gc
import importlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..accuracy.intervals import Estimate, Z


@dataclass(frozen=True)
class Latency:
    """Times of a run, round by round; or the reason why there are none."""

    rounds_ms: tuple[tuple[float, ...], ...]  # one per process, in the order they were taken
    first_ms: float | None = None  # the first run after loading; the median over the rounds
    load_ms: float | None = None  # opening the file, its runtime being in memory already; likewise
    peak_memory_bytes: int | None = None  # of the whole process up to the last run; the most over the rounds
    conditions: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""

    @property
    def samples_ms(self) -> tuple[float, ...]:
        """All times, warm-up left out."""
        return tuple(sample for round_ms in self.rounds_ms for sample in round_ms)

    def quantile(self, share: float) -> Estimate:
        """Gives the time, in ms, that `share` of the runs stay within.

        The 95 % interval spans the order statistics that hold the true quantile if runs are independent,
        and the quantiles of the single rounds, for processes differ more than the runs in one. A bound that
        would lie beyond the slowest run is left open. Where the runs are too few for even one to be slower,
        there is a reason instead of a value.
        """
        samples = np.sort(self.samples_ms)
        n = len(samples)
        if self.reason or n * (1 - share) < 1 - 1e-9:
            wanted = math.ceil(1 / (1 - share) - 1e-9)
            few = f"p{share * 100:g} wants at least {wanted} runs; there are {n}"
            return Estimate(None, reason=self.reason or few)
        by_round = [float(np.quantile(round_ms, share)) for round_ms in self.rounds_ms]
        reach = Z * math.sqrt(n * share * (1 - share))
        low, high = math.floor(n * share - reach) - 1, math.ceil(n * share + reach)
        return Estimate(
            float(np.quantile(samples, share)),
            min(float(samples[low]), *by_round) if low >= 0 else None,
            max(float(samples[high]), *by_round) if high < n else None,
        )


def measure_latency(
    run: Callable[[], object], minimum_runs: int = 30, minimum_seconds: float = 0.5, warm_up: int = 5
) -> Latency:
    """Times `run` until both minima are reached.

    The first call is told apart, the next `warm_up` calls are thrown away. Python's garbage collector waits.

    Raises:
        ValueError: `minimum_runs` is below 1.
    """
    if minimum_runs < 1:
        raise ValueError(f"minimum_runs {minimum_runs} would time nothing; 1 is the fewest")
    load = _load_average()
    first = _timed_ms(run)
    for _ in range(warm_up):
        run()
    collecting, switches = gc.isenabled(), _involuntary_switches()
    gc.disable()
    try:
        samples: list[float] = []
        end = time.perf_counter() + minimum_seconds
        while len(samples) < minimum_runs or time.perf_counter() < end:
            samples.append(_timed_ms(run))
    finally:
        if collecting:
            gc.enable()
    disturbed = _involuntary_switches() - switches
    return Latency((tuple(samples),), first, conditions={"load_average": load, "involuntary_switches": disturbed})


def _timed_ms(run: Callable[[], object]) -> float:
    start = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - start) / 1e6


def _load_average() -> float:
    """How many processes wanted a core during the last minute; 0 where the system does not tell."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else 0.0


def _involuntary_switches() -> int:
    """How often the system took the core away from this process; 0 where it does not tell."""
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def memory_bytes(entry: str) -> int | None:
    """Gives VmHWM (the most so far) or VmRSS (now) of this process; None where the system does not tell.

    Not getrusage's ru_maxrss: a child starts with that of its parent, however large the parent is.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith(entry + ":")]
    return kilobytes[0] * 1024 if kilobytes else None


def load_and_time(
    path: str,
    threads: int,
    shape: Sequence[int],
    factory: str | None,
    opener: str,
    minimum_runs: int,
    minimum_seconds: float,
) -> Latency:
    """Opens the file at `path` and times it on noise; the arguments are the fields of `latency.Job`."""
    module, _, function = opener.partition(":")
    open_session = getattr(importlib.import_module(module), function)
    arguments = (Path(path), threads) if factory is None else (Path(path), threads, factory)
    inputs = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    before = memory_bytes("VmRSS")
    session = open_session(*arguments)
    latency = measure_latency(lambda: session.run(inputs), minimum_runs, minimum_seconds)
    return dataclasses.replace(
        latency,
        peak_memory_bytes=memory_bytes("VmHWM"),
        load_ms=_timed_ms(lambda: open_session(*arguments)),  # again: the first time imported the runtime too
        conditions={**latency.conditions, "memory_before_loading_bytes": before},
    )


def _main(request: str) -> None:
    try:
        report = dataclasses.asdict(load_and_time(**json.loads(request)))
    except ValueError as error:
        report = {"error": str(error)}
    except Exception as error:  # whatever a runtime throws is a reason for the table
        report = {"error": f"{type(error).__name__}: {error}"}
    print("\n" + json.dumps(report))


if __name__ == "__main__":
    _main(sys.argv[1])
