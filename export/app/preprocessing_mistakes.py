"""The mistakes that an app can make before the network, each reproduced on a golden face."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...faces.alignment import warp
from ...faces.contract import InputContract
from .golden import Golden

Pixels = NDArray[np.uint8]  # (H, W, 3) RGB
Values = NDArray[np.float32]  # (C, H, W)

HEIGHTS = (1.6, 2.0, 2.6, 3.3, 4.2)  # of a detector's box, in distances from the eyes' line to the mouth's
ASPECTS = (0.8, 1.0)  # its width to its height
RAISED = (-0.1, 0.1)  # how far its centre lies above that of the landmarks, in heights


@dataclass(frozen=True)
class Way:
    """One way to turn a crop into the network's input, and what is wrong with it."""

    mistakes: tuple[str, ...]
    feed: Callable[[Pixels], Values]


@dataclass(frozen=True)
class Box:
    """The part of a picture that an app without alignment cuts out, in pixels and degrees."""

    x: float  # of the centre
    y: float
    width: float
    height: float
    tilt: float = 0.0

    def cut(self, picture: Pixels, contract: InputContract) -> Pixels:
        """Gives what is in the box at the contract's size."""
        angle = np.deg2rad(self.tilt)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        size = np.array([contract.width, contract.height])
        turn *= (size / (self.width, self.height))[:, None]
        shift = (size - 1) / 2 - turn @ (self.x, self.y)
        return warp(picture, np.column_stack([turn, shift]), contract.height, contract.width)

    def neighbours(self, step: float, tilted: bool) -> Iterator[Box]:
        """Gives boxes a little aside, larger, smaller and, if `tilted`, turned; `step` is a share of the box."""
        for sign in (-step, step):
            yield Box(self.x + sign * self.width, self.y, self.width, self.height, self.tilt)
            yield Box(self.x, self.y + sign * self.height, self.width, self.height, self.tilt)
            yield Box(self.x, self.y, self.width * (1 + sign), self.height * (1 + sign), self.tilt)
            yield Box(self.x, self.y, self.width * (1 + sign), self.height, self.tilt)
            if tilted:
                yield Box(self.x, self.y, self.width, self.height, self.tilt + 60 * sign)


def ways(contract: InputContract) -> list[Way]:
    """Gives every mistake in channels, range and layout, and every two of them, the right way first.

    A mistake that changes nothing (no mean in a contract without one) is left out.
    """
    noise = np.random.default_rng(0).integers(0, 256, (contract.height, contract.width, 3), np.uint8)
    distinct: dict[bytes, Way] = {}
    steps = itertools.product(_channels(contract), _ranges(), _layouts())
    combined = [
        Way(tuple(name for name in (order[0], reach[0], layout[0]) if name), _fed(order[1], reach[1], layout[1]))
        for order, reach, layout in steps
    ]
    for way in sorted(combined, key=lambda way: len(way.mistakes)):
        if len(way.mistakes) <= 2:
            distinct.setdefault(np.round(way.feed(noise), 4).tobytes(), way)
    return list(distinct.values())


def boxes(golden: Golden, contract: InputContract) -> tuple[Pixels, list[Box]]:
    """Gives the picture that an app may have cut a box from, and boxes that it may have cut.

    Of a golden face without a photo that picture is the crop itself, whose face may have been tilted before.
    """
    picture, points = golden.photo, golden.landmarks
    tilts: tuple[float, ...] = (0.0,)
    if picture is None or points is None:
        picture, tilts = golden.crop, (-15.0, 0.0, 15.0)
        points = contract.landmarks
    x, y = points.mean(axis=0)
    unit = float(np.linalg.norm(points[:2].mean(axis=0) - points[3:].mean(axis=0)))
    cuts = [
        Box(x, y - raised * high * unit, wide * high * unit, high * unit, tilt)
        for high, wide, raised, tilt in itertools.product(HEIGHTS, ASPECTS, RAISED, tilts)
    ]
    if golden.photo is not None:
        height, width = golden.photo.shape[:2]
        centre, side = ((width - 1) / 2, (height - 1) / 2), min(height, width)
        cuts += [Box(*centre, width, height), Box(*centre, side, side)]
    return picture, cuts


def _fed(
    order: Callable[[Pixels], tuple[Pixels, Values, Values]],
    reach: Callable[[Values, Values, Values], Values],
    layout: Callable[[Values], Values],
) -> Callable[[Pixels], Values]:
    def feed(crop: Pixels) -> Values:
        pixels, mean, scale = order(crop)
        return np.ascontiguousarray(layout(reach(pixels.astype(np.float32), mean, scale)), np.float32)

    return feed


def _channels(contract: InputContract) -> list[tuple[str, Callable[[Pixels], tuple[Pixels, Values, Values]]]]:
    count = contract.channels
    mean, scale = np.array(contract.mean[:count], np.float32), np.array(contract.scale[:count], np.float32)
    if contract.channel_order == "gray":
        return [
            ("", lambda crop: (contract.ordered(crop), mean, scale)),
            ("bgr", lambda crop: (contract.ordered(crop[..., ::-1]), mean, scale)),
        ]
    right, wrong = (slice(None), slice(None, None, -1))
    if contract.channel_order == "bgr":
        right, wrong = wrong, right
    return [
        ("", lambda crop: (crop[..., right], mean, scale)),
        ("bgr", lambda crop: (crop[..., wrong], mean, scale)),
        # each colour scaled as it should be, then laid into the wrong plane
        ("bgr", lambda crop: (crop[..., wrong], mean[::-1], scale[::-1])),
    ]


def _ranges() -> list[tuple[str, Callable[[Values, Values, Values], Values]]]:
    return [
        ("", lambda pixels, mean, scale: (pixels - mean) * scale),
        ("128", lambda pixels, mean, scale: (pixels - mean) * (scale * np.float32(127.5 / 128))),
        ("128", lambda pixels, mean, scale: (pixels - mean) * (scale * np.float32(128 / 127.5))),
        ("no-mean", lambda pixels, mean, scale: pixels * scale),
        ("0..1", lambda pixels, mean, scale: pixels / np.float32(255)),
    ]


def _layouts() -> list[tuple[str, Callable[[Values], Values]]]:
    """(H, W, C) to (C, H, W)."""
    return [
        ("", lambda values: values.transpose(2, 0, 1)),
        ("nhwc", lambda values: np.ascontiguousarray(values).reshape(-1, *values.shape[:2])),
        # channels first, fed to a file that takes channels last, as TFLite does
        (
            "nhwc",
            lambda values: np.ascontiguousarray(values.transpose(2, 0, 1)).reshape(values.shape).transpose(2, 0, 1),
        ),
    ]
