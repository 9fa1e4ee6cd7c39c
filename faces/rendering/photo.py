"""The photo of a synthetic head: light, background, blur, grain, compression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from .brush import Colour, Picture, step
from .head import Plane
from .person import Shot

YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
RGB = np.linalg.inv(YCC)
COSINES = np.array([[np.cos((2 * i + 1) * k * np.pi / 16) for i in range(8)] for k in range(8)]) / 2
COSINES[0] /= np.sqrt(2)
COARSER = 1 + 0.45 * np.add.outer(np.arange(8), np.arange(8))  # steps grow with frequency, as in JPEG's tables


def hues(shot: Shot) -> tuple[Colour, Colour]:
    """Gives the colours of the main light and of the second."""
    main = np.exp(np.array([0.09, 0.0, -0.13]) * shot.warmth + np.array([0.02, -0.03, 0.02]) * shot.tint)
    side = np.array([0.75 + 0.35 * shot.side_hue, 0.75, 0.75 - 0.35 * shot.side_hue])
    return main, side


def shade(depth: Plane, albedo: Picture, gloss: Plane, shot: Shot, pixel: float) -> Picture:
    """Gives the light from a surface towards the viewer; depth and pixel in mm."""
    smooth = gaussian_filter(depth, max(0.7, 1.1 / pixel), truncate=2.5)
    down, right = np.gradient(smooth, pixel)
    down, right = np.clip(down, -1.9, 1.9), np.clip(right, -1.9, 1.9)
    nz = 1 / np.sqrt(1 + right * right + down * down)
    nx, ny = -right * nz, -down * nz
    light = np.array([shot.light_x, shot.light_y, 1.0])
    light /= np.sqrt((light * light).sum())
    facing = nx * light[0] + ny * light[1] + nz * light[2]
    main, side = hues(shot)
    hollow = gaussian_filter(smooth, 5.5 / pixel, truncate=2.0) - smooth
    sky = np.minimum(1.3 / (1 + np.exp(0.5 * hollow - 1.2)), 1.0)
    direct = shot.light * shadow(smooth, light, pixel) * (0.5 + 0.5 * sky)
    ambient = shot.fill * (0.72 - 0.28 * ny) * sky
    half = light + np.array([0, 0, 1.0])
    half /= np.sqrt((half * half).sum())
    shine = np.maximum(nx * half[0] + ny * half[1] + nz * half[2], 0)
    shine = np.square(np.square(shine * shine))
    shine *= shine
    sheen = gloss * shot.light * (0.012 * shine + 0.045 * shine * np.square(shine))
    rim = shot.side_light * np.maximum(0.25 * nz - np.sign(shot.light_x) * nx, 0)
    # Under skin red light spreads furthest past the terminator.
    sent = np.empty_like(albedo)
    for channel, wrap in enumerate((0.34, 0.20, 0.14)):
        lit = direct * np.maximum(facing * (1 / (1 + wrap)) + wrap / (1 + wrap), 0) * main[channel]
        lit += ambient * (0.5 + 0.5 * main[channel]) + rim * side[channel]
        sent[channel] = albedo[channel] * lit + sheen * main[channel]
    return sent


def shadow(depth: Plane, light: NDArray[np.float64], pixel: float) -> Plane:
    """Gives the share (0..1) of the main light that nose, brows and hair do not block."""
    flat = float(np.sqrt(light[0] ** 2 + light[1] ** 2))
    highest = depth - 1e3
    if flat > 0.05:
        for reach in (4.0, 7.0, 11.0, 16.0, 22.0):  # mm in the picture plane
            right, down = (round(reach * float(part) / flat / pixel) for part in light[:2])
            rise = np.sqrt(right * right + down * down) * pixel * light[2] / flat
            np.maximum(highest, shift_plane(depth, down, right) - rise, out=highest)
    dark = step(highest - depth - 2.5, 7.0)
    return 1 - 0.65 * np.asarray(gaussian_filter(dark, 1.8 / pixel, truncate=2.5))


def shift_plane(plane: Plane, down: int, right: int) -> Plane:
    """Gives `plane` shifted by (down, right) pixels, with its edge repeated."""
    rows = np.clip(np.arange(plane.shape[0]) + down, 0, plane.shape[0] - 1)
    columns = np.clip(np.arange(plane.shape[1]) + right, 0, plane.shape[1] - 1)
    return plane.take(rows, 0).take(columns, 1)


def background(rng: np.random.Generator, size: int) -> Picture:
    """Gives a background out of focus: a few patches of light, sometimes an edge."""
    cells = int(rng.integers(2, 7))
    base = rng.uniform(0.02, 0.7) * np.exp(rng.normal(0, 0.18, (3, 1, 1)))
    light = rng.normal(0, rng.uniform(0.1, 0.9), (1, cells, cells))
    patches = base * np.exp(light + rng.normal(0, rng.uniform(0, 0.25), (3, cells, cells)))
    away = np.linspace(0, cells - 1, size)[:, None] - np.arange(cells)
    weights = np.exp(-0.5 * np.square(away / rng.uniform(0.4, 0.7)))
    weights /= weights.sum(1, keepdims=True)
    place = weights @ patches @ weights.T
    if rng.random() < 0.45:
        ramp = (np.linspace(0, 1, size) - rng.uniform(0, 1)) * rng.choice([-1, 1])
        dim = 1 - rng.uniform(0.2, 0.8) * step(ramp, rng.uniform(0.02, 0.15))
        place = place * (dim[:, None] if rng.random() < 0.3 else dim)
    return np.asarray(np.clip(place, 0.004, 1))


def develop(light: Picture, shot: Shot, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Gives the photo of linear light: exposure, tone curve, blur, grain, compression."""
    size = light.shape[1]
    if shot.blur:
        for axis in (1, 2):
            light = gaussian_filter1d(light, shot.blur * size / 112, axis=axis, truncate=2.5)
    light = light * (0.92 * 2**shot.exposure)
    light /= 1 + 0.6 * np.maximum(light - 0.6, 0)  # highlights roll off
    photo = 255 * np.sqrt(light)
    grey = 0.299 * photo[0] + 0.587 * photo[1] + 0.114 * photo[2]
    photo = grey + (0.0 if shot.gray else max(0.3, shot.saturation)) * (photo - grey)
    photo = 118 + shot.contrast * (photo - 118)
    grain = shot.grain * gaussian_filter1d(rng.standard_normal((size, size)), 0.5, axis=1, truncate=2)
    photo += np.stack([grain + 0.4 * grain[::-1], grain, grain + 0.4 * grain[:, ::-1]])
    if shot.squeeze:
        photo = quantise_blocks(np.clip(photo, 0, 255), shot.squeeze)
    return np.ascontiguousarray(np.clip(np.rint(photo), 0, 255).astype(np.uint8).transpose(1, 2, 0))


def quantise_blocks(photo: Picture, coarse: float) -> Picture:
    """Quantises the 8x8 cosine transform of brightness and colour, as JPEG does."""
    size = photo.shape[1]
    count = -(-size // 8)
    planes = np.pad(mix(YCC, photo), ((0, 0), (0, 8 * count - size), (0, 8 * count - size)), mode="edge")
    waves = COSINES @ planes.reshape(3, count, 8, 8 * count)
    waves = waves.reshape(3, count, 8, count, 8) @ COSINES.T
    steps = coarse * COARSER[:, None] * np.array([1.0, 2.0, 2.0])[:, None, None, None, None]
    waves = np.rint(waves / steps) * steps
    planes = COSINES.T @ (waves @ COSINES).reshape(3, count, 8, 8 * count)
    return mix(RGB, planes.reshape(3, 8 * count, 8 * count)[:, :size, :size])


def mix(matrix: NDArray[np.float64], photo: Picture) -> Picture:
    """Multiplies each pixel's channels by a (3, 3) matrix."""
    return np.stack([row[0] * photo[0] + row[1] * photo[1] + row[2] * photo[2] for row in matrix])
