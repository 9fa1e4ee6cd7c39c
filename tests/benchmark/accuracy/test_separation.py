"""Separation of genuine pairs from impostors: by hand, and its interval against repetitions."""

import numpy as np
import pytest

from pocketface.benchmark.accuracy.separation import separation_difference, separation_of
from pocketface.benchmark.accuracy.units import independent_units

SAME = np.array([True, True, False, False, False, False])


def test_by_hand() -> None:
    # impostors: mean 0.1, standard deviation 0.1; genuine pairs: mean 0.6
    found = separation_of(np.array([0.5, 0.7, 0.0, 0.2, 0.0, 0.2]), SAME)
    assert found.value == pytest.approx(5.0)
    assert found.parts.sum() == pytest.approx(0.0, abs=1e-12)


def test_what_embeds_all_alike_separates_nobody() -> None:
    assert separation_of(np.full(6, 0.9), SAME).value == 0.0


def test_a_cosine_that_is_stretched_separates_as_well() -> None:
    values = np.array([0.5, 0.7, 0.0, 0.2, 0.1, 0.2])
    units = independent_units(6)
    difference = separation_difference(separation_of(values, SAME), separation_of(2 * values - 1, SAME), units)
    assert (difference.value, difference.low, difference.high) == pytest.approx((0, 0, 0), abs=1e-9)


def test_a_95_percent_interval_holds_the_truth_in_95_of_100() -> None:
    random = np.random.default_rng(0)
    same = np.arange(400) < 200
    truth = (0.6 - 0.5) / 0.1  # both have impostors N(0, 0.1); genuine pairs at 0.6 and at 0.5
    held = 0
    for _ in range(300):
        shared = random.normal(0, 0.08, 400)
        one, other = (shared + random.normal(0, 0.06, 400) + same * mean for mean in (0.6, 0.5))
        difference = separation_difference(separation_of(one, same), separation_of(other, same), independent_units(400))
        held += difference.low <= truth <= difference.high
    assert 0.92 <= held / 300 <= 0.98
