"""An ONNX node, as the lowerings to Core ML's language (MIL) see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artifact import ConversionError

Array = NDArray[Any]

# The least number that half precision holds in full; hardware may take what is smaller for zero. It stands in for
# the tiny divisors (1e-12) that keep a network from dividing by zero.
LEAST = np.float32(6.2e-5)


@dataclass(frozen=True)
class Node:
    """Its kind, its name in messages, its attributes as Python values."""

    kind: str
    name: str
    attributes: dict[str, Any]
    results: int = 1  # how many values it makes

    def get(self, name: str, default: Any = None) -> Any:
        """Gives an attribute."""
        return self.attributes.get(name, default)

    def refuse(self, reason: str) -> ConversionError:
        """Gives the error that says why this node has no Core ML form."""
        return ConversionError(f"Core ML cannot express {self.kind} {self.name!r}: {reason}")


def axes_of(node: Node, given: Array | None, x: Any) -> list[int]:
    """Gives axes counted from the front; they are an attribute, in later opsets an input; without: all."""
    axes = node.get("axes") if given is None else given
    rank = len(x.shape)
    return list(range(rank)) if axes is None or len(axes) == 0 else [int(axis) % rank for axis in axes]
