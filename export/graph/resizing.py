"""Which pixels an ONNX Resize takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...models.graph.view import GraphView, attribute

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

ROUNDINGS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "round_prefer_floor": lambda place: np.ceil(place - 0.5),
    "round_prefer_ceil": lambda place: np.floor(place + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def rewrite_upsamples(graph: GraphProto) -> None:
    """Writes each Upsample, which ONNX had up to opset 9, as the Resize that it means.

    Given   Upsample(x, scales)
    Result  Resize(x, none, scales), asymmetric, floor
    """
    import onnx

    view = GraphView(graph)
    for node in graph.node:
        if node.op_type == "Upsample":
            scales, mode = attribute(node, "scales"), attribute(node, "mode", "nearest")
            if scales is not None:  # an attribute in opset 7
                node.input.append(view.set_constant(f"{node.output[0]}/scales", np.array(scales, np.float32)))
            node.op_type = "Resize"
            node.input.insert(1, "")
            del node.attribute[:]
            words = {"mode": mode, "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            node.attribute.extend(onnx.helper.make_attribute(key, value) for key, value in words.items())


def transformation(node: NodeProto) -> str:
    """Gives how a pixel's place in the result becomes one in the image, in ONNX's words."""
    return str(attribute(node, "coordinate_transformation_mode", "half_pixel"))


def copies(node: NodeProto, size: Sequence[int], target: Sequence[int]) -> bool:
    """Says whether the nearest pixels are those of a copy by whole factors: pixel i of the result is pixel i // factor.

    Args:
        node: In mode "nearest".
        size: Sides of the image that are resized.
        target: Those of the result.
    """
    how, rounding = transformation(node), ROUNDINGS.get(str(attribute(node, "nearest_mode", "round_prefer_floor")))
    if rounding is None or any(after % before for before, after in zip(size, target, strict=True)):
        return False
    for before, after in zip(size, target, strict=True):
        places, factor = np.arange(after), after // before
        if how == "asymmetric":
            found = places / factor
        elif how in ("half_pixel", "pytorch_half_pixel") and after > 1:
            found = (places + 0.5) / factor - 0.5
        else:
            return False
        if not np.array_equal(np.clip(rounding(found), 0, before - 1), places // factor):
            return False
    return True
