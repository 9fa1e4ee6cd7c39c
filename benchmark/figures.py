"""Numbers as a report writes them: with their unit, and no more digits than they are worth."""

from __future__ import annotations

import math
from collections.abc import Callable

from .measurement import Measurement
from .metrics import known_metric


def _figures(value: float) -> str:
    return f"{value:.{0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 3}f}"


def _count(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= 0.9995 * size:  # 999,936 is 1.00 M, not 1000 k
            return f"{_figures(value / (1e3 if letter == 'k' else size))} {letter}"
    return f"{value:g}"


def _percent(value: float, half_width: float | None) -> str:
    points = 0.5 if half_width is None else 100 * half_width
    return f"{100 * value:.{0 if points >= 5 else 1 if points >= 0.1 else 2}f} %"


KINDS: dict[str, Callable[[float, float | None], str]] = {  # number and half its interval's width -> text
    "bytes": lambda v, _: f"{_figures(v / 1e6)} MB" if v >= 1e5 else f"{_figures(v / 1e3)} kB",
    "count": lambda v, _: _count(v),
    "ms": lambda v, _: f"{_figures(v)} ms",
    "share": _percent,
    "points": lambda v, _: f"{100 * v:+.2f} points",
    "cosine": lambda v, _: f"{v:.4f}" if v < 0.9995 else f"{v:.6f}",
    "tiny": lambda v, _: f"{v:.1e}" if v else "0",
    "plain": lambda v, half: f"{v:.{2 if half and half > 0.005 else 3}f}",
    "any": lambda v, _: f"{v:.4g}",
    "times": lambda v, _: f"{v:.{0 if v >= 10 else 1}f}×",
}


def number_text(value: float, kind: str, half_width: float | None = None) -> str:
    """Gives a number with its unit; `half_width` of its interval says how many digits of a share are known.

    >>> number_text(0.98712, "share"), number_text(330_000, "bytes"), number_text(0.9, "ms")
    ('98.7 %', '0.33 MB', '0.90 ms')
    """
    return KINDS[kind](value, half_width)


def interval(row: Measurement) -> tuple[float, float] | tuple[None, None]:
    """Gives the ends of the row's interval, None twice where it has not two finite ones."""
    if row.low is None or row.high is None or not math.isfinite(row.low + row.high):
        return None, None
    return row.low, row.high


def number_and_interval(row: Measurement, kind: str) -> tuple[str, str]:
    """Gives a valid row's number as it is written, and its interval as "[low, high]" or "".

    >>> row = Measurement("m", "", "onnx", "fp32", "", "", "eer", 0.98712, "1", 0.9834, 0.9902)
    >>> number_and_interval(row, "share")
    ('98.7 %', '[98.3, 99.0]')
    """
    assert row.value is not None
    low, high = interval(row)
    if low is None or high is None:
        return number_text(row.value, kind), ""
    half = (high - low) / 2
    text = number_text(row.value, kind, half)
    unit = text[text.find(" ") :] if " " in text else ""
    ends = ", ".join(number_text(end, kind, half).removesuffix(unit) for end in (low, high))
    return text, f"[{ends}]"


def setting_and_interval(row: Measurement) -> tuple[str, str]:
    """Gives a valid threshold with all the digits that an app should copy, and its interval."""
    return f"{row.value:.4f}", number_and_interval(row, "plain")[1]


def number_kind(row: Measurement) -> str:
    """Gives how a row's number is written, a key of `KINDS`: as its metric's, else by its unit."""
    metric = known_metric(row.metric)
    return metric.kind if metric else row.unit if row.unit in KINDS else "any"


def row_text(row: Measurement, kind: str = "") -> str:
    """Gives a valid row's number and interval in one text; of its metric's kind where none is given."""
    return " ".join(number_and_interval(row, kind or number_kind(row))).strip()
