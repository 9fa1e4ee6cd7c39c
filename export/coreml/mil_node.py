"""What the lowerings of ONNX nodes to Core ML's language (MIL) share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...models.graph.view import Array, attribute
from ..artifact import ConversionError

if TYPE_CHECKING:
    from onnx import NodeProto

# The least number that half precision holds in full; hardware may take what is smaller for zero. It stands in for
# the tiny divisors (1e-12) that keep a network from dividing by zero.
LEAST = np.float32(6.2e-5)


def refuse(node: NodeProto, reason: str) -> ConversionError:
    """Gives the error that says why `node` has no Core ML form."""
    return ConversionError(f"Core ML cannot express {node.op_type} {node.name or node.output[0]!r}: {reason}")


def axes_of(node: NodeProto, given: Array | None, x: Any) -> list[int]:
    """Gives axes counted from the front; they are an attribute, in later opsets an input; without: all."""
    axes = attribute(node, "axes") if given is None else given
    rank = len(x.shape)
    return list(range(rank)) if axes is None or len(axes) == 0 else [int(axis) % rank for axis in axes]
