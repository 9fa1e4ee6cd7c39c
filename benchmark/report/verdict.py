"""The verdict, in words with numbers: what was done to the model, and which file of each format to ship."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .figures import interval, written
from .summary import Line, baseline

FORMATS = {
    "tflite": "TFLite",
    "coreml": "Core ML",
    "executorch": "ExecuTorch",
    "onnx": "ONNX",
    "ort": "ORT format",
    "pytorch": "PyTorch",
}
ACCURACY, SIZE, LATENCY = "verification_accuracy", "size_bytes", "latency_ms_p50@1"


class Figure(NamedTuple):
    """One number of a pick and how it compares."""

    title: str
    text: str
    against: str


@dataclass(frozen=True)
class Pick:
    """The file of one format to ship, and the unpruned fp32 it is compared with."""

    format: str
    line: Line
    base: Line
    keeps: bool  # its accuracy's interval overlaps that of the base
    figures: tuple[Figure, ...]

    @property
    def why(self) -> str:
        """Why this file."""
        if not self.keeps:
            return "most accurate; none is as fast as the reference and within its accuracy interval"
        if self.line.value(LATENCY) is None:
            return "smallest whose accuracy interval overlaps the reference's; its latency is not known"
        return "smallest that is as fast as the reference (within 5 %) and whose accuracy interval overlaps its own"


def best_files(lines: Sequence[Line]) -> list[Pick]:
    """Picks one file per format: the smallest that keeps speed and accuracy, else the most accurate.

    Accuracy is kept where its interval overlaps the reference's, speed within 5 %, which is noise. A file whose
    latency could not be measured is not held to it.
    """
    picks = []
    for format, label in FORMATS.items():
        able = [line for line in lines if line.format == format and line.value(ACCURACY) and line.value(SIZE)]
        keeping = [line for line in able if _keeps(line, lines) and (line.value("latency_ratio") or 1) >= 0.95]
        if format == "pytorch" or not able:
            continue
        if keeping:
            best = min(keeping, key=lambda line: (line.value(SIZE) or 0, line.value(LATENCY) or 0))
        else:
            best = max(able, key=lambda line: line.value(ACCURACY) or 0)
        base = baseline(best, lines, ACCURACY)
        picks.append(Pick(label, best, base, bool(keeping), _figures(best, base)))
    return picks


def verdict(lines: Sequence[Line]) -> str:
    """Says in one paragraph what was done, what came of it, and what the first pick is worth."""
    said = [*_pruning(lines), _files(lines)]
    for pick in best_files(lines)[:1]:
        facts = [f"{f.title.lower()} {f.text}" + (f" ({f.against})" if f.against else "") for f in pick.figures]
        place = " on ".join(filter(None, (pick.line.runtime, pick.line.device)))
        than = "" if pick.base is pick.line else f", compared with {pick.base.name}"
        said.append(f"Best {pick.format} file: {pick.line.name}, {', '.join(facts)}{than}, measured in {place}.")
    return " ".join(said)


def _pruning(lines: Sequence[Line]) -> list[str]:
    models = list(dict.fromkeys((line.source, line.model) for line in lines))
    said = []
    for source in dict.fromkeys(source for source, _ in models):
        pruned = [_sized(model, lines) for of, model in models if of == source and model != source]
        said.append(f"{_sized(source, lines)} was " + (f"pruned to {_and(pruned)}." if pruned else "not pruned."))
    return said


def _sized(model: str, lines: Sequence[Line]) -> str:
    """Gives the model's name, and its parameters and MACs as far as they were counted."""
    counted = []
    for key, noun in (("parameters", "parameters"), ("macs", "MACs")):
        rows = [line.cells[key] for line in lines if line.model == model and line.value(key) is not None]
        counted += [f"{written(rows[0], 'count')[0]} {noun}"] if rows else []
    return f"{model} ({', '.join(counted)})" if counted else model


def _files(lines: Sequence[Line]) -> str:
    files = {(line.model, line.artifact, line.format, line.precision): "export" in line.cells for line in lines}
    failed = sum(files.values())
    made = [file for file, is_missing in files.items() if not is_missing]
    counts = Counter(file[2] for file in made)
    said = _and([f"{counts[format]} {FORMATS.get(format, format)}" for format in counts]) or "No"
    end = f"; {failed} could not be made" if failed else ""
    return f"{said} {'file was' if len(made) == 1 else 'files were'} measured{end}."


def _keeps(line: Line, lines: Sequence[Line]) -> bool:
    mine, other = line.cells[ACCURACY], baseline(line, lines, ACCURACY).cells.get(ACCURACY)
    if mine.value is None or other is None or other.value is None:
        return False
    (_, high), (low, _) = interval(mine), interval(other)
    return (mine.value if high is None else high) >= (other.value if low is None else low)


def _figures(line: Line, base: Line) -> tuple[Figure, ...]:
    smaller = _against(line, base, "size_ratio", "smaller", "larger")
    figures = [Figure("Size", written(line.cells[SIZE], "bytes")[0], smaller)]
    speed = line.cells.get(LATENCY)
    if speed is not None and speed.valid:
        against = _against(line, base, "latency_ratio", "faster", "slower")
        figures.append(Figure("Latency on 1 thread", written(speed, "ms")[0], against))
    elif speed is not None:
        figures.append(Figure("Latency on 1 thread", "not measured", speed.reason))
    accuracy, other = line.cells[ACCURACY], base.cells.get(ACCURACY)
    pairs = f" on {accuracy.n} pairs" if accuracy.n else ""
    against = ""
    if other is not None and other is not accuracy and other.valid:
        against = f"against {' '.join(written(other, 'share')).strip()}"
    figures.append(Figure("Accuracy", " ".join(written(accuracy, "share")).strip(), (against + pairs).strip()))
    return tuple(figures)


def _against(line: Line, base: Line, ratio: str, more: str, less: str) -> str:
    row = line.cells.get(ratio)
    if row is None or row.value is None:
        return ""
    word, times = (more, row.value) if row.value >= 1 else (less, 1 / row.value)
    than = "" if row.conditions["against"] == base.name else f" than {row.conditions['against']}"
    return f"{times:.{0 if times >= 10 else 1}f}× {word}{than}"


def _and(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
