"""Measurements as a table: a line per file and runtime, with pandas and without."""

import sys
from typing import Any

import pytest

from pocketface.benchmark import Measurement, to_frame


def row(metric: str, value: float | None, file: str = "a.tflite", runtime: str = "", **fields: Any) -> Measurement:
    return Measurement("net", file, "tflite", "fp32", runtime, "cpu", metric, value, "1", **fields)


ROWS = [
    row("size_bytes", 4000),
    row("latency_ms_p50", 12.5, runtime="litert", conditions={"threads": 1}),
    row("latency_ms_p50", 8.0, runtime="litert", conditions={"threads": 2}),
    row("latency_ms_p50", 14.0, runtime="tf.lite", conditions={"threads": 1}),
    row("size_bytes", 1000, "b.tflite"),
    row("latency_ms_p50", None, "b.tflite", "litert", valid=False, reason="crashed", conditions={"threads": 1}),
]


def test_one_line_per_file_and_runtime_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    table = to_frame(ROWS)
    assert [(line["artifact"], line["runtime"]) for line in table] == [
        ("a.tflite", "litert"),
        ("a.tflite", "tf.lite"),
        ("b.tflite", "litert"),
    ]
    assert list(table[0])[:6] == ["model", "artifact", "format", "precision", "runtime", "device"]
    assert [(line["size_bytes"], line["latency_ms_p50@1"], line["latency_ms_p50@2"]) for line in table] == [
        (4000, 12.5, 8.0),
        (4000, 14.0, None),
        (1000, None, None),
    ]
    assert len({tuple(line) for line in table}) == 1  # every line has every column


def test_the_same_as_a_data_frame() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = to_frame(iter(ROWS))
    assert isinstance(frame, pandas.DataFrame) and frame.shape[0] == 3
    fastest = frame.sort_values("latency_ms_p50@1").iloc[0]
    assert (fastest["artifact"], fastest["latency_ms_p50@2"]) == ("a.tflite", 8.0)
    assert frame["latency_ms_p50@1"].isna().tolist() == [False, False, True]


def test_no_rows_make_an_empty_table() -> None:
    assert len(to_frame([])) == 0
