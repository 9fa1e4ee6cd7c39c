"""Intervals of EER, AUC, TAR and thresholds: against the binomial distribution, DeLong by hand, and simulated truth."""

import numpy as np
import pytest
from scipy import stats

from pocketface.benchmark.accuracy.curve_intervals import (
    accepted_near,
    auc_with_interval,
    eer_with_interval,
    impostors_worth,
    tar_with_interval,
    threshold_bounds,
)
from pocketface.benchmark.accuracy.intervals import Booleans, Floats
from pocketface.benchmark.accuracy.units import Units, independent_units

MEAN = 3.0  # genuine pairs are normal about it, impostors about 0
EER, TAR = stats.norm.cdf(-MEAN / 2), stats.norm.sf(stats.norm.isf(0.05) - MEAN)


def drawn(pairs: int, random: np.random.Generator) -> tuple[Floats, Booleans]:
    same = np.arange(pairs) % 2 == 0
    return random.normal(np.where(same, MEAN, 0.0)) / 16, same


def test_the_bounds_of_a_threshold_are_ranks_of_the_binomial_distribution() -> None:
    impostor = np.arange(1000) / 1000  # the k-th most similar is (1000 - k) / 1000
    low, high = threshold_bounds(impostor, 0.05, independent_units(1000))
    ranks = 1000 * (1 - np.array([low, high]))
    for rank, chance in zip(ranks, (0.025, 0.975), strict=True):
        assert stats.beta.cdf(0.05, rank, 1000 - rank + 1) == pytest.approx(chance, abs=1e-6)
    assert stats.binom.ppf([0.975, 0.025], 1000, 0.05) == pytest.approx(ranks, abs=1)  # 64 and 37


def test_where_one_impostor_sets_a_threshold_it_may_lie_above_all() -> None:
    impostor = np.random.default_rng(0).exponential(size=1000) / 32
    low, high = threshold_bounds(impostor, 1e-3, independent_units(1000))
    assert low < impostor.max() < high
    # the true one, -log(0.001) / 32 = 0.22, is held as often as said, also where it lies beyond the data
    random, held = np.random.default_rng(1), 0
    for _ in range(200):
        low, high = threshold_bounds(random.exponential(size=1000) / 32, 1e-3, independent_units(1000))
        held += low <= -np.log(1e-3) / 32 <= high
    assert held >= 184


def test_no_bound_is_above_every_cosine() -> None:
    impostor = 0.999 + np.linspace(0, 1, 1000) / 1000  # a network that has learned nothing
    assert threshold_bounds(impostor, 1e-3, independent_units(1000))[1] == 1.0


def test_impostors_that_come_in_fives_are_worth_a_fifth() -> None:
    impostor = np.repeat(np.random.default_rng(0).normal(size=200) / 16, 5)
    groups = Units(np.repeat(np.arange(200), 5), None, 200, "")
    assert impostors_worth(impostor, 0.1, groups) == pytest.approx(199)
    assert impostors_worth(impostor, 0.1, independent_units(1000)) == pytest.approx(1000)


def test_ten_impostors_tell_where_fewer_are_accepted() -> None:
    impostor = np.arange(500) / 500
    assert int(accepted_near(impostor, 1e-3).sum()) == 10
    assert int(accepted_near(impostor, 0.1).sum()) == 50


def test_the_interval_of_an_auc_is_delongs() -> None:
    similarity, same = drawn(400, np.random.default_rng(0))
    genuine, impostor = similarity[same], similarity[~same]
    wins = (genuine[:, None] > impostor).astype(float)
    variance = wins.mean(1).var() / 200 + wins.mean(0).var() / 200
    found = auc_with_interval(similarity, same, independent_units(400))
    assert found.value == pytest.approx(wins.mean())
    assert found.low is not None and found.high is not None
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * np.sqrt(variance), rel=0.1)


@pytest.mark.parametrize("pairs", [200, 600])
def test_intervals_hold_the_truth_as_often_as_they_say(pairs: int) -> None:
    random, units = np.random.default_rng(pairs), independent_units(pairs)
    held = {"eer": 0, "tar": 0}
    for _ in range(300):
        similarity, same = drawn(pairs, random)
        for name, found, truth in (
            ("eer", eer_with_interval(similarity, same, units), EER),
            ("tar", tar_with_interval(similarity, same, 0.05, units).tar, TAR),
        ):
            assert found.low is not None and found.high is not None
            held[name] += found.low <= truth <= found.high
    assert 0.92 <= held["eer"] / 300 and 0.92 <= held["tar"] / 300


def test_a_tar_that_few_impostors_bound_is_less_certain_than_its_genuine_pairs() -> None:
    similarity, same = drawn(2000, np.random.default_rng(0))
    tars = [tar_with_interval(similarity, same, far, independent_units(2000)).tar for far in (0.1, 0.001)]
    widths = [(each.high or 0) - (each.low or 0) for each in tars]
    assert widths[0] < 0.05 < 0.3 < widths[1]


def test_people_compared_all_with_all_are_few() -> None:
    left, right = np.triu_indices(60, 1)
    left, right = left // 3, right // 3  # 20 people of three photos
    random = np.random.default_rng(0)
    similarity = random.normal(np.where(left == right, MEAN, 0.0))
    alone, known = (
        eer_with_interval(similarity, left == right, independent_units(len(left), people))
        for people in (None, (left, right))
    )
    assert alone.value == known.value
    assert (known.high or 0) - (known.low or 0) > (alone.high or 0) - (alone.low or 0)
