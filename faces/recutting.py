"""Aligned crops at another size, by the landmark template that goes with it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from .contract import Faces


def recut(faces: Faces, height: int, width: int) -> Faces:
    """Gives aligned crops as they would have been cut at another size.

    A crop that is not square is the middle of the square one around it, as in `InputContract.landmarks`: to go from
    112x112 to 112x96, eight columns are cut from either side; to go back, the edge is mirrored into them.

    Args:
        faces: (N, H, W, 3) uint8.
        height: Wanted, in pixels.
        width: Likewise.

    Returns:
        (N, height, width, 3) uint8; `faces` itself where nothing changes.

    >>> recut(np.arange(64, dtype=np.uint8).repeat(64 * 3).reshape(1, 64, 64, 3), 64, 32).shape
    (1, 64, 32, 3)
    """
    if faces.shape[1:3] == (height, width):
        return faces
    square = _squared(faces)
    side, wanted = square.shape[1], max(height, width)
    if side != wanted:
        kind = Image.Resampling.BICUBIC if wanted > side else Image.Resampling.LANCZOS  # Pillow's averages pixels down
        resized = [np.asarray(Image.fromarray(face).resize((wanted, wanted), kind)) for face in square]
        square = np.stack(resized) if resized else np.zeros((0, wanted, wanted, 3), np.uint8)
    top, left = (wanted - height) // 2, (wanted - width) // 2
    return np.ascontiguousarray(square[:, top : top + height, left : left + width])


def _squared(faces: Faces) -> Faces:
    """Gives the square crops around (N, H, W, 3), mirrored where nothing is known."""
    height, width = faces.shape[1:3]
    side = max(height, width)
    lacking = [((side - have) // 2, side - have - (side - have) // 2) for have in (height, width)]
    return np.pad(faces, ((0, 0), *lacking, (0, 0)), mode="symmetric") if height != width else faces
