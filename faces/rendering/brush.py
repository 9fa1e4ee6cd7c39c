"""Painting primitives of the renderer: soft edges, soft spots, noise, and layers of colour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .head import Plane

Colour = NDArray[np.float64]
"""(3,) linear RGB, 0..1."""
Picture = NDArray[np.float64]
"""(3, H, W) linear RGB, 0..1."""
Lattice = NDArray[np.float64]
"""(64, 64) random values 0..1, from which a person's textures are interpolated."""


def linear(*srgb: float) -> Colour:
    """Converts 0..255 to linear light, with gamma 2 for speed."""
    return np.square(np.array(srgb) / 255)


def blend(ramp: NDArray[np.float64], at: float) -> Colour:
    """Gives the colour at position 0..1 of a ramp."""
    where = min(max(at, 0.0), 1.0) * (len(ramp) - 1)
    return np.array([np.interp(where, range(len(ramp)), channel) for channel in ramp.T])


def step(distance: Plane, soft: float) -> Plane:
    """Gives 0 below zero, 1 above, smooth over `soft` mm."""
    at = distance * (1 / soft)
    at += 0.5
    np.minimum(np.maximum(at, 0, out=at), 1, out=at)
    square = at * at
    at *= -2
    at += 3
    at *= square
    return at


def bell(at: Plane, middle: float | Plane, spread: float) -> Plane:
    """Gives a Gaussian of height 1."""
    at = at - middle
    at *= at
    at *= -0.5 / spread**2
    return np.exp(at, out=at)


def distance(x: Plane, y: Plane) -> Plane:
    """Gives the distance to the origin; twice as fast as np.hypot."""
    return np.sqrt(x * x + y * y)


def lay(picture: Picture, mask: Plane, colour: Colour | Picture) -> None:
    """Lays a colour over `picture`, in place."""
    for channel, over in zip(picture, colour, strict=True):
        change = over - channel
        change *= mask
        channel += change


def darken(picture: Picture, amount: Plane, colour: tuple[float, float, float] = (1, 1, 1)) -> None:
    """Darkens each channel of `picture` by `amount` (0..1) times its `colour`, in place."""
    for channel, share in zip(picture, colour, strict=True):
        channel *= 1 - share * amount


def noise(lattice: Lattice, x: Plane, y: Plane) -> Plane:
    """Reads smooth noise 0..1, one lattice cell a unit, periodic."""
    left, top = np.floor(x), np.floor(y)
    u, v = step(x - left - 0.5, 1), step(y - top - 0.5, 1)
    j, i = left.astype(np.intp) & 63, (top.astype(np.intp) & 63) << 6
    flat, right, below = lattice.reshape(-1), (j + 1) & 63, (i + 64) & 4095
    upper, lower = flat.take(i + j), flat.take(below + j)
    upper += u * (flat.take(i + right) - upper)
    lower += u * (flat.take(below + right) - lower)
    return upper + v * (lower - upper)
