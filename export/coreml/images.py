"""Pictures as a Core ML model's input: Core ML reads the pixels, the program scales them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...faces.contract import InputContract
from ...models.graph.ports import Ports
from ...models.graph.view import GraphView
from ..artifact import Card, ConversionError

if TYPE_CHECKING:
    import onnx


def image_type(ct: Any, name: str, contract: InputContract) -> Any:
    """Gives coremltools' (`ct`'s) description of an input picture: its size, channel order, and pixel * scale + bias.

    The contract has one scale for all channels; see `one_scale`.
    """
    (scale,) = set(contract.scale)
    return ct.ImageType(
        name=name,
        shape=(1, contract.channels, contract.height, contract.width),
        scale=scale,
        bias=[-mean * scale for mean in contract.mean] if contract.channels == 3 else -contract.mean[0] * scale,
        color_layout=getattr(ct.colorlayout, {"rgb": "RGB", "bgr": "BGR", "gray": "GRAYSCALE"}[contract.channel_order]),
        channel_first=True,
    )


def one_scale(graph: onnx.GraphProto, contract: InputContract) -> InputContract:
    """Gives all channels of the input one scale, and their own to the convolutions that read them.

    Given:   (pixel - mean) * (1/58, 1/57, 1/57)            -> conv W
    Result:  (pixel - mean) * 1/58                          -> conv W * (1, 58/57, 58/57)

    A picture has one scale only. Padding stays what it was: zero is the mean pixel in both. The graph, of one input, is
    changed in place, by a new constant for each convolution; the result is its new contract.

    Raises:
        ConversionError: Something other than a convolution with constant weights reads the input.
    """
    if len(set(contract.scale)) == 1:
        return contract
    view = GraphView(graph)
    entries = {value.name for value in view.entries()}
    factors = np.array(contract.scale) / contract.scale[0]
    for node in graph.node:
        if not entries & set(node.input):
            continue
        weight = view.constant(node.input[1]) if node.op_type == "Conv" else None
        if weight is None or weight.ndim != 4 or weight.shape[1] != contract.channels:
            raise ConversionError(
                f"a picture has one scale, the contract has {contract.scale}, and {node.op_type} {node.name!r} cannot "
                f"take up the difference; leave coreml_image out"
            )
        scaled = (weight * factors[:, None, None]).astype(np.float32)
        node.input[1] = view.set_constant(f"{node.output[0]}/one_scale", scaled)
    return dataclasses.replace(contract, scale=(contract.scale[0],) * 3)


@dataclass(frozen=True)
class Picture:
    """How a package turns a picture into numbers: the order of its colours, and mean and scale."""

    contract: InputContract
    layout: str  # "rgb", "bgr" or "gray"

    def pixels(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Undoes the contract: (N, C, H, W) preprocessed faces to the whole numbers 0 to 255 that Core ML reads."""
        steps = (self.contract.mean, self.contract.scale)
        mean, scale = (np.array(three[: self.contract.channels])[:, None, None] for three in steps)
        pixels: NDArray[np.float32] = np.rint(inputs / scale + mean).clip(0, 255).astype(np.float32)
        return pixels if self.layout == self.contract.channel_order else np.ascontiguousarray(pixels[:, ::-1])


def picture_of(ports: Ports, card: Card | None) -> Picture | None:
    """Describes an image input, None of an array; a package without a card is given pixels as they are, in RGB."""
    if not ports.face.picture:
        return None
    return Picture(card.contract if card else InputContract(**ports.stated()), ports.face.picture)
