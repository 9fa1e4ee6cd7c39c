"""Whether a smaller network is really faster: both in LiteRT, in turns, and one sentence about it."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ...export.artifact import ConversionError
from ...models.embedder import Embedder
from ..accuracy.intervals import Estimate
from ..measurement import Measurement
from .latency import Job, Latency, device_name, measure_all, measurements
from .layer_measuring import tflite_of

ROUNDS, RUNS, SECONDS = 5, 30, 0.3  # fresh processes for each file, and what each does at least


def speedup(
    before: Embedder, after: Embedder, progress: Callable[[str], None] = print
) -> tuple[list[Measurement], str]:
    """Times both networks as fp32 TFLite in LiteRT, one thread.

    Args:
        before: What was pruned.
        after: What came of it.
        progress: Gets a line for each round.

    Returns:
        Rows `latency_ms_p50` of both and `latency_ratio`, whose interval spans the rounds; and what they say. What
        cannot be exported or timed has a row with the reason.
    """
    embedders = (before, after)
    try:
        with TemporaryDirectory() as folder:
            jobs = []
            for embedder, name in zip(embedders, ("before", "after"), strict=True):
                progress(f"exporting {embedder.name} to time it")
                contract = embedder.contract
                path = tflite_of(embedder, Path(folder, name))
                jobs.append(Job(path, 1, (1, 3, contract.height, contract.width)))
            latencies = measure_all(jobs, ROUNDS, RUNS, SECONDS, progress=progress)
    except ConversionError as error:
        latencies = [Latency((), reason=str(error))] * 2
    rows = [
        row
        for embedder, latency in zip(embedders, latencies, strict=True)
        for row in measurements(latency, partial(_row, embedder.name))
        if row.metric == "latency_ms_p50"
    ]
    ratio = ratio_of(*latencies)
    rows.append(
        _row(
            after.name,
            {"to": before.name, "threads": 1, "of": "the fastest runs", "interval": "the rounds"},
            metric="latency_ratio",
            value=ratio.value,
            unit="1",
            low=ratio.low,
            high=ratio.high,
            n=ROUNDS,
            valid=not ratio.reason,
            reason=ratio.reason,
        )
    )
    return rows, verdict(ratio, *latencies)


def ratio_of(before: Latency, after: Latency) -> Estimate:
    """Gives the fastest run after by the fastest before, and the least and the most of that within a round.

    The two files take turns in every round, so what slows a round down slows both. Medians of runs would flatter the
    smaller one where several processes want a core: its runs end before they are interrupted.
    """
    if before.reason or after.reason:
        return Estimate(None, reason=before.reason or after.reason)
    pairs = zip(before.rounds_ms, after.rounds_ms, strict=True)
    ratios = [min(of_after) / min(of_before) for of_before, of_after in pairs]
    ratios.append(min(after.samples_ms) / min(before.samples_ms))
    return Estimate(ratios[-1], min(ratios), max(ratios))


def verdict(ratio: Estimate, before: Latency, after: Latency) -> str:
    """Says in one sentence whether it is faster: only if every round says so."""
    where = f"on LiteRT, 1 thread ({device_name()})"
    if ratio.value is None or ratio.low is None or ratio.high is None:
        return f"not known whether it is faster {where}: {ratio.reason}"
    faster = "" if ratio.high < 1 else "NOT faster: " if ratio.value >= 1 else "not surely faster: "
    shown = f"{ratio.value:.2f}x the latency of the unpruned network {where}"
    fastest = f"{min(after.samples_ms):.2f} ms instead of {min(before.samples_ms):.2f} ms at best"
    spread = f"{ratio.low:.2f}x to {ratio.high:.2f}x in {len(after.rounds_ms)} rounds"
    return f"{faster}{shown}: {fastest}, {spread}{', on a busy machine' if _busy(before) else ''}"


def _busy(latency: Latency) -> bool:
    """Says whether every other run was interrupted."""
    return bool(2 * latency.conditions.get("involuntary_switches", 0) > len(latency.samples_ms))


def _row(model: str, conditions: Any = None, **fields: Any) -> Measurement:
    version = importlib.metadata.version("ai-edge-litert")
    conditions = {"runtime_version": version, **(conditions or {})}
    return Measurement(model, "", "tflite", "fp32", "litert", device_name(), conditions=conditions, **fields)
