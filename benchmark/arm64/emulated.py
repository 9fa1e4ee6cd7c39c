"""Instruction counts and embeddings of a .tflite or .onnx file on a phone's ARM64 core, in an emulator.

The code is the runtime's own for ARM64, with the kernels that it chooses on that core; counts are exact and repeat.
They are no milliseconds: an emulator has no caches and no pipeline. What they are worth as a guess of time was seen
on latencies that others published (evidence/arm64_phones.py; no phone was used). Four fp32 MobileNets, one thread,
three Pixel phones: the A76's counts order them as each phone does (so do their MACs: they lie far apart), and with
one scale per phone, taken from the other three networks, they miss a latency by up to 5, 13 and 11 % (MACs: 28, 35
and 35 %). More is not known: it is four networks of one family. Between precisions counts mislead. MobileNet V1 in
int8 executes 0.32 of its fp32 instructions on the A76 and took 0.36 of the time on a Pixel 4, whose cores have sdot
as well; but on the A53 it executes 0.67, where a Raspberry Pi 4, whose A72 has no sdot either, took 0.31. So compare
files of one precision on one core.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...export.formats import open_session
from ...export.session import OnnxRuntimeSession
from ...export.tflite.litert import LiteRTSession
from ..machine import lent_cores
from .cores import core_of, emulated_runtime
from .emulator import setup


@dataclass(frozen=True)
class Profile:
    """What one inference executes."""

    instructions: int
    mix: dict[str, float]  # share of each class (see counter.c) that occurs, largest first; they sum to 1


def instructions(path: Path, core: str, runtime: str = "litert") -> int:
    """Counts the ARM64 instructions of one inference: one thread, after a first one that packs the weights.

    Args:
        path: A file that `runtime` runs, with one input and one output.
        core: A name of `CORES`.
        runtime: A name of `RUNTIMES`.

    Raises:
        ValueError: It cannot run the file, there is no such core, or no emulator; says what would help.
    """
    return profile(path, core, runtime).instructions


def instructions_of(paths: Sequence[Path], core: str) -> list[int]:
    """Counts as `instructions` does for each .tflite file, many in a process and as many processes as there are cores.

    A small file takes some 0.1 s; a count does not depend on the other files.
    """
    return [counts.total() for counts in _counts(paths, core, "litert")]


def profile(path: Path, core: str, runtime: str = "litert") -> Profile:
    """Counts as `instructions` does, by kind of instruction.

    The kinds show the kernels: "sdot" or "smmla" is int8 arithmetic in hardware, "smlal" int8 without it, "fmla32"
    and "fmla16" are floating point; little of any of them means plain kernels.
    """
    (counts,) = _counts([path], core, runtime)
    total = counts.total()
    return Profile(total, {kind: count / total for kind, count in counts.most_common() if count})


class EmulatedSession:
    """An embedder's file on an emulated core, as a `Session`."""

    def __init__(self, path: Path, core: str, runtime: str = "litert") -> None:
        """Opens `path`.

        Raises:
            ValueError: The runtime cannot load it, it is no embedder, there is no such core, or no emulator.
        """
        self.path, self.core, self.runtime = path, core_of(core), emulated_runtime(core, runtime)
        native = open_session(path)
        assert isinstance(native, LiteRTSession | OnnxRuntimeSession)  # the sessions of RUNTIMES
        self.ports = native.ports
        self._emulator = setup(runtime=runtime)

    def run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Gives what `Session.run` gives, as the core computes it; as many faces at once as there are cores."""
        filled = self.ports.filled(inputs)
        parts = np.array_split(filled, max(1, min(lent_cores(), len(filled))))
        with ThreadPoolExecutor(len(parts)) as pool:
            numbers = np.concatenate(list(pool.map(self._outputs, parts)))
        return self.ports.embedding.values(numbers)

    def _outputs(self, images: NDArray[Any]) -> NDArray[Any]:
        """Gives (n, D) of (n, batch, H, W, C), of the first face of each batch."""
        with TemporaryDirectory() as folder:
            input_file, output_file = Path(folder, "inputs"), Path(folder, "outputs")
            input_file.write_bytes(images.tobytes())
            self._emulator.run(self.core, self._emulator.runner, "embed", self.path.resolve(), input_file, output_file)
            numbers = np.frombuffer(output_file.read_bytes(), self.ports.embedding.dtype)
            batch = self.ports.batch or 1
            return numbers.reshape(len(images), batch, self.ports.embedding_size)[:, 0]


def _counts(paths: Sequence[Path], core: str, runtime: str) -> list[Counter[str]]:
    kind, emulator, names = core_of(core), setup(runtime=runtime), [path.resolve() for path in paths]
    workers = max(1, min(lent_cores(), len(names)))

    def count(first: int) -> list[Counter[str]]:
        # each n-th file: large ones, which often stand together, are shared
        marks = emulator.run(kind, emulator.runner, "count", *names[first::workers])
        return [_between(*marks[at : at + 3]) for at in range(0, len(marks), 3)]

    with ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(count, range(workers) if names else ()))
    return [parts[at % workers][at // workers] for at in range(len(names))]


def _between(start: Counter[str], empty: Counter[str], full: Counter[str]) -> Counter[str]:
    """Gives the count between the last two marks, less that of marking itself, which lies between the first two."""
    return Counter({kind: full[kind] - 2 * empty[kind] + start[kind] for kind in full})
