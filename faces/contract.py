"""The input contract: the size, channel order, mean and scale that an embedder expects."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..spelling import known_names

Stated: TypeAlias = "InputContract | Mapping[str, Any]"
"""What a user states of a network's input: a whole contract, or some of its fields."""

Faces = NDArray[np.uint8]
"""(N, H, W, 3) aligned crops, RGB, as photos are stored."""

CHANNEL_ORDERS = ("bgr", "gray", "rgb")

# Five points (left eye, right eye, nose tip, left and right mouth corner, as the viewer sees them), x and y in pixels
# of a 112x112 crop. Source: the template of ArcFace (Deng et al., CVPR 2019), as every released crop uses it.
Points = tuple[tuple[float, float], ...]
TEMPLATE_SIZE = 112  # pixels a side of the crops that the templates' coordinates are for
ARCFACE_POINTS: Points = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)


def _zoomed(percent: int) -> Points:
    """ArcFace's points, the face so many percent as large about the middle of the crop."""
    middle, zoom = TEMPLATE_SIZE / 2, percent / 100
    return tuple((middle + zoom * (x - middle), middle + zoom * (y - middle)) for x, y in ARCFACE_POINTS)


ZOOMS = {f"arcface-{percent}": percent for percent in (70, 80, 90, 112, 125)}
"""Templates of looser and tighter crops, and the size of their faces in percent of the usual one's."""

USUAL_TEMPLATE = "arcface"
TEMPLATES: dict[str, Points] = {
    USUAL_TEMPLATE: ARCFACE_POINTS,
    **{name: _zoomed(percent) for name, percent in ZOOMS.items()},
}

LUMA = (19595, 38470, 7471)  # 65536ths of red, green and blue. Source: ITU-R BT.601-7, as Pillow rounds it


@dataclass(frozen=True)
class InputContract:
    """The preprocessing that a network expects: `(pixel - mean) * scale`, channels first.

    `mean` and `scale` are in pixel units (0..255) and follow `channel_order`. With "gray" the network takes one
    channel, the luma of ITU-R 601, and all three means and scales are alike.
    """

    height: int = 112
    width: int = 112
    channel_order: Literal["rgb", "bgr", "gray"] = "rgb"
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    scale: tuple[float, float, float] = (1 / 127.5, 1 / 127.5, 1 / 127.5)
    template: str = USUAL_TEMPLATE

    def __post_init__(self) -> None:
        """Checks every field; raises ValueError."""
        if type(self.height) is not int or type(self.width) is not int:
            raise ValueError(f"height and width need whole numbers, not {self.height!r} and {self.width!r}")
        if self.height < 8 or self.width < 8 or self.height > 4096 or self.width > 4096:
            raise ValueError(f"input {self.height}x{self.width} is no size of a face crop; 8 to 4096 pixels a side are")
        if self.channel_order not in CHANNEL_ORDERS:
            raise ValueError(
                f"no channel order {self.channel_order!r}; {known_names(self.channel_order, CHANNEL_ORDERS)}"
            )
        if len(self.mean) != 3 or len(self.scale) != 3 or not np.isfinite((*self.mean, *self.scale)).all():
            raise ValueError("mean and scale need three finite numbers each, one per channel")
        if 0 in self.scale:
            raise ValueError(f"scale {self.scale} would blank a channel")
        if not isinstance(self.template, str) or self.template not in TEMPLATES:
            raise ValueError(f"no landmark template {self.template!r}; {known_names(self.template, sorted(TEMPLATES))}")
        if self.channel_order == "gray" and (len(set(self.mean)) > 1 or len(set(self.scale)) > 1):
            raise ValueError(f"one channel has one mean and one scale, not {self.mean} and {self.scale}")

    @property
    def channels(self) -> int:
        """Of the network's input: 3, or 1 where it is grey."""
        return 1 if self.channel_order == "gray" else 3

    @property
    def landmarks(self) -> NDArray[np.float64]:
        """The template's five points, (5, 2) x and y, in a crop of this size.

        A crop that is not square is the middle of the square one around it: that of 112x96 lacks eight columns on
        either side. Source: the crops of SphereFace (Liu et al., CVPR 2017), whose points ArcFace moved by eight.

        >>> InputContract(112, 96).landmarks[0].round(4).tolist()
        [30.2946, 51.6963]
        """
        side = max(self.height, self.width)
        around = np.array([side - self.width, side - self.height]) / 2
        points: NDArray[np.float64] = np.array(TEMPLATES[self.template]) * (side / TEMPLATE_SIZE) - around
        return points

    @property
    def reach(self) -> tuple[float, float]:
        """The least and the largest number that a pixel of any channel becomes.

        >>> InputContract().reach
        (-1.0, 1.0)
        """
        pairs = zip(self.mean, self.scale, strict=True)
        ends = [(pixel - mean) * scale for mean, scale in pairs for pixel in (0, 255)]
        return min(ends), max(ends)

    def preprocess(self, faces: Faces) -> NDArray[np.float32]:
        """Gives the network's input, (N, C, H, W) float32, for (N, H, W, 3) uint8 RGB faces of this contract's size.

        Raises:
            ValueError: The faces have another size or type.

        >>> InputContract(8, 8).preprocess(np.full((1, 8, 8, 3), 255, np.uint8))[0, :, 0, 0].tolist()
        [1.0, 1.0, 1.0]
        """
        if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[3] != 3:
            raise ValueError(f"faces must be uint8 (N, H, W, 3), not {faces.dtype} {faces.shape}")
        if faces.shape[1:3] != (self.height, self.width):
            raise ValueError(
                f"faces are {faces.shape[1]}x{faces.shape[2]}, the embedder expects {self.height}x{self.width}"
            )
        ordered = self.ordered(faces)
        mean, scale = (np.array(three[: self.channels], np.float32) for three in (self.mean, self.scale))
        scaled = (ordered.astype(np.float32) - mean) * scale
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))

    def ordered(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Gives (..., 3) uint8 RGB in the contract's channels: (..., 3), or (..., 1) of luma.

        >>> InputContract(channel_order="gray").ordered(np.uint8([[[255, 0, 0], [9, 9, 9]]])).tolist()
        [[[76], [9]]]
        """
        if self.channel_order != "gray":
            return pixels[..., ::-1] if self.channel_order == "bgr" else pixels
        luma = pixels.astype(np.uint32) @ np.array(LUMA, np.uint32)
        return ((luma + 0x8000) >> 16).astype(np.uint8)[..., None]

    def to_dict(self) -> dict[str, Any]:
        """Gives plain values, as in files."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> InputContract:
        """Reads what `to_dict` gave.

        Raises:
            ValueError: A key is not known, or a value is not of its kind or range.
        """
        known = sorted(cls.__dataclass_fields__)
        for key in values:
            if key not in known:
                raise ValueError(f"input contract has no {key!r}; {known_names(key, known)}")
        values = dict(values)
        for name in ("mean", "scale"):
            if name in values:
                try:
                    values[name] = tuple(float(number) for number in values[name])
                except (TypeError, ValueError):
                    raise ValueError(f"{name} needs three numbers, not {reprlib.repr(values[name])}") from None
        return cls(**values)


ARCFACE = InputContract()
IMAGENET = InputContract(mean=(123.675, 116.28, 103.53), scale=(1 / 58.395, 1 / 57.12, 1 / 57.375))


def stated_contract(values: dict[str, Any]) -> InputContract:
    """Reads the contract that a user states, who must name mean and scale: every network has its own.

    Raises:
        ValueError: As `InputContract.from_dict`, or mean or scale is missing.
    """
    contract = InputContract.from_dict(values)
    missing = [name for name in ("mean", "scale") if name not in values]
    if missing:
        named = ", ".join(sorted(values)) or "nothing"
        raise ValueError(f"what the network is fed is stated in part ({named}); {' and '.join(missing)} must be too")
    return contract


def contract_of(stated: Stated, own: Mapping[str, Any]) -> InputContract:
    """Completes the fields that a user states by those that a file states itself; a whole contract stays what it is.

    Raises:
        ValueError: As `stated_contract`.

    >>> contract_of({"mean": [0, 0, 0], "scale": [1, 1, 1]}, {"height": 112, "width": 96}).width
    96
    """
    return stated if isinstance(stated, InputContract) else stated_contract({**own, **stated})


def unstated_contract(network: object) -> str:
    """Gives the sentence that refuses a network whose contract nobody stated."""
    return (
        f"{network} does not say what it must be fed; give --mean and --scale, or a contract ([contract] in a recipe): "
        "(pixel - mean) * scale as in its training code, e.g. --mean 127.5 --scale 0.0078125; where nobody knows them, "
        "`pocketface probe` finds them on faces"
    )
