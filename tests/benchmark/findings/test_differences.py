"""Rows of how much better a file is than the source of its run."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from pocketface.benchmark.accuracy.intervals import Booleans, Floats
from pocketface.benchmark.accuracy.verification import Verification, verify_similarities
from pocketface.benchmark.findings.differences import differences
from pocketface.benchmark.measurement import RowMaker

MARGIN = 0.002


def scores(pairs: int, seed: int = 0, noise: float = 0.0) -> tuple[Floats, Booleans]:
    """Genuine pairs around 0.5, impostor pairs around 0; then as a slightly different file sees them."""
    same = np.arange(pairs) % 2 == 0
    similarity = np.random.default_rng(0).normal(np.where(same, 0.5, 0.0), 0.2)
    return np.clip(similarity + noise * np.random.default_rng(seed).normal(size=pairs), -1, 1), same


def verified(similarity: Floats, same: Booleans, fars: tuple[float, ...] = (1e-2,)) -> Verification:
    return verify_similarities(similarity, same, np.arange(len(same)) * 10 // len(same), fars=fars)


def test_rows_carry_the_verdict_and_the_source_gets_none() -> None:
    (one, same), (other, _) = scores(2000), scores(2000, noise=0.5)
    people = np.arange(4000)
    pairs: Any = SimpleNamespace(same=same, identities=np.full(4000, -1), left=people[::2], right=people[1::2])
    recipe = SimpleNamespace(margin=MARGIN)
    source: Any = SimpleNamespace(source=None, verification=verified(one, same, (1e-2, 1e-4)), model="big")
    worse: Any = SimpleNamespace(
        source=source, verification=verified(other, same, (1e-2, 1e-4)), pairs=pairs, recipe=recipe
    )

    row = RowMaker("m", "a", "tflite", "fp32", "litert", "d")

    assert differences(source, row) == []
    accuracy, tar, refused = differences(worse, row)
    assert (accuracy.metric, tar.metric) == ("accuracy_difference", "tar_at_far_1e-2_difference")
    assert accuracy.conditions["verdict"] == "worse" and accuracy.conditions["said"].startswith("worse by ")
    assert (accuracy.conditions["to"], accuracy.conditions["margin"]) == ("big", MARGIN)
    assert accuracy.conditions["mcnemar_p"] < 1e-6
    assert "pairs_needed" not in accuracy.conditions
    assert (refused.metric, refused.valid) == ("tar_at_far_1e-4_difference", False)
    assert "10,000 impostor pairs" in refused.reason
