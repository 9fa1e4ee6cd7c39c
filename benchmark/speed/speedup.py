"""Whether a pruned network is faster: both are timed in LiteRT in turns; rows and one sentence."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from ...export.artifact import ConversionError
from ...models.embedder import Embedder
from ..accuracy.intervals import Estimate
from ..machine import device_name
from ..measurement import Measurement, RowMaker
from ..size import size_bytes
from .latency import TimingJob, latency_rows, measure_all
from .layer_measuring import tflite_of
from .stopwatch import Latency

ROUNDS, RUNS, SECONDS = 5, 30, 0.3  # fresh processes for each file, and what each does at least


class Speedup(NamedTuple):
    """How much faster one network is than another, both as fp32 TFLite."""

    rows: list[Measurement]  # `latency_ms_p50` of both and, last, `latency_ratio`
    sentence: str
    sizes: tuple[int, int] | None  # bytes of the two files; None where one could not be made


def speedup(before: Embedder, after: Embedder, progress: Callable[[str], None] = print) -> Speedup:
    """Times a network before and after pruning, as fp32 TFLite in LiteRT on one thread.

    Returns:
        Rows `latency_ms_p50` of both and `latency_ratio`, how many times faster `after` is; a sentence about them; and
        the files' bytes. A network that cannot be exported or timed has a row with the reason.
    """
    embedders, sizes = (before, after), None
    try:
        with TemporaryDirectory() as folder:
            jobs = []
            for embedder, name in zip(embedders, ("before", "after"), strict=True):
                progress(f"exporting {embedder.name} to time it")
                contract = embedder.contract
                path = tflite_of(embedder, Path(folder, name))
                jobs.append(TimingJob(path, 1, (1, contract.channels, contract.height, contract.width)))
            sizes = (size_bytes(jobs[0].path), size_bytes(jobs[1].path))
            latencies = measure_all(jobs, ROUNDS, RUNS, SECONDS, progress=progress)
    except ConversionError as error:
        latencies = [Latency((), reason=str(error))] * 2
    version = importlib.metadata.version("ai-edge-litert")
    makers = [
        RowMaker(embedder.name, "", "tflite", "fp32", "litert", device_name(), embedder.pruned_from).under(
            runtime_version=version
        )
        for embedder in embedders
    ]
    rows = [
        row
        for maker, latency in zip(makers, latencies, strict=True)
        for row in latency_rows(latency, maker)
        if row.metric == "latency_ms_p50"
    ]
    ratio = fastest_ratio(*latencies)
    conditions = {"against": before.name, "threads": 1, "of": "the fastest runs", "interval": "the rounds"}
    rows.append(makers[1].estimate("latency_ratio", ratio, ROUNDS, **conditions))
    return Speedup(rows, speedup_sentence(ratio, *latencies), sizes)


def fastest_ratio(before: Latency, after: Latency) -> Estimate:
    """Gives the fastest run before by the fastest after, 2 where the pruned network takes half as long.

    The interval is the least and the largest such ratio of a round. The two files take turns in every round, so what
    slows a round down slows both. Medians of runs would favour the smaller one where several processes want a core:
    its runs end before they are interrupted.
    """
    if before.reason or after.reason:
        return Estimate(None, reason=before.reason or after.reason)
    pairs = zip(before.rounds_ms, after.rounds_ms, strict=True)
    ratios = [min(of_before) / min(of_after) for of_before, of_after in pairs]
    ratios.append(min(before.samples_ms) / min(after.samples_ms))
    return Estimate(ratios[-1], min(ratios), max(ratios))


def speedup_sentence(ratio: Estimate, before: Latency, after: Latency) -> str:
    """Says in one sentence whether the pruned network is faster: only if every round says so."""
    where = f"on LiteRT, 1 thread ({device_name()})"
    if ratio.value is None or ratio.low is None or ratio.high is None:
        return f"not known whether it is faster {where}: {ratio.reason}"
    doubt = "" if ratio.low > 1 else "NOT faster: " if ratio.value <= 1 else "not surely faster: "
    shown = f"{ratio.value:.2f} times as fast as the unpruned network {where}"
    fastest = f"{min(after.samples_ms):.2f} ms instead of {min(before.samples_ms):.2f} ms at best"
    spread = f"{ratio.low:.2f} to {ratio.high:.2f} times in {len(after.rounds_ms)} rounds"
    busy = 2 * before.conditions.get("involuntary_switches", 0) > len(before.samples_ms)  # every other run interrupted
    return f"{doubt}{shown}: {fastest}, {spread}{', on a busy machine' if busy else ''}"
