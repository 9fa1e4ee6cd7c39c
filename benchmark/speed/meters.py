"""What takes the cost of .tflite files: a stopwatch on this machine, a counter of instructions on an emulated phone."""

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

ROUNDS, RUNS, SECONDS = 2, 20, 0.003  # at least so many runs, and so long, in each of the rounds


@dataclass(frozen=True)
class Meter:
    """Takes what one inference of each .tflite file costs, and says on what."""

    unit: Unit
    device: str
    threads: int
    measure: Callable[[Sequence[Path]], Sequence[float]]
    widths: int  # of a layer that tell how its cost climbs with its outputs, at most
    runtime: str = field(default_factory=lambda: f"LiteRT {importlib.metadata.version('ai-edge-litert')}")

    @property
    def key(self) -> str:
        """The same for costs that may lie in one table; good as a file's name."""
        parts = (self.unit, self.device, self.runtime, str(self.threads), str(self.widths))
        return f"{self.unit}-{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:12]}"


def stopwatch(threads: int = 1) -> Meter:
    """Times LiteRT on this machine, in milliseconds.

    Time climbs with the outputs like a stair: with AVX-512 one to sixteen filters take the same time. So many widths
    are looked at.
    """
    return Meter("milliseconds", device_name(), threads, lambda paths: fastest_ms(paths, threads), 64)


def counter(core: str = "a76") -> Meter:
    """Counts the instructions of LiteRT on an emulated ARM64 core, a name of `arm64.CORES`.

    They climb evenly: between every quarter of the width a line is right to 0.5 %.
    """
    from ..arm64.emulated import instructions_of

    return Meter("instructions", f"emulated ARM64 {core}", 1, lambda paths: instructions_of(paths, core), 4)


METERS: dict[str, Callable[[], Meter]] = {"milliseconds": stopwatch, "instructions": counter}


def fastest_ms(paths: Sequence[Path], threads: int = 1) -> list[float]:
    """Gives the fastest run of each file in LiteRT: what disturbs one only adds to it.

    One thread is timed by the time that it has a core, as on an idle machine: where several processes want each core,
    hardly a run of some milliseconds is left alone. All files take turns, so that who disturbs a while does not disturb
    all runs of one. A call of LiteRT with nothing to do takes less than a microsecond, which is not taken off.
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
