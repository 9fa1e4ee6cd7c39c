"""Two runs side by side, written by hand; and a small network in several formats."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocketface.benchmark.accuracy.record import write_record
from pocketface.benchmark.changes import Change
from pocketface.benchmark.compare import Comparison, GateLimits, compare
from pocketface.benchmark.measurement import Measurement, write_measurements
from pocketface.benchmark.speed.layer_measuring import tflite_of
from pocketface.faces.pairs import Pairs
from pocketface.models.checkpoint import save_checkpoint
from pocketface.models.zoo import create

NAME = "net.tflite in litert"
SAME = np.arange(4000) % 2 == 0
SEPARATED = np.where(SAME, 0.9, 0.1)  # every pair decided right
PAIRS = Pairs(
    np.zeros((8000, 1, 1, 3), np.uint8),
    np.arange(4000) * 2,
    np.arange(4000) * 2 + 1,
    SAME,
    np.arange(4000) // 400,
    (),
    np.full(8000, -1),
    "abc",
)


def row(metric: str, value: float | None, **fields: Any) -> Measurement:
    usual = dict(model="net", artifact="artifacts/net.tflite", format="tflite", precision="fp32", runtime="litert")
    return Measurement(**{**usual, "device": "CPU", "metric": metric, "value": value, "unit": "1", **fields})


def latency(value: float, reach: float, **fields: Any) -> Measurement:
    fields = {"conditions": {"threads": 1}, **fields}
    return row("latency_ms_p50", value, low=value * (1 - reach), high=value * (1 + reach), **fields)


def accuracy(value: float, reach: float = 0.003, pairs: str = "abc", **fields: Any) -> Measurement:
    conditions = {"pairs_sha256": pairs}
    return row(
        "verification_accuracy", value, low=value - reach, high=value + reach, n=4000, conditions=conditions, **fields
    )


def lost(metric: str, reason: str, **fields: Any) -> Measurement:
    return row(metric, None, valid=False, reason=reason, **fields)


@pytest.fixture
def compared(tmp_path: Path) -> Callable[..., Comparison]:
    """Compares two lists of rows; where neither has an accuracy, each file has one in another runtime."""

    def of(
        before: Sequence[Measurement],
        after: Sequence[Measurement],
        *similarities: Any,
        verified: bool = True,
        **limits: Any,
    ) -> Comparison:
        if verified and not any(each.metric == "verification_accuracy" for each in (*before, *after)):
            before, after = _verified(before), _verified(after)
        for number, (name, rows) in enumerate((("a", before), ("b", after))):
            (tmp_path / name).mkdir(exist_ok=True)
            write_measurements(rows, tmp_path / name / "measurements.json")
            if similarities:
                kept = {"artifacts/net.tflite": similarities[number]}
                write_record(tmp_path / name / "verification.npz", PAIRS, kept)
        return compare(tmp_path / "a", tmp_path / "b", GateLimits(**limits))

    return of


def _verified(rows: Sequence[Measurement]) -> list[Measurement]:
    files = {(each.model, each.artifact, each.format, each.precision): each for each in rows if each.metric != "export"}
    same = accuracy(0.99)
    return [
        *rows,
        *(
            dataclasses.replace(same, model=m, artifact=artifact, format=kind, precision=precision, runtime="elsewhere")
            for m, artifact, kind, precision in files
        ),
    ]


def only(comparison: Comparison, file: str = NAME) -> Change:
    (change,) = comparison.files[file]
    return change


@pytest.fixture(scope="package")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A MobileFaceNet of half the width: "pytorch", "onnx" and "tflite"."""
    folder = tmp_path_factory.mktemp("files")
    embedder = create("mobilefacenet", width=0.5)
    tflite = tflite_of(embedder, folder)
    return {
        "pytorch": save_checkpoint(embedder, folder / "checkpoint"),
        "onnx": tflite.with_suffix(".onnx"),
        "tflite": tflite,
    }
