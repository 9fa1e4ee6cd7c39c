"""Templates of one byte a number, as the app's code stores enrolled faces: their scale and their cosine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...models.embedder import Embeddings

LARGEST = 127  # -128 is left out: a template and its negative are then equally long


def template_scale(embeddings: Embeddings) -> float | None:
    """Gives the component that 127 stands for, one for all embeddings of a file: the largest.

    A smaller one would round all others less, but clip the largest ones, and what is clipped turns an embedding more
    than rounding does. A face seen later may have a larger component still; that one is clipped.

    Args:
        embeddings: (M, D) of unit length.

    Returns:
        Above 0 and at most 1, with six digits: the same number in a card, in a row and in an app's code. None where
        all components are 0.
    """
    largest = max(float(embeddings.max(initial=0.0)), -float(embeddings.min(initial=0.0)))
    return min(1.0, float(f"{largest:.6g}")) if largest > 0 else None


def int8_templates(embeddings: NDArray[np.floating], scale: float) -> NDArray[np.int8]:
    """Gives round(127 * component / scale) of each embedding, halves to even, within -127 to 127.

    Args:
        embeddings: (M, D) of unit length.
        scale: See `template_scale`.

    Returns:
        (M, D) int8.

    >>> int8_templates(np.float32([[0.6, -0.8]]), 0.8).tolist()
    [[95, -127]]
    """
    steps = np.rint(LARGEST * np.asarray(embeddings, np.float64) / scale)
    return np.clip(steps, -LARGEST, LARGEST).astype(np.int8)


def kept_cosines(embeddings: NDArray[np.floating], scale: float) -> NDArray[np.float64]:
    """Gives the cosine of each of (M, D) unit embeddings with its int8 template, (M,)."""
    templates = int8_templates(embeddings, scale)
    products: NDArray[np.float64] = np.einsum("md,md->m", embeddings, templates, dtype=np.float64)
    return products / lengths(templates)


def lengths(templates: NDArray[np.int8]) -> NDArray[np.float64]:
    """Gives the length of each of (M, D) templates in steps, (M,); 1 of one that is all zeros, whose cosines are 0."""
    squares: NDArray[np.int64] = np.einsum("md,md->m", templates, templates, dtype=np.int64)
    length: NDArray[np.float64] = np.sqrt(np.maximum(squares, 1))
    return length
