"""The verdict, in words with numbers: what was done to the model, and which file to ship."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from ..figures import number_and_interval
from .limits import ACCURACY, DIFFERENCE, LATENCY, SIZE, JudgedFile
from .recommendation import Choice, Recommendation
from .summary import Line, baseline

FORMATS = {
    "tflite": "TFLite",
    "coreml": "Core ML",
    "executorch": "ExecuTorch",
    "onnx": "ONNX",
    "ort": "ORT format",
    "pytorch": "PyTorch",
}


class Figure(NamedTuple):
    """One number of a pick and how it compares."""

    title: str
    text: str
    against: str


@dataclass(frozen=True)
class Pick:
    """The file of one format to ship, or the nearest to the limits, and the unpruned fp32 it is compared with."""

    format: str
    line: Line
    base: Line
    meets: bool
    first: bool  # recommended among all formats
    why: str
    figures: tuple[Figure, ...]


def picks_of(lines: Sequence[Line], recommendation: Recommendation) -> list[Pick]:
    """Gives a pick per format: the recommended ones first, then in the order of `FORMATS`."""
    picks = []
    for kind, choice in recommendation.formats:
        if shown := choice.best or choice.nearest:
            base = baseline(shown.line, lines, ACCURACY)
            first = shown in recommendation.best
            figures = _figures(shown, base)
            picks.append(
                Pick(FORMATS.get(kind, kind), shown.line, base, shown.meets, first, _why(shown, choice), figures)
            )
    order = list(FORMATS.values())
    return sorted(picks, key=lambda pick: (not pick.first, order.index(pick.format) if pick.format in order else 99))


def outcome(lines: Sequence[Line]) -> str:
    """Says in one paragraph what was done, and what came of it."""
    return " ".join([*_pruning(lines), _files(lines)])


def recommendation_sentences(lines: Sequence[Line], recommendation: Recommendation) -> list[tuple[str, str]]:
    """Gives (what for, a sentence) for each thing that is recommended, or why nothing is."""
    said = []
    for title, choice in recommendation.choices:
        if choice.best is None:
            said.append((title, f"{choice.why[0].upper()}{choice.why[1:]}."))
            continue
        line = choice.best.line
        base = baseline(line, lines, ACCURACY)
        facts = [
            f"{figure.title.lower()} {figure.text}" + (f" ({figure.against})" if figure.against else "")
            for figure in _figures(choice.best, base)
        ]
        than = "" if base is line else f" Compared with {base.name}."
        said.append((title, f"Ship {line.name}: {', '.join(facts)}. It is {choice.why}.{than}"))
    return said


def _why(judged: JudgedFile, choice: Choice) -> str:
    if judged.meets:
        return f"{choice.why[0].upper()}{choice.why[1:]}."
    return f"Does not meet the limits for sure: {'; '.join(miss.said for miss in judged.misses)}."


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
        counted += [f"{number_and_interval(rows[0], 'count')[0]} {noun}"] if rows else []
    return f"{model} ({', '.join(counted)})" if counted else model


def _files(lines: Sequence[Line]) -> str:
    files = {(line.model, line.artifact, line.format, line.precision): "export" in line.cells for line in lines}
    failed = sum(files.values())
    made = [file for file, is_missing in files.items() if not is_missing]
    counts = Counter(file[2] for file in made)
    said = _and([f"{counts[format]} {FORMATS.get(format, format)}" for format in counts]) or "No"
    end = f"; {failed} could not be made" if failed else ""
    return f"{said} {'file was' if len(made) == 1 else 'files were'} measured{end}."


def _figures(judged: JudgedFile, base: Line) -> tuple[Figure, ...]:
    line = judged.line
    figures = []
    if SIZE in line.cells and line.value(SIZE) is not None:
        smaller = _against(line, base, "size_ratio", "smaller", "larger")
        figures.append(Figure("Size", number_and_interval(line.cells[SIZE], "bytes")[0], smaller))
    speed = judged.latency
    if speed is not None and judged.milliseconds is not None:
        own = line.cells.get(LATENCY) is speed
        against = _against(line, base, "latency_ratio", "faster", "slower") if own else ""
        where = f"{speed.runtime} on {speed.device}" if speed.device else speed.runtime
        told = ", ".join(filter(None, (against, where)))
        figures.append(Figure("Latency on 1 thread", " ".join(number_and_interval(speed, "ms")).strip(), told))
    elif speed is not None:
        figures.append(Figure("Latency on 1 thread", "not measured", speed.reason))
    accuracy, compared = line.cells.get(ACCURACY), line.cells.get(DIFFERENCE)
    if accuracy is not None and accuracy.valid:
        pairs = f"on {accuracy.n:,} pairs" if accuracy.n else ""
        figures.append(Figure("Accuracy", " ".join(number_and_interval(accuracy, "share")).strip(), pairs))
    if compared is not None and compared.valid:
        to = compared.conditions.get("to", "the source")
        figures.append(
            Figure("Accuracy against the source", " ".join(number_and_interval(compared, "points")).strip(), f"{to}")
        )
    return tuple(figures)


def _against(line: Line, base: Line, ratio: str, more: str, less: str) -> str:
    row = line.cells.get(ratio)
    if row is None or row.value is None or not row.valid:
        return ""
    word, times = (more, row.value) if row.value >= 1 else (less, 1 / row.value)
    name = PurePosixPath(str(row.conditions.get("against", base.name))).name
    than = "" if name == base.name else f" than {name}"
    if f"{times:.1f}" == "1.0":
        return f"as {'fast' if more == 'faster' else 'large'}{than.replace(' than ', ' as ')}"
    return f"{times:.{0 if times >= 10 else 1}f}× {word}{than}"


def _and(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
