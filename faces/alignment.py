"""Alignment of photos: finds a face and maps its five landmarks onto the template that the embedder expects."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageOps

from ..bounds import limit_memory, limited_time
from ..children import last_line, run_child
from ..files import sha256_of, written_whole
from ..spelling import printable
from .contact_sheet import SheetRow, sheet_row, shown, write_contact_sheet
from .contract import InputContract
from .heic import HEIC, heic_as_png, reads_heic
from .image_files import EXTENSIONS, OTHER_FORMATS, image_names, rgb, unread

LONGEST_SIDE = 640  # pixels; photos are shrunk to this, as the detector finds faces of 10 to 300 pixels
LEAST_SCORE = 0.6  # of the detector, 0 to 1
LARGEST_PHOTO = 120_000_000  # pixels; larger photos are refused before decoding
QUALITY = 95  # of the JPEG files

DETECTOR = "face_detection_yunet_2023mar.onnx"
DETECTOR_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
"""Of the file in OpenCV's zoo, MIT licence, 232,589 bytes."""
GET_DETECTOR = (
    f"download {DETECTOR} (0.2 MB, MIT licence) from "
    f"https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/{DETECTOR} "
    "and name it with --detector"
)

Detector = Callable[[NDArray[np.uint8]], NDArray[np.float64]]
"""(H, W, 3) RGB photo to (F, 15): box x, y, width, height, landmarks x, y in the template's order, score."""


@dataclass(frozen=True)
class Alignment:
    """The result of aligning a folder of photos; names are paths relative to it."""

    written: tuple[str, ...]
    without_face: tuple[str, ...]
    unreadable: tuple[str, ...]
    other_formats: tuple[str, ...] = ()
    sheet: Path | None = None  # the contact sheet, a JPEG

    def __str__(self) -> str:
        """Gives one line with the count, and one for each photo without a crop."""
        photos = sum(map(len, (self.written, self.without_face, self.unreadable, self.other_formats)))
        lines = [f"{len(self.written)} of {photos} photos became crops"]
        lines += [f"no face found: {printable(name)}" for name in self.without_face]
        lines += [f"unreadable: {printable(name)}" for name in self.unreadable]
        lines += [f"{_hint(name)}: {printable(name)}" for name in self.other_formats]
        lines += [] if self.sheet is None else [f"what was cut: {printable(str(self.sheet))}"]
        return "\n".join(lines)


def _hint(name: str) -> str:
    heic = ", or pip install 'pocketface[heic]'" * name.lower().endswith(HEIC)
    return f"not read, save it as JPEG or PNG{heic}"


def align_folder(photos: Path, out: Path, detector: Path | None, contract: InputContract) -> Alignment:
    """Writes a crop of every photo below `photos` in which a face is found.

    Of several faces the one that `central_face` chooses is used. Photos are turned upright by their EXIF orientation.
    A contact sheet, OUT-contact-sheet.jpg beside the folder, shows up to 60 photos with their landmarks and crops.

    Args:
        photos: Folder of photos, in any folders below it.
        out: Gets the same folders and names, as JPEG files of quality 95; existing files are replaced.
        detector: The YuNet file, `face_detection_yunet_*.onnx` of OpenCV's zoo; without one it is said where to get it.
        contract: Gives the crop's size and template.

    Returns:
        The names of photos that gave a crop, that show no face, that cannot be read, or whose format is not read.

    Raises:
        ValueError: No photos, no detector, no OpenCV, or `out` lies in `photos`.
    """
    if out.resolve().is_relative_to(photos.resolve()):
        raise ValueError(f"crops in {out} would be read as photos of {photos} the next time: name a folder outside")
    readable = (*EXTENSIONS, *(HEIC if reads_heic() else ()))
    names = image_names(photos, readable)
    others = image_names(photos, tuple(ending for ending in OTHER_FORMATS if ending not in readable))
    if not names:
        raise ValueError(f"{photos} holds no photos; files that end in {', '.join(readable)} count{unread(others)}")
    targets: dict[Path, str] = {}
    for name in names:
        target = (out / name).with_suffix(".jpg")
        if target in targets:
            raise ValueError(f"{photos / targets[target]} and {photos / name} would both become {target}: rename one")
        targets[target] = name
    detect = yunet(detector)
    written, without_face, unreadable = [], [], []
    rows: list[SheetRow] = []
    on_sheet = shown(len(targets))
    for number, (target, name) in enumerate(targets.items()):
        try:
            photo = read_photo(photos / name)
        except ValueError:
            unreadable.append(name)
            continue
        faces = detect(photo)
        if not len(faces):
            without_face.append(name)
            rows += [sheet_row(name, photo, None, None)] if number in on_sheet else []
            continue
        points = faces[central_face(faces, photo.shape[0], photo.shape[1]), 4:14].reshape(5, 2)
        crop = warp(photo, similarity_transform(points, contract.landmarks), contract.height, contract.width)
        with written_whole(target) as beside:
            Image.fromarray(crop).save(beside, format="JPEG", quality=QUALITY)
        written.append(name)
        rows += [sheet_row(name, photo, crop, points)] if number in on_sheet else []
    sheet = out.resolve().with_name(f"{out.resolve().name}-contact-sheet.jpg")
    if rows:
        write_contact_sheet(rows, sheet)
    return Alignment(tuple(written), tuple(without_face), tuple(unreadable), tuple(others), sheet if rows else None)


def similarity_transform(points: ArrayLike, template: ArrayLike) -> NDArray[np.float64]:
    """Gives the rotation, scale and shift that map `points` to `template`, (5, 2) x, y, with the least squared error.

    Returns:
        (2, 3): template = M[:, :2] @ points + M[:, 2]. Never a mirror image.

    Raises:
        ValueError: Other shapes, or points that coincide or are not finite.

    >>> (similarity_transform([[0, 0], [1, 0], [0, 1]], [[5, 5], [7, 5], [5, 7]]).round(9) + 0.0).tolist()
    [[2.0, 0.0, 5.0], [0.0, 2.0, 5.0]]

    Source: Umeyama, Least-squares estimation of transformation parameters, PAMI 1991, eq. 38 to 43.
    """
    source, goal = np.asarray(points, dtype=np.float64), np.asarray(template, dtype=np.float64)
    if source.shape != goal.shape or source.ndim != 2 or source.shape[1] != 2:
        raise ValueError(f"landmarks need (n, 2) x and y like the template's {goal.shape}, not {source.shape}")
    centre, goal_centre = source.mean(axis=0), goal.mean(axis=0)
    variance = ((source - centre) ** 2).sum() / len(source)
    if not np.isfinite(variance) or variance == 0:
        raise ValueError("the landmarks coincide or are no numbers: no face to align")
    u, stretch, v = np.linalg.svd((goal - goal_centre).T @ (source - centre) / len(source))
    upright = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(v))])
    rotation = (u * upright) @ v
    linear = (stretch @ upright) / variance * rotation
    return np.column_stack([linear, goal_centre - linear @ centre])


def warp(photo: NDArray[np.uint8], transform: ArrayLike, height: int, width: int) -> NDArray[np.uint8]:
    """Cuts a crop by `transform`, with bilinear interpolation; it is black beyond the photo's edge.

    Coordinates are those of landmarks, as in OpenCV: whole numbers are the centres of pixels. A photo with two or more
    pixels per pixel of the crop is averaged down first, which OpenCV's warpAffine does not do.

    Args:
        photo: (H, W, 3) uint8.
        transform: (2, 3), as `similarity_transform` gives it.
        height: Of the crop, in pixels.
        width: Likewise.

    Returns:
        (height, width, 3) uint8.
    """
    forward = np.asarray(transform, dtype=np.float64)
    back = np.linalg.inv(forward[:, :2])
    # Pillow counts from a pixel's corner: x + 0.5 there is x here.
    shift = 0.5 - back @ (forward[:, 2] + 0.5)
    image = Image.fromarray(photo)
    step = int(np.sqrt(abs(np.linalg.det(back))) + 1e-6)  # pixels of the photo in one of the crop
    if step >= 2:
        image, back, shift = image.reduce(step), back / step, shift / step
    rows = (*back[0], shift[0], *back[1], shift[1])
    return np.asarray(image.transform((width, height), Image.Transform.AFFINE, rows, Image.Resampling.BILINEAR))


def read_photo(path: Path) -> NDArray[np.uint8]:
    """Reads a photo of any size, upright: (H, W, 3) uint8 RGB.

    Raises:
        ValueError: Unreadable, or more than 120 megapixels.
    """
    heic = path.suffix.lower() in HEIC
    source = io.BytesIO(heic_as_png(path, LARGEST_PHOTO)) if heic else path
    try:
        with Image.open(source, formats=tuple(EXTENSIONS.values())) as image:
            pixels = image.height * image.width
            if pixels <= LARGEST_PHOTO:
                return rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # Pillow's decoders raise SyntaxError, struct.error, zlib.error and others for bad bytes
        raise ValueError(f"{path} cannot be read as an image: {error or type(error).__name__}") from error
    raise ValueError(f"{path} has {pixels} pixels; {LARGEST_PHOTO} are the most that are read")


def _yunet(path: Path) -> Any:
    import cv2

    network = cv2.FaceDetectorYN.create(str(path), "", (320, 320), LEAST_SCORE)
    network.detect(np.zeros((320, 320, 3), np.uint8))
    return network


def central_face(faces: NDArray[np.float64], height: int, width: int) -> int:
    """Gives the row of `faces` (F, 15) with the largest `area - 2 * distance**2` in a photo of that size.

    The distance is that of the box's centre from the photo's: a large face in the middle wins.
    Source: align_dataset_mtcnn.py of David Sandberg's facenet.

    >>> central_face(np.array([[0, 0, 10, 10], [40, 40, 10, 10]]), 90, 90)
    1
    """
    x, y, wide, high = faces[:, :4].T
    distance = (x + wide / 2 - width / 2) ** 2 + (y + high / 2 - height / 2) ** 2
    return int(np.argmax(wide * high - 2 * distance))


def yunet(path: Path | None) -> Detector:
    """Opens a YuNet file with OpenCV. Source: Wu et al., YuNet: A tiny millisecond-level face detector, 2023.

    Raises:
        ValueError: No such file, not a face detector, or OpenCV is not installed.
    """
    if path is None:
        raise ValueError(f"alignment needs a face detector: {GET_DETECTOR}")
    if not path.is_file():
        raise ValueError(f"no detector {path}: {GET_DETECTOR}")
    if path.name == DETECTOR and sha256_of(path) != DETECTOR_SHA256:  # often Git LFS's pointer to it, 131 bytes
        raise ValueError(
            f"{path} ({path.stat().st_size:,} bytes) is not that file of OpenCV's zoo, by its SHA-256, which should be "
            f"{DETECTOR_SHA256}: {GET_DETECTOR}"
        )
    try:
        import cv2
    except ImportError:
        raise ValueError("alignment needs OpenCV: pip install 'pocketface[align]'") from None
    tried = run_child([sys.executable, "-P", "-m", __name__, path.absolute()])
    if tried.returncode:  # another network fails here, and crashes the other process, not this one
        raise ValueError(f"{path} is no YuNet detector, such as OpenCV's zoo has: {last_line(tried)[:200]}")
    network = _yunet(path)

    def detect(photo: NDArray[np.uint8]) -> NDArray[np.float64]:
        shrink = min(1.0, LONGEST_SIDE / max(photo.shape[:2]))
        size = max(1, round(photo.shape[1] * shrink)), max(1, round(photo.shape[0] * shrink))
        small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA) if shrink < 1 else photo
        network.setInputSize(size)
        _, rows = network.detect(np.ascontiguousarray(small[..., ::-1]))  # it expects BGR
        if rows is None:
            return np.zeros((0, 15))
        faces = np.asarray(rows, dtype=np.float64)
        faces[:, :14] /= np.tile([size[0] / photo.shape[1], size[1] / photo.shape[0]], 7)
        return faces

    return detect


if __name__ == "__main__":
    limit_memory(Path(sys.argv[1]))
    with limited_time():
        _yunet(Path(sys.argv[1]))
