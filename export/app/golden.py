"""Golden faces: rendered people, whose recorded embeddings an app compares with its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...faces.alignment import read_photo, similarity_transform, warp
from ...faces.contract import InputContract
from ...faces.rendering.synthetic import face_landmarks, render_face
from ..artifact import Artifact
from ..formats import FORMATS, HALF

TAKES = ((2, 2, 11.0), (2, 4, -8.0), (3, 6, -14.0), (10, 5, 9.0))
"""Who, which shot of them, and how far the camera is tilted, in degrees; the first two show one person."""

RENDERED, MARGIN, GREY = 256, 240, 128  # a face's side in pixels, and the table that its picture lies on
PHOTO = (460, 400)  # height, width


def least_cosine(artifact: Artifact) -> float:
    """Gives how near a phone's embedding must be to the one that was computed here.

    It is meant for the CPU. A GPU or NPU that computes in half precision may reach only 0.999 on any file.
    """
    if any(rewrite.kind == "half-arithmetic" for rewrite in artifact.card.rewrites):  # where the core has it
        return HALF
    return FORMATS[artifact.format].least_cosines.get(artifact.card.precision, HALF)


@dataclass(frozen=True, eq=False)
class Golden:
    """An aligned face before preprocessing, and the photo that it was cut from."""

    name: str
    crop: NDArray[np.uint8]  # (H, W, 3) RGB, aligned
    photo: NDArray[np.uint8] | None = None  # (H', W', 3) RGB
    landmarks: NDArray[np.float64] | None = None  # (5, 2) x, y in the photo


def golden_faces(contract: InputContract) -> list[Golden]:
    """Renders the golden faces for a contract; the same bytes each time."""
    return [_golden(number, contract) for number in range(len(TAKES))]


def open_golden(what: str, contract: InputContract, landmarks: Sequence[float] | None = None) -> Golden:
    """Finds a golden face by name ("golden-0"), or reads an image.

    Args:
        what: A name, or the path of an image: an aligned crop of the contract's size, or with `landmarks` a photo.
        contract: What the crop is for.
        landmarks: Ten numbers, x and y of eyes, nose tip and mouth corners, left to right in the photo.

    Raises:
        ValueError: No such name or image, or a photo without its landmarks.
    """
    names = [f"golden-{number}" for number in range(len(TAKES))]
    if what in names:
        return _golden(names.index(what), contract)
    path = Path(what)
    if not path.is_file():
        raise ValueError(f"no golden face {what!r} and no image of that name; known: {', '.join(names)}")
    image = read_photo(path)
    if landmarks is not None:
        if len(landmarks) != 10:
            raise ValueError(f"five landmarks are ten numbers, x and y of each; there are {len(landmarks)}")
        points = np.array(landmarks, np.float64).reshape(5, 2)
        return Golden(path.name, aligned(image, points, contract), image, points)
    if image.shape[:2] != (contract.height, contract.width):
        raise ValueError(
            f"{path.name} has {image.shape[0]}x{image.shape[1]} pixels, the file needs an aligned crop of "
            f"{contract.height}x{contract.width}; of a photo give --landmarks too"
        )
    return Golden(path.name, image)


def aligned(photo: NDArray[np.uint8], landmarks: NDArray[np.float64], contract: InputContract) -> NDArray[np.uint8]:
    """Gives the aligned crop of the contract's size."""
    return warp(photo, similarity_transform(landmarks, contract.landmarks), contract.height, contract.width)


def _golden(number: int, contract: InputContract) -> Golden:
    identity, shot, tilt = TAKES[number]
    wide = np.pad(
        render_face(identity, shot, size=RENDERED), ((MARGIN,) * 2, (MARGIN,) * 2, (0, 0)), constant_values=GREY
    )
    points = face_landmarks(identity, shot, size=RENDERED) + MARGIN
    angle, centre = np.deg2rad(tilt), np.array([wide.shape[1], wide.shape[0]]) / 2
    turn = 0.9 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    height, width = PHOTO
    # The face lies off the centre, as in a photo that nobody framed for it.
    shift = np.array([width * 0.46, height * 0.55]) - turn @ centre
    photo = warp(wide, np.column_stack([turn, shift]), height, width)
    landmarks = np.round(points @ turn.T + shift, 2)
    return Golden(f"golden-{number}", aligned(photo, landmarks, contract), photo, landmarks)
