"""What was changed in a graph on its way to a file, as kinds that programs read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

REWRITES = {
    "equalise": "equalise {count} sites",
    "fold-affines": "fold {count} scales and shifts into layers",
    "equalise-streams": "equalise {count} channels of residual streams",
    "prelu-skip": "PReLU as x + relu((a - 1) x) at {count} sites",
    "merge-branches": "parallel branches as one convolution at {count} sites",
    "correct-biases": "correct {count} biases",
    "prelu-slopes": "PReLU slopes of {count} layers along the channels",
    "float-layers": "{count} layers in float arithmetic",
    "half-arithmetic": "arithmetic in half precision where the core has it",
    "widen-bfloat16": "bfloat16 to float32",
    "widen-double": "double to float32",
    "widen-float16": "float16 to float32",
}
"""Kind of a rewrite -> its sentence for people."""


@dataclass(frozen=True)
class Rewrite:
    """One change to the graph on its way to a file."""

    kind: str  # a key of `REWRITES`; "other": a sentence of an older card
    count: int = 1  # of the places that were changed
    text: str = ""  # of kind "other" only

    def __str__(self) -> str:
        """The sentence."""
        return self.text or REWRITES.get(self.kind, "{kind}: {count}").format(kind=self.kind, count=self.count)

    def to_plain(self) -> str | dict[str, Any]:
        """Gives what stands in a card's JSON: an older card's sentence stays what it is."""
        return self.text or {"kind": self.kind, "count": self.count}

    @classmethod
    def from_plain(cls, value: Any) -> Rewrite:
        """Reads what `to_plain` gave; a sentence is of kind "other"."""
        rewrite = cls("other", text=value) if isinstance(value, str) else cls(**value)
        if not isinstance(rewrite.kind, str) or type(rewrite.count) is not int or not isinstance(rewrite.text, str):
            raise TypeError("a rewrite is not described")
        return rewrite
