"""Whether a timing was disturbed: by other processes on its cores, by the host, or by a slower clock."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..machine import CPUS, lent_cores, text_of

MOST_TAKEN = 0.05  # of the time, by other processes: a mean is then at most 5.3 % too long
MOST_STOLEN = 0.05  # of the time, taken by the host of a virtual machine; told in steps of 10 ms
MOST_SLOWER = 1.10  # times the reference kernel may take what it took at its best; left alone it hardly varies
CHUNKS = 40  # of the reference kernel: some ten milliseconds all together


@dataclass(frozen=True)
class Noise:
    """What else the machine did while something was timed; None where the system does not say."""

    seconds: float  # how long the timing took
    threads: int  # that the work was spread over
    lent: int  # cores that the process was given
    cores: tuple[int, ...]  # that it was pinned to; () where the system does not pin
    reference_ms: tuple[float, float]  # the reference kernel before and after
    waited_seconds: float | None  # all threads together stood ready, but another thread had the core
    others_seconds: float | None  # that other processes were at work on the cores
    stolen_seconds: float | None  # that the host of a virtual machine kept the cores
    involuntary_switches: int  # how often the system took a core away
    load_average: float  # processes that wanted a core in the minute before
    mhz: tuple[float, float] | None = None  # before and after, as the system says; virtual machines say a constant

    @property
    def taken_share(self) -> float:
        """The share of the time that others took; 0 where the system does not say.

        It is the smaller of the time that threads waited and the time that others worked: a runtime may have more
        threads than it was asked for, which wait for one another.
        """
        known = [seconds for seconds in (self.waited_seconds, self.others_seconds) if seconds is not None]
        return 0.0 if self.waited_seconds is None else min(1.0, min(known) / self.seconds)

    def disturbance(self, best_reference_ms: float | None = None) -> str:
        """Says what spoils the timing, or "".

        Besides more threads than cores, three rules with one threshold each: other processes took more than 5 % of
        the time, the host kept the cores more than 5 % of the time, or the reference kernel, at its best of 40 tries
        before and after, took more than 1.10 times as long as at its best ever. The first shows other processes, the
        second other machines on the same host, the third a clock that sinks and a neighbour on the same core. macOS
        and Windows report neither of the first two: there only the kernel decides.

        Args:
            best_reference_ms: What the kernel takes here at its best, where more than this timing is known.
        """
        if self.threads > self.lent:
            return f"disturbed: {self.threads} threads took turns on {self.lent} core{'s' if self.lent > 1 else ''}"
        if self.taken_share > MOST_TAKEN:
            return (
                f"disturbed: others had the core {self.taken_share:.0%} of the time "
                f"({self.involuntary_switches} times in {self.seconds:.2g} s)"
            )
        stolen = (self.stolen_seconds or 0) / self.seconds / (len(self.cores) or self.lent)
        if stolen > MOST_STOLEN:
            return f"disturbed: the host of this virtual machine kept the core {stolen:.0%} of the time"
        before, after = self.reference_ms
        if after > MOST_SLOWER * before:
            return f"disturbed: a reference kernel ran {after / before:.1f} times slower after than before"
        best = min(before, after) if best_reference_ms is None else best_reference_ms
        if max(before, after) > MOST_SLOWER * best:
            return f"disturbed: a reference kernel ran {max(before, after) / best:.1f} times slower than at its best"
        return ""


class NoiseWatch:
    """Watches inside a `with` block; `noise` has the result afterwards. The reference kernel runs before and after."""

    noise: Noise

    def __init__(self, threads: int = 1, lent: int | None = None, cores: Sequence[int] = ()) -> None:
        """Watches `threads` threads on `lent` cores (default: what this process may use), pinned to `cores`."""
        self._threads, self._lent, self._cores = threads, lent or lent_cores(), tuple(cores)

    def __enter__(self) -> NoiseWatch:
        """Runs the reference kernel, then begins to count."""
        self._load = load_average()
        self._mhz = _mhz(self._cores)
        self._reference = reference_ms()
        self._switches, self._counted = _involuntary_switches(), _counted(self._cores)
        self._start = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        """Ends counting, then runs the reference kernel again."""
        seconds = time.perf_counter() - self._start
        pairs = zip(self._counted, _counted(self._cores), strict=True)
        waited, others, stolen = (None if a is None or b is None else max(0.0, b - a) for a, b in pairs)
        switches = _involuntary_switches() - self._switches
        mhz = _mhz(self._cores)
        self.noise = Noise(
            seconds,
            self._threads,
            self._lent,
            self._cores,
            (self._reference, reference_ms()),
            waited,
            others,
            stolen,
            switches,
            self._load,
            None if self._mhz is None or mhz is None else (self._mhz, mhz),
        )


def reference_ms() -> float:
    """Gives how long a fixed piece of work takes at best on one core.

    A hundred exponentials of 4,096 floats in the first cache: bound by the core's arithmetic, as a network is. The
    best of `CHUNKS`: interruptions are counted elsewhere, this is about the speed of the core itself.
    """
    numbers = np.linspace(-1, 1, 4096, dtype=np.float32)
    out = np.empty_like(numbers)
    times: list[int] = []
    for _ in range(CHUNKS):
        start = time.perf_counter_ns()
        for _ in range(100):
            np.exp(numbers, out=out)
        times.append(time.perf_counter_ns() - start)
    return min(times) / 1e6


def load_average() -> float:
    """How many processes wanted a core during the last minute; 0 where the system does not say."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else 0.0


def _mhz(cores: Sequence[int]) -> float | None:
    """The clock of the slowest of `cores`, of any where there are none."""
    clocks = [text_of(CPUS / f"cpu{cpu}/cpufreq/scaling_cur_freq") for cpu in cores or (0,)]
    if all(kilohertz.isdigit() for kilohertz in clocks):
        return min(float(kilohertz) for kilohertz in clocks) / 1000
    lines = [line for line in text_of(Path("/proc/cpuinfo")).splitlines() if line.startswith("cpu MHz")]
    return min((float(line.partition(":")[2]) for line in lines), default=None)


def _counted(cores: Sequence[int]) -> tuple[float | None, float | None, float | None]:
    """Seconds so far of waited, others and stolen, as in `Noise`; only Linux has them."""
    if sys.platform != "linux":
        return None, None, None
    threads = [text_of(thread).split() for thread in Path("/proc/self/task").glob("*/schedstat")]
    waits = [int(fields[1]) for fields in threads if len(fields) == 3]  # nanoseconds in line for a core
    waited = sum(waits) / 1e9 if waits else None
    names = {f"cpu{core}" for core in cores} or {"cpu"}
    lines = [line.split() for line in text_of(Path("/proc/stat")).splitlines()]
    ticks = [[int(field) for field in fields[1:9]] for fields in lines if fields and fields[0] in names]
    if not ticks or any(len(fields) < 8 for fields in ticks):
        return waited, None, None
    second = os.sysconf("SC_CLK_TCK")
    # user, nice, system, idle, waiting for a disk, interrupts, their second halves, stolen
    worked = sum(fields[0] + fields[1] + fields[2] + fields[5] + fields[6] for fields in ticks) / second
    return waited, worked - time.process_time(), sum(fields[7] for fields in ticks) / second


def _involuntary_switches() -> int:
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
