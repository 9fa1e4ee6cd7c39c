"""Synthetic faces: rendered identities that look different from shot to shot, without anybody's photo."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .contract import Faces
from .hair import LONG, hair_length, hair_shape, neck_mask, paint_ears, paint_hair
from .head import Camera, aim, composed, face_points, head_shape, meet
from .paint import lay, paint_face, skin_colour, step
from .person import Person, Shot, draw, draw_person
from .photo import background, develop, shade
from .wear import hold, prop_of, put_on_glasses, put_on_hat, put_on_mask


def render_face(identity: int, shot: int, seed: int = 0, size: int = 112) -> NDArray[np.uint8]:
    who = np.random.default_rng([seed, identity])
    person = draw_person(who)
    lattice = who.random((64, 64))
    rng = np.random.default_rng([seed, identity, shot + 1])
    take = draw(Shot, rng)
    prop = prop_of(take)
    shape = head_shape(person, take)
    points = face_points(person, take, shape)
    camera = aim(points, take, size)
    pixel, plane = camera.pixel, camera.plane(size)

    face = meet(shape, camera, plane, 4)
    shell = meet(hair_shape(person, take, shape), camera, plane, 2, start=face)
    albedo, gloss = paint_face(person, take, face, lattice, pixel)
    if prop == "mask":
        put_on_mask(person, take, face, albedo, gloss)
    hair, sheen, front, behind = paint_hair(person, take, shell, lattice)
    lay(albedo, front, hair)
    gloss += front * (sheen - gloss)
    if prop == "hat":
        knit, hat = put_on_hat(take, shell, lattice)
        lay(albedo, hat, knit)
        gloss *= 1 - hat
        front = np.maximum(front, hat)
    seen = composed(face, shell, front)
    light = shade(seen.depth, albedo, gloss, take, pixel)

    scene = background(rng, size)
    lay(scene, behind, hair * (0.25 * take.light + 0.3 * take.fill))
    flat = (skin_colour(person) * (0.45 * take.light + 0.6 * take.fill))[:, None, None] * np.ones_like(albedo)
    lay(scene, neck_mask(person, camera, plane), flat * (0.45 + 0.2 * step(plane[1] - 120, 50)))
    ears = hair_length(person) < LONG
    if ears:
        paint_ears(person, camera, plane, scene, flat, near=False)
    cover = np.clip(face.inside / pixel + 0.5, 0, 1)
    lay(scene, 1 - (1 - cover) * (1 - front), light)
    if ears:
        paint_ears(person, camera, plane, scene, flat, near=True)
    if prop == "sunglasses" or (take.wears < 0.85 if person.glasses else take.wears > 0.97):
        put_on_glasses(person, take, camera, plane, points[0, 2] + 11, scene, cover)
    hold(person, take, plane, lattice, scene)
    scene *= (0.33 / skin_colour(person).mean()) ** 0.4
    return develop(scene, take, rng)
