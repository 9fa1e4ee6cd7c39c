"""One number, its unit, and how it was taken: a row of measurements.json."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..files import written_whole
from .accuracy.intervals import Estimate
from .metrics import known_metric

NAME = "measurements.json"


@dataclass(frozen=True)
class Measurement:
    """One number, its unit, and how it was taken; or, where it could not be taken, the reason."""

    model: str  # "mobilefacenet-relu6-pruned-0.7M"
    artifact: str  # path inside the run folder
    format: str  # pytorch, onnx, tflite, coreml, executorch
    precision: str
    runtime: str  # torch, onnxruntime, litert, coreml-evaluator; "" where none is involved
    device: str
    metric: str  # "latency_ms_p50"; see metrics.py
    value: float | None
    unit: str  # "ms", "bytes", "1" for a share
    low: float | None = None  # 95 % interval where there is one
    high: float | None = None
    n: int | None = None  # how many pairs, runs or faces
    valid: bool = True
    reason: str = ""  # why it is not valid
    conditions: Mapping[str, Any] = field(default_factory=dict)  # threads, batch, seconds, ...
    source: str = ""  # the model that this one was pruned from; "" where it was not

    def __post_init__(self) -> None:
        """Checks that a valid row has a finite value, and an invalid one a reason."""
        what = f"{self.metric} of {self.artifact or self.model}"
        if self.valid and (self.value is None or not math.isfinite(self.value)):
            raise ValueError(f"{what} is {self.value}; a valid row has a number")
        if not self.valid and not self.reason:
            raise ValueError(f"{what} is not valid and gives no reason")


NOT_PEOPLE = "rendered faces, not people"
"""How numbers of rendered faces are called wherever they are shown."""


FED_AS_TRAINED = (
    "is it fed as it was trained (mean, scale, order of the colours, alignment)? `pocketface probe` tries what is usual"
)
"""What to ask of a network that tells people apart no better than chance does."""


def is_of_rendered_faces(row: Measurement) -> bool:
    """Tells whether a number was measured on rendered faces, which says little of how well people are recognised."""
    return row.conditions.get("faces_kind") == "rendered"


@dataclass(frozen=True)
class RowMaker:
    """Makes the rows of one file in one runtime on one device; units are those of the table of metrics."""

    model: str
    artifact: str
    format: str
    precision: str
    runtime: str
    device: str
    source: str = ""
    conditions: Mapping[str, Any] = field(default_factory=dict)  # of every row: "runtime_version"

    def under(self, **conditions: Any) -> RowMaker:
        """Gives a maker whose rows all have these conditions too."""
        return replace(self, conditions={**self.conditions, **conditions})

    def value(self, metric: str, value: float | None, /, n: int | None = None, **conditions: Any) -> Measurement:
        """Gives the row of a number without an interval."""
        return self.estimate(metric, Estimate(value), n, **conditions)

    def missing(self, metric: str, reason: str, /, **conditions: Any) -> Measurement:
        """Gives the row of a number that could not be taken."""
        return self.estimate(metric, Estimate(None, reason=reason), **conditions)

    def estimate(self, metric: str, estimate: Estimate, /, n: int | None = None, **conditions: Any) -> Measurement:
        """Gives the row of an estimate; one with a reason is not valid, whether it has a value or not."""
        definition = known_metric(metric)
        assert definition is not None, f"metrics.py has no line for {metric}"
        return Measurement(
            *(self.model, self.artifact, self.format, self.precision, self.runtime, self.device),
            metric=metric,
            value=estimate.value,
            unit=definition.unit,
            low=estimate.low,
            high=estimate.high,
            n=n,
            valid=not estimate.reason,
            reason=estimate.reason,
            conditions={**self.conditions, **conditions},
            source=self.source,
        )


def write_measurements(rows: Iterable[Measurement], path: Path) -> None:
    """Writes `rows` as a JSON list, whole or not at all.

    Args:
        rows: As `benchmark` gives them.
        path: The file; what lies there is replaced.
    """
    text = json.dumps([dataclasses.asdict(row) for row in rows], indent=1, ensure_ascii=False)
    with written_whole(path) as beside:
        beside.write_text(text + "\n", encoding="utf-8")


def read_measurements(path: Path) -> list[Measurement]:
    """Reads what `write_measurements` wrote, older versions included; every field is held to its type.

    Args:
        path: A measurements.json.

    Returns:
        The rows, in the file's order.

    Raises:
        ValueError: There is no such file, it is no list of rows, or a row has a field that none has.
    """
    if not path.is_file():
        raise ValueError(f"no {path.name} in {path.parent}; `pocketface run` or `pocketface benchmark` writes one")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} holds no measurements: {error}") from None
    if not isinstance(values, list):
        raise ValueError(f"{path} holds no measurements: it is no list of rows")
    return [
        checked_measurement(fields, f"{path} holds no measurements: row {number}")
        for number, fields in enumerate(values, 1)
    ]


NUMBER = (int, float, type(None))
TYPES: Mapping[str, tuple[type, ...]] = {  # of fields in JSON; all others are text
    **dict.fromkeys(("value", "low", "high"), NUMBER),
    "n": (int, type(None)),
    "valid": (bool,),
    "conditions": (dict,),
}


def checked_measurement(fields: Any, where: str) -> Measurement:
    """Makes a row of what JSON gives; every field is held to its type.

    Args:
        fields: Of the row, by name.
        where: What an error begins with.

    Raises:
        ValueError: It has a field that no row has, or of another type.
    """
    try:
        row = Measurement(**fields)
        ends = [end for end in (row.low, row.high) if end is not None]
        finite = all(map(math.isfinite, ends))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{where}: {error}") from None
    for name, value in vars(row).items():
        if type(value) not in TYPES.get(name, (str,)):  # not isinstance: True is no number
            raise ValueError(f"{where}: {name} is of another type than it should be, {type(value).__name__}")
    if not finite:
        raise ValueError(f"{where}: its interval ends in {row.low} and {row.high}")
    return row
