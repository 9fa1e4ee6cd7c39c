"""Times a callable; run as a module, it loads and times one file in a process of its own."""

from __future__ import annotations

import dataclasses
import gc
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...bounds import limit_memory
from ...lazy import opener_of
from ..accuracy.intervals import Estimate, Z
from ..machine import lent_cores, pin
from ..processes import answer
from .noise import Noise, NoiseWatch


@dataclass(frozen=True)
class Latency:
    """Times of a run, round by round; or the reason why there are none."""

    rounds_ms: tuple[tuple[float, ...], ...]  # one per process, in the order they were taken
    first_ms: float | None = None  # the first run after loading; the median over the rounds
    load_ms: float | None = None  # opening the file, its runtime being in memory already; likewise
    peak_memory_bytes: int | None = None  # of the whole process up to the last run; the most over the rounds
    conditions: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    noise: tuple[Noise, ...] = ()  # one per round, where it was watched
    arena_bytes: int | None = None  # that the runtime keeps for tensors, where it says
    disturbances: tuple[str, ...] = ()  # one per round, "" if undisturbed; () if not judged
    cpu_ms: tuple[float, ...] = ()  # one per round: what a run costs on all threads, waiting left out

    @property
    def clean(self) -> tuple[int, ...]:
        """The undisturbed rounds, by number."""
        return tuple(i for i in range(len(self.rounds_ms)) if not self.disturbances or not self.disturbances[i])

    @property
    def disturbed(self) -> str:
        """Why the times cannot be trusted, or "": less than half of the rounds are undisturbed."""
        if self.reason or 2 * len(self.clean) >= len(self.rounds_ms):
            return ""
        return next(reason for reason in self.disturbances if reason)

    @property
    def kept_ms(self) -> tuple[tuple[float, ...], ...]:
        """The rounds that count: the clean ones, or all where too few are clean."""
        return self.rounds_ms if self.disturbed else tuple(self.rounds_ms[i] for i in self.clean)

    @property
    def samples_ms(self) -> tuple[float, ...]:
        """All times that count, warm-up left out."""
        return tuple(sample for round_ms in self.kept_ms for sample in round_ms)

    def quantile(self, share: float) -> Estimate:
        """Gives the time, in ms, that `share` of the runs stay within.

        The 95 % interval spans the order statistics that hold the true quantile if runs are independent, and the
        quantiles of the single rounds, because processes differ more than the runs in one. A bound beyond the slowest
        run is left open. With too few runs for even one to be slower there is a reason instead of a value.
        """
        samples = np.sort(self.samples_ms)
        n = len(samples)
        if self.reason or n * (1 - share) < 1 - 1e-9:
            wanted = math.ceil(1 / (1 - share) - 1e-9)
            few = f"p{share * 100:g} wants at least {wanted} runs; there are {n}"
            return Estimate(None, reason=self.reason or few)
        by_round = [float(np.quantile(round_ms, share)) for round_ms in self.kept_ms]
        reach = Z * math.sqrt(n * share * (1 - share))
        low, high = math.floor(n * share - reach) - 1, math.ceil(n * share + reach)
        return Estimate(
            float(np.quantile(samples, share)),
            min(float(samples[low]), *by_round) if low >= 0 else None,
            max(float(samples[high]), *by_round) if high < n else None,
        )


def measure_latency(
    run: Callable[[], object],
    minimum_runs: int = 30,
    minimum_seconds: float = 0.5,
    warm_up: int = 5,
    warm_up_seconds: float = 0.0,
    watch: NoiseWatch | None = None,
) -> Latency:
    """Times `run` until both minima are reached.

    The first call is reported apart; the next, at least `warm_up` and for at least `warm_up_seconds`, are dropped.
    Python's garbage collector is off. `watch` (default: of one thread) looks for disturbances.

    Raises:
        ValueError: `minimum_runs` is below 1.
    """
    if minimum_runs < 1:
        raise ValueError(f"minimum_runs {minimum_runs} would time nothing; 1 is the fewest")
    first = _timed_ms(run)
    _repeat(run, warm_up, warm_up_seconds)
    collecting = gc.isenabled()
    gc.disable()
    try:
        with watch or NoiseWatch() as watching:
            before = time.process_time()
            samples = _repeat(run, minimum_runs, minimum_seconds)
            cpu_ms = 1000 * (time.process_time() - before) / len(samples)
    finally:
        if collecting:
            gc.enable()
    noise = watching.noise
    told = {"load_average": noise.load_average, "involuntary_switches": noise.involuntary_switches}
    return Latency((samples,), first, conditions=told, noise=(noise,), cpu_ms=(cpu_ms,))


def _repeat(run: Callable[[], object], runs: int, seconds: float) -> tuple[float, ...]:
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while len(samples) < runs or time.perf_counter() < end:
        samples.append(_timed_ms(run))
    return tuple(samples)


def _timed_ms(run: Callable[[], object]) -> float:
    start = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - start) / 1e6


def memory_bytes(entry: str) -> int | None:
    """Gives VmHWM (the most so far) or VmRSS (now) of this process; None where the system does not say.

    Not getrusage's ru_maxrss: a child starts with that of its parent.
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
    warm_up_seconds: float,
    output: str = "",
) -> Latency:
    """Opens the file at `path` and times it on noise; the arguments are those of `latency_in_fresh_process`."""
    lent, pinned = lent_cores(), pin(threads)
    open_file = opener_of(opener, factory, output)
    limit_memory(Path(path))
    inputs = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    before = memory_bytes("VmRSS")
    session = open_file(Path(path), threads)
    told = getattr(session, "load_ms", None)
    latency = measure_latency(
        lambda: session.run(inputs),
        minimum_runs,
        minimum_seconds,
        warm_up_seconds=warm_up_seconds,
        watch=NoiseWatch(threads, lent, pinned),
    )
    return dataclasses.replace(
        latency,
        peak_memory_bytes=memory_bytes("VmHWM"),
        arena_bytes=getattr(session, "arena_bytes", None),
        # the first opening imported the runtime too, so it is timed again
        load_ms=_timed_ms(lambda: open_file(Path(path), threads)) if told is None else float(told),
        conditions={**latency.conditions, "memory_before_loading_bytes": before, "pinned_to": list(pinned)},
    )


if __name__ == "__main__":
    answer(lambda request: dataclasses.asdict(load_and_time(**request)))
