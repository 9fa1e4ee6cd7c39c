"""The shape of a synthetic head, and where each pixel's ray meets it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from ..contract import TEMPLATES
from .person import Person, Shot

Plane = NDArray[np.float64]
"""(H, W) float64."""

TOP, BOTTOM, SIDE, STEP = -166.0, 194.0, 96.0, 2.0  # mm: the grid on which shapes are tabulated
ROWS = np.arange(TOP, BOTTOM, STEP)
COLUMNS = np.arange(-SIDE, SIDE + STEP, STEP)


@dataclass(frozen=True)
class Camera:
    """Looks at the head along z and maps it into the crop by a similarity, as an aligner does."""

    rotation: NDArray[np.float64]  # (3, 3), head to camera
    scale: complex  # pixel = scale * (x + iy) + shift
    shift: complex

    @property
    def pixel(self) -> float:
        """The side of a pixel in mm."""
        return 1 / abs(self.scale)

    def plane(self, size: int) -> tuple[Plane, Plane]:
        """Gives x and y of each pixel in mm, as the camera sees them."""
        across = np.arange(size)
        points = (across + 1j * across[:, None] - self.shift) / self.scale
        return np.ascontiguousarray(points.real), np.ascontiguousarray(points.imag)

    def project(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Gives the (N, 2) pixels of (N, 3) head points."""
        turned = points @ self.rotation.T
        pixels = self.scale * (turned[:, 0] + 1j * turned[:, 1]) + self.shift
        return np.stack([pixels.real, pixels.imag], axis=1)


@dataclass(frozen=True)
class Surface:
    """Where rays meet a shape, all in mm: head coordinates, depth towards the viewer, distance to the outline."""

    x: Plane
    y: Plane
    z: Plane
    depth: Plane
    inside: Plane


@dataclass(frozen=True)
class HeadShape:
    """A head: ellipses stacked along y, and a relief on them over (y, x), in mm."""

    width: NDArray[np.float64]  # (rows,) half widths
    front: NDArray[np.float64]  # (rows,) half depths
    relief: NDArray[np.float64] | None = None  # (rows, columns)

    @cached_property
    def narrow(self) -> NDArray[np.float64]:
        """1 / width^2."""
        return 1 / np.square(np.maximum(self.width, 0.5))

    @cached_property
    def flat(self) -> NDArray[np.float64]:
        """1 / front^2."""
        return 1 / np.square(np.maximum(self.front, 0.5))


def _profile(heights: list[float], values: list[float], smooth: float) -> NDArray[np.float64]:
    return np.asarray(gaussian_filter1d(np.interp(ROWS, heights, values), smooth / STEP))


def _bell(at: NDArray[np.float64], middle: float, spread: float) -> NDArray[np.float64]:
    return np.exp(-0.5 * np.square((at - middle) / spread))


def head_shape(p: Person, shot: Shot) -> HeadShape:
    """Gives the skull with the relief of the face for the shot's expression."""
    drop = 9 * shot.talk  # an opened mouth takes the chin down
    chin_y = p.chin_y + 0.7 * drop
    skull, cheek, jaw, chin, bone = p.skull, p.cheekbone, p.jaw, p.chin, p.forehead_out
    chin_width = (chin + 11, chin, 0.72 * chin, 0.3 * chin, 0)
    width = _profile(
        [-124, -117, -100, -72, -40, -8, p.cheek_y, 62, 84, *(chin_y + down for down in (-15, -5, 0, 4, 7))],
        [0, 28, 54, skull - 5, skull, skull - 3, cheek, (cheek + jaw) / 2, jaw - 4, *chin_width],
        3.5,
    )
    front = _profile(
        [-124, -117, -100, -72, -40, -15, 10, 45, 75, chin_y - 12, chin_y, chin_y + 5, chin_y + 8],
        [0, 36, 66, 84 + bone, 92 + bone, 93, 90, 90, 91, 88, 78, 50, 0],
        3.5,
    )
    return HeadShape(width, front, _features(p, shot, chin_y, p.mouth_y + 0.35 * drop) + _nose(p))


def _features(p: Person, shot: Shot, chin_y: float, mouth_y: float) -> NDArray[np.float64]:
    lift, drop = max(shot.smile, 0.0), 9 * shot.talk
    hills = [  # height, (y, spread), (|x|, spread)
        (p.brow_ridge, (p.brow_y + 2, 6), (p.eye_x - 6, 15)),
        (-p.eye_deep, (0, 9.5), (p.eye_x - 2, 14)),
        (0.55 * p.eye_deep, (0.5, 6), (p.eye_x, 9)),
        (p.cheek_out + 2 * lift, (p.cheek_y - 2 * lift, 12), (46, 15)),
        (2.2 * p.weight + 3 * lift, (p.cheek_y + 24 - 6 * lift, 17), (44, 15)),
        (-2.5 * p.age + 0.8 * p.weight, (62, 12), (46, 11)),
        (p.muzzle, (mouth_y - 2, 15), (0, 22)),
        (1.6 + 0.15 * p.lip_upper, (mouth_y - 3.5, 3.2), (0, 13)),
        (1.6 + 0.2 * p.lip_lower, (mouth_y + 5 + 0.5 * drop, 4), (0, 13)),
        (-3.2, (mouth_y + 15 + 0.6 * drop, 4.5), (0, 15)),
        (p.chin_out, (chin_y - 16, 9), (0, 15)),
        (-1.0, (mouth_y - 12, 5), (0, 3)),
        (6.0, (p.nose_y + 3, 5.5), (p.nose_width - 5.5, 4.6)),
        (-1.5, (p.nose_y + 3, 7), (p.nose_width + 5, 4)),
    ]
    middle = np.abs(COLUMNS)
    along = np.stack([height * _bell(ROWS, *place) for height, place, _ in hills], axis=1)
    return along @ np.stack([_bell(middle, *place) for _, _, place in hills])


def _nose(p: Person) -> NDArray[np.float64]:
    base = p.nose_y + 10 - p.nose_up
    middle = 0.5 * (p.nose_bridge + p.nose_out) + p.nose_hump
    ridge = _profile(
        [-24, -8, 0.45 * p.nose_y, p.nose_y - 3, p.nose_y + 2, base, base + 6],
        [0, p.nose_bridge, middle, p.nose_out, p.nose_out, 0.5 * p.nose_out, 0],
        2.4,
    )
    spread = _profile([-20, 5, p.nose_y], [p.nose_ridge + 2, p.nose_ridge - 1, p.nose_tip], 4)
    bend = _profile([-10, 18, p.nose_y], [0, p.nose_bend, 0.6 * p.nose_bend], 4)
    return ridge[:, None] * np.exp(-0.5 * np.square((COLUMNS - bend[:, None]) / spread[:, None]))


def mouth_corner(p: Person, shot: Shot) -> tuple[float, float]:
    """Gives x and y of the right mouth corner in mm."""
    wider, up = 3.5 * max(shot.smile, 0.0), 3.5 * shot.smile
    return p.mouth_width + wider - 2.5 * shot.talk, p.mouth_y + p.mouth_corner - up + 1.0 * shot.talk


def face_points(p: Person, shot: Shot, shape: HeadShape) -> NDArray[np.float64]:
    """Gives the (5, 3) eyes, nose tip and mouth corners, in mm on the head."""
    right, low = mouth_corner(p, shot)
    x = np.array([-p.eye_x, p.eye_x, 0.6 * p.nose_bend, -right, right])
    y = np.array([0, 0, p.nose_y, low, low])
    row, column = np.rint((y - TOP) / STEP).astype(int), np.rint((x + SIDE) / STEP).astype(int)
    assert shape.relief is not None
    z = shape.front[row] * np.sqrt(1 - np.square(x / shape.width[row])) + shape.relief[row, column]
    return np.stack([x, y, z], axis=1)


def aim(points: NDArray[np.float64], shot: Shot, size: int) -> Camera:
    """Turns the head and fits its five points to the template, with the error of a detector."""
    yaw, pitch = np.radians(shot.yaw), np.radians(shot.pitch)
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    nod = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
    rotation = nod @ turn
    turned = points @ rotation.T
    source = turned[:, 0] + 1j * turned[:, 1]
    target = np.array(TEMPLATES["arcface"]) @ np.array([1, 1j]) * (size / 112)
    spread = source - source.mean()
    scale = complex(np.vdot(spread, target) / np.vdot(spread, spread))
    scale *= complex((1 + shot.zoom) * np.exp(1j * np.radians(shot.tilt)))
    shift = target.mean() - scale * source.mean() + (shot.shift_x + 1j * shot.shift_y) * (size / 112)
    return Camera(rotation, scale, complex(shift))


def meet(shape: HeadShape, camera: Camera, plane: tuple[Plane, Plane], start: Surface | None = None) -> Surface:
    """Gives where each pixel's ray meets `shape`; starting at a nearby surface saves half of the time."""
    (right, down, ray), (height, width) = camera.rotation.tolist(), plane[0].shape
    origin = [plane[0] * a + plane[1] * b for a, b in zip(right, down, strict=True)]
    if start is None:
        coarse = [each[::2, ::2] for each in origin]
        x, y = coarse[0] + 80 * ray[0], coarse[1] + 80 * ray[1]
        for _ in range(2):
            x, y, *_ = _approach(shape, coarse, ray, x, y)
        x, y = (each.repeat(2, 0).repeat(2, 1)[:height, :width] for each in (x, y))
        x, y, *_ = _approach(shape, origin, ray, x, y)
    else:
        x, y = start.x, start.y
    x, y, depth, inside = _approach(shape, origin, ray, x, y)
    slopes = np.gradient(inside, camera.pixel)
    steep = np.sqrt(slopes[0] * slopes[0] + slopes[1] * slopes[1])
    return Surface(x, y, origin[2] + depth * ray[2], depth, inside / np.maximum(steep, 1))


def _approach(
    shape: HeadShape, origin: list[Plane], ray: list[float], x: Plane, y: Plane
) -> tuple[Plane, Plane, Plane, Plane]:
    """Intersects rays with the ellipse and relief at (x, y); gives x, y, depth, and the distance inside the outline."""
    row = np.minimum(np.maximum((y - TOP) * (1 / STEP), 0), len(ROWS) - 1.001)
    above = row.astype(np.intp)
    row -= above
    sx, sz = _between(shape.narrow, above, row), _between(shape.flat, above, row)
    z = origin[2] if shape.relief is None else origin[2] - _relief(shape.relief, above, row, x)
    wx, wz = origin[0] * sx, z * sz
    a, b = ray[0] ** 2 * sx + ray[2] ** 2 * sz, ray[0] * wx + ray[2] * wz
    near = b * b - a * (origin[0] * wx + z * wz - 1)
    depth = (np.sqrt(np.maximum(near, 0)) - b) / a
    # The ray's least distance from the axis, in half widths, gives the distance to the outline.
    inside = (1 - np.sqrt(np.maximum(1 - near / a, 0))) / np.sqrt(sx)
    return origin[0] + depth * ray[0], origin[1] + depth * ray[1], depth, np.clip(inside, -20, 20)


def _between(table: NDArray[np.float64], above: NDArray[np.intp], part: Plane) -> Plane:
    first = table.take(above)
    step = table.take(above + 1)
    step -= first
    step *= part
    step += first
    return step


def _relief(table: NDArray[np.float64], above: NDArray[np.intp], part: Plane, x: Plane) -> Plane:
    column = np.minimum(np.maximum((x + SIDE) * (1 / STEP), 0), len(COLUMNS) - 1.001)
    left = column.astype(np.intp)
    column -= left
    flat, at = table.reshape(-1), above * len(COLUMNS) + left
    upper, lower = _between(flat, at, column), _between(flat, at + len(COLUMNS), column)
    return upper + part * (lower - upper)


def composed(face: Surface, shell: Surface, front: Plane) -> Surface:
    """Gives the visible surface, where the hair covers `front` (0..1) of the face."""
    return replace(face, depth=face.depth + front * (shell.depth - face.depth))
