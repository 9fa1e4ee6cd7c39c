"""The mistakes that an app can make with five landmarks, each reproduced on a photo whose landmarks are known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...faces.alignment import similarity_transform, warp
from ...faces.contract import InputContract
from .golden import Golden

Points = NDArray[np.float64]  # (5, 2) x, y

SWAPPED = [1, 0, 2, 4, 3]  # the order of landmarks when left and right are exchanged
SIDES = (96, 128, 160, 224)  # of crops that are common besides 112 pixels
NARROW = 8.0  # pixels by which the template of 112x96 lies left of that of 112x112


def wrong_cuts(golden: Golden, contract: InputContract) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Gives the crops (H, W, 3) that a photo becomes by each mistake, and the mistake's name in `diagnose.MISTAKES`.

    A face without a photo gives none; a mistake that changes nothing is left out.
    """
    photo, points = golden.photo, golden.landmarks
    if photo is None or points is None:
        return

    for name, found, wanted in _fits(points, contract):
        transform = similarity_transform(found, wanted)
        crop = warp(photo, transform, contract.height, contract.width)
        once = _unaveraged(photo, transform, contract)
        if name:
            yield name, crop
        if not np.array_equal(once, crop):  # a photo that is much larger than the crop
            yield name or "unaveraged", once


def _fits(points: Points, contract: InputContract) -> Iterator[tuple[str, Points, Points]]:
    """Gives the mistake, what was found and what it is brought onto; the right fit, "", first."""
    template = contract.landmarks
    yield "", points, template
    yield "two-eyes", points[:2], template[:2]
    yield "swapped", points[SWAPPED], template
    for half in (-0.5, 0.5):
        yield "half-pixel", points + half, template
        yield "half-pixel", points, template + half
    aside = np.array([NARROW * contract.height / 112, 0])
    for other in (template - aside, template + aside, _by_eyes(contract)):
        yield "template", points, other
    for side in SIDES:
        yield "crop-size", points, template * (112 / side)


def _by_eyes(contract: InputContract) -> Points:
    """Gives a template of the kind that puts the eyes at 35 % and 65 % of the width, as FaceNet's forks do."""
    eyes = np.array([[0.35, 0.35], [0.65, 0.35]]) * (contract.width, contract.height)
    turn = similarity_transform(contract.landmarks[:2], eyes)
    return contract.landmarks @ turn[:, :2].T + turn[:, 2]


def _unaveraged(photo: NDArray[np.uint8], transform: NDArray[np.float64], contract: InputContract) -> NDArray[np.uint8]:
    """Cuts as `warp` does, from the whole photo without averaging its pixels first, as OpenCV's warpAffine does."""
    back = np.linalg.inv(transform[:, :2])
    shift = 0.5 - back @ (transform[:, 2] + 0.5)
    rows = (*back[0], shift[0], *back[1], shift[1])
    size = contract.width, contract.height
    return np.asarray(Image.fromarray(photo).transform(size, Image.Transform.AFFINE, rows, Image.Resampling.BILINEAR))
