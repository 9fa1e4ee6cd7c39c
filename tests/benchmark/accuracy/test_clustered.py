"""Intervals of means in closed form: against formulas by hand, the exact sign test, the bootstrap, and the truth."""

import numpy as np
import pytest

from pocketface.benchmark.accuracy.clustered import change_of, clustered_pairs, share_of
from pocketface.benchmark.accuracy.intervals import Units, accuracy_difference, resampling_units, wilson


def independent(pairs: int) -> Units:
    return resampling_units(pairs)


def everything(units: Units):  # type: ignore[no-untyped-def]
    return clustered_pairs(units, np.ones(len(units.first), np.bool_))


def test_the_share_of_independent_pairs_has_wilsons_interval() -> None:
    right = np.arange(100) < 90
    found = share_of(right, everything(independent(100)))
    assert found.value == 0.9
    assert (found.low, found.high) == pytest.approx(wilson(0.9, 100))


def test_pairs_that_always_agree_in_fours_are_worth_a_quarter() -> None:
    groups = np.repeat(np.arange(100), 4)
    right = np.repeat(np.arange(100) < 90, 4)
    found = share_of(right, everything(Units(groups, None, 100, "")))
    assert (found.low, found.high) == pytest.approx(wilson(0.9, 100))


def test_where_all_are_right_the_interval_is_that_of_as_many_units() -> None:
    found = share_of(np.ones(400, np.bool_), everything(Units(np.repeat(np.arange(100), 4), None, 100, "")))
    assert (found.low, found.high) == pytest.approx(wilson(1.0, 100))


def test_the_error_of_people_counts_each_couple_of_pairs_that_share_somebody_once() -> None:
    # Pairs 0-1, 1-2, 3-4, and 0-1 again; values less their mean: 1, -1, -1, 1. By hand: the sum over all couples of
    # pairs that share a person, themselves included, of the product: 4 of themselves, 2 for the repeated one, twice
    # -1 for 0-1 with 1-2, twice for both.
    units = Units(np.array([0, 1, 3, 0]), np.array([1, 2, 4, 1]), 5, "")
    error = everything(units).standard_error(np.array([2.0, 0.0, 0.0, 2.0]))
    assert error == pytest.approx(np.sqrt(4) / 4)  # 4 + 2 - 4 = 2 is less than for independent pairs: those count
    error = everything(units).standard_error(np.array([2.0, 2.0, 0.0, 0.0]))  # 1, 1, -1, -1: 4 - 2 + 2 - 2 = 2
    assert error == pytest.approx(np.sqrt(4) / 4)
    error = everything(units).standard_error(np.array([2.0, 2.0, -6.0, 2.0]))  # 2, 2, -6, 2: 48 + 8 + 8 + 8 = 72
    assert error == pytest.approx(np.sqrt(72) / 4)


def test_five_lost_and_none_won_are_within_chance_and_twelve_are_not() -> None:
    among, before = everything(independent(2000)), np.ones(2000, np.bool_)
    five, twelve = (change_of(before, np.arange(2000) >= lost, among) for lost in (5, 12))
    assert five.value == -0.0025 and five.low is not None and five.low < 0 < (five.high or 0)  # sign test: p = 0.06
    assert twelve.high is not None and twelve.high < 0  # sign test: p = 0.0005


def test_bonett_and_prices_interval_by_hand() -> None:
    # 12 won and 4 lost of 100: with one more of each, shares of 13/102 and 5/102.
    before, after = np.arange(100) >= 12, np.arange(100) < 96
    found = change_of(before, after, everything(independent(100)))
    middle, spread = (13 - 5) / 102, np.sqrt(((13 + 5) / 102 - ((13 - 5) / 102) ** 2) / 102)
    assert found.value == 0.08
    assert (found.low, found.high) == pytest.approx((middle - 1.95996 * spread, middle + 1.95996 * spread), abs=1e-4)


def test_a_stricter_level_gives_a_wider_interval() -> None:
    among, before = everything(independent(500)), np.ones(500, np.bool_)
    usual, strict = (change_of(before, np.arange(500) >= 20, among, level) for level in (0.95, 0.995))
    assert strict.low is not None and strict.high is not None and usual.low is not None and usual.high is not None
    assert strict.low < usual.low < usual.high < strict.high


def test_it_agrees_with_the_bootstrap_where_many_verdicts_differ() -> None:
    random = np.random.default_rng(0)
    people = np.repeat(np.arange(400), 5)
    hard = np.repeat(random.random(400) < 0.3, 5)
    before, after = random.random(2000) < 0.97, random.random(2000) < np.where(hard, 0.75, 0.96)
    resampled = accuracy_difference(before, after, (people, people))
    found = change_of(before, after, everything(resampling_units(2000, (people, people))))
    assert found.value == resampled.value
    assert (found.low, found.high) == pytest.approx((resampled.low, resampled.high), abs=0.0025)


def test_intervals_hold_the_truth_as_often_as_they_say_where_people_recur() -> None:
    random = np.random.default_rng(1)
    groups = np.repeat(np.arange(150), 4)
    among, held = everything(Units(groups, None, 150, "")), {"share": 0, "change": 0}
    for _ in range(400):
        harm = np.where(random.random(150) < 0.2, 0.25, 0.0)[groups]  # the truth: 0.05 are lost
        before = random.random(600) < 0.95
        after = before & (random.random(600) >= harm)
        share, change = share_of(after, among), change_of(before, after, among)
        held["share"] += (share.low or 0) <= 0.95 * 0.95 <= (share.high or 0)
        held["change"] += (change.low or 0) <= -0.95 * 0.05 <= (change.high or 0)
    assert 0.92 <= held["share"] / 400 <= 0.98
    assert 0.92 <= held["change"] / 400 <= 0.98
