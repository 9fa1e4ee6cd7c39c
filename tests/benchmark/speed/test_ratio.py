"""Ratios of times that are written down, SciPy's interval, and how often it holds the truth."""

import math

import numpy as np
import pytest
from scipy import stats

from pocketface.benchmark.accuracy.intervals import Estimate
from pocketface.benchmark.measurement import RowMaker
from pocketface.benchmark.speed.ratio import latency_ratio, ratio_row
from pocketface.benchmark.speed.stopwatch import Latency

ROW = RowMaker(model="m", artifact="a", format="tflite", precision="fp32", runtime="litert", device="d")


def test_twice_as_fast_is_two():
    assert latency_ratio(Latency(((4.0, 4.0, 9.0),)), Latency(((2.0, 2.0, 3.0),))) == Estimate(2.0)


def test_the_interval_is_that_of_a_t_test_of_the_logarithms():
    before, after = (8.0, 9.0, 10.0, 8.5), (4.1, 4.4, 5.2, 4.0)
    ratio = latency_ratio(Latency(tuple((ms,) for ms in before)), Latency(tuple((ms,) for ms in after)))
    theirs = stats.ttest_1samp(np.log(np.array(before) / np.array(after)), 0).confidence_interval(0.95)
    assert ratio.value == pytest.approx(stats.gmean(np.array(before) / np.array(after)))
    assert (ratio.low, ratio.high) == pytest.approx((math.exp(theirs.low), math.exp(theirs.high)))


def test_a_slow_round_slows_both_and_cancels():
    ratio = latency_ratio(Latency(((4.0,), (8.0,))), Latency(((2.0,), (4.0,))))
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((2, 2, 2))


@pytest.mark.parametrize("rounds", [2, 3, 5])
def test_the_interval_holds_the_true_ratio_nineteen_times_in_twenty(rounds):
    random = np.random.default_rng(rounds)

    def taken(ms):  # processes differ by 3 %, runs within one by 10 %
        means = ms * random.lognormal(sigma=0.03, size=rounds)
        return Latency(tuple(tuple(mean * random.lognormal(sigma=0.1, size=25)) for mean in means))

    ratios = [latency_ratio(taken(6.0), taken(4.0)) for _ in range(1000)]
    assert 0.93 <= np.mean([ratio.low <= 1.5 <= ratio.high for ratio in ratios]) <= 0.97


def test_only_rounds_count_in_which_both_were_left_alone():
    reference = Latency(((4.0,), (4.0,), (40.0,), (4.0,)), disturbances=("", "", "disturbed: x", ""))
    other = Latency(((2.0,), (2.0,), (2.0,), (20.0,)), disturbances=("", "", "", "disturbed: y"))
    row = ratio_row(reference, other, "a.tflite", ROW)
    assert (row.value, row.n, row.valid) == (pytest.approx(2), 2, True)
    assert (row.metric, row.conditions["against"]) == ("latency_ratio", "a.tflite")


def test_without_a_common_clean_round_the_ratio_is_not_valid():
    reference = Latency(((4.0,), (4.0,)), disturbances=("disturbed: x", ""))
    other = Latency(((2.0,), (2.0,)), disturbances=("", "disturbed: y"))
    row = ratio_row(reference, other, "a.tflite", ROW)
    assert (row.value, row.valid, row.reason) == (pytest.approx(2), False, "disturbed: no round left both files alone")


def test_a_failure_is_the_reason():
    failed = Latency((), reason="it crashed")
    for pair in ((failed, Latency(((1.0,),))), (Latency(((1.0,),)), failed)):
        assert latency_ratio(*pair) == Estimate(None, reason="it crashed")
