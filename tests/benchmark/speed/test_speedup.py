"""Whether a smaller network is faster, from times that are written down and from real ones."""

import pytest
import torch
from torch import nn

from pocketface.benchmark.accuracy.intervals import Estimate
from pocketface.benchmark.speed import speedup as module
from pocketface.benchmark.speed.speedup import fastest_ratio, speedup, speedup_sentence
from pocketface.benchmark.speed.stopwatch import Latency
from pocketface.faces.contract import InputContract
from pocketface.models.embedder import Embedder

BEFORE = Latency(((4.0, 9.0, 9.0), (5.0, 8.0, 9.0)))


def told(after, before=BEFORE):
    return speedup_sentence(fastest_ratio(before, after), before, after)


def embedder_of(width, *layers):
    backbone = nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1), *layers, nn.Conv2d(width, 4, 32)
    )
    return Embedder(f"width-{width}", backbone.append(nn.Flatten()), InputContract(32, 32), architecture="tests:net")


def test_the_ratio_is_that_of_the_fastest_runs_and_spans_the_rounds():
    after = Latency(((3.0, 3.5, 3.2), (2.0, 4.0, 4.1)))
    assert fastest_ratio(BEFORE, after) == Estimate(4 / 2, 4 / 3, 5 / 2)


def test_a_failure_is_the_reason():
    failed = Latency((), reason="it crashed")
    assert fastest_ratio(BEFORE, failed) == fastest_ratio(failed, BEFORE) == Estimate(None, reason="it crashed")
    assert told(failed).startswith("not known whether it is faster on LiteRT, 1 thread (")
    assert told(failed).endswith("): it crashed")


def test_faster_is_said_if_every_round_says_so():
    said = told(Latency(((3.0, 3.5), (2.0, 4.0))))
    assert said.startswith("2.00 times as fast as the unpruned network on LiteRT, 1 thread (")
    assert said.endswith("): 2.00 ms instead of 4.00 ms at best, 1.33 to 2.50 times in 2 rounds")


@pytest.mark.parametrize(
    ("fastest", "begins"),
    [
        ((3.9, 5.1), "not surely faster: 1.03 times"),
        ((4.0, 5.0), "NOT faster: 1.00 times"),
        ((4.4, 5.5), "NOT faster: 0.91 times"),
    ],
)
def test_what_is_not_faster_is_told_so(fastest, begins):
    assert told(Latency(tuple((time, 9.0) for time in fastest))).startswith(begins)


def test_a_busy_machine_is_named():
    busy = Latency(BEFORE.rounds_ms, conditions={"involuntary_switches": 4})
    calm = Latency(BEFORE.rounds_ms, conditions={"involuntary_switches": 3})
    assert told(BEFORE, busy).endswith("in 2 rounds, on a busy machine")
    assert told(BEFORE, calm).endswith("in 2 rounds")


def test_two_real_networks_are_timed_in_turns(monkeypatch):
    monkeypatch.setattr(module, "ROUNDS", 2)
    monkeypatch.setattr(module, "SECONDS", 0.0)
    lines: list[str] = []
    rows, said, sizes = speedup(embedder_of(128), embedder_of(8), lines.append)
    assert sizes is not None and sizes[0] > 10 * sizes[1]  # most weights go with the square of the width
    assert [(row.metric, row.model) for row in rows] == [
        ("latency_ms_p50", "width-128"),
        ("latency_ms_p50", "width-8"),
        ("latency_ratio", "width-8"),
    ]
    assert {row.n for row in rows[:2]} <= {30, 60} and rows[2].n == 2  # a round that was disturbed is left out
    assert rows[2].conditions["against"] == "width-128"
    assert rows[2].value is not None and rows[2].value > 2  # a hundredth of the work
    assert said.startswith(f"{rows[2].value:.2f} times as fast as the unpruned network")
    timed = [line for line in lines if line.startswith("latency") and ", again: " not in line]
    assert [line.split(": ")[1] for line in timed] == ["width-128.tflite (1 thread)", "width-8.tflite (1 thread)"] * 2


class RunningSum(nn.Module):
    def forward(self, x):
        return torch.cumsum(x, 1)


def test_what_cannot_be_exported_has_the_reason():
    rows, said, sizes = speedup(embedder_of(8), embedder_of(8, RunningSum()), lambda line: None)
    assert sizes is None
    assert [row.valid for row in rows] == [False] * 3
    assert "CumSum" in rows[0].reason
    assert said.startswith("not known whether it is faster") and "CumSum" in said
