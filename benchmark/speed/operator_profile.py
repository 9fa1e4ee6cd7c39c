"""Time by kind of operator, from the profilers of LiteRT with XNNPACK, onnxruntime and PyTorch."""

from __future__ import annotations

import ctypes
import dataclasses
import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..accuracy.intervals import Estimate
from ..machine import lent_cores, pin
from ..measurement import Measurement, RowMaker
from ..processes import answer, ask
from .latency import TIMEOUT, TimingJob
from .noise import NoiseWatch

RUNS = 20
Times = dict[str, tuple[int, float]]
"""Kind of operator -> how many there are, and their milliseconds per inference, all together."""


def operator_rows(job: TimingJob, runtime: str, row: RowMaker) -> list[Measurement]:
    """Gives a row `operator_ms` per kind of operator, the slowest first; none where the runtime has no profiler.

    Measured with one thread, in a process of its own and not with the latency, because profiling takes time.
    """
    if runtime not in TELLERS:
        return []
    job = dataclasses.replace(job, threads=1)
    try:
        request = {**job.request, "runtime": runtime}
        report = ask("pocketface.benchmark.speed.operator_profile", request, str(job), "timed", timeout=TIMEOUT)
    except RuntimeError as error:
        return [row.missing("operator_ms", str(error), threads=1, part="all operators")]
    total = sum(milliseconds for _, milliseconds in report["times"].values())
    return [
        row.estimate(
            "operator_ms",
            Estimate(milliseconds, reason=report["disturbed"]),
            RUNS,
            part=f"{kind} x {count}",
            threads=1,
            share=round(milliseconds / total, 4) if total else 0.0,
        )
        for kind, (count, milliseconds) in sorted(report["times"].items(), key=lambda item: -item[1][1])
    ]


def litert_times(path: Path, inputs: NDArray[np.float32], factory: str | None = None) -> Times:
    """Asks the profiler of LiteRT's C interface, which also knows what XNNPACK made of the operators.

    Raises:
        ValueError: This LiteRT has no such interface, or refuses the file.
    """
    return summed(_LiteRT().profile(path, inputs, RUNS))


def onnxruntime_times(path: Path, inputs: NDArray[np.float32], factory: str | None = None) -> Times:
    """Reads the kernel times in the profile that onnxruntime writes."""
    events = onnxruntime_profile(path, inputs, RUNS)
    nodes = [event for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
    warm = nodes[len(nodes) // (RUNS + 1) :]  # the first run comes first
    return summed((event["args"]["op_name"], event["dur"] / 1000 / RUNS, 1 / RUNS) for event in warm)


def torch_times(path: Path, inputs: NDArray[np.float32], factory: str | None = None) -> Times:
    """Asks PyTorch's profiler for the time in each operator, without that of the operators it calls."""
    from torch.profiler import ProfilerActivity, profile

    from ...export.session import TorchSession

    session = TorchSession(path, 1, factory)
    session.run(inputs)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(RUNS):
            session.run(inputs)
    report = profiler.key_averages()
    return summed((event.key, event.self_cpu_time_total / 1000 / RUNS, event.count / RUNS) for event in report)


TELLERS: Mapping[str, Callable[[Path, NDArray[np.float32], str | None], Times]] = {
    "litert": litert_times,
    "onnxruntime": onnxruntime_times,
    "torch": torch_times,
}


def summed(nodes: Iterable[tuple[str, float, float]]) -> Times:
    """Adds up (kind, milliseconds, how many) by kind."""
    times: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for kind, milliseconds, count in nodes:
        times[kind][0] += count
        times[kind][1] += milliseconds
    return {kind: (round(count), milliseconds) for kind, (count, milliseconds) in times.items()}


def onnxruntime_profile(path: Path, inputs: NDArray[np.float32], runs: int, threads: int = 1) -> list[dict[str, Any]]:
    """Gives the events that onnxruntime notes of `runs` runs and one before them."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder, "profile"))
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        (name,) = (port.name for port in session.get_inputs())
        for _ in range(runs + 1):
            session.run(None, {name: inputs})
        events: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return events


class _LiteRT:
    """The functions of LiteRT's C interface that profiling needs; each gives 0 where it succeeds."""

    LINE = re.compile(
        r"^ *(?P<kind>\S.*?) +(?P<numbers>(?:[\d.]+ +){3})[\d.]+% +[\d.]+% +[\d.]+ +\d+ +\S+", re.MULTILINE
    )

    def __init__(self) -> None:
        import ai_edge_litert

        (folder,) = ai_edge_litert.__path__
        libraries = [path for path in Path(folder).glob("libLiteRt.*") if path.suffix in (".so", ".dylib", ".dll")]
        if not libraries:
            raise ValueError("this LiteRT brings no library with a C interface, so nobody tells about operators")
        self._library = ctypes.CDLL(str(libraries[0]))

    def profile(self, path: Path, inputs: NDArray[np.float32], runs: int) -> list[tuple[str, float, float]]:
        """Gives every node with its milliseconds per run."""
        size, byte = ctypes.c_size_t, ctypes.c_char_p
        environment = self._made("LiteRtCreateEnvironment", ctypes.c_int(0), None)
        model = self._made("LiteRtCreateModelFromFile", environment, byte(str(path).encode()))
        options = self._made("LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, ctypes.c_int(1))  # the CPU
        text = ctypes.create_string_buffer(b"enable_profiling = true\n")
        keep = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)  # ours: nobody else is to free it
        profiling = self._made(
            "LiteRtCreateOpaqueOptions", byte(b"runtime_options_string"), ctypes.cast(text, ctypes.c_void_p), keep
        )
        self._call("LiteRtAddOpaqueOptions", options, profiling)
        compiled = self._made("LiteRtCreateCompiledModel", environment, model, options)
        profiler = self._made("LiteRtCompiledModelGetProfiler", compiled)
        signature = self._made("LiteRtGetModelSignature", model, size(0))

        def buffer(side: str) -> ctypes.c_void_p:
            tensor = self._made(f"LiteRtGetSignature{side}TensorByIndex", signature, size(0))
            kind = ctypes.create_string_buffer(256)  # a struct that LiteRT fills and reads itself
            self._call("LiteRtGetRankedTensorType", tensor, kind)
            wants = self._made(f"LiteRtGetCompiledModel{side}BufferRequirements", compiled, size(0), size(0))
            return self._made("LiteRtCreateManagedTensorBufferFromRequirements", environment, kind, wants)

        sides = [(ctypes.c_void_p * 1)(buffer(side).value) for side in ("Input", "Output")]
        self._fill(ctypes.c_void_p(sides[0][0]), inputs)
        run = (compiled, size(0), size(1), sides[0], size(1), sides[1])
        self._call("LiteRtRunCompiledModel", *run)
        self._call("LiteRtStartProfiler", profiler)
        for _ in range(runs):
            self._call("LiteRtRunCompiledModel", *run)
        self._call("LiteRtStopProfiler", profiler)
        summary = self._made("LiteRtGetProfileSummary", profiler, compiled)
        return self.nodes(ctypes.string_at(summary.value or 0).decode(errors="replace"))

    @classmethod
    def nodes(cls, summary: str) -> list[tuple[str, float, float]]:
        """Reads the first table of a summary: kind, start, first, average, ..., of every node in the order of runs."""
        table = summary.partition("Top by Computation Time")[0]
        return [
            (line["kind"].removeprefix("Delegate/"), float(line["numbers"].split()[-1]), 1.0)
            for line in cls.LINE.finditer(table)
        ]

    def _fill(self, buffer: ctypes.c_void_p, inputs: NDArray[np.float32]) -> None:
        # files of bytes are fed what fits of the floats: how long operators take does not depend on it
        room, address = ctypes.c_size_t(), ctypes.c_void_p()
        self._call("LiteRtGetTensorBufferSize", buffer, ctypes.byref(room))
        self._call("LiteRtLockTensorBuffer", buffer, ctypes.byref(address), ctypes.c_int(1))  # to write
        ctypes.memmove(address, inputs.ctypes.data, min(room.value, inputs.nbytes))
        self._call("LiteRtUnlockTensorBuffer", buffer)

    def _made(self, function: str, *arguments: Any) -> ctypes.c_void_p:
        handle = ctypes.c_void_p()
        self._call(function, *arguments, ctypes.byref(handle))
        return handle

    def _call(self, function: str, *arguments: Any) -> None:
        status = getattr(self._library, function)(*arguments)
        if status:
            raise ValueError(f"LiteRT's profiler is not to be had: {function} gives {status}")


def _main(request: dict[str, Any]) -> dict[str, Any]:
    lent, pinned = lent_cores(), pin(1)
    inputs = np.random.default_rng(0).uniform(-1, 1, request["shape"]).astype(np.float32)
    with NoiseWatch(1, lent, pinned) as watch:
        times = TELLERS[request["runtime"]](Path(request["path"]), inputs, request["factory"])
    return {"times": times, "disturbed": watch.noise.disturbance()}


if __name__ == "__main__":
    answer(_main)
