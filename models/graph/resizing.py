"""Which pixels an ONNX Resize takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .view import GraphView, attribute

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

Places = NDArray[np.floating[Any]]

TRANSFORMATION = "coordinate_transformation_mode"

ROUNDINGS: dict[str, Callable[[Places], Places]] = {
    "round_prefer_floor": lambda place: np.ceil(place - 0.5),
    "round_prefer_ceil": lambda place: np.floor(place + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}

TRANSFORMATIONS: dict[str, Callable[..., Places]] = {
    "half_pixel": lambda i, before, after, scale: (i + 0.5) / scale - 0.5,
    "pytorch_half_pixel": lambda i, before, after, scale: (i + 0.5) / scale - 0.5 if after > 1 else i * 0.0,
    "align_corners": lambda i, before, after, scale: i * (before - 1) / max(1, after - 1),
    "asymmetric": lambda i, before, after, scale: i / scale,
    "tf_half_pixel_for_nn": lambda i, before, after, scale: (i + 0.5) / scale,
}
"""Where pixel i of the result lies in the image, of `before` pixels, by ONNX's words."""

GRIDS = ("half_pixel", "align_corners", "asymmetric")  # that formats have for linear resizing, for the ratio of sides


@dataclass(frozen=True)
class Resizing:
    """How height and width of an image are resized."""

    size: tuple[int, int]
    target: tuple[int, int]
    places: tuple[Places, Places]  # in the image, of each row and each column of the result, within the image
    mode: str  # "nearest" or "linear"

    @property
    def rows_and_columns(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The row and the column that each pixel copies, in mode "nearest"."""
        return self.places[0].astype(np.int64), self.places[1].astype(np.int64)

    @property
    def repeats(self) -> bool:
        """Each pixel is repeated a whole number of times."""
        return self.mode == "nearest" and all(
            after % before == 0 and np.array_equal(found, np.arange(after) // (after // before))
            for before, after, found in zip(self.size, self.target, self.rows_and_columns, strict=True)
        )

    @property
    def grid(self) -> str | None:
        """The one of `GRIDS` on which the places of linear resizing lie; None where it is none."""
        for grid in GRIDS if self.mode == "linear" else ():
            wanted = (
                np.clip(TRANSFORMATIONS[grid](np.arange(after), before, after, after / before), 0, before - 1)
                for before, after in zip(self.size, self.target, strict=True)
            )
            if all(np.allclose(one, other, rtol=0, atol=1e-5) for one, other in zip(wanted, self.places, strict=True)):
                return grid
        return None

    def weights(self, axis: int) -> NDArray[np.float32]:
        """Gives the matrix (before, after) of linear weights of height, 0, or width, 1."""
        before, places = self.size[axis], self.places[axis]
        apart = np.abs(np.arange(before)[:, None] - places[None, :])
        return np.maximum(0.0, 1.0 - apart).astype(np.float32)


def resizing_in(view: GraphView, node: NodeProto) -> Resizing | str:
    """Reads a Resize of a graph that states its shapes; see `resizing_of`."""
    scales = view.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    return resizing_of(node, view.shape(node.input[0]) or (), view.shape(node.output[0]) or (), scales)


def resizing_of(
    node: NodeProto, image: Sequence[int], result: Sequence[int], scales: NDArray[Any] | None
) -> Resizing | str:
    """Reads a Resize (since opset 11) by the shapes of image and result; a text says why it is not understood here."""
    mode, how = str(attribute(node, "mode", "nearest")), str(attribute(node, TRANSFORMATION, "half_pixel"))
    rounding = ROUNDINGS.get(str(attribute(node, "nearest_mode", "round_prefer_floor")))
    if not image or not result or not all(image) or not all(result):
        return "makes a size that the network itself computes"
    if len(image) != 4 or len(result) != 4 or tuple(image[:2]) != tuple(result[:2]):
        return "resizes more than the height and the width of an image"
    if mode not in ("nearest", "linear") or how not in TRANSFORMATIONS or rounding is None:
        return f"takes pixels by {mode} at {how} places; nearest and linear are known, at {', '.join(TRANSFORMATIONS)}"
    if attribute(node, "antialias", 0):
        return "smooths the image before it takes pixels (antialias)"
    found = []
    for axis in (2, 3):
        before, after = image[axis], result[axis]
        scale = np.float32(after / before) if scales is None or scales.size != 4 else np.float32(scales[axis])
        places = TRANSFORMATIONS[how](np.arange(after, dtype=np.float32), before, after, scale)
        found.append(np.clip(rounding(places) if mode == "nearest" else places, 0, before - 1))
    return Resizing((image[2], image[3]), (result[2], result[3]), (found[0], found[1]), mode)


def is_older(node: NodeProto) -> bool:
    """Says whether `node` is an Upsample, or a Resize of opset 10."""
    return node.op_type == "Upsample" or (node.op_type == "Resize" and len(node.input) == 2)


def newer(node: NodeProto) -> NodeProto:
    """Gives the Resize that an older node means since opset 11: asymmetric, floor; its scales are its last input."""
    import onnx

    words = {TRANSFORMATION: "asymmetric", "nearest_mode": "floor", "mode": attribute(node, "mode", "nearest")}
    return onnx.helper.make_node("Resize", [node.input[0], "", *node.input[1:]], node.output, node.name, **words)


def rewrite_upsamples(graph: GraphProto) -> None:
    """Writes each Upsample, and each Resize of opset 10, as the Resize that it means since opset 11.

    Given   Upsample(x, scales)
    Result  Resize(x, none, scales), asymmetric, floor
    """
    view = GraphView(graph)
    for node in graph.node:
        if is_older(node):
            scales, resize = attribute(node, "scales"), newer(node)
            if scales is not None:  # an attribute in opset 7
                resize.input.append(view.set_constant(f"{node.output[0]}/scales", np.array(scales, np.float32)))
            node.CopyFrom(resize)
