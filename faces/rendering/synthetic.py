"""Synthetic faces: rendered identities, each shot with its own pose, light, expression and background."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...children import lent_cores, run_child
from ..contract import Faces
from .accessories import hold, prop_of, put_on_glasses, put_on_hat, put_on_mask
from .brush import Lattice, Picture, lay, step
from .cache import kept_or_rendered
from .hair import LONG, hair_length, hair_shape, neck_mask, paint_ears, paint_hair
from .head import Camera, HeadShape, aim, composed, face_points, head_shape, meet
from .paint import paint_face, skin_colour
from .person import Person, Shot, draw, draw_person
from .photo import background, develop, shade

SMALLEST, LARGEST = 32, 1024  # pixels a side
MANY = 200  # faces that take longer to render, 20 ms each, than another process takes to start
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def render_face(identity: int, shot: int, seed: int = 0, size: int = 112) -> NDArray[np.uint8]:
    """Renders one photo of one person, aligned to the ArcFace template with the error of a detector.

    Args:
        identity: Number of the person; the same number and seed give the same person in every shot.
        shot: Number of the photo.
        seed: Another seed gives other people.
        size: Pixels a side, 32 to 1024.

    Returns:
        (size, size, 3) uint8 RGB; the same bytes in every call.

    Raises:
        ValueError: A number is negative, or the size is out of range.

    >>> render_face(3, 0, size=64).shape
    (64, 64, 3)
    """
    _check(size, identity=identity, shot=shot, seed=seed)
    person, lattice = _person(identity, seed)
    rng = np.random.default_rng([seed, identity, shot + 1])
    take = draw(Shot, rng)
    shape, points, camera = _pose(person, take, size)
    return develop(_scene(person, take, lattice, shape, points, camera, size, rng), take, rng)


def face_landmarks(identity: int, shot: int, seed: int = 0, size: int = 112) -> NDArray[np.float64]:
    """Gives the exact positions of the five landmarks in the photo of `render_face`.

    Returns:
        (5, 2) x and y in pixels, in the order of `TEMPLATES`: eyes, nose tip, mouth corners, left to right.

    Raises:
        ValueError: As `render_face`.
    """
    _check(size, identity=identity, shot=shot, seed=seed)
    person, _ = _person(identity, seed)
    _, points, camera = _pose(person, draw(Shot, np.random.default_rng([seed, identity, shot + 1])), size)
    return camera.project(points)


def synthetic_faces(
    identities: int, shots: int, seed: int = 0, size: int | tuple[int, int] = 112, first: int = 0
) -> tuple[Faces, NDArray[np.int64]]:
    """Renders `shots` photos of each of `identities` people, person by person; many of them on all cores, and once.

    What was rendered before is taken from $XDG_CACHE_HOME/pocketface/faces (~/.cache without that variable).

    Args:
        identities: Number of people; they are `first`, `first` + 1, ...
        shots: Number of photos of each.
        seed: As in `render_face`.
        size: Pixels a side, as in `render_face`; or height and width: the middle of the square around them.
        first: Number of the first person; sets with disjoint numbers have no person in common.

    Returns:
        (identities * shots, H, W, 3) uint8 RGB, and the person's number of each, (identities * shots,) int64.

    Raises:
        ValueError: As `render_face`.
    """
    height, width = size if isinstance(size, tuple) else (size, size)
    side = max(height, width)
    _check(side, identities=identities, shots=shots, seed=seed, first=first)
    labels = np.repeat(np.arange(first, first + identities, dtype=np.int64), shots)
    crowd = Crowd(first, identities, shots, seed, height, width)
    few = len(labels) < MANY
    faces = render_crowd(crowd) if few else kept_or_rendered(asdict(crowd), lambda: _on_all_cores(crowd))
    return faces, labels


@dataclass(frozen=True)
class Crowd:
    """Which faces to render."""

    first: int  # number of the first person
    identities: int
    shots: int  # of each
    seed: int
    height: int
    width: int

    def shares(self, count: int) -> list[Crowd]:
        """Divides the people, in their order, among `count` processes."""
        bounds = [self.identities * part // count for part in range(count + 1)]
        return [
            replace(self, first=self.first + begin, identities=end - begin)
            for begin, end in pairwise(bounds)
            if end > begin
        ]


def render_crowd(crowd: Crowd) -> Faces:
    """Renders the faces of `crowd`, person by person: (identities * shots, H, W, 3) uint8 RGB."""
    side = max(crowd.height, crowd.width)
    rows, columns = ((side - length) // 2 + np.arange(length) for length in (crowd.height, crowd.width))
    faces = np.empty((crowd.identities, crowd.shots, crowd.height, crowd.width, 3), np.uint8)
    for person, shot in np.ndindex(crowd.identities, crowd.shots):
        faces[person, shot] = render_face(crowd.first + person, shot, crowd.seed, side)[np.ix_(rows, columns)]
    return faces.reshape(-1, crowd.height, crowd.width, 3)


def _on_all_cores(crowd: Crowd) -> Faces:
    """Gives what `render_crowd` gives, from as many processes as there are cores."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(lent_cores()) as pool:
        shares = crowd.shares(lent_cores())
        paths = [Path(folder) / f"{number}.npy" for number in range(len(shares))]
        return np.concatenate(list(pool.map(_rendered_apart, shares, paths)))


def _rendered_apart(share: Crowd, path: Path) -> Faces:
    # -P: a numpy.py in the folder where somebody works is not ours
    command = [sys.executable, "-P", "-m", "pocketface.faces.rendering.share", json.dumps(asdict(share)), str(path)]
    if run_child(command, {**os.environ, **ONE_THREAD}).returncode:  # want of memory, perhaps
        return render_crowd(share)
    return np.asarray(np.load(path, allow_pickle=False))


def contact_sheet(identities: int = 8, shots: int = 8, seed: int = 0) -> NDArray[np.uint8]:
    """Gives a picture of faces in a grid: one row per person, one column per shot.

    Returns:
        (112 * identities, 112 * shots, 3) uint8 RGB.
    """
    faces, _ = synthetic_faces(identities, shots, seed)
    grid = faces.reshape(identities, shots, 112, 112, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(grid.reshape(112 * identities, 112 * shots, 3))


def _check(size: int, **numbers: int) -> None:
    if not SMALLEST <= size <= LARGEST:
        raise ValueError(f"no synthetic face has {size} pixels a side; {SMALLEST} to {LARGEST} are possible")
    for name, number in numbers.items():
        if number < 0:
            raise ValueError(f"{name} {number} is negative; synthetic faces are numbered from 0")


@lru_cache(maxsize=8)
def _person(identity: int, seed: int) -> tuple[Person, Lattice]:
    rng = np.random.default_rng([seed, identity])
    return draw_person(rng), rng.random((64, 64))


def _pose(person: Person, take: Shot, size: int) -> tuple[HeadShape, NDArray[np.float64], Camera]:
    shape = head_shape(person, take)
    points = face_points(person, take, shape)
    return shape, points, aim(points, take, size)


def _scene(
    person: Person,
    take: Shot,
    lattice: Lattice,
    shape: HeadShape,
    points: NDArray[np.float64],
    camera: Camera,
    size: int,
    rng: np.random.Generator,
) -> Picture:
    """Gives the light that reaches the camera, composed from back to front."""
    plane, prop = camera.plane(size), prop_of(take)
    face = meet(shape, camera, plane)
    shell = meet(hair_shape(person, take, shape), camera, plane, start=face)
    albedo, gloss = paint_face(person, take, face, lattice, camera.pixel)
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
    light = shade(composed(face, shell, front).depth, albedo, gloss, take, camera.pixel)
    cover = np.clip(face.inside / camera.pixel + 0.5, 0, 1)

    scene = background(rng, size)
    lay(scene, behind, hair * (0.25 * take.light + 0.3 * take.fill))
    flat = (skin_colour(person) * (0.45 * take.light + 0.6 * take.fill))[:, None, None]
    lay(scene, neck_mask(person, camera, plane), flat * (0.45 + 0.2 * step(plane[1] - 120, 50)))
    if hair_length(person) < LONG:
        paint_ears(person, camera, plane, scene, flat, near=False)
    lay(scene, 1 - (1 - cover) * (1 - front), light)
    if hair_length(person) < LONG:
        paint_ears(person, camera, plane, scene, flat, near=True)
    if prop == "sunglasses" or take.wears > (0.15 if person.glasses else 0.97):
        put_on_glasses(person, take, camera, plane, points[0, 2] + 11, scene, cover)
    hold(person, take, plane, lattice, scene)
    scene *= (0.33 / float(skin_colour(person).mean())) ** 0.4  # a camera exposes longer for dark skin
    return scene
