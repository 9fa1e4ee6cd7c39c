"""Hair, ears and neck of a synthetic face."""

from __future__ import annotations

import numpy as np

from .brush import Lattice, Picture, bell, distance, lay, noise, step
from .head import ROWS, Camera, HeadShape, Plane, Surface
from .paint import hair_colour
from .person import Person, Shot

LONG = 60.0  # mm below the eyes; longer hair hangs and hides the ears


def hair_length(p: Person) -> float:
    """Gives how far below the eyes the hair at the side ends, in mm."""
    return 12 + 24 * p.hair_long if p.hair_long < 0.5 else LONG + 240 * (p.hair_long - 0.5)


def hair_shape(p: Person, shot: Shot, head: HeadShape) -> HeadShape:
    """Gives the shell of the hair, some mm outside the skull; long hair hangs down from the temples."""
    hangs, curly = hair_length(p) > LONG, max(0.0, p.hair_curl - 0.75) * 4
    thick = 3 + 16 * p.hair_top + 10 * curly * p.hair_top + 0.8 * shot.hair_move
    level = np.where(ROWS < 0, ROWS * 120 / (120 + thick), np.minimum(ROWS, 15) if hangs else ROWS)
    taper = 1.0 if hangs else np.clip((40 - ROWS) / 90, 0, 1)
    width, front = np.interp(level, ROWS, head.width), np.interp(level, ROWS, head.front)
    if hangs:
        width = width * (1 + 0.0014 * np.clip(ROWS - 15, 0, 100))
    aside = (0.35 + 0.55 * p.hair_long) * thick * taper
    solid = width > 2
    return HeadShape(np.where(solid, width + aside, 0), np.where(solid, front + 0.6 * thick * taper, 0))


def paint_hair(p: Person, shot: Shot, shell: Surface, lattice: Lattice) -> tuple[Picture, Plane, Plane, Plane]:
    """Gives the hair's albedo and gloss, and its masks in front of and behind the head."""
    x, y, curly = shell.x, shell.y, max(0.0, p.hair_curl - 0.55) * 2.2
    # Strands leave the parting sideways and bend down: curves of equal u.
    u = (x - p.hair_part) / np.sqrt(np.maximum(y + 134, 6))
    if curly < 1:
        strands = 0.6 * noise(lattice, 5.5 * u + 0.7 * shot.hair_move, y / 40)
        strands += 0.4 * noise(lattice, 13 * u, y / 25 + 9)
    if curly > 0:
        curls = 0.6 * noise(lattice, x / 5 + 3 + 0.3 * shot.hair_move, y / 5)
        curls += 0.4 * noise(lattice, x / 2.5, y / 2.5)
        strands = curls if curly >= 1 else strands + curly * (curls - strands)
    albedo = hair_colour(p)[:, None, None] * (0.35 + 1.3 * strands)

    fringe = 36 * max(0.0, p.hair_fringe - 0.62) / 0.38
    rough = (strands - 0.5) * (12 + 0.3 * fringe + 8 * curly)
    hairline = _hairline(p, shell, fringe)
    outline = step(shell.inside + (strands - 0.62) * (3 + 8 * curly), 3.0)
    front = outline * step(hairline - y + rough, 8)
    behind = outline * step(max(hair_length(p), 30) - y + rough, 10)
    front *= 0.0 if p.bald else min(1.0, 0.6 + 1.8 * p.hair_top)
    return albedo, 0.4 + 2.4 * strands * strands, front, behind * (not p.bald)


def _hairline(p: Person, shell: Surface, fringe: float) -> Plane:
    """Gives the y of the hairline for each direction from the head's axis."""
    long, top, recede = hair_length(p), fringe - p.forehead, 16 * p.recede
    side = p.hair_curtain if long > LONG else 64.0
    turns = [0, 14, 27, 38, 50, 58, side + 6, side + 12, 100]
    temple = top - p.hair_temple - recede
    heights = [top - 0.3 * recede + p.hair_peak, top - 0.4 * recede, temple + 2, temple + 8 - 0.2 * recede]
    heights += [temple + 18 - 0.3 * fringe, -24, long if long > LONG else 6, long, long]
    angle = np.degrees(np.arctan2(np.abs(shell.x), np.maximum(shell.z, 1.0)))
    fall = (5 + 16 * p.hair_fall * (long > 20)) * np.square((shell.x - p.hair_part) * (1 / 60))
    return np.asarray(np.interp(angle, turns, heights) + np.minimum(fall, 30) * (angle < 58))


def paint_ears(
    p: Person, camera: Camera, plane: tuple[Plane, Plane], scene: Picture, light: Picture, near: bool
) -> None:
    """Lays ears over `scene`: the `near` one of a turned head, or those behind the cheeks."""
    for sign in (-1, 1):
        turned = -sign * float(camera.rotation[0, 2])  # > 0: the head shows this side
        if (turned > 0.12) != near:
            continue
        middle = camera.rotation @ np.array([sign * (p.cheekbone - 2 + 0.4 * p.ear_out), 13, -4])
        wide = 6 + 0.5 * p.ear_out + 7 * max(0.0, turned)
        rows = slice(*np.searchsorted(plane[1][:, 0], [middle[1] - 32, middle[1] + 32]))
        across, down = sign * (plane[0][rows] - middle[0]), plane[1][rows] - middle[1]
        across = (across + 0.10 * down + 1.5 * (down > 0)) * (1 / wide)
        ring = distance(across, down * (1 / 29))
        hollow = 0.30 * bell(distance(across + 0.25, down * (1 / 25)), 0.5, 0.13) + 0.35 * bell(across, -0.8, 0.4)
        lay(scene[:, rows], step(1 - ring, 3 * camera.pixel / wide), light * (1.0 - hollow))


def neck_mask(p: Person, camera: Camera, plane: tuple[Plane, Plane]) -> Plane:
    """Gives the mask of the neck, which lies under everything else."""
    middle = camera.rotation @ np.array([0, 120, -25])
    wide = 50 - 5 * p.sex + 3 * p.weight + 0.004 * np.square(np.maximum(plane[1] - 100, 0))
    return step(wide - np.abs(plane[0] - middle[0]), 3) * step(plane[1] - 40, 20)
