"""The random traits of a synthetic person and of a shot, one per line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import numpy as np

Draw = Callable[[np.random.Generator], float]
Traits = TypeVar("Traits", "Person", "Shot")


def _drawn(draw: Draw) -> Any:
    return field(metadata={"draw": draw})


def _normal(mean: float, deviation: float) -> Any:
    return _drawn(lambda rng: mean + deviation * min(max(rng.standard_normal(), -2.3), 2.3))


def _uniform(low: float, high: float) -> Any:
    return _drawn(lambda rng: low + (high - low) * rng.random())


def _rare(chance: float, low: float, high: float) -> Any:
    """Mostly 0; with `chance` between `low` and `high`."""
    return _drawn(lambda rng: (low + (high - low) * rng.random()) * (rng.random() < chance))


@dataclass(frozen=True)
class Person:
    """The traits of a person, equal in all shots. Lengths in mm on a head with pupils at y = 0; y points down."""

    sex: float = _uniform(-1, 1)  # -1 male .. 1 female: shifts other traits
    tone: float = _uniform(0, 1)  # skin, light to dark
    undertone: float = _normal(0, 1)  # yellow .. red
    age: float = _uniform(0, 1)  # 20 .. 70 years
    weight: float = _normal(0, 1)
    skull: float = _normal(73, 2.5)  # half widths
    cheekbone: float = _normal(68, 2.5)
    jaw: float = _normal(53.5, 3.5)
    chin: float = _normal(27, 4)
    chin_y: float = _normal(117, 5)
    chin_out: float = _normal(6, 3)
    forehead: float = _normal(64, 6)  # hairline above the eyes
    forehead_out: float = _normal(0, 3)
    brow_ridge: float = _normal(3.5, 2)
    cheek_out: float = _normal(4, 2.5)
    cheek_y: float = _normal(26, 4)
    eye_x: float = _normal(31.5, 1.8)
    eye_width: float = _normal(14.5, 1.3)
    eye_upper: float = _normal(5.6, 0.9)
    eye_lower: float = _normal(3.4, 0.7)
    eye_tilt: float = _normal(-0.05, 0.07)
    eye_deep: float = _normal(7, 2.2)
    lid_crease: float = _normal(4.5, 1.6)
    lid_fold: float = _uniform(0, 1)  # how dark the crease is
    bags: float = _uniform(0, 1)
    lashes: float = _uniform(0.2, 1)
    iris_hue: float = _uniform(0, 1)
    iris_dark: float = _uniform(0, 1)
    brow_y: float = _normal(-18.5, 2.5)
    brow_arch: float = _normal(3.5, 2)
    brow_slope: float = _normal(0.03, 0.1)
    brow_thick: float = _normal(4.0, 1.1)
    brow_length: float = _normal(18.5, 2)
    brow_gap: float = _normal(-15.5, 1.8)  # inner end from the eye's middle
    brow_dark: float = _uniform(0.45, 1)
    nose_y: float = _normal(36, 2.5)
    nose_out: float = _normal(18.5, 3)
    nose_width: float = _normal(16.5, 2.4)
    nose_ridge: float = _normal(7.8, 1.2)
    nose_bridge: float = _normal(6, 2.2)
    nose_hump: float = _normal(0, 1.6)
    nose_tip: float = _normal(7.5, 1.3)
    nose_up: float = _normal(0, 2)
    nose_bend: float = _normal(0, 1.2)
    nostril: float = _normal(3.6, 0.7)
    mouth_y: float = _normal(72.5, 2.8)
    mouth_width: float = _normal(26, 2.5)
    lip_upper: float = _normal(5.5, 1.7)
    lip_lower: float = _normal(8.0, 1.9)
    lip_bow: float = _uniform(0, 1)
    lip_red: float = _normal(0, 1)
    mouth_corner: float = _normal(-0.6, 1.3)
    muzzle: float = _normal(4, 2)
    ear_out: float = _normal(8, 3.5)
    hair_dark: float = _uniform(0, 1)
    hair_red: float = _uniform(0, 1)
    hair_gray: float = _uniform(0, 1)
    hair_long: float = _uniform(0, 1)
    hair_top: float = _uniform(0, 1)
    hair_fringe: float = _uniform(0, 1)
    hair_part: float = _normal(0, 22)  # where the parting is
    hair_peak: float = _normal(0, 5)  # a widow's peak, or its opposite
    hair_temple: float = _normal(0, 5)
    hair_fall: float = _uniform(0, 1)  # how far hair falls from the parting over the forehead
    hair_curl: float = _uniform(0, 1)
    hair_curtain: float = _uniform(52, 78)  # degrees from the middle where the side hair starts
    bald: float = _uniform(0, 1)  # then 0 or 1
    recede: float = _uniform(0, 1)
    beard: float = _uniform(0, 1)
    moustache: float = _uniform(0, 1)
    goatee: float = _uniform(0, 1)
    freckles: float = _rare(0.25, 0.3, 1)
    blush: float = _uniform(0, 1)
    mole_x: float = _normal(0, 32)
    mole_y: float = _normal(45, 28)
    mole: float = _rare(0.5, 1.0, 2.0)
    mole2_x: float = _normal(0, 35)
    mole2_y: float = _normal(30, 40)
    mole2: float = _rare(0.35, 0.8, 1.8)
    glasses: float = _rare(0.22, 0.5, 1)
    glasses_round: float = _uniform(2, 6)
    glasses_size: float = _uniform(20, 26)
    glasses_dark: float = _uniform(0, 1)
    glasses_thick: float = _uniform(0.9, 2.4)
    asymmetry: float = _normal(0, 1)


@dataclass(frozen=True)
class Shot:
    """The traits of one shot. Angles in degrees."""

    yaw: float = _normal(0, 14)
    pitch: float = _normal(0, 8)
    tilt: float = _normal(0, 1.5)  # left over by the detector
    shift_x: float = _normal(0, 1.0)  # pixels of a 112 crop
    shift_y: float = _normal(0, 1.0)
    zoom: float = _normal(0, 0.02)
    smile: float = _uniform(-0.3, 1)
    talk: float = _rare(0.35, 0.15, 1)
    brows: float = _normal(0, 1)
    blink: float = _rare(0.06, 0.6, 1)
    squint: float = _uniform(0, 1)
    gaze_x: float = _normal(0, 1.4)
    gaze_y: float = _normal(0, 0.7)
    light_x: float = _normal(0, 0.8)
    light_y: float = _normal(-0.55, 0.4)
    light: float = _uniform(0.55, 1.5)
    fill: float = _uniform(0.12, 0.75)
    side_light: float = _rare(0.3, 0.15, 0.6)
    side_hue: float = _uniform(-1, 1)
    warmth: float = _normal(0, 1)
    tint: float = _normal(0, 1)
    exposure: float = _normal(0, 0.22)  # stops
    contrast: float = _normal(1, 0.1)
    saturation: float = _normal(0.92, 0.13)
    gray: float = _rare(0.04, 1, 1)
    shave: float = _uniform(0.55, 1)
    hair_move: float = _normal(0, 1)
    lipstick: float = _rare(0.3, 0.3, 1)
    prop: float = _uniform(0, 1)  # which occlusion, if any
    prop_x: float = _normal(0, 1)
    prop_y: float = _normal(0, 1)
    prop_hue: float = _uniform(0, 1)
    prop_light: float = _uniform(0.02, 0.7)
    wears: float = _uniform(0, 1)
    blur: float = _rare(0.55, 0.3, 1.3)  # pixels of a 112 crop
    grain: float = _uniform(0.5, 6)  # grey levels
    squeeze: float = _rare(0.7, 3, 16)  # step of the JPEG-like quantisation


def draw(kind: type[Traits], rng: np.random.Generator) -> Traits:
    """Draws every trait of `kind` from its line, in order."""
    return kind(**{trait.name: trait.metadata["draw"](rng) for trait in fields(kind)})


def draw_person(rng: np.random.Generator) -> Person:
    """Draws a person with correlated traits: sex, tone and age shift the others."""
    person = draw(Person, rng)
    sex, dark, old = person.sex, person.tone - 0.5, person.age - 0.5
    return replace(
        person,
        jaw=person.jaw - 2.5 * sex + 1.5 * person.weight,
        cheekbone=person.cheekbone - 1.0 * sex + 1.0 * person.weight,
        chin=person.chin - 2.5 * sex,
        chin_y=person.chin_y - 2.5 * sex,
        brow_ridge=person.brow_ridge - 2.0 * sex,
        brow_thick=person.brow_thick - 0.7 * sex,
        brow_y=person.brow_y - 1.2 * sex,
        eye_upper=person.eye_upper + 0.5 * sex,
        lashes=person.lashes * (0.6 + 0.4 * (sex > 0)),
        lip_upper=person.lip_upper + 0.6 * sex + 3.0 * dark,
        lip_lower=person.lip_lower + 0.6 * sex + 3.0 * dark,
        nose_out=person.nose_out - 1.0 * sex,
        nose_width=person.nose_width - 0.8 * sex + 3.0 * dark,
        hair_dark=min(1.0, person.hair_dark + max(0.0, 2.0 * dark + 0.3)),
        iris_dark=min(1.0, person.iris_dark + max(0.0, 1.6 * dark + 0.2)),
        hair_gray=max(0.0, 0.9 * person.hair_gray + 1.6 * old - 0.75),
        hair_fringe=person.hair_fringe * (1 if sex > 0 else 0.85),
        hair_long=person.hair_long if sex > 0.1 else person.hair_long * 0.45,
        bald=float(person.bald > 0.88 and sex < -0.1),
        recede=person.recede * max(0.0, old + 0.5) * (sex < 0),
        beard=person.beard * (sex < -0.05),
        moustache=person.moustache * (sex < -0.05),
        goatee=person.goatee * (sex < -0.05),
    )
