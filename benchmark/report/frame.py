"""Measurements as one table for notebooks: a line per file and runtime."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..measurement import Measurement
from .summary import summarise

LINE = ("model", "artifact", "format", "precision", "runtime", "device")


def to_frame(rows: Iterable[Measurement]) -> Any:
    """Gives measurements as a table with one line per file, runtime and device.

    Args:
        rows: As `benchmark` or `read_measurements` gives them.

    Returns:
        A `pandas.DataFrame` where pandas is installed, otherwise a list of dicts with the same keys. The first six
        columns say what was measured: model, artifact, format, precision, runtime, device. Each other column is a
        metric, with `@threads` or `@core` where that is part of it (`latency_ms_p50@1`), in the metric's unit; None,
        in pandas NaN, where it was not or could not be measured.
    """
    lines = summarise(list(rows))
    keys = dict.fromkeys(key for line in lines for key in line.cells if key != "export")
    table = [{name: getattr(line, name) for name in LINE} | {key: line.value(key) for key in keys} for line in lines]
    try:
        import pandas
    except ImportError:
        return table
    return pandas.DataFrame(table)
