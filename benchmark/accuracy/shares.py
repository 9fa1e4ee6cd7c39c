"""Shares of pairs and changes of a share, with intervals in closed form, also where the same people recur."""

from __future__ import annotations

import numpy as np

from .intervals import Booleans, Estimate, Integers, wilson
from .units import Units, independent_units


def share_with(value: float, variance: float, fewest: float, z: float) -> Estimate:
    """Gives a share of known variance its interval: Wilson's, for as many trials as would leave it as uncertain.

    Args:
        value: The share.
        variance: Of it; nothing is known where the share is 0 or 1.
        fewest: The independent trials that it is surely of, for that case.
        z: How many standard errors the interval reaches, see `Units.quantile`.

    Source: Fogliato, Patil and Perona, Confidence Intervals for Error Rates in 1:1 Matching Tasks, IJCV 2024, sec. 3.
    """
    trials = value * (1 - value) / variance if 0 < value < 1 and variance else fewest
    return Estimate(value, *wilson(value, trials, z))


def share_of(right: Booleans, units: Units, level: float = 0.95) -> Estimate:
    """Gives the share that `right` (n,) is true, with Wilson's interval for as many pairs as these are worth."""
    value = float(right.mean())
    return Estimate(value, *wilson(value, units.worth(right.astype(np.float64)), units.quantile(level)))


def change_of(before: Booleans, after: Booleans, units: Units, level: float = 0.95, variance: float = 0.0) -> Estimate:
    """Gives how much more often `after` (n,) is right than `before` (n,), pair by pair.

    The interval is Bonett and Price's for as many pairs as these are worth. It adds one pair to those won and one to
    those lost, so that few differing verdicts are not taken for certain, and that it has a width where none differs:
    there the errors of `before` tell what the pairs are worth. It is never narrower than that, as few differing
    verdicts cannot tell how far pairs of the same people go together.

    Args:
        before: Whether each pair was right.
        after: Whether it is.
        units: Of these pairs.
        level: Of the interval.
        variance: What else makes the change uncertain.

    Source: Bonett and Price, Adjusted Wald Confidence Interval for a Difference of Binomial Proportions Based on Paired
    Data, Journal of Educational and Behavioral Statistics 2012.
    """
    change = after.astype(np.float64) - before
    by_errors = units.worth(before.astype(np.float64))
    value, worth = float(change.mean()), units.worth(change) if change.any() else by_errors
    differing = (float(np.abs(change).mean()) * worth + 2) / (worth + 2)
    middle = value * worth / (worth + 2)
    of_none = 2 / (by_errors + 2) ** 2  # the variance where no verdict differs
    reach = units.quantile(level) * float(np.sqrt(max((differing - middle**2) / (worth + 2), of_none) + variance))
    return Estimate(value, max(-1.0, middle - reach), min(1.0, middle + reach))


def accuracy_difference(
    correct_a: Booleans, correct_b: Booleans, identities: tuple[Integers, Integers] | None = None
) -> Estimate:
    """Gives how much more often `b` decides right than `a`, on the same pairs, with a paired 95 % interval.

    Thresholds are taken as given; `paired.paired_differences` counts the luck in choosing them.

    Args:
        correct_a: (P,) whether `a` decided each pair right, as in `Verification.correct`.
        correct_b: (P,) the same for `b`.
        identities: The person on the left and on the right of each pair, see `independent_units`.

    Raises:
        ValueError: The two are not about the same number of pairs, or about none.

    >>> accuracy_difference(np.array([True, False] * 50), np.array([True, True] * 50)).value
    0.5
    """
    if correct_a.shape != correct_b.shape or correct_a.ndim != 1 or len(correct_a) == 0:
        shapes = f"{correct_a.shape} and {correct_b.shape}"
        raise ValueError(f"a paired difference wants one verdict per pair from both; they have {shapes}")
    return change_of(correct_a, correct_b, independent_units(len(correct_a), identities))
