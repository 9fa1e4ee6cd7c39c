"""What of one file changed from run to run: what is more than noise, and what is not judged."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from pocketface.benchmark.compare import Comparison
from pocketface.benchmark.measurement import Measurement

from .conftest import NAME, SAME, SEPARATED, accuracy, latency, lost, only, row


def test_a_copy_is_equal_in_everything(compared: Callable[..., Comparison]) -> None:
    rows = [row("size_bytes", 1000), latency(10, 0.2), accuracy(0.99), row("threshold_at_far_1e-3", 0.3)]
    found = compared(rows, rows, SEPARATED, SEPARATED)
    assert [(change.what, change.verdict) for change in found.files[NAME]] == [
        ("size", "equal"),
        ("median latency on 1 thread", "equal"),
        ("accuracy", "equal"),
        ("threshold at FAR 1e-3", "equal"),
    ]
    assert (found.failures, list(found.missing), found.added, found.environment) == ([], [], [], [])
    assert found.sentences() == ["1 file compared, a with b: 4 equal"]


@pytest.mark.parametrize(
    ("after", "verdict", "said", "shuts"),
    [
        (1001, "worse", "0.1 % more", False),
        (1200, "worse", "20 % more", True),
        (900, "better", "10 % less", False),
        (1000, "equal", "the same", False),
    ],
)
def test_size_has_no_noise(
    compared: Callable[..., Comparison], after: int, verdict: str, said: str, shuts: bool
) -> None:
    found = compared([row("size_bytes", 1000)], [row("size_bytes", after)])
    assert (only(found).verdict, only(found).explanation, bool(found.failures)) == (verdict, said, shuts)


def test_a_file_may_grow_by_what_is_allowed(compared: Callable[..., Comparison]) -> None:
    found = compared([row("size_bytes", 1000)], [row("size_bytes", 1010)], larger=0.02)
    assert (only(found).verdict, found.failures) == ("worse", [])


@pytest.mark.parametrize(
    ("after", "reach", "verdict", "shuts"),
    [
        (12.0, 0.01, "worse", True),  # 20 % slower, known to 1.4 %
        (12.0, 0.2, "cannot tell", False),  # 20 % slower, known to 30 %
        (10.4, 0.005, "equal", False),  # 4 % slower for sure, which is within 5 %
        (10.45, 0.01, "worse", False),  # 4.5 %, perhaps more than 5 %: told, and let through
        (8.0, 0.01, "better", False),
    ],
)
def test_latency_is_judged_by_both_intervals(
    compared: Callable[..., Comparison], after: float, reach: float, verdict: str, shuts: bool
) -> None:
    found = compared([latency(10, reach)], [latency(after, reach)])
    assert (only(found).verdict, bool(found.failures)) == (verdict, shuts)


def test_the_interval_of_a_ratio_is_that_of_independent_logarithms(compared: Callable[..., Comparison]) -> None:
    # log(12 / 10) = 0.1823; down by hypot(log(12 / 11.5), log(11 / 10)) = 0.1044, exp(0.0779) = 1.081;
    # up by hypot(log(13 / 12), log(10 / 9.5)) = 0.0951, exp(0.2774) = 1.320
    before, after = row("latency_ms_p50", 10.0, low=9.5, high=11.0), row("latency_ms_p50", 12.0, low=11.5, high=13.0)
    assert only(compared([before], [after])).explanation == "slower: +20 % (+8.1 % to +32 %)"


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (latency(10, 0.01), latency(20, 0.01, device="Phone"), "timed on other devices: CPU, then Phone"),
        (latency(10, 0.01), lost("latency_ms_p50", "too noisy", conditions={"threads": 1}), "after: too noisy"),
        (latency(10, 0.01), row("latency_ms_p50", 20, conditions={"threads": 1}), "no interval after"),
    ],
)
def test_what_cannot_be_judged_says_why(
    compared: Callable[..., Comparison], before: Measurement, after: Measurement, why: str
) -> None:
    found = compared([before], [after])
    assert only(found).verdict == "not judged" and why in only(found).explanation
    assert len(found.failures) == 1 and why in found.failures[0] and found.unjudged
    assert any(why in line for line in found.sentences())
    allowed = compared([before], [after], allow_unjudged=True)
    assert (allowed.failures, allowed.unjudged, only(allowed).verdict) == ([], False, "not judged")


def test_a_latency_that_was_never_measured_shuts_nothing(compared: Callable[..., Comparison]) -> None:
    without = lost("latency_ms_p50", "needs a Mac", conditions={"threads": 1}), latency(20, 0.01)
    for after in without:
        found = compared([lost("latency_ms_p50", "no Mac", conditions={"threads": 1})], [after])
        assert (only(found).verdict, found.failures) == ("not judged", [])


def test_thread_counts_are_compared_with_themselves(compared: Callable[..., Comparison]) -> None:
    one, two = {"threads": 1}, {"threads": 2}
    before = [latency(10, 0.01, conditions=one), latency(6, 0.01, conditions=two)]
    after = [latency(6, 0.01, conditions=two), latency(20, 0.01, conditions=one)]
    assert [(change.what, change.verdict) for change in compared(before, after).files[NAME]] == [
        ("median latency on 2 threads", "equal"),
        ("median latency on 1 thread", "worse"),
    ]


def test_details_are_no_figures_of_the_file(compared: Callable[..., Comparison]) -> None:
    detail = row("size_bytes", 5, conditions={"part": "weights"})
    assert only(compared([detail, row("size_bytes", 10)], [row("size_bytes", 10)])).verdict == "equal"


def test_accuracy_is_paired_where_both_ran_on_the_same_pairs(compared: Callable[..., Comparison]) -> None:
    worse = np.where(SAME & (np.arange(4000) % 100 == 0), 0.05, SEPARATED)  # 40 of 4,000 are refused now
    found = compared([accuracy(1.0, 0)], [accuracy(0.99)], SEPARATED, worse)
    change = found.files[NAME][0]
    assert (change.before, change.after, change.verdict) == ("100.00 %", "99.00 %", "worse")
    assert change.explanation.startswith("worse by 1 points (0.") and "unpaired" not in change.explanation
    (failure,) = found.failures
    assert failure.startswith(f"{NAME}: accuracy, worse by 1 points")


def test_a_loss_within_the_margin_is_equal_and_a_larger_margin_lets_more_through(
    compared: Callable[..., Comparison],
) -> None:
    worse = np.where(SAME & (np.arange(4000) % 100 == 0), 0.05, SEPARATED)
    found = compared([accuracy(1.0, 0)], [accuracy(0.99)], SEPARATED, worse, margin=0.02)
    assert found.files[NAME][0].verdict == "equal"
    assert found.files[NAME][0].explanation.startswith("worse, but by less than 2 points")
    assert found.failures == []


def test_without_a_record_the_intervals_judge_and_it_is_said(compared: Callable[..., Comparison]) -> None:
    change = only(compared([accuracy(0.99)], [accuracy(0.989)]))
    assert change.verdict == "cannot tell" and "taken for unpaired" in change.explanation


def test_a_great_loss_shows_without_a_record_too(compared: Callable[..., Comparison]) -> None:
    found = compared([accuracy(0.99)], [accuracy(0.95)])
    assert only(found).verdict == "worse" and len(found.failures) == 1


@pytest.mark.parametrize("pairs", ["def", ""])
def test_accuracies_on_other_pairs_are_not_judged(compared: Callable[..., Comparison], pairs: str) -> None:
    found = compared([accuracy(0.99)], [accuracy(0.5, pairs=pairs)])
    assert only(found).verdict == "not judged" and "other pairs" in only(found).explanation
    assert found.failures == [f"{NAME}: accuracy, verified on other pairs, or a run does not say on which"]
    assert compared([accuracy(0.99)], [accuracy(0.5, pairs=pairs)], allow_unjudged=True).failures == []


def test_a_file_that_only_one_run_verified_is_not_judged(compared: Callable[..., Comparison]) -> None:
    size = row("size_bytes", 1000)
    for before, after, run in (([size, accuracy(0.99)], [size], "after"), ([size], [size, accuracy(0.99)], "before")):
        found = compared(before, after)
        assert found.failures == [f"{NAME}: accuracy, not verified {run}"]


def test_a_file_that_failed_in_both_runs_is_not_judged(compared: Callable[..., Comparison]) -> None:
    found = compared([lost("verification_accuracy", "not finite")], [lost("verification_accuracy", "no memory")])
    assert found.failures == [f"{NAME}: accuracy, not measured before: not finite"]


@pytest.mark.parametrize(("size", "shuts"), [(10_005, False), (10_100, False), (10_101, True)])
def test_one_percent_of_size_is_allowed_by_default(compared: Callable[..., Comparison], size: int, shuts: bool) -> None:
    found = compared([row("size_bytes", 10_000)], [row("size_bytes", size)])
    assert (only(found).verdict, bool(found.failures)) == ("worse", shuts)


def test_a_sum_with_the_mirror_image_is_another_measurement(compared: Callable[..., Comparison]) -> None:
    mirrored = dataclasses.replace(accuracy(0.99), conditions={"pairs_sha256": "abc", "flip": True})
    change = only(compared([accuracy(0.99)], [mirrored], SEPARATED, SEPARATED))
    assert change.verdict == "not judged" and "mirror image" in change.explanation


def test_the_record_tells_nothing_of_another_runtime(compared: Callable[..., Comparison]) -> None:
    emulated = dict(runtime="litert-arm64-a53", device="emulated")
    rows = [accuracy(0.99, **emulated)], [accuracy(0.98, **emulated)]
    change = only(compared(*rows, SEPARATED, SEPARATED), "net.tflite in litert-arm64-a53")
    assert "taken for unpaired" in change.explanation


def test_a_file_that_embeds_no_more_shuts_the_gate(compared: Callable[..., Comparison]) -> None:
    found = compared([accuracy(0.99)], [lost("verification_accuracy", "not finite")])
    assert found.failures == [f"{NAME}: accuracy, not measured after: not finite"]


def test_a_threshold_that_moves_says_what_the_old_one_does_now(compared: Callable[..., Comparison]) -> None:
    shifted = np.where(SAME, 0.7, 0.3)
    shifted[1:41:2] = 0.6  # 20 of 2,000 impostor pairs
    rows = [row("threshold_at_far_1e-3", 0.5)], [row("threshold_at_far_1e-3", 0.65)]
    change = only(compared(*rows, SEPARATED, shifted))
    assert (change.before, change.after, change.verdict) == ("0.500", "0.650", "changed")
    told = "the old one now gives FAR 1 %, TAR 100 %, and flips 0.5 % of the decisions"
    assert change.explanation == f"moved by +0.150; {told}"
