"""Crops as another detector, camera or app would hand them over: moved, compressed, channels swapped, darkened."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...faces.contract import Faces

SIDE = 112  # pixels a side, which shifts are told for

Disturbance = Callable[[Faces, np.random.Generator], Faces]
"""(N, H, W, 3) uint8 crops, and what is random about it, to as many disturbed ones."""


def displaced(
    faces: Faces, random: np.random.Generator, shift: float = 0.0, turn: float = 0.0, scale: float = 0.0
) -> Faces:
    """Gives crops as a detector cuts them whose landmarks lie elsewhere; by cubic interpolation.

    Each is moved by so much, in a direction of its own: shifted at any angle, turned left or right, made larger or
    smaller. What lies beyond the crop's edge is not known; its mirror image stands in.

    Args:
        faces: (N, H, W, 3) uint8.
        random: Of the directions.
        shift: In pixels of a 112 crop.
        turn: In degrees, about the centre.
        scale: 0.05 makes it 5 % larger or smaller.
    """
    height, width = faces.shape[1:3]
    edge = max(height, width) // 4
    wide = np.pad(faces, ((0, 0), (edge, edge), (edge, edge), (0, 0)), mode="reflect")
    centre = complex(width / 2 + edge, height / 2 + edge)
    out = np.empty_like(faces)
    for row, face in enumerate(wide):
        left, smaller = random.choice((-1, 1), 2)
        by = np.exp(1j * np.radians(turn) * left) * (1 + scale) ** smaller
        to = shift * width / SIDE * np.exp(2j * np.pi * random.random())
        # Where a pixel comes from: x + iy -> (x + iy - centre - to) / by + centre.
        back = 1 / by
        start = centre - (centre + to) * back
        affine = (back.real, -back.imag, start.real, back.imag, back.real, start.imag)
        image = Image.fromarray(face)
        image = image.transform(image.size, Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC)
        out[row] = np.asarray(image)[edge : edge + height, edge : edge + width]
    return out


def compressed(faces: Faces, quality: int) -> Faces:
    """Gives crops that went through a JPEG file of that quality (Pillow's, colour at half resolution)."""
    return np.stack([_through_jpeg(face, quality) for face in faces]) if len(faces) else faces


def _through_jpeg(face: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    stream = io.BytesIO()
    Image.fromarray(face).save(stream, format="JPEG", quality=quality)
    with Image.open(stream, formats=("JPEG",)) as image:
        return np.asarray(image.convert("RGB"))


def jittered(faces: Faces, seed: int = 0) -> Faces:
    """Gives crops as the next frame of a video would be cut: 2 pixels of 112 off, 3 degrees, 3 % in size."""
    return displaced(faces, np.random.default_rng(seed), shift=2, turn=3, scale=0.03)


DISTURBANCES: Mapping[str, Disturbance] = {
    "shift 2 px": lambda faces, random: displaced(faces, random, shift=2),
    "shift 4 px": lambda faces, random: displaced(faces, random, shift=4),
    "turn 5 degrees": lambda faces, random: displaced(faces, random, turn=5),
    "scale 5 %": lambda faces, random: displaced(faces, random, scale=0.05),
    "JPEG 60": lambda faces, random: compressed(faces, 60),
    "JPEG 30": lambda faces, random: compressed(faces, 30),
    "BGR": lambda faces, random: np.ascontiguousarray(faces[..., ::-1]),
    "half as bright": lambda faces, random: faces // 2,
}
