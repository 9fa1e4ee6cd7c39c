"""The verdict, in words with numbers: how the model was pruned, how many files were measured, which to ship."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from ...export.formats import FORMATS, format_title
from ..figures import number_text, row_text
from ..measurement import NOT_PEOPLE, Measurement, is_of_rendered_faces
from ..metric_keys import phrase_of, title_of
from .drift import COSINE, OVERLAP, THRESHOLD, is_without_labels
from .limits import DIFFERENCE, LATENCY, SIZE, JudgedFile, ShippingLimits, limits_for
from .recommendation import Choice, Recommendation, recommend
from .summary import ACCURACY, Line, baseline, sets_of_pairs, summarise

OLD_TEMPLATES = "cross_accuracy_difference"


class Figure(NamedTuple):
    """One number of a pick and how it compares."""

    title: str
    text: str
    comparison: str  # "2.2× faster", or what the number was measured on


@dataclass(frozen=True)
class Pick:
    """The file of one format to ship, or the nearest to the limits, and the unpruned fp32 it is compared with."""

    format: str
    line: Line
    base: Line
    meets: bool
    first: bool  # recommended among all formats
    why: str
    figures: Mapping[str, Figure]  # by the key of the number, those that were measured


def picks_of(lines: Sequence[Line], recommendation: Recommendation) -> list[Pick]:
    """Gives a pick per format: the recommended ones first, then in the order of `FORMATS`."""
    picks = []
    for kind, choice in recommendation.formats:
        if file := choice.best or choice.nearest:
            base, first = baseline(file.line, lines, ACCURACY), file in recommendation.best
            figures = dict(_figures(file, base, choice))
            picks.append(Pick(format_title(kind), file.line, base, file.meets, first, _why(file, choice), figures))
    order = [each.title for each in FORMATS.values()]
    return sorted(picks, key=lambda pick: (not pick.first, order.index(pick.format) if pick.format in order else 99))


def outcome(lines: Sequence[Line]) -> str:
    """Says in one paragraph how models were pruned, and how many files were measured."""
    return " ".join([*_pruning(lines), _files(lines)])


def warnings_of(lines: Sequence[Line]) -> list[str]:
    """Says what must be known before any accuracy in a report is read; of all its runs."""
    warnings = []
    rendered = [line for line in lines if ACCURACY in line.cells and is_of_rendered_faces(line.cells[ACCURACY])]
    if rendered:
        runs = " and ".join(dict.fromkeys(line.run for line in rendered if line.run))
        where = f" in {runs}" if runs else ""
        warnings.append(
            f"{NOT_PEOPLE[0].upper()}{NOT_PEOPLE[1:]}: the accuracies{where} tell files apart, but not how well people "
            "are recognised. Measure on photos for that."
        )
    if is_without_labels(lines):
        warnings.append(
            "No accuracy was measured, as the faces have no labels: files were judged by their drift from the source."
        )
    if len(sets_of_pairs(lines)) > 1:
        warnings.append("These runs were verified on different pairs: their accuracies do not compare.")
    return warnings


def advice_on(rows: Sequence[Measurement], limits: ShippingLimits | None = None) -> list[str]:
    """Gives a run's warnings and recommendations, and why not each other file, a line each, for the terminal."""
    lines = summarise(rows)
    recommendation = recommend(lines, limits or limits_for(rows))
    others = [each for _, choice in recommendation.choices if choice.best is not None for each in choice.others]
    return [
        *warnings_of(lines),
        *(f"not {file.line.name}: {why}" for file, why in others),
        *(f"{use}: {sentence}" for use, sentence in recommendation_sentences(lines, recommendation)),
    ]


def recommendation_sentences(lines: Sequence[Line], recommendation: Recommendation) -> list[tuple[str, str]]:
    """Gives (use, sentence) for each recommended file, or why none is."""
    sentences = []
    for title, choice in recommendation.choices:
        if choice.best is None:
            sentences.append((title, _sentence(choice.why)))
            continue
        line = choice.best.line
        base = baseline(line, lines, ACCURACY)
        comparison = "" if base is line else f" Compared with {base.name}."
        evidence = f" {choice.evidence.sentence}" if choice.evidence else ""
        facts = [
            f"{phrase_of(key)} {figure.text}"
            + (f" ({figure.comparison})" if figure.comparison and figure.comparison not in evidence else "")
            for key, figure in _figures(choice.best, base, choice)
        ]
        said = f"Ship {line.name}: {', '.join(facts)}. It is {choice.why}.{evidence}{comparison}{_enrolment(line)}"
        sentences.append((title, said))
    return sentences


def short_sentences(recommendation: Recommendation) -> list[tuple[str, str]]:
    """Gives (use, sentence) as `recommendation_sentences` does, without the numbers, which stand on the file's card."""
    return [
        (title, _sentence(choice.why))
        if choice.best is None
        else (
            title,
            f"Ship {choice.best.line.name}: {choice.why}."
            + (f" {choice.evidence.sentence}" if choice.evidence else "")
            + _enrolment(choice.best.line),
        )
        for title, choice in recommendation.choices
    ]


def _enrolment(line: Line) -> str:
    """Says whether an app can keep the templates of people whom the source enrolled; "" where no people were shown."""
    row, accuracy = line.cells.get(OLD_TEMPLATES), line.cells.get(ACCURACY)
    if row is None or accuracy is None or is_of_rendered_faces(accuracy):
        return ""
    source = row.conditions.get("to", "the source")
    if row.value is None:
        return f" Enrol people anew: {row.reason}."
    old = f"with templates that {source} made, accuracy"
    said = f"{old} is {row.conditions.get('said')}"
    advice = {
        "equal": f" People need not enrol anew: {said}.",
        "better": f" Keep the templates of people who are enrolled: {said} than with new ones.",
        "worse": f" Enrol people anew: {said} than with new ones.",
    }
    unknown = f" Whether people must enrol anew these pairs cannot tell: {old} changes by {row_text(row)}."
    return advice.get(str(row.conditions.get("verdict")), unknown)


def _why(judged: JudgedFile, choice: Choice) -> str:
    if judged.meets:
        return _sentence(choice.why)
    return f"Does not meet the limits for sure: {'; '.join(miss.reason for miss in judged.misses)}."


def _pruning(lines: Sequence[Line]) -> Iterator[str]:
    pruned: dict[str, list[str]] = {}
    for model, source in dict.fromkeys((line.model, line.source) for line in lines):
        pruned.setdefault(source, []).extend([_sized(model, lines)] * (model != source))
    for source, models in pruned.items():
        sized = _sized(source, lines)
        yield f"{sized} was pruned to {_and(models)}." if models else f"No pruning is recorded for {sized}."


def _sized(model: str, lines: Sequence[Line]) -> str:
    """Gives the model's name, and its parameters and MACs as far as they were counted."""
    counts = []
    for key, noun in (("parameters", "parameters"), ("macs", "MACs")):
        count = next((line.value(key) for line in lines if line.model == model and line.value(key) is not None), None)
        counts += [] if count is None else [f"{number_text(count, 'count')} {noun}"]
    return f"{model} ({', '.join(counts)})" if counts else model


def _files(lines: Sequence[Line]) -> str:
    files = {(line.model, line.artifact, line.format, line.precision): "export" in line.cells for line in lines}
    failed = sum(files.values())
    counts = Counter(file[2] for file, is_missing in files.items() if not is_missing)
    by_format = _and([f"{count} {format_title(format)}" for format, count in counts.items()]) or "No"
    end = f"; {failed} could not be made" if failed else ""
    return f"{by_format} {'file was' if counts.total() == 1 else 'files were'} measured{end}."


def _figures(judged: JudgedFile, base: Line, choice: Choice) -> Iterator[tuple[str, Figure]]:
    line, speed = judged.line, judged.latency
    size, accuracy, difference = (line.cells.get(key) for key in (SIZE, ACCURACY, DIFFERENCE))
    if size is not None and size.valid:
        smaller = _against(line, base, "size_ratio", "smaller", "larger")
        yield SIZE, Figure(title_of(SIZE), row_text(size), smaller)
    if speed is not None and speed.valid:
        faster = _against(line, base, "latency_ratio", "faster", "slower") if line.cells.get(LATENCY) is speed else ""
        place = f"{speed.runtime} on {speed.device}" if speed.device else speed.runtime
        yield LATENCY, Figure(title_of(LATENCY), row_text(speed), ", ".join(filter(None, (faster, place))))
    elif speed is not None:
        yield LATENCY, Figure(title_of(LATENCY), "not measured", speed.reason)
    if choice.evidence is not None and choice.evidence.key != LATENCY:
        key = choice.evidence.key
        row, other = line.cells.get(key), base.value(key)
        if row is not None and row.valid and row.value:
            word = "fewer" if choice.evidence.core else "less"
            less = f"{other / row.value:.1f}× {word}" if other and other / row.value >= 1.05 else ""
            yield key, Figure(title_of(key), row_text(row), less)
    if accuracy is not None and accuracy.valid:
        pairs = f"on {accuracy.n:,} pairs" if accuracy.n else ""
        if is_of_rendered_faces(accuracy):
            pairs = f"{pairs} of {NOT_PEOPLE}" if pairs else f"on {NOT_PEOPLE}"
        yield ACCURACY, Figure(title_of(ACCURACY), row_text(accuracy), pairs)
    for key in (COSINE, OVERLAP, THRESHOLD) if accuracy is None else ():
        row = line.cells.get(key)
        if row is not None and row.valid:
            yield key, Figure(title_of(key), row_text(row), "without labels")
    if difference is not None and difference.valid:
        source = str(difference.conditions.get("to", "the source"))
        yield DIFFERENCE, Figure(title_of(DIFFERENCE), row_text(difference), source)


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


def _sentence(phrase: str) -> str:
    return f"{phrase[0].upper()}{phrase[1:]}" + "." * (not phrase.endswith("?"))


def _and(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
