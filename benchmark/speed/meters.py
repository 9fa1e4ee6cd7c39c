"""A meter measures the cost of .tflite files; this one is a stopwatch on this machine."""

from __future__ import annotations

import hashlib
import importlib.metadata
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...models.layer_costs import Unit
from ..machine import device_name

ROUNDS, RUNS, SECONDS = 2, 20, 0.003  # each round has at least so many runs and lasts at least so long


@dataclass(frozen=True)
class Meter:
    """Measures the cost of one inference of each .tflite file, on a named device and runtime."""

    unit: Unit
    device: str
    threads: int
    measure: Callable[[Sequence[Path]], Sequence[float]]
    widths: int  # at most so many numbers of outputs are measured of each layer
    runtime: str = field(default_factory=lambda: f"LiteRT {importlib.metadata.version('ai-edge-litert')}")

    @property
    def key(self) -> str:
        """Equal for costs that belong in one table; valid as a file name."""
        parts = (self.unit, self.device, self.runtime, str(self.threads), str(self.widths))
        return f"{self.unit}-{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:12]}"


def stopwatch_meter(threads: int = 1) -> Meter:
    """Times LiteRT on this machine, in milliseconds.

    Time rises in steps: with AVX-512 one to sixteen filters take the same time. So up to 64 widths are measured.
    """
    return Meter("milliseconds", device_name(), threads, lambda paths: fastest_ms(paths, threads), 64)


def fastest_ms(paths: Sequence[Path], threads: int = 1) -> list[float]:
    """Gives the fastest run of each file in LiteRT, in milliseconds: disturbances only add to a time.

    With one thread its CPU time is measured, which other processes hardly change. All files take turns, so that a
    disturbance does not hit all runs of one file. The overhead of a call, below a microsecond, is included.
    """
    rounds = [[_fastest_ms(path, threads) for path in paths] for _ in range(ROUNDS)]
    return [min(times) for times in zip(*rounds, strict=True)]


def _fastest_ms(path: Path, threads: int) -> float:
    from ai_edge_litert.interpreter import Interpreter

    clock = time.thread_time_ns if threads == 1 else time.perf_counter_ns
    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    (port,) = interpreter.get_input_details()
    interpreter.set_tensor(port["index"], np.random.default_rng(0).standard_normal(port["shape"]).astype(np.float32))
    interpreter.invoke()
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(times) < RUNS or time.perf_counter() < end:
        start = clock()
        interpreter.invoke()
        times.append((clock() - start) / 1e6)
    return min(times)
