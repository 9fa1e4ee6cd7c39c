"""Old thresholds and old templates on a new file, counted by hand."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pocketface.benchmark.accuracy.intervals import Estimate, Floats
from pocketface.benchmark.accuracy.paired import at_old_threshold
from pocketface.benchmark.accuracy.verification import verify
from pocketface.benchmark.findings.transfer import template_compatibility, threshold_transfer
from pocketface.benchmark.measurement import RowMaker
from pocketface.faces.pairs import Pairs

# four genuine pairs, then four impostor pairs; the old file's threshold is 0.5
SAME = np.arange(8) < 4
BEFORE = np.array([0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1])
NOW = np.array([0.9, 0.8, 0.7, 0.4, 0.6, 0.3, 0.2, 0.1])  # loses the fourth, accepts the fifth


ROW = RowMaker("m", "a", "tflite", "fp32", "litert", "d")


def seen(embeddings: Floats, same: Any, source: Any = None, model: str = "old") -> Any:
    """Pair p compares face 2p with face 2p + 1."""
    left = np.arange(len(same)) * 2
    pairs = Pairs(
        faces=np.zeros((2 * len(same), 8, 8, 3), np.uint8),
        left=left,
        right=left + 1,
        same=same,
        fold=np.arange(len(same)) * 10 // len(same),
        names=(),
        identities=np.full(2 * len(same), -1),
        sha256="abc",
    )
    return SimpleNamespace(
        embeddings=embeddings,
        verification=verify(embeddings, pairs),
        pairs=pairs,
        source=source,
        model=model,
        name="f",
        recipe=SimpleNamespace(margin=0.002),
    )


def circle(angles: Floats) -> Floats:
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def faces(pairs: int, seed: int = 0) -> tuple[Floats, Any]:
    """(2P, 2) on the unit circle: genuine pairs some 0.4 rad apart, impostor pairs anywhere."""
    random = np.random.default_rng(seed)
    same = np.arange(pairs) % 2 == 0
    first = random.uniform(-np.pi, np.pi, pairs)
    second = np.where(same, first + random.normal(0, 0.4, pairs), random.uniform(-np.pi, np.pi, pairs))
    return circle(np.stack([first, second], axis=1).ravel()), same


def test_what_an_old_threshold_does_is_counted_by_hand() -> None:
    found = at_old_threshold(NOW, BEFORE, SAME, None, Estimate(0.5))
    values = {name: estimate.value for name, estimate in found.items()}
    assert values == {"far_at_old_threshold": 0.25, "tar_at_old_threshold": 0.75, "decisions_flipped": 0.25}


def test_the_same_file_flips_nothing_and_that_is_not_certain_for_all_pairs() -> None:
    found = at_old_threshold(BEFORE, BEFORE, SAME, None, Estimate(0.5))
    flipped, far = found["decisions_flipped"], found["far_at_old_threshold"]
    assert (flipped.value, flipped.low, far.value) == (0.0, 0.0, 0.0)
    assert flipped.high == pytest.approx(0.3244, abs=1e-4)  # Wilson's of 0 in 8: 3.8415 / 11.8415
    assert far.high == pytest.approx(0.4899, abs=1e-4)  # of 0 in 4


def test_intervals_are_as_wide_as_those_of_independent_pairs() -> None:
    random = np.random.default_rng(0)
    same = np.arange(4000) % 2 == 0
    before, now = random.uniform(size=4000), random.uniform(size=4000)  # half of all decisions flip
    for name, n in (("far_at_old_threshold", 2000), ("tar_at_old_threshold", 2000), ("decisions_flipped", 4000)):
        found = at_old_threshold(now, before, same, None, Estimate(0.5))[name]
        assert found.value == pytest.approx(0.5, abs=0.03)
        assert found.low is not None and found.high is not None
        assert (found.high - found.low) / 2 == pytest.approx(1.96 * 0.5 / np.sqrt(n), rel=0.12)


def test_people_who_recur_make_it_less_certain() -> None:
    random = np.random.default_rng(0)
    person = np.repeat(np.arange(100), 20)
    same = np.arange(2000) % 2 == 0
    before = np.zeros(2000)
    now = np.where(random.uniform(size=100) < 0.3, 1.0, 0.0)[person]  # the new file takes whole people otherwise
    other = np.where(same, person, person + 100)
    alone, grouped = (
        at_old_threshold(now, before, same, people, Estimate(0.5))["decisions_flipped"]
        for people in (None, (person, other))
    )
    assert alone.value == grouped.value
    assert (grouped.high - grouped.low) > 3 * (alone.high - alone.low)  # type: ignore[operator]  # sqrt(20) = 4.5


def test_without_an_old_threshold_the_reason_is_passed_on() -> None:
    found = at_old_threshold(NOW, BEFORE, SAME, None, Estimate(None, reason="too few impostor pairs"))
    assert [estimate.reason for estimate in found.values()] == ["too few impostor pairs"] * 3


def test_the_source_is_compared_with_nothing() -> None:
    embeddings, same = faces(400)
    assert threshold_transfer(seen(embeddings, same), ROW) == []
    assert template_compatibility(seen(embeddings, same), ROW) == []


def test_rows_name_the_threshold_and_whose_it_was() -> None:
    embeddings, same = faces(400)
    source = seen(embeddings, same)
    rows = {found.metric: found for found in threshold_transfer(seen(embeddings, same, source), ROW)}
    point = source.verification.tar[1e-2]
    assert rows["far_at_old_threshold_1e-2"].value == point.measured_far
    assert rows["tar_at_old_threshold_1e-2"].value == point.tar.value
    assert rows["decisions_flipped_1e-2"].value == 0.0
    conditions = rows["decisions_flipped_1e-2"].conditions
    assert (conditions["to"], conditions["threshold"]) == ("old", point.threshold.value)
    assert not rows["far_at_old_threshold_1e-3"].valid  # 200 impostor pairs carry no FAR of 1e-3
    assert "1,000 impostor pairs" in rows["far_at_old_threshold_1e-3"].reason


def test_templates_of_the_same_file_verify_as_before() -> None:
    embeddings, same = faces(400)
    source = seen(embeddings, same)
    rows = {found.metric: found for found in template_compatibility(seen(embeddings, same, source), ROW)}
    assert rows["cross_accuracy"].value == source.verification.accuracy.value
    assert rows["cross_tar_at_far_1e-2"].value == source.verification.tar[1e-2].tar.value
    assert not rows["cross_tar_at_far_1e-3"].valid
    assert rows["cross_accuracy"].conditions["to"] == "old"
    gain = rows["cross_accuracy_difference"]
    assert (gain.value, gain.low, gain.high, gain.conditions["verdict"]) == (0.0, 0.0, 0.0, "equal")


def test_templates_are_useless_where_the_new_file_turns_every_embedding() -> None:
    embeddings, same = faces(400)
    turned = circle(np.arctan2(embeddings[:, 1], embeddings[:, 0]) + np.pi / 2)
    new = seen(turned, same, seen(embeddings, same))
    alone = new.verification.accuracy.value
    assert alone == pytest.approx(new.source.verification.accuracy.value)
    rows = {found.metric: found for found in template_compatibility(new, ROW)}
    # a genuine pair is now 90 degrees apart, give or take 0.4 rad; impostor pairs are anywhere
    assert rows["cross_accuracy"].value < 0.8 < alone  # type: ignore[operator]
    assert rows["cross_tar_at_far_1e-2"].value < 0.05  # type: ignore[operator]
    gain = rows["cross_accuracy_difference"]
    assert gain.value == pytest.approx(rows["cross_accuracy"].value - alone)  # type: ignore[operator]
    assert gain.conditions["verdict"] == "worse"


def test_embeddings_of_another_size_are_a_reason() -> None:
    embeddings, same = faces(400)
    longer = np.concatenate([embeddings, np.zeros((800, 1))], axis=1)
    rows = template_compatibility(seen(longer, same, seen(embeddings, same)), ROW)
    assert [(found.metric, found.valid) for found in rows] == [
        ("cross_accuracy_difference", False),
        ("cross_accuracy", False),
        ("cross_tar_at_far_1e-2", False),
        ("cross_tar_at_far_1e-3", False),
    ]
    assert "2 and 3 numbers per face" in rows[0].reason
