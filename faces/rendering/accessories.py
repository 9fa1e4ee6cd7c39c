"""Accessories that hide parts of a synthetic face: glasses, masks, hats, hands, scarves, things."""

from __future__ import annotations

import numpy as np

from .brush import Colour, Lattice, Picture, bell, darken, distance, lay, noise, step
from .head import Camera, Plane, Surface
from .paint import skin_colour
from .person import Person, Shot

PROPS = {"mask": 0.03, "sunglasses": 0.04, "hat": 0.07, "scarf": 0.05, "hand": 0.04, "thing": 0.04}
"""The share of shots with each of them."""


def prop_of(shot: Shot) -> str:
    """Gives the prop of this shot; empty if there is none."""
    left = shot.prop
    for name, share in PROPS.items():
        if left < share:
            return name
        left -= share
    return ""


def prop_colour(shot: Shot) -> Colour:
    """Gives the colour of cloth and things."""
    turn = 2 * np.pi * (shot.prop_hue + np.array([0, 1, 2]) / 3)
    return np.asarray(shot.prop_light * (1 + 0.45 * np.sin(turn)))


def put_on_mask(p: Person, shot: Shot, at: Surface, albedo: Picture, gloss: Plane) -> None:
    """Covers nose and mouth with pleated cloth, and ties it to the ears."""
    side, y = np.abs(at.x), at.y
    cloth = step(y - p.nose_y + 15 - 0.006 * side * side, 2.5) * step(62 + 0.5 * shot.prop_x - side, 3)
    cloth = np.maximum(cloth, step(1.5 - np.abs(y - 30 + 0.2 * (side - 60)), 1.5) * (side > 58))
    colour = (0.25 + 0.75 * shot.prop_light) * (0.3 + 0.7 * prop_colour(shot) / prop_colour(shot).max())
    lay(albedo, cloth, colour)
    darken(albedo, 0.3 * cloth * np.square(np.square(np.sin(y * 0.23))))
    gloss *= 1 - cloth


def put_on_hat(shot: Shot, shell: Surface, lattice: Lattice) -> tuple[Picture, Plane]:
    """Gives the albedo of a knitted hat, and its mask."""
    edge = -44 + 4 * shot.prop_y + 0.15 * shot.prop_x * shell.x
    knit = 0.75 + 0.25 * np.sin(shell.x * 1.1) + 0.2 * noise(lattice, shell.x / 6, shell.y / 6)
    knit *= 1 - 0.4 * bell(shell.y, edge - 22, 2)
    mask = step(shell.inside + 1, 3) * step(edge - shell.y, 2)
    return prop_colour(shot)[:, None, None] * knit, mask


def put_on_glasses(
    p: Person, shot: Shot, camera: Camera, plane: tuple[Plane, Plane], depth: float, scene: Picture, cover: Plane
) -> None:
    """Lays glasses over `scene`, in the head's plane z = `depth` mm."""
    dark = prop_of(shot) == "sunglasses"
    right, down, (rx, ry, rz) = camera.rotation
    reach = (depth - plane[0] * right[2] - plane[1] * down[2]) / rz
    x = plane[0] * right[0] + plane[1] * down[0] + reach * rx
    y = plane[0] * right[1] + plane[1] * down[1] + reach * ry - 3 - 0.8 * shot.prop_y
    rows = slice(*np.searchsorted(y[:, y.shape[1] // 2], [-32, 32]))
    x, y, scene, cover = x[rows], y[rows], scene[:, rows], cover[rows]
    side, round_, size = np.abs(x), p.glasses_round, p.glasses_size + 3 * dark
    out = np.abs(side - p.eye_x - 1.5) * (1 / size)
    rim = size * ((out**round_ + np.abs(y * (1.25 / size)) ** round_) ** (1 / round_) - 1)
    soft, thick = max(1.0, 1.2 * camera.pixel), p.glasses_thick + 0.5 * dark
    lens = step(-rim, soft)
    glare = bell(0.7 * x + y, 18 * shot.prop_x, 9)
    tint = np.array([0.02, 0.02, 0.025]) if dark else np.array([0.75, 0.8, 0.85]) * shot.light
    lay(scene, lens * (0.93 if dark else 0.05 + 0.12 * glare), tint)
    bridge = step(p.eye_x + 2 - size - side, soft) * step(thick - np.abs(y + 5 - 0.02 * x * x), soft)
    arm = step(side - p.eye_x - size, soft) * step(72 - side, 3) * step(0.8 * thick - np.abs(y + 6), soft) * cover
    frame = np.maximum(np.maximum(step(thick - np.abs(rim), soft), bridge), arm)
    colour = (0.015 + 0.25 * (1 - p.glasses_dark) ** 3) * np.array([1.0, 0.8, 0.6]) * (0.4 + 0.6 * shot.light)
    lay(scene, 0.95 * frame, colour)


def hold(p: Person, shot: Shot, plane: tuple[Plane, Plane], lattice: Lattice, scene: Picture) -> None:
    """Lays a hand, a scarf or a thing over the lower face."""
    x, y, name = *plane, prop_of(shot)
    light = 0.55 * shot.light + 0.5 * shot.fill
    if name == "scarf":
        folds = 0.7 + 0.5 * noise(lattice, x / 14 + shot.prop_x, y / 7 + 0.05 * x)
        lay(scene, step(y - 92 - 8 * shot.prop_y - 0.002 * x * x, 4), prop_colour(shot)[:, None, None] * folds * light)
    elif name == "thing":
        across, down = x - 32 * shot.prop_x, y - 78 - 12 * shot.prop_y
        turn = 0.6 * shot.prop_x
        u, v = across * np.cos(turn) + down * np.sin(turn), down * np.cos(turn) - across * np.sin(turn)
        lay(scene, step(17 - np.abs(u), 2) * step(30 - np.abs(v), 2), prop_colour(shot) * light)
    elif name == "hand":
        sign = 1.0 if shot.prop_x > 0 else -1.0
        across = sign * x - 14 * abs(shot.prop_x)
        lean, light = 0.5 + 0.15 * shot.prop_y, 0.7 * light
        for finger in range(4):
            down = y - 66 - 12.5 * finger - 6 * shot.prop_y
            along, aside = across * np.cos(lean) - down * np.sin(lean), across * np.sin(lean) + down * np.cos(lean)
            tip = (14.0, 20.0, 17.0, 6.0)[finger]
            off = distance(np.maximum(tip - along, 0), aside) * (1 / 7.6)
            round_ = np.sqrt(np.maximum(1 - off * off, 0.05)) - 0.15 * bell(along - tip, 22, 2.5)
            lay(scene, step(1 - off, 0.25), skin_colour(p)[:, None, None] * (0.35 + 0.65 * round_) * light)
