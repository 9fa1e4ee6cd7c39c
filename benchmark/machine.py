"""This machine: its name, the cores that this process may use, and pinning to the best of them."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path

from ..children import lent_cores as lent_cores

CPUS = Path("/sys/devices/system/cpu")


def device_name() -> str:
    """Names the CPU, how many of its cores this process may use, and their kind: "AMD EPYC, 2 cores, x86_64"."""
    lines = text_of(Path("/proc/cpuinfo")).splitlines()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Hardware"))]
    name = named[0] if named else platform.processor() or platform.system()
    count = lent_cores()
    return f"{name}, {count} core{'s' if count != 1 else ''}, {platform.machine()}"


def pin(threads: int) -> tuple[int, ...]:
    """Pins this process to as many cores as it has threads, so that it is not moved in a run; gives their numbers.

    Returns:
        () where the system does not pin (macOS, Windows) or lends fewer cores than there are threads.
    """
    if sys.platform != "linux":
        return ()
    chosen = distinct_cores(sorted(os.sched_getaffinity(0)), threads)
    if chosen:
        os.sched_setaffinity(0, chosen)
    return chosen


def distinct_cores(lent: Iterable[int], threads: int) -> tuple[int, ...]:
    """Chooses cores: the fastest first, no two threads of one core while there are others.

    Of equals, those with the highest numbers: the system's own work runs mostly on the first.
    """
    order = sorted(lent, key=lambda cpu: (-_fastest(cpu), -cpu))
    wholes: dict[str, int] = {}
    for cpu in order:
        wholes.setdefault(text_of(CPUS / f"cpu{cpu}/topology/thread_siblings_list") or str(cpu), cpu)
    ranked = [*wholes.values(), *(cpu for cpu in order if cpu not in wholes.values())]
    return tuple(sorted(ranked[:threads])) if len(ranked) >= threads else ()


def text_of(path: Path) -> str:
    """Gives the text of a file in which the system describes itself, "" where it does not."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _fastest(cpu: int) -> float:
    text = text_of(CPUS / f"cpu{cpu}/cpufreq/cpuinfo_max_freq") or text_of(CPUS / f"cpu{cpu}/cpu_capacity")
    return float(text) if text.isdigit() else 0.0
