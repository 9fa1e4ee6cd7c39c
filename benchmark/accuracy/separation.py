"""How far genuine pairs lie above impostors, in spreads of the impostors: finer than an accuracy near 100 %."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .intervals import Booleans, Estimate, Floats
from .units import Units


@dataclass(frozen=True, eq=False)
class Separation:
    """The mean cosine of genuine pairs less that of impostors, in standard deviations of the impostors' cosines."""

    value: float
    parts: Floats = field(repr=False)  # (P,) by how much each pair moves the value; they sum to 0


def separation_of(similarity: Floats, same: Booleans) -> Separation:
    """Gives the separation of (P,) cosines, of which `same` are of genuine pairs.

    The spread of the genuine pairs is not in it: how much the photos of a person differ is the photos' doing.

    >>> separation_of(np.array([0.9, 0.7, 0.1, -0.1]), np.array([True, True, False, False])).value.__round__(3)
    8.0

    Source: Glass, Primary, Secondary, and Meta-Analysis of Research, 1976 (a difference in spreads of one group);
    Hampel, The influence curve and its role in robust estimation, JASA 1974 (parts).
    """
    genuine, impostor = similarity[same], similarity[~same]
    spread = float(impostor.std())
    if spread < 1e-9:  # every two faces are as similar: what embeds so tells nobody apart
        return Separation(0.0, np.zeros(len(same)))
    value = float(genuine.mean() - impostor.mean()) / spread
    parts = np.empty(len(same))
    parts[same] = (genuine - genuine.mean()) / spread / len(genuine)
    off = (impostor - impostor.mean()) / spread
    parts[~same] = -(off + value * (off**2 - 1) / 2) / len(impostor)
    return Separation(value, parts)


def separation_difference(mine: Separation, other: Separation, units: Units, level: float = 0.95) -> Estimate:
    """Gives by how much `mine` separates better than `other` on the same pairs, with a paired interval.

    Args:
        mine: One network's, or one contract's.
        other: Another's, of the same pairs.
        units: Of these pairs.
        level: Of the interval.
    """
    value = mine.value - other.value
    reach = units.quantile(level) * float(np.sqrt(units.variance(mine.parts - other.parts)))
    return Estimate(value, value - reach, value + reach)
