"""Which operators of a .tflite graph XNNPACK, LiteRT's fast CPU kernels, runs, and why it leaves the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..artifact import Note
from .litert import DELEGATE, open_interpreter

UNKNOWN = "no XNNPACK kernel for these types or shapes"

REASONS: tuple[tuple[str, frozenset[str], str], ...] = (
    ("", frozenset({"int16"}), "XNNPACK has no kernels for int16 activations"),
    ("PRELU", frozenset({"int8"}), "XNNPACK's PRELU is float"),
    ("MAXIMUM", frozenset({"int8"}), "XNNPACK's MAXIMUM is float"),
    ("L2_NORMALIZATION", frozenset(), "XNNPACK does not know it"),
    (
        "DEPTHWISE_CONV_2D",
        frozenset({"float32", "int8"}),
        "XNNPACK has no depthwise convolution of float activations with int8 weights",
    ),
)
"""Why an operator ("": any) with tensors of these types (among others) is left: the first row that fits."""


@dataclass(frozen=True)
class Delegation:
    """How much of a graph XNNPACK runs."""

    partitions: int  # 1 is best: between two, plain kernels run and tensors are copied
    leftovers: Mapping[str, Mapping[str, int]]  # reason -> operator -> how many; most first

    def note(self) -> Note:
        """Gives "1 XNNPACK partition", or how many and what falls off.

        >>> str(Delegation(3, {"XNNPACK's MAXIMUM is float": {"MAXIMUM": 2}}).note())
        "3 XNNPACK partitions; fall off: 2 MAXIMUM (XNNPACK's MAXIMUM is float)"
        """
        text = f"{self.partitions} XNNPACK partition{'' if self.partitions == 1 else 's'}"
        parts = [
            f"{', '.join(f'{count} {operator}' for operator, count in operators.items())} ({reason})"
            for reason, operators in self.leftovers.items()
        ]
        if parts:
            text = f"{text}; fall off: {'; '.join(parts)}"
        return Note("one-partition" if self.partitions == 1 and not parts else "partitions", text, self.partitions)


def delegation(path: Path) -> Delegation:
    """Loads a .tflite file as an app does, and tells which operators XNNPACK runs on this machine.

    Raises:
        ValueError: LiteRT cannot load it.
    """
    interpreter = open_interpreter(path)
    listed = interpreter._get_ops_details()
    partitions = [row for row in listed if row["op_name"] == DELEGATE]
    operators = [row for row in listed if row["op_name"] != DELEGATE]
    types = {row["index"]: row["dtype"].__name__ for row in interpreter.get_tensor_details()}
    taken = _taken(partitions, operators)
    counts: Counter[tuple[str, str]] = Counter()
    for row in operators:
        if row["index"] not in taken:
            seen = {types.get(int(tensor), "") for tensor in (*row["inputs"], *row["outputs"])}
            counts[_reason(row["op_name"], seen), row["op_name"]] += 1
    leftovers: dict[str, dict[str, int]] = {}
    for (reason, operator), count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        leftovers.setdefault(reason, {})[operator] = count
    return Delegation(len(partitions), leftovers)


def _taken(partitions: Sequence[Any], operators: Sequence[Any]) -> set[int]:
    """Gives the operators inside the partitions: all between their outputs and their inputs."""
    maker = {int(tensor): row for row in operators for tensor in row["outputs"]}
    taken: set[int] = set()
    for partition in partitions:
        entered = {int(tensor) for tensor in partition["inputs"]}
        todo = [int(tensor) for tensor in partition["outputs"]]
        while todo:
            tensor = todo.pop()
            if tensor in maker and tensor not in entered and maker[tensor]["index"] not in taken:
                taken.add(maker[tensor]["index"])
                todo.extend(int(name) for name in maker[tensor]["inputs"])
    return taken


def _reason(operator: str, types: set[str]) -> str:
    return next((why for name, needed, why in REASONS if name in ("", operator) and needed <= types), UNKNOWN)
