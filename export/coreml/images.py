"""Pictures as a Core ML model's input: Core ML reads the pixels, the program scales them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...faces.contract import InputContract
from ...models.graph.view import GraphView
from ..artifact import Card, ConversionError
from .package import Package

if TYPE_CHECKING:
    import onnx


def image_type(ct: Any, name: str, contract: InputContract) -> Any:
    """Gives coremltools' (`ct`'s) description of an input picture: its size, channel order, and pixel * scale + bias.

    The contract has one scale for all channels; see `one_scale`.
    """
    (scale,) = set(contract.scale)
    return ct.ImageType(
        name=name,
        shape=(1, 3, contract.height, contract.width),
        scale=scale,
        bias=[-mean * scale for mean in contract.mean],
        color_layout={"rgb": ct.colorlayout.RGB, "bgr": ct.colorlayout.BGR}[contract.channel_order],
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
        if weight is None or weight.ndim != 4 or weight.shape[1] != 3:
            raise ConversionError(
                f"a picture has one scale, the contract has {contract.scale}, and {node.op_type} {node.name!r} cannot "
                f"take up the difference; leave coreml_image out"
            )
        scaled = (weight * factors[:, None, None]).astype(np.float32)
        node.input[1] = view.set_constant(f"{node.output[0]}/one_scale", scaled)
    height, width, (scale, *_) = contract.height, contract.width, contract.scale
    return InputContract(height, width, contract.channel_order, contract.mean, (scale,) * 3, contract.template)


def pixel_range(contract: InputContract) -> tuple[float, float]:
    """Gives the least and the largest number that a pixel of any channel becomes.

    >>> pixel_range(InputContract())
    (-1.0, 1.0)
    """
    pairs = zip(contract.mean, contract.scale, strict=True)
    ends = [(pixel - mean) * scale for mean, scale in pairs for pixel in (0, 255)]
    return min(*ends, 0.0), max(*ends, 0.0)


@dataclass(frozen=True)
class Picture:
    """How a package turns a picture into numbers: the order of its colours, and mean and scale."""

    contract: InputContract
    layout: str  # "rgb" or "bgr"

    def pixels(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Undoes the contract: (N, 3, H, W) preprocessed faces to the whole numbers 0 to 255 that Core ML reads."""
        mean, scale = (np.array(three)[:, None, None] for three in (self.contract.mean, self.contract.scale))
        pixels: NDArray[np.float32] = np.rint(inputs / scale + mean).clip(0, 255).astype(np.float32)
        return pixels if self.layout == self.contract.channel_order else pixels[:, ::-1]


def picture_of(package: Package, port: Any, card: Card | None) -> Picture:
    """Describes an image input; a package without a card is given pixels as they are, in the order RGB.

    Raises:
        ValueError: The picture is in grey.
    """
    layout = type(port).ColorSpace.Name(port.colorSpace).lower()
    if layout not in ("rgb", "bgr"):
        raise ValueError(f"{package.name} takes a picture in {layout}; an embedder takes one in colour")
    pixels = InputContract(int(port.height), int(port.width), mean=(0, 0, 0), scale=(1, 1, 1))
    return Picture(card.contract if card else pixels, layout)
