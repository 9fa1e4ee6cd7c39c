"""What is done to millions of pairs, checked on as many as can be checked."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pocketface.benchmark.accuracy import intervals
from pocketface.benchmark.accuracy.binning import cells_of
from pocketface.benchmark.accuracy.intervals import (
    MOST_PAIRS,
    accuracy_difference,
    percentiles,
    resampling_units,
)
from pocketface.benchmark.accuracy.resampling import resampled
from pocketface.benchmark.accuracy.roc import auc, eer, roc, tar_at_far
from pocketface.benchmark.accuracy.verification import usual_fars, verify_similarities


def scores(pairs, seed=0):
    random = np.random.default_rng(seed)
    same = np.arange(pairs) % 2 == 0
    return random.normal(np.where(same, 0.5, 0.0), 0.15), same


def test_pairs_that_differ_in_the_last_digits_only_share_a_cell():
    similarity = np.array([0.5, 0.500001, 0.5, 0.5, -0.25])
    same = np.array([True, True, False, True, False])
    correct = np.array([True, True, False, False, True])
    cells = cells_of(similarity, same, correct)
    assert cells.cell[0] == cells.cell[1]
    assert len(set(cells.cell.tolist())) == len(cells.same) == 4
    assert cells.similarity[cells.cell] == pytest.approx(similarity, abs=2e-5)
    assert np.array_equal(cells.same[cells.cell], same)
    assert np.array_equal(cells.correct[cells.cell], correct)


@pytest.mark.parametrize("together", [500_000, 97])  # in one go, and in parts that end in the midst of a cell
def test_tallies_are_the_sums_of_weights_over_cells(together, monkeypatch):
    monkeypatch.setattr(intervals, "TOGETHER", together)
    left, right = np.triu_indices(40)
    cell = np.random.default_rng(0).integers(50, size=len(left))
    units = resampling_units(len(left), (left, right))
    assert units.name == "40 people"
    tallies = np.concatenate(list(units.tallies(cell, 50, seed=3)))
    assert tallies.shape == (200, 50)
    drawn = np.random.default_rng(3).integers(40, size=(8, 40))
    for tally, people in zip(tallies, drawn, strict=False):
        times = np.bincount(people, minlength=40)
        weights = np.where(left == right, times[left], times[left] * times[right])
        assert np.array_equal(tally, np.bincount(cell, weights, 50))


def test_packs_of_pairs_leave_an_interval_as_wide_as_single_pairs_do():
    right = (np.arange(100_000) % 10 > 0).astype(float)
    units = resampling_units(len(right))
    tallies = units.tallies(right.astype(int), 2)
    low, high = percentiles(np.concatenate([tally[:, 1] / tally.sum(axis=1) for tally in tallies]))
    reach = 1.96 * np.sqrt(0.9 * 0.1 / 100_000)
    assert (low, high) == pytest.approx((0.9 - reach, 0.9 + reach), abs=0.35 * reach)


def test_two_files_see_the_same_resamples():
    units = resampling_units(50_000)
    first, again = (np.concatenate(list(units.tallies(np.arange(50_000) % 7, 7, seed=1))) for _ in range(2))
    assert np.array_equal(first, again)


@pytest.mark.parametrize("known", [False, True])
def test_intervals_of_cells_are_those_of_pairs(known):
    similarity, same = scores(10_000)
    correct = (similarity > 0.25) == same
    person = np.random.default_rng(1).integers(400, size=(2, 10_000))
    units = resampling_units(10_000, (person[0], np.where(same, person[0], person[1])) if known else None)
    cells = cells_of(similarity, same, correct)
    by_cells = resampled_in_cells(cells, units)
    by_pairs = resampled(similarity, same, correct, units, (1e-2,))
    for name in ("accuracy", "eer", "auc", ("tar", 1e-2), ("threshold", 1e-2)):
        one, other = percentiles(by_cells[name]), percentiles(by_pairs[name])
        reach = (other[1] - other[0]) / 2
        assert one == pytest.approx(other, abs=0.4 * reach), name


def resampled_in_cells(cells, units):
    from pocketface.benchmark.accuracy.resampling import statistics_of

    tallies = units.tallies(cells.cell, len(cells.same))
    return statistics_of(cells.similarity, cells.same, cells.correct, (1e-2,), tallies)


def test_many_pairs_are_exact_where_no_interval_is():
    similarity, same = scores(MOST_PAIRS + 50_000)
    found = verify_similarities(similarity, same, np.arange(len(same)) // 25_000, fars=usual_fars(same))
    assert list(found.tar) == [1e-2, 1e-3, 1e-4, 1e-5]
    far, tar, thresholds = roc(similarity, same)
    for rate, point in found.tar.items():
        last = np.flatnonzero(far <= rate * (1 + 1e-9))[-1]
        assert (point.tar.value, point.measured_far) == (tar[last], far[last])
        assert point.threshold.value == thresholds[last]
        assert point.tar.low <= point.tar.value <= point.tar.high
    assert found.auc.value == pytest.approx(roc_auc_score(same, similarity))
    crossing = np.argmax(far >= 1 - tar)
    assert min(far[crossing - 1], 1 - tar[crossing]) <= found.eer.value <= max(far[crossing], 1 - tar[crossing - 1])
    for estimate in (found.accuracy, found.eer, found.auc):
        assert estimate.low < estimate.value < estimate.high
    assert found.again["eer"].shape == (200,)


def test_a_difference_on_many_pairs_has_the_analytic_width():
    n = MOST_PAIRS + 100_000
    better = np.arange(n) % 50 > 0  # right wherever the first is not: on 2 % of the pairs only it is wrong
    difference = accuracy_difference(np.ones(n, bool), better)
    reach = 1.96 * np.sqrt(0.02 * 0.98 / n)
    assert difference.value == pytest.approx(-0.02)
    assert (difference.low, difference.high) == pytest.approx((-0.02 - reach, -0.02 + reach), abs=0.3 * reach)


def test_people_whose_numbers_lie_far_apart_are_numbered_like_others():
    left, right = np.triu_indices(40)
    near = resampling_units(len(left), (left, right))
    far_apart = resampling_units(len(left), (left * 10**12 - 7, right * 10**12 - 7))
    assert np.array_equal(near.first, far_apart.first)
    assert np.array_equal(near.second, far_apart.second)


def test_groups_are_found_across_the_parts_of_the_pairs(monkeypatch):
    monkeypatch.setattr(intervals, "TOGETHER", 3)
    left = np.arange(400)
    right = left + np.where(left % 10 < 9, 1, 0)  # chains of ten people, the last with himself
    units = resampling_units(400, (left, right))
    assert units.name == "40 groups of people that share no pair"
    assert np.array_equal(units.first, units.first[::10].repeat(10))
    assert len(set(units.first.tolist())) == 40


def test_one_group_of_most_pairs_is_not_drawn_as_a_whole():
    chain, apart = np.arange(300), 1000 + 2 * np.arange(100)
    units = resampling_units(400, (np.r_[chain, apart], np.r_[chain + 1, apart + 1]))
    assert units.name == "501 people"  # 101 groups, but 300 of the 400 pairs are in one


def test_eer_and_auc_by_sorting_are_those_of_the_curve():
    for seed in range(5):
        random = np.random.default_rng(seed)
        same = random.random(300) < 0.4
        similarity = np.round(random.normal(np.where(same, 0.3, 0.0), 0.3), 1 + seed % 2)
        far, tar, _ = roc(similarity, same)
        after = int(np.argmax(far >= 1 - tar))
        gap = far + tar - 1
        way = gap[after - 1] / (gap[after - 1] - gap[after])
        assert eer(similarity, same) == pytest.approx(far[after - 1] + way * (far[after] - far[after - 1]))
        assert auc(similarity, same) == pytest.approx(np.trapezoid(tar, far))
        at = tar_at_far(similarity, same, 0.1)
        assert at.measured_far == far[np.flatnonzero(far <= 0.1 * (1 + 1e-9))[-1]]
