"""What the commands that change a network end with: its size, speed and accuracy before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from .command_line import Images
from .command_output import CommandResult

if TYPE_CHECKING:
    from .benchmark.measurement import Measurement
    from .benchmark.speed.speedup import Speedup
    from .faces.contract import InputContract
    from .faces.pairs import Pairs
    from .models.embedder import Embedder

NOT_JUDGED = "No accuracy was judged: --pairs PAIRS verifies both networks"


@dataclass(frozen=True)
class NetworkPair:
    """A network before and after a command, with what was counted, weighed and measured of both."""

    before: Embedder
    after: Embedder
    accuracy: tuple[Measurement, Measurement, Measurement] | None  # before, after, paired difference; None: no pairs
    speed: Speedup | None = None  # None: not timed


@dataclass(frozen=True)
class JudgingOptions:
    """The pairs that a network is verified on before and after; it never learns from them."""

    pairs: Annotated[
        str | None, Option(help="Pairs to verify on before and after, as for benchmark.", show_default="not verified")
    ] = None
    images: Images = None

    def judge(self, contract: InputContract) -> Callable[[Embedder, Embedder], NetworkPair]:
        """Reads the pairs, before anything slow begins, and gives what verifies two networks on them."""
        if self.pairs is None:
            return lambda before, after: NetworkPair(before, after, None)
        from .inputs import open_pairs

        pairs = open_pairs(self.pairs, self.images, contract)
        return lambda before, after: NetworkPair(before, after, _verified(before, after, pairs))


def network_result(command: str, networks: NetworkPair, folder: Path) -> CommandResult:
    """Gives the result of a command that made a network of another.

    Args:
        command: "prune" or "recover".
        networks: Before and after.
        folder: The checkpoint.
    """
    from .benchmark.report.result_facts import number_facts
    from .benchmark.report.terminal import terminal_width
    from .benchmark.report.text_table import text_lines, text_table
    from .models.complexity import macs, parameters

    width, speed, accuracy = terminal_width(), networks.speed, networks.accuracy
    sizes = speed.sizes if speed is not None else None
    latencies = [] if speed is None else [row for row in speed.rows if row.metric == "latency_ms_p50"]
    both = (networks.before, networks.after)
    facts = [
        {
            "model": network.name,
            "parameters": parameters(network.backbone),
            "macs": macs(network),
            "weights_bytes": sum(each.numel() * each.element_size() for each in network.backbone.state_dict().values()),
            "tflite_bytes": sizes[place] if sizes else None,
            "latency_ms": number_facts(latencies[place]) if latencies else None,
            "accuracy": number_facts(accuracy[place]) if accuracy else None,
        }
        for place, network in enumerate(both)
    ]
    columns = {
        "network": [f"{when} {network.name}" for when, network in zip(("before:", "after:"), both, strict=True)],
        "parameters": [f"{each['parameters']:,}" for each in facts],
        "MACs": _numbers([each["macs"] for each in facts], "count"),
        "weights": _numbers([each["weights_bytes"] for each in facts], "bytes"),
        "TFLite": _numbers(sizes or (), "bytes"),
        "latency": [_text(row) for row in latencies],
        "accuracy": [_text(row) for row in (accuracy or ())[:2]],
    }
    shown = {title: cells for title, cells in columns.items() if cells and not (title == "weights" and sizes)}
    table = text_table(list(shown), list(zip(*shown.values(), strict=True)), width)
    said = [*([] if speed is None else [speed.sentence]), _accuracy_sentence(accuracy)]
    code = networks.after.architecture
    network = f"{code} --weights {folder}" if ":" in code else folder
    said.append(f"{networks.after.name} is in {folder}; next: pocketface export {network}")
    difference, ratio = accuracy and accuracy[2], speed and speed.rows[-1]
    return CommandResult(
        [*table, "", *(line for each in said for line in text_lines(each, width))],
        {
            "command": command,
            "checkpoint": str(folder),
            "before": facts[0],
            "after": facts[1],
            "latency_ratio": number_facts(ratio),
            "accuracy_difference": number_facts(difference),
            "accuracy_verdict": difference.conditions["verdict"] if difference else None,
            "rendered_faces": bool(accuracy and accuracy[1].conditions.get("faces_kind")),
        },
    )


def _verified(before: Embedder, after: Embedder, pairs: Pairs) -> tuple[Measurement, Measurement, Measurement]:
    from .benchmark.accuracy.paired import paired_differences
    from .benchmark.accuracy.verification import people_of, usual_fars, verify
    from .benchmark.findings.differences import verdict_of
    from .benchmark.measurement import RowMaker
    from .benchmark.recipe import BenchmarkRecipe

    fars = usual_fars(pairs.same)
    found = [verify(network.embed(pairs.faces), pairs, pairs.identities, fars) for network in (before, after)]
    makers = [RowMaker(network.name, "", "pytorch", "fp32", "torch", "") for network in (before, after)]
    makers = [row.under(faces_kind="rendered") if pairs.rendered else row for row in makers]
    rows = [
        row.estimate("verification_accuracy", each.accuracy, len(pairs))
        for row, each in zip(makers, found, strict=True)
    ]
    (difference, *_) = paired_differences(found[1], found[0], pairs.same, people_of(pairs.identities, pairs))
    verdict = verdict_of(difference.difference, BenchmarkRecipe().margin, len(pairs))
    return rows[0], rows[1], makers[1].estimate(difference.metric, difference.difference, len(pairs), **verdict)


def _numbers(values: Sequence[float], kind: str) -> list[str]:
    from .benchmark.figures import number_text

    return [number_text(value, kind) for value in values]


def _text(row: Measurement) -> str:
    """Gives a number, with a question mark where it does not count, and the interval of an accuracy."""
    from .benchmark.figures import number_kind, number_text, row_text

    if row.value is None:
        return "–"
    if row.metric == "verification_accuracy" and row.valid:
        return row_text(row)
    return number_text(row.value, number_kind(row)) + ("" if row.valid else " ?")


def _accuracy_sentence(accuracy: tuple[Measurement, Measurement, Measurement] | None) -> str:
    from .benchmark.figures import row_text
    from .benchmark.measurement import NOT_PEOPLE, is_of_rendered_faces

    if accuracy is None:
        return NOT_JUDGED
    difference = accuracy[2]
    drawn = f" of {NOT_PEOPLE}" if is_of_rendered_faces(difference) else ""
    said = difference.conditions["said"]
    return f"accuracy {row_text(difference)} on the same {difference.n:,} pairs{drawn}: {said}"
