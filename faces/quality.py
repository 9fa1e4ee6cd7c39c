"""Image quality of crops: brightness, contrast, sharpness."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from .contract import Faces

Floats = NDArray[np.float64]
Grey = NDArray[np.float32]
"""(N, H, W) luma, 0 to 255."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of R, G, B. Source: ITU-R BT.601
BORDER = 8  # an eighth is left out on each side: background, hair, the black beyond a photo's edge
BATCH = 256  # faces at a time: 7 MB of luma


def measure(faces: Faces) -> dict[str, Floats]:
    """Gives (N,) float64 per measure of `MEASURES`, taken on the middle three quarters of height and width.

    The pose is not among them: the difference of a crop from its mirror image shows light from the side as much as a
    turned head. Known poses can be given as a column of a table, see `attributes.read_attributes`.
    """
    batches = [luma(faces[start : start + BATCH]) for start in range(0, len(faces), BATCH)]
    return {name: np.concatenate([of(grey) for grey in batches]) for name, of in MEASURES.items()}


def luma(faces: Faces) -> Grey:
    """Gives the grey levels of the middle of each crop, (N, H * 3/4, W * 3/4) float32."""
    top, left = faces.shape[1] // BORDER, faces.shape[2] // BORDER
    middle = faces[:, top : faces.shape[1] - top, left : faces.shape[2] - left]
    return np.asarray(middle.astype(np.float32) @ LUMA)


def brightness(grey: Grey) -> Floats:
    """Gives the mean luma, 0 (black) to 255 (white)."""
    return np.asarray(grey.mean(axis=(1, 2), dtype=np.float64))


def contrast(grey: Grey) -> Floats:
    """Gives the standard deviation of the luma, 0 to 127.5. Source: Peli, Contrast in complex images, JOSA A 1990."""
    return np.asarray(grey.std(axis=(1, 2), dtype=np.float64))


def sharpness(grey: Grey) -> Floats:
    """Gives the variance of the Laplacian (each pixel against its four neighbours), 0 where all is even.

    It responds to any edges: blur and low contrast lower it; grain and JPEG blocks raise it.

    Source: Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, ICPR 2000.
    """
    laplacian = -4 * grey[:, 1:-1, 1:-1]
    laplacian += grey[:, 2:, 1:-1]
    laplacian += grey[:, :-2, 1:-1]
    laplacian += grey[:, 1:-1, 2:]
    laplacian += grey[:, 1:-1, :-2]
    return np.asarray(laplacian.var(axis=(1, 2), dtype=np.float64))


MEASURES: Mapping[str, Callable[[Grey], Floats]] = dict(brightness=brightness, contrast=contrast, sharpness=sharpness)
