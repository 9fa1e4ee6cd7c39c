"""Other ways to cut the same faces: looser or tighter than the usual template, and without alignment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...faces.alignment import Detector, central_face, similarity_transform, warp
from ...faces.contract import USUAL_TEMPLATE, ZOOMS, Faces, InputContract
from ...faces.recutting import recut
from .samples import FEWEST_FACES, ProbeSample, sample_of

MARGINS = (0.0, 0.3)  # beyond the detector's box, shares of its longer side: tight, and as FaceNet's crops of 160
NEAR, MOSTLY = 0.05, 0.8  # of a crop's side that its landmarks may be off, on most of the pictures, if they are crops
FACE_SIDE = 224  # pixels of a face that are kept at least, where a photo has as many
LARGEST_CROP = 4096  # pixels a side

Photo = NDArray[np.uint8]  # (H, W, 3) RGB


@dataclass(frozen=True, eq=False)
class Cut:
    """The faces of a sample, cut in one way."""

    name: str
    template: str  # by which `pocketface align` cuts so; "" where none does
    sample: ProbeSample = field(repr=False)


@dataclass(frozen=True, eq=False)
class FoundFace:
    """The face that a detector found in a photo, and what is around it; the photo itself may be large, and goes."""

    around: Photo = field(repr=False)  # three times as wide as the face, as far as the photo goes
    landmarks: NDArray[np.float64]  # (5, 2) x, y in `around`
    box: NDArray[np.float64]  # x, y, width, height in it
    whole: Photo = field(repr=False)  # the photo's middle, made small
    is_aligned: bool  # whether the landmarks lie where the usual template has them, as those of an aligned crop do
    person: int


def found_faces(photos: Iterable[Photo], people: Iterable[int], detect: Detector) -> list[FoundFace]:
    """Looks for the face of each photo; photos without one are left out.

    Raises:
        ValueError: Faces are found in fewer than 20 photos.
    """
    found, looked = [], 0
    for photo, person in zip(photos, people, strict=True):
        looked += 1
        rows = detect(photo)
        if len(rows):
            found.append(_found(photo, rows[central_face(rows, *photo.shape[:2])], person))
    if len(found) < FEWEST_FACES:
        raise ValueError(
            f"the detector finds a face in {len(found)} of {looked} pictures; {FEWEST_FACES} are the fewest that "
            "contracts are tried on"
        )
    return found


def _found(photo: Photo, row: NDArray[np.float64], person: int) -> FoundFace:
    landmarks, (x, y, width, height) = row[4:14].reshape(5, 2), row[:4]
    reach, middle = 1.5 * max(width, height), np.array([x + width / 2, y + height / 2])
    limits = np.array(photo.shape[1::-1])
    left, top = np.clip((middle - reach).astype(int), 0, limits - 1)
    right, bottom = np.clip((middle + reach).astype(int) + 1, (left + 1, top + 1), limits)
    step = max(1, int(max(width, height) / FACE_SIDE))  # pixels of the photo in one of `around`
    corner = np.array([left, top])
    return FoundFace(
        np.asarray(Image.fromarray(photo[top:bottom, left:right]).reduce(step)),
        (landmarks - corner + 0.5) / step - 0.5,
        np.array([*(np.array([x, y]) - corner), width, height]) / step,
        _whole(photo, FACE_SIDE),
        _is_aligned(landmarks, *photo.shape[:2]),
        person,
    )


def _is_aligned(landmarks: NDArray[np.float64], height: int, width: int) -> bool:
    if not 8 <= min(height, width) <= max(height, width) <= LARGEST_CROP:
        return False
    off = landmarks - InputContract(height, width).landmarks
    return bool(np.sqrt((off**2).sum(axis=1).mean()) <= NEAR * max(height, width))


def are_crops(found: Sequence[FoundFace]) -> bool:
    """Tells whether pictures are aligned crops already."""
    return sum(face.is_aligned for face in found) >= MOSTLY * len(found)


def cuts_of_crops(sample: ProbeSample, aligned: bool) -> list[Cut]:
    """Gives crops as they are and, if aligned, tighter; what lies beyond their edges nobody can give back."""
    cuts = [Cut("as given", USUAL_TEMPLATE, sample)]
    for template, percent in ZOOMS.items():
        if percent > 100 and aligned:
            tighter = ProbeSample(_middle(sample.crops, percent), sample.people, sample.labelled)
            cuts.append(Cut(f"the middle {10_000 / percent:.0f} % of them", template, tighter))
    return cuts


def cuts_of_photos(found: Sequence[FoundFace], labelled: bool, side: int) -> list[Cut]:
    """Gives the faces of photos aligned by each template, and not aligned: by the detector's box, and whole photos."""
    usual = "aligned", USUAL_TEMPLATE, _aligned(USUAL_TEMPLATE, side)
    ways: list[tuple[str, str, Callable[[FoundFace], Photo]]] = [usual]
    for template, percent in ZOOMS.items():
        looser = "tighter" if percent > 100 else "looser"
        ways.append((f"aligned, {looser}: face {percent} % as large", template, _aligned(template, side)))
    for margin in MARGINS:
        around = f" and {margin:.0%} around" if margin else ""
        ways.append((f"not aligned: the box{around}", "", _box(margin, side)))
    ways.append(("not aligned: whole pictures", "", lambda face: recut(face.whole[None], side, side)[0]))
    people = np.array([face.person for face in found], np.int64)
    return [
        Cut(name, template, sample_of(np.stack([cut(face) for face in found]), people, labelled))
        for name, template, cut in ways
    ]


def _middle(crops: Faces, percent: int) -> Faces:
    height, width = crops.shape[1:3]
    x, y = (side * (1 - 100 / percent) / 2 for side in (width, height))
    box = (x, y, width - x, height - y)
    bicubic = Image.Resampling.BICUBIC
    return np.stack([np.asarray(Image.fromarray(crop).resize((width, height), bicubic, box)) for crop in crops])


def _aligned(template: str, side: int) -> Callable[[FoundFace], Photo]:
    points = InputContract(side, side, template=template).landmarks
    return lambda face: warp(face.around, similarity_transform(face.landmarks, points), side, side)


def _box(margin: float, side: int) -> Callable[[FoundFace], Photo]:
    def cut(face: FoundFace) -> Photo:
        x, y, width, height = face.box
        scale = side / (max(width, height) * (1 + margin))
        middle = np.array([x + width / 2, y + height / 2])
        return warp(face.around, np.column_stack([scale * np.eye(2), (side - 1) / 2 - scale * middle]), side, side)

    return cut


def _whole(photo: Photo, side: int) -> Photo:
    """Gives the largest square in the middle of a photo, made small."""
    height, width = photo.shape[:2]
    least = min(height, width)
    top, left = (height - least) // 2, (width - least) // 2
    small: Photo = recut(photo[None, top : top + least, left : left + least], side, side)[0]
    return small
