"""Intervals of shares and changes: against formulas by hand, the exact sign test, SciPy's bootstrap, and the truth."""

import numpy as np
import pytest
from scipy import stats

from pocketface.benchmark.accuracy.intervals import wilson
from pocketface.benchmark.accuracy.shares import accuracy_difference, change_of, share_of, share_with
from pocketface.benchmark.accuracy.units import Units, independent_units


def independent(pairs: int) -> Units:
    return independent_units(pairs)


def test_the_share_of_independent_pairs_has_wilsons_interval() -> None:
    right = np.arange(100) < 90
    found = share_of(right, independent(100))
    assert found.value == 0.9
    assert (found.low, found.high) == pytest.approx(wilson(0.9, 100))


def test_pairs_that_always_agree_in_fours_are_worth_a_quarter() -> None:
    groups = np.repeat(np.arange(100), 4)
    right = np.repeat(np.arange(100) < 90, 4)
    found = share_of(right, Units(groups, None, 100, ""))
    assert stats.t.ppf(0.975, 99) == pytest.approx(1.98422, abs=1e-5)
    assert (found.low, found.high) == pytest.approx(wilson(0.9, 99, 1.98422), abs=1e-5)  # 100 * (100 - 1) / 100


def test_where_all_are_right_the_interval_is_that_of_as_many_units() -> None:
    found = share_of(np.ones(400, np.bool_), Units(np.repeat(np.arange(100), 4), None, 100, ""))
    assert (found.low, found.high) == pytest.approx(wilson(1.0, 100, 1.98422), abs=1e-5)


def test_five_lost_and_none_won_are_within_chance_and_twelve_are_not() -> None:
    among, before = independent(2000), np.ones(2000, np.bool_)
    five, twelve = (change_of(before, np.arange(2000) >= lost, among) for lost in (5, 12))
    assert five.value == -0.0025 and five.low is not None and five.low < 0 < (five.high or 0)  # sign test: p = 0.06
    assert twelve.high is not None and twelve.high < 0  # sign test: p = 0.0005


def test_bonett_and_prices_interval_by_hand() -> None:
    # 12 won and 4 lost of 100: with one more of each, shares of 13/102 and 5/102.
    before, after = np.arange(100) >= 12, np.arange(100) < 96
    found = change_of(before, after, independent(100))
    middle, spread = (13 - 5) / 102, np.sqrt(((13 + 5) / 102 - ((13 - 5) / 102) ** 2) / 102)
    assert found.value == 0.08
    assert (found.low, found.high) == pytest.approx((middle - 1.95996 * spread, middle + 1.95996 * spread), abs=1e-4)


def test_a_stricter_level_gives_a_wider_interval() -> None:
    among, before = independent(500), np.ones(500, np.bool_)
    usual, strict = (change_of(before, np.arange(500) >= 20, among, level) for level in (0.95, 0.995))
    assert strict.low is not None and strict.high is not None and usual.low is not None and usual.high is not None
    assert strict.low < usual.low < usual.high < strict.high


def test_it_agrees_with_scipys_bootstrap_of_people_where_many_verdicts_differ() -> None:
    random = np.random.default_rng(0)
    people = np.repeat(np.arange(400), 5)
    hard = np.repeat(random.random(400) < 0.3, 5)
    before, after = random.random(2000) < 0.97, random.random(2000) < np.where(hard, 0.75, 0.96)
    of_person = (after.astype(float) - before).reshape(400, 5).mean(axis=1)
    oracle = stats.bootstrap((of_person,), np.mean, n_resamples=2000, method="percentile", rng=1).confidence_interval
    found = change_of(before, after, independent_units(2000, (people, people)))
    assert found.value == pytest.approx(of_person.mean())
    assert (found.low, found.high) == pytest.approx(tuple(oracle), abs=0.0025)


def test_a_share_of_known_variance_is_worth_as_many_trials_as_have_it() -> None:
    found = share_with(0.9, 0.9 * 0.1 / 250, 7, 1.96)
    assert (found.low, found.high) == pytest.approx(wilson(0.9, 250, 1.96))
    assert share_with(1.0, 0.0, 7, 1.96).low == pytest.approx(wilson(1.0, 7, 1.96)[0])


@pytest.mark.parametrize("pairs", [200, 600, 6000])
def test_the_more_verdicts_change_the_wider_is_the_interval_which_always_has_a_width(pairs: int) -> None:
    widths = []
    for changed in range(0, 20, 2):  # half of them lost, half won: the difference stays 0
        before, after = np.ones(pairs, np.bool_), np.ones(pairs, np.bool_)
        before[: changed // 2], after[changed // 2 : changed] = False, False
        found = change_of(before, after, independent(pairs))
        assert found.low is not None and found.high is not None and found.low < 0.0 == found.value < found.high
        widths.append(found.high - found.low)
    assert widths == sorted(set(widths))


def test_few_changed_verdicts_leave_no_narrower_interval_than_none_where_errors_are_a_few_peoples() -> None:
    people = np.repeat(np.arange(40), 50)
    units = independent_units(2000, (people, people))
    spread = np.random.default_rng(1).random(2000) < 0.05
    before = ~(spread | np.isin(people, (3, 7)) & (np.arange(2000) % 3 == 0))  # many errors of two people
    order = np.random.default_rng(0).permutation(2000)
    widths = []
    for count in (*range(21), 200):
        after = before.copy()
        after[order[:count]] ^= True
        found = change_of(before, after, units)
        widths.append(found.high - found.low)
    assert (np.diff(widths) >= -1e-12).all()
    assert widths[-1] > 1.5 * widths[0]


def test_no_changed_verdict_of_6000_leaves_half_a_tenth_of_a_point() -> None:
    found = change_of(np.ones(6000, np.bool_), np.ones(6000, np.bool_), independent(6000))
    assert (found.value, found.high) == pytest.approx((0.0, 1.95996 * np.sqrt(2) / 6002), abs=1e-6)  # 0.00046


def test_a_paired_difference_is_surer_than_two_single_intervals() -> None:
    correct = np.arange(1000) >= 100
    better = np.arange(1000) >= 80  # right wherever the first is, and on 20 more
    difference = accuracy_difference(correct, better)
    reach = 1.96 * np.sqrt(0.02 * 0.98 / 1000)  # only those 20 tell them apart
    assert difference.value == pytest.approx(0.02)
    assert (difference.low, difference.high) == pytest.approx((0.02 - reach, 0.02 + reach), abs=0.2 * reach)


def test_a_difference_on_many_pairs_has_the_analytic_width() -> None:
    better = np.arange(300_000) % 50 > 0  # right wherever the first is not: on 2 % of the pairs only it is wrong
    difference = accuracy_difference(np.ones(300_000, np.bool_), better)
    reach = 1.96 * np.sqrt(0.02 * 0.98 / 300_000)
    assert difference.value == pytest.approx(-0.02)
    assert (difference.low, difference.high) == pytest.approx((-0.02 - reach, -0.02 + reach), abs=0.05 * reach)


def test_verdicts_about_other_pairs_have_no_difference() -> None:
    with pytest.raises(ValueError, match="one verdict per pair"):
        accuracy_difference(np.ones(3, np.bool_), np.ones(4, np.bool_))


def test_intervals_hold_the_truth_as_often_as_they_say_where_people_recur() -> None:
    random = np.random.default_rng(1)
    groups = np.repeat(np.arange(150), 4)
    among, held = Units(groups, None, 150, ""), {"share": 0, "change": 0}
    for _ in range(400):
        harm = np.where(random.random(150) < 0.2, 0.25, 0.0)[groups]  # the truth: 0.05 are lost
        before = random.random(600) < 0.95
        after = before & (random.random(600) >= harm)
        share, change = share_of(after, among), change_of(before, after, among)
        held["share"] += (share.low or 0) <= 0.95 * 0.95 <= (share.high or 0)
        held["change"] += (change.low or 0) <= -0.95 * 0.05 <= (change.high or 0)
    assert 0.92 <= held["share"] / 400 <= 0.98
    assert 0.92 <= held["change"] / 400 <= 0.98


def test_verdicts_that_do_not_differ_are_worth_what_the_errors_are() -> None:
    people = np.repeat(np.arange(6), 10)  # each is wrong once in ten pairs: the errors know nothing of people
    right = np.tile(np.arange(10) > 0, 6)
    found = change_of(right, right, independent_units(60, (people, people)))
    assert found.value == 0 and found.high is not None and found.low == -found.high
    # 60 pairs and two, of which two differ; Student's quantile of 5 degrees of freedom is 2.571
    assert abs(found.high - 2.5706 * np.sqrt(2 / 62 / 62)) < 1e-4
