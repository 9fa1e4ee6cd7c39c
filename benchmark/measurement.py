"""One number, its unit, and how it was taken: a row of measurements.json."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Measurement:
    """One number, its unit, and how it was taken; or, where it could not be taken, the reason."""

    model: str  # "mobilefacenet-relu6-pruned-0.7M"
    artifact: str  # path inside the run folder
    format: str  # pytorch, onnx, tflite, coreml, executorch
    precision: str
    runtime: str  # torch, onnxruntime, litert, coreml-evaluator; "" where none is involved
    device: str
    metric: str  # "latency_ms_p50"
    value: float | None
    unit: str  # "ms", "bytes", "1" for a share
    low: float | None = None  # 95 % interval where there is one
    high: float | None = None
    n: int | None = None  # how many pairs, runs or faces
    valid: bool = True
    reason: str = ""  # why it is not valid
    conditions: Mapping[str, Any] = field(default_factory=dict)  # threads, batch, seconds, ...

    def __post_init__(self) -> None:
        """Holds every row to it: a valid row has a finite value, an invalid one a reason."""
        what = f"{self.metric} of {self.artifact or self.model}"
        if self.valid and (self.value is None or not math.isfinite(self.value)):
            raise ValueError(f"{what} is {self.value}; a valid row has a number")
        if not self.valid and not self.reason:
            raise ValueError(f"{what} is not valid and gives no reason")


def write_measurements(rows: Iterable[Measurement], path: Path) -> None:
    """Writes `rows` as a JSON list, whole or not at all."""
    beside = path.with_name(path.name + ".part")
    text = json.dumps([dataclasses.asdict(row) for row in rows], indent=1, ensure_ascii=False)
    beside.write_text(text + "\n", encoding="utf-8")
    os.replace(beside, path)


def read_measurements(path: Path) -> list[Measurement]:
    """Reads what `write_measurements` wrote.

    Raises:
        ValueError: The file is no such list.
    """
    try:
        return [Measurement(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} holds no measurements: {error}") from error
