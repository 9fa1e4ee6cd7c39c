"""The ways in which face networks are usually fed, to be tried where nobody says which is right."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .contract import IMAGENET, InputContract

Colours = tuple[float, float, float]

COLOUR_ORDERS = ("rgb", "bgr")
SIZES = ((112, 112), (112, 96), (128, 128), (160, 160))  # height, width
ALIKE = 0.02  # of the range of the network's input: no network tells (x - 127.5) / 128 from (x - 127.5) / 127.5


@dataclass(frozen=True)
class Preprocessing:
    """One way to turn pixels into a network's input: `(pixel - mean) * scale`."""

    name: str
    mean: Colours  # of red, green and blue
    scale: Colours
    common: bool = True  # whether published networks are fed so; the others are mistakes that somebody trained with

    def contract(self, order: str, height: int, width: int) -> InputContract:
        """Gives the contract for a channel order, "rgb", "bgr" or "gray", and a size."""
        plain = InputContract(height, width, "rgb", self.mean, self.scale)
        if order == "bgr":
            return dataclasses.replace(plain, channel_order="bgr", mean=self.mean[::-1], scale=self.scale[::-1])
        return dataclasses.replace(plain, channel_order="gray") if order == "gray" else plain


def _grey(name: str, mean: float, scale: float, common: bool = True) -> Preprocessing:
    return Preprocessing(name, (mean,) * 3, (scale,) * 3, common)


USUAL: tuple[Preprocessing, ...] = (
    _grey("(pixel - 127.5) / 127.5", 127.5, 1 / 127.5),  # ArcFace in PyTorch, EdgeFace, AdaFace
    _grey("(pixel - 127.5) / 128", 127.5, 1 / 128),  # SphereFace, InsightFace's model-y1
    _grey("pixel / 255", 0.0, 1 / 255),  # LightCNN
    Preprocessing("ImageNet's mean and standard deviation", IMAGENET.mean, IMAGENET.scale),
    _grey("pixel", 0.0, 1.0),  # ArcFace in MXNet, whose files scale pixels themselves
    Preprocessing("ImageNet's mean alone", IMAGENET.mean, (1.0,) * 3),  # VGGFace is near
    _grey("(pixel - 127.5) / 255", 127.5, 1 / 255, common=False),
    _grey("pixel - 127.5", 127.5, 1.0, common=False),
    _grey("pixel / 128", 0.0, 1 / 128, common=False),
    _grey("pixel / 127.5", 0.0, 1 / 127.5, common=False),
)
"""The more usual ones first."""


def alike(one: InputContract, other: InputContract) -> bool:
    """Tells whether two contracts give a network nearly the same numbers.

    >>> first, second, third, *_ = (each.contract("rgb", 112, 112) for each in USUAL)
    >>> alike(first, second), alike(first, third)
    (True, False)
    """
    if (one.height, one.width, one.channel_order) != (other.height, other.width, other.channel_order):
        return False
    mine, theirs = _ends(one), _ends(other)
    largest = max(abs(a - b) for a, b in zip(mine, theirs, strict=True))
    return largest <= ALIKE * (max(mine) - min(mine))


def _ends(contract: InputContract) -> list[float]:
    """Gives what a black and a white pixel become, in each channel."""
    steps = zip(contract.mean, contract.scale, strict=True)
    return [(pixel - mean) * scale for mean, scale in steps for pixel in (0, 255)]


def distinct(contracts: Iterable[InputContract]) -> list[InputContract]:
    """Gives of contracts that are alike the first."""
    kept: list[InputContract] = []
    for contract in contracts:
        if not any(alike(contract, each) for each in kept):
            kept.append(contract)
    return kept


def preprocessing_of(contract: InputContract) -> Preprocessing | None:
    """Gives the usual preprocessing that a contract is, also where somebody rounded its numbers; else None."""
    step = -1 if contract.channel_order == "bgr" else 1
    stated = np.array([contract.mean[::step], contract.scale[::step]])
    return next((each for each in USUAL if np.allclose(stated, [each.mean, each.scale], rtol=1e-4)), None)
