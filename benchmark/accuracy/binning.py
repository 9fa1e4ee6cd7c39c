"""Ten million pairs as a hundred thousand cells: pairs that no interval needs to tell apart are counted together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .intervals import Booleans, Floats

LEVELS = 2**15  # per unit of cosine: rounds to 0.00003, far below what so many pairs leave uncertain


@dataclass(frozen=True, eq=False)
class Cells:
    """Pairs of which nothing differs but the last digits of the similarity, as one; no cell is empty."""

    similarity: Floats  # (C,) rounded
    same: Booleans  # (C,)
    correct: Booleans  # (C,)
    cell: NDArray[np.int32]  # (P,) which one each pair is in, for `Units.tallies`


def cells_of(similarity: Floats, same: Booleans, correct: Booleans) -> Cells:
    """Puts pairs, (P,) each, of one label, one verdict and, rounded, one similarity into one cell.

    >>> cells_of(np.array([0.500001, 0.5, 0.5]), np.array([True, True, False]), np.array([True, True, False])).cell
    array([1, 1, 0], dtype=int32)
    """
    level = np.rint(similarity * LEVELS).astype(np.int32)
    least = int(level.min())
    key = (level - least) * 4
    key += same * np.int8(2) + correct
    occurs = np.zeros(int(key.max()) + 1, np.bool_)
    occurs[key] = True
    kept = np.flatnonzero(occurs)
    number = np.cumsum(occurs, dtype=np.int32) - np.int32(1)
    return Cells((kept // 4 + least) / LEVELS, kept // 2 % 2 == 1, kept % 2 == 1, number[key])
