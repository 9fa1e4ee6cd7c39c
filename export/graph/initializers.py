"""The weights that an ONNX graph carries."""

from __future__ import annotations

from typing import Any


def drop_unread(graph: Any) -> None:
    """Takes out of `graph` the weights that no node reads any more, in place."""
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
