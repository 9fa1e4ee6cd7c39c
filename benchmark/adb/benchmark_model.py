"""LiteRT's `benchmark_model`: its command line and the numbers that it prints; and what a timing tool is."""

from __future__ import annotations

import csv
import math
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...files import sha256_of
from .accelerators import ACCELERATORS, AcceleratorName
from .device import clean

LARGEST_PROFILE = 4 << 20  # bytes of a profile
MOST_OPERATORS = 500
NUMBER = r"([0-9.eE+\-]+|nan|inf)"
OPERATORS = "Operator-wise Profiling Info for Regular Benchmark Runs:"
BY_TYPE = "Summary by node type"
COLUMNS = 7  # node type, count, avg_ms, avg %, cdf %, mem KB, times called


@dataclass(frozen=True)
class RunLimits:
    """How long to time, once."""

    threads: int = 1
    runs: int = 50  # at least
    minimum_seconds: float = 1.0
    most_seconds: float = 30.0
    accelerator: AcceleratorName = "cpu"


@dataclass(frozen=True)
class Tool:
    """A program for the phone that times a .tflite file and prints what benchmark_model prints."""

    name: str
    version: str
    files: tuple[Path, ...]  # what is pushed, into one folder, which is where the command runs
    timing: Callable[[str, RunLimits], str]  # file, how -> the command
    profiling: Callable[[str, RunLimits, str], str] | None  # file, how, profile to write -> the command
    most_threads: int | None = None
    abi: str | None = None  # what the phone must be, where that is known
    only_cpu: bool = False  # it knows no accelerators


@dataclass(frozen=True)
class PhoneTimes:
    """What one process reported of one file; times in ms."""

    runs: int
    mean: float
    least: float
    most: float
    median: float | None  # only newer versions print it
    load: float
    first: float
    peak_memory_bytes: int | None
    taken: str = ""  # how much of the network an accelerator ran, see `Accelerator.taken`


def benchmark_model(path: Path) -> Tool:
    """Gives LiteRT's own tool, built for Android on ARM64, at `path`.

    Source: the TFLite Model Benchmark Tool's README in the TensorFlow and LiteRT repositories.

    Raises:
        ValueError: There is no such file.
    """
    if not path.is_file():
        raise ValueError(f"no benchmark_model at {path}; LiteRT offers one built for Android on ARM64")

    def timing(graph: str, how: RunLimits) -> str:
        runs = f"--num_runs={how.runs} --warmup_runs=3 --min_secs={how.minimum_seconds} --max_secs={how.most_seconds}"
        program = shlex.quote(f"./{path.name}")
        return f"{program} --graph={graph} --num_threads={how.threads} {runs} {ACCELERATORS[how.accelerator].flags}"

    def profiling(graph: str, how: RunLimits, profile: str) -> str:
        report = f"--profiling_output_csv_file={profile} --report_peak_memory_footprint=true"
        return f"{timing(graph, how)} --enable_op_profiling=true {report}"

    return Tool("benchmark_model", f"sha256 {sha256_of(path)[:12]}", (path,), timing, profiling)


def read_timings(text: str, accelerator: AcceleratorName = "cpu") -> PhoneTimes:
    """Reads what benchmark_model prints, in any version since 2019.

    Args:
        text: The output.
        accelerator: What was to run the network.

    Raises:
        ValueError: The lines are missing, hold no times, or say that the accelerator ran nothing.
    """
    taken = ACCELERATORS[accelerator].taken(text)
    counts = [dict(re.findall(rf"(\w+)={NUMBER}", line)) for line in text.splitlines() if re.search(r"\bcount=", line)]
    timings = re.findall(rf"Init: {NUMBER}, First inference: {NUMBER}, Warmup \(avg\): {NUMBER}, Inference", text)
    memory = re.findall(rf"[Pp]eak memory footprint \(MB\)(?: via periodic monitoring: |:.*overall=){NUMBER}", text)
    if not counts or not timings:
        last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
        raise ValueError(f"it printed no times; its last line is {clean(last)!r}")
    stats = counts[-1]  # the first line is about the warm-up
    try:
        curr = stats["curr"] if "avg" not in stats else None  # one run alone, or all alike: no spread is printed
        mean, least, most = (_ms(curr or stats[key]) for key in ("avg", "min", "max"))
        return PhoneTimes(
            runs=int(stats["count"]),
            mean=mean,
            least=least,
            most=most,
            median=_ms(stats["median"]) if "median" in stats else None,
            load=_ms(timings[-1][0]),
            first=_ms(timings[-1][1]),
            peak_memory_bytes=round(_finite(memory[-1]) * (1 << 20)) if memory else None,
            taken=taken,
        )
    except (KeyError, ValueError) as error:
        raise ValueError(f"it printed times that are none: {clean(str(error))} in {clean(str(stats))}") from None


def read_profile(text: str) -> dict[str, float]:
    """Reads the CSV file of --enable_op_profiling.

    Returns:
        Milliseconds of one inference by operator, slowest first. A delegate that lists its own operators appears as
        these, not as one node.

    Raises:
        ValueError: It holds no operators.
    """
    graph: dict[str, float] = {}
    delegate: dict[str, float] = {}
    into, reading = graph, False
    for row in csv.reader(text.partition(OPERATORS)[2].splitlines(), skipinitialspace=True):
        line = row[0].strip() if row else ""
        if line.startswith("Delegate internal"):
            into = delegate
        elif line.startswith("==="):
            reading = BY_TYPE in line
        elif not line:
            reading = False
        elif reading and line != "node type" and len(row) >= COLUMNS and len(graph) + len(delegate) < MOST_OPERATORS:
            name = clean(", ".join(row[: 1 - COLUMNS]))  # XNNPACK's have commas of their own, and no quotes
            into[name] = into.get(name, 0.0) + _finite(row[2 - COLUMNS])
    if delegate:
        graph = {name: ms for name, ms in graph.items() if not name.endswith("Delegate")}
        for name, ms in delegate.items():
            graph[name] = graph.get(name, 0.0) + ms
    if not graph:
        raise ValueError("the profile holds no operators")
    return dict(sorted(graph.items(), key=lambda item: -item[1]))


def _ms(microseconds: str) -> float:
    value = _finite(microseconds) / 1000
    if not 0 < value < 1e7:
        raise ValueError(f"{microseconds} us")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{text} is no time")
    return value
