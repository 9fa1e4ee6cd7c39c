"""A few literal rows, run folders that hold them, and their reports."""

from pathlib import Path

from pocketface.benchmark.measurement import Measurement, write_measurements
from pocketface.benchmark.report.page import write_report

DEVICE = "a CPU"
NO_MAC = "latency is not measured off a Mac"


def row(file, metric, value, unit="1", runtime="litert", low=None, high=None, n=None, reason="", **conditions):
    model, artifact, format, precision = file
    return Measurement(
        *(model, artifact, format, precision, runtime, DEVICE, metric, value, unit, low, high, n),
        valid=not reason,
        reason=reason,
        conditions=conditions,
        source="net" if model == "net-pruned" else "",
    )


WHOLE = ("net", "artifacts/net.tflite", "tflite", "fp32")
SMALL = ("net-pruned", "artifacts/net-pruned.w8a8.tflite", "tflite", "w8a8")
APPLE = ("net-pruned", "artifacts/net-pruned.mlpackage", "coreml", "fp16")
ROWS = [
    row(WHOLE, "size_bytes", 4_000_000, "bytes", ""),
    row(WHOLE, "parameters", 1_000_000, runtime=""),
    row(WHOLE, "latency_ms_p50", 2.0, "ms", threads=1, batch=1, runtime_version="2.3"),
    row(WHOLE, "latency_ms_p50", 1.2, "ms", threads=2, batch=1, runtime_version="2.3"),
    row(WHOLE, "verification_accuracy", 0.992, low=0.989, high=0.994, n=6000, runtime_version="2.3"),
    row(SMALL, "size_bytes", 330_000, "bytes", ""),
    row(SMALL, "parameters", 300_000, runtime=""),
    row(SMALL, "latency_ms_p50", 0.9, "ms", threads=1, batch=1, runtime_version="2.3"),
    row(SMALL, "verification_accuracy", 0.987, low=0.983, high=0.990, n=6000, runtime_version="2.3"),
    row(SMALL, "accuracy_difference", -0.0005, low=-0.0015, high=0.0005, n=6000, to="net"),
    row(SMALL, "threshold_at_far_1e-3", 0.25, low=0.2, high=0.3, n=6000),
    row(APPLE, "size_bytes", 610_000, "bytes", ""),
    row(APPLE, "latency_ms_p50", None, "ms", "coreml-evaluator", reason=NO_MAC, threads=1),
    row(APPLE, "verification_accuracy", 0.988, runtime="coreml-evaluator", low=0.984, high=0.991, n=6000),
    row(APPLE, "accuracy_difference", 0.0, runtime="coreml-evaluator", low=-0.001, high=0.001, n=6000, to="net"),
    row(("net-pruned", "", "tflite", "w4"), "export", None, runtime="", reason="no kernel takes w4"),
]


def written_run(folder: Path, rows=ROWS) -> Path:
    folder.mkdir(parents=True)
    write_measurements(rows, folder / "measurements.json")
    return folder


def report(folder: Path, *runs: Path) -> tuple[str, str]:
    page, markdown = write_report(runs, folder / "out")
    return page.read_text(encoding="utf-8"), markdown.read_text(encoding="utf-8")
