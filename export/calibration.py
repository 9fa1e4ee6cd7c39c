"""The faces that set the int8 ranges: how they are drawn, and what looks wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..faces.contract import TEMPLATE_SIZE, Faces, InputContract
from ..faces.folders import FaceSource
from .artifact import ConversionError

if TYPE_CHECKING:
    from ..models.embedder import Embeddings

ENOUGH = 64  # faces; with fewer the ranges depend on which are drawn
HASH_SIDE = 16  # an image's hash has 16 * 16 bits
ALIKE = 12  # bits: a photo saved again differs by 0 to 10 of 256, another photo by 26 or more
MOSTLY = 0.5
EYE_PATCH = 5  # pixels of a 112x112 crop, on either side of the eye
CHEEK = 17  # pixels of it below the eye
JUDGED = 4  # every fourth face judges the ranges that the others set
LEAST_CONTRAST = 0.25  # of cheeks to eyes, in deviations of the mean face: 1.4 to 2 where aligned, 0.2 at 10 pixels off


def choose_calibration_faces(faces: FaceSource, count: int, seed: int) -> Faces:
    """Draws `count` faces without repetition (all, if there are fewer), in an order that `seed` decides."""
    order = np.random.default_rng(seed).permutation(len(faces))[:count]
    return np.ascontiguousarray(faces[order])


@dataclass(frozen=True)
class PartedFaces:
    """Faces that set the ranges, others that judge what came of it, and what the source makes of these."""

    fit: NDArray[np.float32]  # (N, C, H, W), preprocessed
    judged: NDArray[np.float32]  # (M, C, H, W)
    exact: Embeddings  # (M, D), of unit length


def parted(faces: NDArray[np.float32], onnx: Path) -> PartedFaces:
    """Parts the calibration faces of the network in an ONNX file.

    Args:
        faces: (N, C, H, W), preprocessed.
        onnx: Of float32.

    Returns:
        Three quarters that set ranges, and a quarter that judges them.

    Raises:
        ConversionError: There is a single face.
    """
    from ..models.embedder import unit
    from .session import OnnxRuntimeSession

    judged, fit = faces[::JUDGED], np.delete(faces, np.s_[::JUDGED], axis=0)
    if not len(fit):
        raise ConversionError(f"one face cannot both set ranges and judge them; {onnx.name} needs at least two")
    return PartedFaces(fit, judged, unit(OnnxRuntimeSession(onnx).run(judged)))


def lint(faces: Faces, contract: InputContract, tested: Faces | None = None) -> list[str]:
    """Gives a sentence for each thing that looks wrong with a calibration set.

    Args:
        faces: (N, H, W, 3) uint8, said to be aligned RGB crops.
        contract: Whose template says where the eyes should be.
        tested: (M, H, W, 3) the crops of the verification pairs, if they are known.

    Returns:
        None where nothing is suspicious.
    """
    return [*_few(faces), *_alike(faces), *_swapped(faces), *_unaligned(faces, contract), *_overlap(faces, tested)]


def hashes(faces: Faces) -> NDArray[np.bool_]:
    """Gives (N, 256): whether each of 16 x 16 places is brighter than its left neighbour.

    Compression, scaling and exposure change few of the bits; another photo, even of the same face, many.
    """
    bits = np.empty((len(faces), HASH_SIDE**2), np.bool_)
    for row, face in zip(bits, faces, strict=True):
        grey = Image.fromarray(face).convert("L").resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX)
        row[:] = (np.diff(np.asarray(grey, np.int16), axis=1) > 0).reshape(-1)
    return bits


def _few(faces: Faces) -> Iterator[str]:
    if len(faces) < ENOUGH:
        yield f"int8 ranges are set by {len(faces)} faces; {ENOUGH} or more make them steadier"


def _alike(faces: Faces) -> Iterator[str]:
    bits = hashes(faces)
    repeated = sum(bool((_distances(bits[row], bits[:row]) <= ALIKE).any()) for row in range(1, len(faces)))
    if repeated:
        yield (
            f"{repeated} of {len(faces)} calibration faces are nearly the same photo as another one; "
            "different photos show more of the values that the ranges must hold"
        )


def _swapped(faces: Faces) -> Iterator[str]:
    """Skin is redder than blue, in any light and of any tone; of 400 photos 4 % were not."""
    height, width = faces.shape[1:3]
    centre = faces[:, height // 3 : -height // 8 or None, width // 4 : -width // 4 or None]
    red, blue = (centre[..., channel].mean(axis=(1, 2)) for channel in (0, 2))
    coloured = red != blue
    swapped = (blue > red)[coloured]
    if len(swapped) and swapped.mean() > MOSTLY:
        yield (
            f"{swapped.mean():.0%} of the calibration faces are bluer than red, as BGR pixels taken for RGB; "
            "give RGB crops, the contract's own order is applied to them"
        )


def _unaligned(faces: Faces, contract: InputContract) -> Iterator[str]:
    if not shows_eyes(faces, contract):
        yield (
            f"the calibration faces show no eyes where the {contract.template} template has them; "
            "align them with pocketface.faces.alignment"
        )


def shows_eyes(faces: Faces, contract: InputContract) -> bool:
    """Tells whether the mean face has dark eyes where the template has them, which only that of aligned crops has.

    Too few faces prove nothing, and pass.
    """
    if len(faces) < ENOUGH:
        return True
    mean = faces.mean(axis=(0, 3))
    pixels = max(contract.height, contract.width) / TEMPLATE_SIZE
    patch, cheek = EYE_PATCH * pixels, CHEEK * pixels

    def brightness(x: float, y: float) -> float:
        return float(mean[round(y - patch) : round(y + patch), round(x - patch) : round(x + patch)].mean())

    eyes = contract.landmarks[:2]
    contrast = np.mean([brightness(x, y + cheek) - brightness(x, y) for x, y in eyes]) / max(float(mean.std()), 1e-9)
    return bool(contrast >= LEAST_CONTRAST)


def _overlap(faces: Faces, tested: Faces | None) -> Iterator[str]:
    if tested is None or not len(tested):
        return
    known = hashes(tested)
    shared = sum(bool((_distances(bits, known) <= ALIKE).any()) for bits in hashes(faces))
    if shared:
        yield (
            f"{shared} of {len(faces)} calibration faces are in the verification pairs too; "
            "accuracy of int8 files is flattered, so calibrate on others"
        )


def _distances(bits: NDArray[np.bool_], others: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.asarray((bits != others).sum(axis=1))
