"""Which pairs are independent, and the variance of sums over pairs that are not: counted by hand."""

import numpy as np
import pytest
from scipy import stats

from pocketface.benchmark.accuracy import units as units_module
from pocketface.benchmark.accuracy.units import Units, independent_units

PEOPLE = Units(np.array([0, 1, 3, 0]), np.array([1, 2, 4, 1]), 5, "")  # pairs 0-1, 1-2, 3-4, and 0-1 again


@pytest.mark.parametrize(
    ("parts", "shared"),
    [
        ([1.0, -1.0, -1.0, 1.0], 2.0),  # 4 of themselves, 2 for the repeated one, twice -1 for each 0-1 with 1-2
        ([1.0, 1.0, -1.0, -1.0], 2.0),  # 4, -2 for the repeated one, +2 and -2 for each 0-1 with 1-2
        ([2.0, 2.0, -6.0, 2.0], 72.0),  # 48 of themselves, 8 for each of the three couples that share somebody
    ],
)
def test_each_couple_of_pairs_that_share_somebody_counts_once(parts: list[float], shared: float) -> None:
    apart = float(np.sum(np.square(parts)))  # never less than for independent pairs; five people: 5/4
    assert PEOPLE.variance(np.array(parts)) == pytest.approx(max(apart, shared * 5 / 4))


def test_groups_are_summed_before_they_are_squared() -> None:
    units = Units(np.array([0, 0, 1, 1]), None, 2, "")
    assert units.variance(np.array([1.0, 2.0, -1.0, -2.0])) == pytest.approx(2 * (9 + 9))  # G / (G - 1) = 2
    assert units.variance(np.array([3.0, -3.0, 1.0, -1.0])) == pytest.approx(20)  # as independent pairs


def test_every_pair_a_unit_is_as_if_nothing_were_known() -> None:
    units = independent_units(3)
    assert units.are_pairs and units.name == "3 pairs"
    assert units.variance(np.array([1.0, -2.0, 1.0])) == 6.0
    assert units.quantile() == pytest.approx(stats.norm.ppf(0.975))
    assert units.quantile(0.99) == pytest.approx(stats.norm.ppf(0.995))


def test_few_groups_reach_as_far_as_students_distribution_says() -> None:
    assert Units(np.repeat(np.arange(7), 3), None, 7, "").quantile() == pytest.approx(2.4469, abs=1e-4)  # t, 6


def test_pairs_are_worth_what_their_groups_leave() -> None:
    right = np.repeat(np.arange(100) < 90, 4).astype(float)
    assert Units(np.repeat(np.arange(100), 4), None, 100, "").worth(right) == pytest.approx(99)  # 100 * 99 / 100
    assert independent_units(400).worth(right) == pytest.approx(400)
    assert Units(np.repeat(np.arange(100), 4), None, 100, "").worth(np.ones(400)) == 100


def test_the_units_of_some_pairs_are_those_that_occur_in_them() -> None:
    some = PEOPLE.of(np.array([False, True, True, False]))
    assert (some.first.tolist(), some.second.tolist(), some.count) == ([0, 2], [1, 3], 4)  # type: ignore[union-attr]
    groups = Units(np.array([0, 0, 5, 7]), None, 8, "").of(np.array([False, True, False, True]))
    assert (groups.first.tolist(), groups.second, groups.count) == ([0, 1], None, 2)


def test_all_compared_with_all_are_people() -> None:
    left, right = np.triu_indices(40)
    assert independent_units(len(left), (left, right)).name == "40 people"


def test_people_whose_numbers_lie_far_apart_are_numbered_like_others():
    left, right = np.triu_indices(40)
    near = independent_units(len(left), (left, right))
    far_apart = independent_units(len(left), (left * 10**12 - 7, right * 10**12 - 7))
    assert np.array_equal(near.first, far_apart.first)
    assert np.array_equal(near.second, far_apart.second)


def test_groups_are_found_across_the_parts_of_the_pairs(monkeypatch):
    monkeypatch.setattr(units_module, "TOGETHER", 3)
    left = np.arange(400)
    right = left + np.where(left % 10 < 9, 1, 0)  # chains of ten people, the last with himself
    units = independent_units(400, (left, right))
    assert units.name == "40 groups of people that share no pair"
    assert np.array_equal(units.first, units.first[::10].repeat(10))
    assert len(set(units.first.tolist())) == 40


def test_one_group_of_most_pairs_is_not_drawn_as_a_whole():
    chain, apart = np.arange(300), 1000 + 2 * np.arange(100)
    units = independent_units(400, (np.r_[chain, apart], np.r_[chain + 1, apart + 1]))
    assert units.name == "501 people"  # 101 groups, but 300 of the 400 pairs are in one
