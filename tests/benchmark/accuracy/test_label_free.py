"""Without labels: neighbours, jitter and thresholds of embeddings whose answer one can see."""

from typing import Any

import numpy as np
import pytest

from pocketface.benchmark.accuracy.label_free import (
    jitter_consistency,
    neighbour_overlap,
    transported_threshold,
)
from pocketface.models.embedder import unit


def on_circle(degrees: list[float]) -> Any:
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], 1).astype(np.float32)


def test_neighbours_that_stay() -> None:
    before = on_circle([0, 1, 10, 12, 30, 33])  # nearest: 1, 0, 3, 2, 5, 4
    after = on_circle([0, 1, 10, 31, 30, 50])  # nearest: 1, 0, 1, 4, 3, 3
    assert neighbour_overlap(before, before, 1) == 1.0
    assert neighbour_overlap(before, after, 1) == pytest.approx(2 / 6)


def test_embeddings_that_are_all_turned_alike_keep_their_neighbours_and_may_have_another_length() -> None:
    random = np.random.default_rng(0)
    before = unit(random.normal(size=(50, 8)).astype(np.float32))
    turn = np.linalg.qr(random.normal(size=(12, 12)))[0][:8].astype(np.float32)
    assert neighbour_overlap(before, before @ turn) == 1.0


def test_neighbours_agree_with_scikit_learn() -> None:
    from sklearn.neighbors import NearestNeighbors

    random = np.random.default_rng(0)
    before, after = (unit(random.normal(size=(60, 5)).astype(np.float32)) for _ in range(2))
    near, now = (
        NearestNeighbors(n_neighbors=10, metric="cosine").fit(of).kneighbors(return_distance=False)
        for of in (before, after)
    )
    expected = np.mean([len(set(one) & set(other)) / 10 for one, other in zip(near, now, strict=True)])
    assert neighbour_overlap(before, after) == pytest.approx(expected)


def test_ten_faces_have_no_ten_neighbours() -> None:
    with pytest.raises(ValueError, match="10 neighbours want more faces than 10"):
        neighbour_overlap(np.eye(10, dtype=np.float32), np.eye(10, dtype=np.float32))


def test_jitter_consistency_is_the_mean_cosine() -> None:
    assert jitter_consistency(on_circle([0, 90]), on_circle([60, 90])) == pytest.approx((0.5 + 1) / 2)


def test_a_file_whose_similarities_are_stretched_gets_the_threshold_stretched() -> None:
    # A coordinate that all faces share lifts every cosine s to (s + 1) / 2: a threshold of 0.4 becomes 0.7.
    before = unit(np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32))
    after = np.concatenate([before, np.ones((400, 1), np.float32)], 1) / np.sqrt(np.float32(2))
    found = transported_threshold(before, after, 0.4)
    assert found.pairs == 400 * 399 // 2
    assert found.accepted == int((np.triu(before @ before.T, 1) >= 0.4).sum())
    assert found.threshold.value == pytest.approx(0.7, abs=1e-3)
    assert found.threshold.low is not None and found.threshold.high is not None
    assert found.threshold.high - found.threshold.low < 2e-3


def test_the_same_file_keeps_its_threshold_to_the_next_similarity() -> None:
    before = unit(np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32))
    value = transported_threshold(before, before, 0.5).threshold.value
    similarity = (before @ before.T)[np.triu_indices(300, 1)]
    assert value == pytest.approx(similarity[similarity >= 0.5].min())


def test_a_threshold_that_accepts_few_pairs_is_not_transported() -> None:
    before = unit(np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32))
    found = transported_threshold(before, before, 0.9)
    assert found.threshold.value is None
    assert found.threshold.reason == "the source accepts 0 of 1,225 pairs; 100 set a threshold"


def test_the_interval_holds_what_many_faces_would_give() -> None:
    random, held = np.random.default_rng(0), 0
    noise = 0.25

    def drawn(faces: int) -> tuple[Any, Any]:
        before = unit(random.normal(size=(faces, 16)).astype(np.float32))
        return before, unit(before + noise * random.normal(size=(faces, 16)).astype(np.float32))

    truth = transported_threshold(*drawn(2500), 0.5).threshold.value
    for _ in range(100):
        found = transported_threshold(*drawn(200), 0.5).threshold
        held += (found.low or 0) <= (truth or 0) <= (found.high or 0)
    assert held >= 88
