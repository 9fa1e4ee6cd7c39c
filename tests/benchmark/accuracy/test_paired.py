"""Verdicts on literal intervals; McNemar and paired intervals against SciPy; pairs needed by simulation."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from pocketface.benchmark.accuracy.intervals import Booleans, Estimate, Floats, Z
from pocketface.benchmark.accuracy.paired import (
    judge_difference,
    mcnemar,
    paired_differences,
    pairs_needed,
    unpaired_difference,
)
from pocketface.benchmark.accuracy.roc import tar_at_far
from pocketface.benchmark.accuracy.shares import accuracy_difference
from pocketface.benchmark.accuracy.verification import Verification, verify_similarities

MARGIN = 0.002


def scores(pairs: int, seed: int = 0, noise: float = 0.0) -> tuple[Floats, Booleans]:
    """Genuine pairs around 0.5, impostor pairs around 0; then as a slightly different file sees them."""
    same = np.arange(pairs) % 2 == 0
    similarity = np.random.default_rng(0).normal(np.where(same, 0.5, 0.0), 0.2)
    return np.clip(similarity + noise * np.random.default_rng(seed).normal(size=pairs), -1, 1), same


def verified(similarity: Floats, same: Booleans, fars: tuple[float, ...] = (1e-2,)) -> Verification:
    return verify_similarities(similarity, same, np.arange(len(same)) * 10 // len(same), fars=fars)


@pytest.mark.parametrize(
    ("value", "low", "high", "word", "said"),
    [
        (0.0, -0.001, 0.001, "equal", "equal within 0.2 points"),
        (0.0, -0.002, 0.002, "equal", "equal within 0.2 points"),
        (-0.0005, -0.001, -0.0001, "equal", "worse, but by less than 0.2 points (0.01 to 0.1)"),
        (0.0005, 0.0001, 0.001, "equal", "better, but by less than 0.2 points (0.01 to 0.1)"),
        (-0.004, -0.006, -0.003, "worse", "worse by 0.4 points (0.3 to 0.6)"),
        (-0.0015, -0.0025, -0.0005, "worse", "worse by 0.15 points (0.05 to 0.25)"),
        (0.004, 0.003, 0.006, "better", "better by 0.4 points (0.3 to 0.6)"),
        (-0.001, -0.003, 0.001, "cannot tell", "between 0.3 points worse and 0.1 better"),
        (-0.0015, -0.003, 0.0, "cannot tell", "between 0.3 points worse and 0 better"),
    ],
)
def test_the_verdict_of_an_interval(value: float, low: float, high: float, word: str, said: str) -> None:
    verdict = judge_difference(Estimate(value, low, high), MARGIN, 6000)
    assert verdict.word == word
    assert said in verdict.said
    assert (verdict.pairs_needed is None) == (word != "cannot tell")


def test_a_difference_without_an_interval_has_no_verdict() -> None:
    with pytest.raises(ValueError, match="too few impostor pairs"):
        judge_difference(Estimate(None, reason="too few impostor pairs"), MARGIN, 6000)


def test_pairs_needed_where_the_difference_is_none() -> None:
    # Reach 0.003 on 1,000 pairs. Four in five: 1.96 s + 1.1503 s = 0.002 (0.8 + 0.025 + 0.05 of the normal below
    # 1.1503), so s = 0.000643 instead of 0.0015306, which wants 5.666 times the pairs.
    assert stats.norm.ppf(0.875) == pytest.approx(1.1503, abs=1e-4)
    assert pairs_needed(Estimate(0.0, -0.003, 0.003), MARGIN, 1000) == pytest.approx(4666, rel=0.01)


@pytest.mark.parametrize("value", [0.0, -0.0008, -0.001, -0.003])
def test_with_the_pairs_needed_four_of_five_can_tell(value: float) -> None:
    reach, pairs = 0.0035, 6000
    more = pairs_needed(Estimate(value, value - reach, value + reach), MARGIN, pairs)
    then = reach * np.sqrt(pairs / (pairs + more))
    seen = np.random.default_rng(0).normal(value, then / Z, 4000)
    told = [
        judge_difference(Estimate(each, each - then, each + then), MARGIN, 1).word != "cannot tell" for each in seen
    ]
    assert np.mean(told) == pytest.approx(0.8, abs=0.03)


def test_an_interval_narrower_than_the_margin_always_tells() -> None:
    for value in np.linspace(-0.004, 0.004, 81):
        assert judge_difference(Estimate(value, value - 0.00099, value + 0.00099), MARGIN, 1).word != "cannot tell"


def test_mcnemar_of_five_against_none() -> None:
    assert mcnemar(np.array([True] * 5 + [True, False]), np.array([False] * 5 + [True, False])) == 2 / 32


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (7, 7), (3, 12), (40, 25), (900, 1000)])
def test_mcnemar_is_scipys_binomial_test(only_a: int, only_b: int) -> None:
    a = np.array([True] * only_a + [False] * only_b + [True] * 9 + [False] * 4)
    b = np.array([False] * only_a + [True] * only_b + [True] * 9 + [False] * 4)
    oracle = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert mcnemar(a, b) == pytest.approx(oracle)


def test_the_accuracy_difference_is_the_one_of_the_verdicts() -> None:
    (one, same), (other, _) = scores(1000), scores(1000, noise=0.1)
    mine, source = verified(other, same), verified(one, same)
    found = paired_differences(mine, source, same, None)[0]
    alone = accuracy_difference(source.correct, mine.correct)
    assert (found.mine, found.other) == (mine.accuracy, source.accuracy)
    assert alone.value is not None and found.difference.value == pytest.approx(alone.value)
    assert found.difference.low <= found.difference.value <= found.difference.high  # type: ignore[operator]


def test_the_paired_interval_of_a_tar_is_scipys() -> None:
    (one, same), (other, _) = scores(400), scores(400, noise=0.1)
    found = paired_differences(verified(other, same, (0.05,)), verified(one, same, (0.05,)), same, None)[1]

    def by_tar(at: Any) -> Any:
        tars = [tar_at_far(similarity[at], same[at], 0.05).tar.value for similarity in (other, one)]
        return tars[0] - tars[1]  # type: ignore[operator]

    options: dict[str, Any] = dict(vectorized=False, n_resamples=1000, method="percentile", rng=1)
    oracle = stats.bootstrap((np.arange(400),), by_tar, **options).confidence_interval
    assert found.difference.value == pytest.approx(by_tar(np.arange(400)))
    width = oracle.high - oracle.low
    assert (found.difference.low, found.difference.high) == pytest.approx(tuple(oracle), abs=0.15 * width)


def test_the_luck_of_choosing_thresholds_is_no_difference() -> None:
    apart = {"chosen anew": 0, "held": 0}
    for seed in range(60):  # equally good files; an interval of 95 % may leave out 0 three times
        random = np.random.default_rng(seed)
        same = np.arange(2000) % 2 == 0
        truly = random.normal(np.where(same, 0.8, 0.0), 0.15)
        one, other = (verified(truly + 0.02 * random.normal(size=2000), same, ()) for _ in range(2))
        anew = paired_differences(one, other, same, None)[0].difference
        held = accuracy_difference(other.correct, one.correct)
        for name, found in (("chosen anew", anew), ("held", held)):
            apart[name] += found.low > 0 or found.high < 0  # type: ignore[operator]
    assert apart["chosen anew"] <= 3 < apart["held"]


def test_pairing_is_narrower_than_two_intervals() -> None:
    (one, same), (other, _) = scores(1000), scores(1000, noise=0.03)
    found = paired_differences(verified(other, same), verified(one, same), same, None)[0]
    alone = unpaired_difference(found.mine, found.other)
    assert found.difference.high - found.difference.low < 0.6 * (alone.high - alone.low)  # type: ignore[operator]


def test_tar_is_compared_at_each_files_own_threshold() -> None:
    same = np.arange(400) % 2 == 0
    shifted, halved = np.where(same, 0.9, 0.4), np.where(same & (np.arange(400) % 4 == 0), 0.9, 0.1)
    halved[same & (halved < 0.5)] = 0.05  # half of the genuine pairs fall below every impostor pair
    tar = paired_differences(verified(halved, same), verified(shifted, same), same, None)[1]
    assert (tar.other.value, tar.mine.value, tar.difference.value) == (1.0, 0.5, -0.5)
    tar = paired_differences(verified(shifted - 0.2, same), verified(shifted, same), same, None)[1]
    assert tar.difference.value == 0.0


def test_a_file_that_decides_all_pairs_alike_is_equal_on_enough_of_them() -> None:
    (one, same) = scores(6000)
    for found in paired_differences(verified(one / 2, same), verified(one, same), same, None):
        assert found.difference.value == 0.0
        assert judge_difference(found.difference, MARGIN, 6000).word == "equal"
    (few, same) = scores(100)
    for found in paired_differences(verified(few / 2, same), verified(few, same), same, None)[:1]:
        assert judge_difference(found.difference, MARGIN, 100).word == "cannot tell"


def test_files_whose_similarities_are_the_same_are_called_identical() -> None:
    one, same = scores(400)
    for found in paired_differences(verified(one, same), verified(one.copy(), same), same, None):
        assert (found.difference.value, found.difference.low, found.difference.high) == (0.0, 0.0, 0.0)
        assert judge_difference(found.difference, MARGIN, 400).said == (
            "identical: every similarity is the same to the last bit"
        )
    nearly = paired_differences(verified(np.nextafter(one, 1), same), verified(one, same), same, None)[0].difference
    assert nearly.low is not None and nearly.high is not None and nearly.low < nearly.value == 0.0 < nearly.high


@pytest.mark.parametrize("folds", [2, 10])
def test_the_interval_lies_about_the_difference_whatever_the_folds(folds: int) -> None:
    (one, same), (other, _) = scores(400), scores(400, noise=0.1)
    fold = np.arange(400) * folds // 400
    files = [verify_similarities(each, same, fold, fars=()) for each in (other, one)]
    found = paired_differences(*files, same, None)[0].difference
    assert found.low is not None and found.high is not None and found.value is not None
    assert (found.low + found.high) / 2 == pytest.approx(found.value, abs=0.02 * (found.high - found.low))
