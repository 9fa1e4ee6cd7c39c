"""What prune and recover end with: counts of networks that one can count by hand, and their accuracy on pairs."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pocketface.benchmark.measurement import Measurement
from pocketface.benchmark.speed.speedup import Speedup
from pocketface.faces.contract import InputContract
from pocketface.faces.pairs import Pairs
from pocketface.models.embedder import Embedder
from pocketface.network_results import NOT_JUDGED, JudgingOptions, NetworkPair, _verified, network_result


def network(name: str, width: int) -> Embedder:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, width, 4, 4, bias=False), nn.Flatten(), nn.Linear(width * 4, 4, bias=False))
    return Embedder(name, backbone.eval(), InputContract(8, 8), "none.py:net")


WIDE, NARROW = network("net", 8), network("net-pruned", 2)  # 3 * 16 * 8 + 32 * 4 = 512 parameters; 96 + 32 = 128


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_sizes_stand_before_and_after_and_that_nothing_was_judged_is_said() -> None:
    found = network_result("recover", NetworkPair(WIDE, NARROW, None), Path("out/checkpoint"))
    assert found.lines == [
        "network            parameters  MACs  weights",
        "before: net               512  1664  2.05 kB",
        "after: net-pruned         128   416  0.51 kB",
        "",
        NOT_JUDGED,
        "net-pruned is in out/checkpoint; next: pocketface export none.py:net --weights",
        "out/checkpoint",
    ]
    own = NetworkPair(WIDE, dataclasses.replace(NARROW, architecture="mobilefacenet"), None)  # no code must be named
    assert network_result("recover", own, Path("out")).lines[-1].endswith("next: pocketface export out")
    facts = json.loads(json.dumps(found.facts))
    assert facts["after"] == {
        **{"model": "net-pruned", "parameters": 128, "macs": 416, "weights_bytes": 512},
        **{"tflite_bytes": None, "latency_ms": None, "accuracy": None},
    }
    assert facts["accuracy_difference"] is None and facts["latency_ratio"] is None


def test_a_timed_network_has_the_size_and_latency_of_its_file() -> None:
    def row(metric: str, value: float, **fields: object) -> Measurement:
        return Measurement("net", "", "tflite", "fp32", "litert", "CPU", metric, value, "ms", **fields)  # type: ignore[arg-type]

    slow = row("latency_ms_p50", 2.0, valid=False, reason="disturbed")
    rows = [slow, row("latency_ms_p50", 1.0), row("latency_ratio", 2.0, low=1.9, high=2.1)]
    speed = Speedup(rows, "2.00 times as fast", (4000, 1500))
    found = network_result("prune", NetworkPair(WIDE, NARROW, None, speed), Path("out/checkpoint"))
    assert found.lines[:5] == [
        "network            parameters  MACs   TFLite    latency",
        "before: net               512  1664  4.00 kB  2.00 ms ?",
        "after: net-pruned         128   416  1.50 kB    1.00 ms",
        "",
        "2.00 times as fast",
    ]
    assert found.facts["before"]["latency_ms"]["valid"] is False
    assert found.facts["latency_ratio"]["low"] == 1.9


def pairs(count: int) -> Pairs:
    """Gives pairs of plain colours: the same one, or two that differ."""
    random = np.random.default_rng(0)
    faces = random.integers(0, 256, (2 * count, 1, 1, 3)).repeat(8, 1).repeat(8, 2).astype(np.uint8)
    same = np.arange(count) % 2 == 0
    faces[1::2][same] = faces[::2][same]
    left, fold = np.arange(count) * 2, np.arange(count) % 10
    return Pairs.of(faces, left, left + 1, same, fold, [str(n) for n in range(2 * count)], np.full(2 * count, -1), True)


def test_both_networks_are_verified_on_the_same_pairs() -> None:
    accuracy = _verified(WIDE, WIDE, pairs(200))
    found = network_result("recover", NetworkPair(WIDE, WIDE, accuracy), Path("out/checkpoint"))
    before, after = (line.split("kB")[1].strip() for line in found.lines[1:3])
    assert found.lines[0].endswith("accuracy") and before == after and before[0].isdigit() and "[" in before
    text = " ".join(found.lines)
    assert NOT_JUDGED not in text and "on the same 200 pairs of rendered faces, not people" in text
    assert found.facts["accuracy_verdict"] == "equal" and found.facts["rendered_faces"] is True
    assert found.facts["accuracy_difference"]["value"] == 0.0


def test_pairs_that_are_not_there_are_named_before_anything_begins() -> None:
    with pytest.raises(ValueError, match="nosuch"):
        JudgingOptions("nosuch.txt").judge(InputContract(8, 8))
