"""The colours of a synthetic face: skin, eyes, brows, mouth, beard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .brush import Colour, Lattice, Picture, bell, blend, darken, distance, lay, linear, noise, step
from .head import Plane, Surface, mouth_corner
from .person import Person, Shot

SKIN = np.stack(
    [
        linear(244, 208, 187),
        linear(233, 188, 160),
        linear(217, 165, 131),
        linear(191, 135, 98),
        linear(150, 99, 69),
        linear(112, 73, 52),
        linear(80, 52, 40),
    ]
)
IRIS = np.stack([linear(120, 150, 175), linear(105, 130, 110), linear(125, 95, 55), linear(60, 36, 22)])
HAIR = np.stack(
    [linear(214, 178, 120), linear(150, 104, 62), linear(86, 56, 36), linear(38, 27, 22), linear(18, 15, 15)]
)


def skin_colour(p: Person) -> Colour:
    """Gives the colour of clean skin."""
    return blend(SKIN, p.tone) * np.exp(np.array([0.03, -0.02, -0.07]) * p.undertone)


def hair_colour(p: Person) -> Colour:
    """Gives the colour of hair, grey with age."""
    red = 3 * max(0.0, p.hair_red - 0.7)
    colour = blend(HAIR, p.hair_dark) * (1 + np.array([0.5, 0.0, -0.2]) * red)
    return colour + min(1.0, 1.6 * p.hair_gray) * (linear(168, 166, 162) - colour)


@dataclass(frozen=True)
class Canvas:
    """A part of a picture, painted in place, with the position of each pixel on the head in mm."""

    albedo: Picture
    gloss: Plane
    x: Plane
    y: Plane
    lattice: Lattice
    soft: float  # the width of an edge

    def between(self, top: float, bottom: float) -> Canvas:
        """Gives the rows with y between `top` and `bottom`."""
        inside = np.flatnonzero((self.y.max(1) > top) & (self.y.min(1) < bottom))
        rows = slice(inside[0], inside[-1] + 1) if len(inside) else slice(0)
        return replace(self, albedo=self.albedo[:, rows], gloss=self.gloss[rows], x=self.x[rows], y=self.y[rows])


def paint_face(p: Person, shot: Shot, at: Surface, lattice: Lattice, pixel: float) -> tuple[Picture, Plane]:
    """Gives the face's albedo and gloss; `pixel` is in mm."""
    x, y = at.x - 0.006 * p.asymmetry * at.y, at.y
    gloss = 0.5 + 0.5 * bell(x, 0, 16)
    face = Canvas(paint_skin(p, x, y, lattice), gloss, x, y, lattice, max(1.1 * pixel, 1.0))
    for painter, top, bottom in PAINTERS:
        painter(p, shot, face.between(top, bottom))
    return face.albedo, gloss


def paint_skin(p: Person, x: Plane, y: Plane, lattice: Lattice) -> Picture:
    """Gives skin with its blotches, blush, freckles and moles."""
    blotch, fine = noise(lattice, x / 9 + 7, y / 9 + 7), noise(lattice, x / 2.6, y / 2.6)
    albedo = skin_colour(p)[:, None, None] * (0.885 + 0.16 * blotch + 0.07 * fine)
    side, flush = np.abs(x), (0.35 + 0.65 * p.blush) * (1 - 0.5 * p.tone)
    red = 0.8 * bell(side, 43, 15) * bell(y, p.cheek_y + 10, 14) + 0.6 * bell(x, 0, 11) * bell(y, p.nose_y, 9)
    darken(albedo, red * flush, (0.0, 0.30, 0.26))
    if p.freckles:
        spots = step(noise(lattice, x / 2.9 + 20, y / 2.9 + 9) - 0.70, 0.16)
        darken(albedo, spots * bell(y, p.nose_y - 8, 18) * bell(x, 0, 40) * p.freckles, (0.3, 0.4, 0.46))
    for mole_x, mole_y, mole in ((p.mole_x, p.mole_y, p.mole), (p.mole2_x, p.mole2_y, p.mole2)):
        if mole:
            darken(albedo, 0.75 * bell(x, mole_x, 0.9 * mole) * bell(y, mole_y, 0.9 * mole))
    return albedo


def paint_folds(p: Person, shot: Shot, canvas: Canvas) -> None:
    """Paints the folds beside the nose."""
    albedo, x, y = canvas.albedo, canvas.x, canvas.y
    side, (corner_x, corner_y) = np.abs(x), mouth_corner(p, shot)
    along = np.clip((y - p.nose_y) * (1 / (corner_y + 4 - p.nose_y)), -0.2, 1.2)
    fold = p.nose_width + 1 + (corner_x + 7 - p.nose_width) * along * (0.55 + 0.45 * along)
    deep = 0.06 + 0.22 * p.age + 0.22 * max(0.0, shot.smile)
    dark = deep * bell(side - fold, 0, 2.4) * bell(along, 0.45, 0.36)
    darken(albedo, dark, (0.75, 0.95, 1.0))


def paint_wrinkles(p: Person, shot: Shot, canvas: Canvas) -> None:
    """Paints bags under the eyes, and for older people lines on the forehead and beside the eyes."""
    x, y, old = canvas.x, canvas.y, p.age - 0.45
    side = np.abs(x)
    dark = 0.30 * p.bags * bell(side, p.eye_x - 3, 10) * bell(y, p.eye_lower + 5, 3.2)
    if old > 0:
        waves = np.square(np.sin((y + 0.006 * x * x + 2 * p.asymmetry) * 0.36))
        dark += 0.42 * old * waves * waves * bell(y, -40, 10) * bell(x, 0, 32)
        crow = np.square(np.sin((y - 0.25 * (side - p.eye_x)) * 0.55))
        dark += 0.5 * old * crow * bell(side, p.eye_x + p.eye_width + 9, 5) * bell(y, 2, 8)
    darken(canvas.albedo, dark, (0.75, 0.95, 1.0))


def paint_nostrils(p: Person, shot: Shot, canvas: Canvas) -> None:
    """Paints the holes and the crease of the wings."""
    x, y = canvas.x, canvas.y
    side, base = np.abs(x), p.nose_y + 9 - p.nose_up
    across = (side - 0.48 * p.nose_width) * (1 / p.nostril)
    hole = step(1 - distance(across, (y - base + 0.12 * side) * (1.9 / p.nostril)), 0.9 + 0.2 * canvas.soft)
    ring = distance(side - p.nose_width + 5.5, y - p.nose_y - 3) - 6.3
    wing = 0.38 * bell(ring, 0, 1.2) * step(side - p.nose_width + 4, 4) * bell(y, p.nose_y + 3, 5)
    under = 0.18 * bell(y, base + 4, 2.5) * bell(x, 0, 0.7 * p.nose_width)
    darken(canvas.albedo, 1 - (1 - 0.75 * hole) * (1 - wing) * (1 - under), (0.9, 0.97, 1.0))


def paint_mouth(p: Person, shot: Shot, canvas: Canvas) -> None:
    """Paints lips, teeth and the inside of the mouth."""
    albedo, gloss, x, y, soft = canvas.albedo, canvas.gloss, canvas.x, canvas.y, canvas.soft
    corner_x, corner_y = mouth_corner(p, shot)
    u = np.abs(x) * (1 / corner_x)
    arch = np.clip(1 - u * u, 1e-9, None)
    root = np.sqrt(arch)
    line = p.mouth_y + (corner_y - p.mouth_y) * u * u * (0.4 + 0.6 * u)
    gap = (2.5 + 9 * shot.talk) * (shot.talk > 0) * root
    flat = 1 - 0.25 * max(0.0, shot.smile)
    bow = 1 - 0.35 * p.lip_bow * bell(x, 0, 2.5) + 0.12 * bell(np.abs(x), 6.5, 2.8)
    upper = line - 0.35 * gap - p.lip_upper * flat * arch * bow
    lower = line + 0.65 * gap + p.lip_lower * flat * root
    lips = step(y - upper, soft) * step(lower - y, 1.4 * soft) * step(corner_x - np.abs(x), 2.5)
    skin = skin_colour(p)
    red = skin * np.array([0.74, 0.47, 0.47]) + np.array([0.035, 0.005, 0.008])
    red = red * np.exp(np.array([0.05, -0.10, -0.08]) * p.lip_red)
    if p.sex > 0.2 and shot.lipstick:
        red = red + 0.6 * shot.lipstick * (np.array([0.42, 0.03, 0.06]) * (0.5 + skin[0]) - red)
    lay(albedo, 0.9 * lips, red)
    gloss += 0.7 * lips
    if shot.talk:
        mouth = step(y - line + 0.35 * gap, soft) * step(line + 0.65 * gap - y, soft) * (u < 1)
        lay(albedo, mouth, linear(52, 22, 22))
        teeth = step(line + 0.15 * gap + 1.5 - y, soft) * step(0.66 - u, 0.4)
        lay(albedo, 0.9 * mouth * teeth, linear(186, 174, 158))
        gloss *= 1 - 0.9 * mouth
    seam = bell(y - line + 0.35 * gap, 0, 0.4 * soft + 0.2) * step(corner_x + 1.5 - np.abs(x), 3)
    darken(albedo, 0.7 * seam)


def paint_eyes(p: Person, shot: Shot, canvas: Canvas) -> None:
    """Paints both eyes: lids, white, iris, pupil, glint, lashes."""
    albedo, gloss, x, y, soft = canvas.albedo, canvas.gloss, canvas.x, canvas.y, canvas.soft
    sign = np.sign(x)
    out = np.abs(x) - p.eye_x  # from the middle of the eye, outwards
    down = y - p.eye_tilt * out - 0.35 * p.asymmetry * sign
    u = out * (1 / p.eye_width)
    arch = np.clip(1 - u * u, 1e-9, None)
    curve = np.sqrt(arch) * (0.4 + 0.6 * np.sqrt(np.sqrt(arch)))
    opened = (1 - 0.95 * shot.blink) * (1 - 0.2 * shot.squint - 0.16 * max(0.0, shot.smile)) * (1.03 - 0.1 * p.age)
    upper = curve * (-p.eye_upper * opened * (1 - 0.18 * u) + (1 - opened) * 2.2)
    lower = curve * (p.eye_lower * (0.8 + 0.2 * opened) * (1 + 0.15 * u))
    eye = step(down - upper, soft) * step(lower - down, soft) * (np.abs(u) < 1)

    lid = bell(down, -p.eye_upper - 1.5, 3.9) * bell(u, 0, 0.75)
    darken(albedo, (0.10 + 0.14 * p.lid_fold) * lid, (0.8, 1.0, 1.0))
    glance = out - shot.gaze_x * sign
    ball = distance(glance, down - shot.gaze_y + 0.3)
    white = linear(196, 187, 180)[:, None, None] * (0.55 + 0.45 * arch)
    iris = blend(IRIS, 0.25 + 0.75 * p.iris_dark if p.iris_dark > 0.4 else 0.6 * p.iris_hue)
    reach = np.minimum(ball * (1 / 6.0), 1)
    lay(white, step(6.0 - ball, soft), iris[:, None, None] * (1.25 - 0.85 * reach * reach * reach))
    lay(white, step(2.3 - ball, soft), linear(12, 10, 10))
    darken(white, 0.55 * np.exp(np.minimum(upper - down, 0) * (1 / 1.7)))
    lay(albedo, eye, white)
    glint = distance(glance - sign * 1.8 * min(max(shot.light_x, -1.0), 1.0), down - shot.gaze_y + 2.2)
    lay(albedo, 0.9 * eye * step(1.25 - glint, soft), np.ones(3))
    gloss *= 1 - eye

    wide = np.abs(u)
    lash = bell(down - upper, -0.3, 0.36 * soft + 0.25 + 0.35 * p.lashes) * step(1.1 - wide, 0.25)
    rim = bell(down - lower, 0.3, 0.3 * soft + 0.35) * step(1 - wide, 0.3)
    fold_y = -(p.eye_upper + p.lid_crease) * (0.9 + 0.1 * opened) * (1 - 0.55 * u * u)
    fold = bell(down - fold_y, 0, 0.8) * step(1.1 - wide, 0.5)
    tear = bell(out, 0.5 - p.eye_width, 1.5) * bell(down, 0, 1.4)
    light = (1 - (0.41 + 0.46 * p.lashes) * lash) * (1 - 0.35 * rim) * (1 - 0.6 * p.lid_fold * fold)
    darken(albedo, 1 - light * (1 - 0.35 * tear), (0.93, 0.97, 1.0))


def paint_brows(p: Person, shot: Shot, canvas: Canvas) -> None:
    """Paints the brows."""
    x, y = canvas.x, canvas.y
    side = np.abs(x)
    along = (side - p.eye_x - p.brow_gap) * (1 / (p.brow_length - p.brow_gap))
    inner = np.clip(along, 0, 1)
    height = p.brow_y - 2.0 * shot.brows - 0.6 * p.asymmetry * np.sign(x) + p.brow_slope * (side - p.eye_x)
    height += inner * (5.0 * inner * inner - 2.48 * p.brow_arch * (1 - 0.62 * inner))
    thick = 0.6 + p.brow_thick * (0.55 + inner * (0.75 - 1.05 * inner * np.sqrt(inner)))
    hairs = noise(canvas.lattice, side / 1.7 + 0.35 * y, y / 3.0 + 30)
    brow = step(thick - np.abs(y - height), 1.6 + canvas.soft) * step(along, 0.22) * step(1.02 - along, 0.2)
    lay(canvas.albedo, brow * p.brow_dark * (0.62 + 0.38 * hairs), 0.75 * hair_colour(p))


def paint_beard(p: Person, shot: Shot, canvas: Canvas) -> None:
    """Paints beard, moustache and goatee, longer or shorter from shot to shot."""
    x, y = canvas.x, canvas.y
    beard, moustache, goatee = (
        min(max(1.6 * grown - 0.5, 0.0), 1.0) * shot.shave for grown in (p.beard, p.moustache, p.goatee)
    )
    if not max(beard, moustache, goatee):
        return
    side, low = np.abs(x), mouth_corner(p, shot)[1]
    jaw = beard * step(y - 84 + 0.95 * np.maximum(side - 22, 0), 16)
    lip = max(moustache, 0.85 * beard) * step(y - p.nose_y - 14 - 0.22 * side, 6)
    lip *= step(low - 2 + 0.012 * side * side - y, 6) * step(p.mouth_width + 5 - side, 12)
    chin = max(goatee, beard) * step(y - p.mouth_y - 13, 9) * bell(side, 0, 13)
    hairs = noise(canvas.lattice, x / 1.3 + 11, y / 2.2 + 40)
    dense = np.maximum(np.maximum(jaw, lip), chin)
    hair = 0.85 * hair_colour(p) + 0.04 * skin_colour(p)
    lay(canvas.albedo, np.clip(dense * (0.55 + 0.5 * hairs), 0, 0.92), hair)


PAINTERS: tuple[tuple[Callable[[Person, Shot, Canvas], None], float, float], ...] = (
    (paint_folds, 20, 100),  # in the order of painting; the range of y in mm
    (paint_wrinkles, -75, 30),
    (paint_beard, 25, 195),
    (paint_nostrils, 15, 70),
    (paint_mouth, 50, 115),
    (paint_eyes, -25, 20),
    (paint_brows, -45, 0),
)
