"""A number with its 95 % interval, and the arrays that statistics are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

Z = 1.959963984540054  # 97.5 % of a normal distribution lie below


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; or, where the data cannot carry it, the reason."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""


def wilson(value: float, n: float, z: float = Z) -> tuple[float, float]:
    """Gives Wilson's interval of a share `value` among `n` independent trials, 95 % unless `z` says otherwise.

    >>> [round(bound, 4) for bound in wilson(1.0, 300)]
    [0.9874, 1.0]

    Source: Wilson, Probable Inference, JASA 1927.
    """
    centre = (value + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * float(np.sqrt(value * (1 - value) / n + z * z / (4 * n * n)))
    return max(0.0, centre - reach), min(1.0, centre + reach)
