"""Low FARs from every pair of some faces, beside the same pairs listed one by one."""

import tracemalloc

import numpy as np
import pytest

from pocketface.benchmark.accuracy import all_pairs
from pocketface.benchmark.accuracy.all_pairs import compare_all
from pocketface.benchmark.accuracy.roc import tar_at_far


def crowd(people: int, shots: int, size: int = 16, noise: float = 0.8, seed: int = 0):
    """Unit vectors around a centre for each person, in no order."""
    random = np.random.default_rng(seed)
    identities = random.permutation(np.repeat(np.arange(people), shots))
    centres = random.normal(size=(people, size))
    embeddings = centres[identities] + noise * random.normal(size=(len(identities), size))
    return np.float32(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)), identities


def listed(embeddings, identities):
    left, right = np.triu_indices(len(embeddings), 1)
    exact = embeddings.astype(np.float64)
    return np.einsum("pd,pd->p", exact[left], exact[right]), identities[left] == identities[right]


def angles(*degrees):
    radians = np.radians(degrees)
    return np.float32(np.column_stack([np.cos(radians), np.sin(radians)]))


def test_four_people_on_a_circle_are_counted_by_hand():
    # Ann at 0 and 10 degrees, Bob at 40 and 50, Cy at 100, Di at 102: of 13 impostor pairs Cy and Di are 2 degrees
    # apart, Ann and Bob 30, 40, 40 and 50, and all others 50 or more
    found = compare_all(angles(0, 10, 40, 50, 100, 102), np.array([0, 0, 1, 1, 2, 3]), [0.1, 1e-3])
    assert (found.genuine, found.impostor, found.pairs, found.people, found.sample) == (2, 13, 15, 4, "")
    one = found.points[0.1]  # one false accept of 13: Cy and Di; 30 degrees are rejected
    assert one.measured_far == 1 / 13 and one.tar.value == 1.0
    assert one.threshold.value == pytest.approx((np.cos(np.radians(10)) + np.cos(np.radians(30))) / 2)
    assert found.points[1e-3].threshold.reason == "FAR 1e-3 wants at least 1,000 impostor pairs; there are 13"


@pytest.mark.parametrize("block", [7, 1024])
@pytest.mark.parametrize("kept", [50, 10**6])
def test_points_are_those_of_the_same_pairs_listed(monkeypatch: pytest.MonkeyPatch, block: int, kept: int) -> None:
    monkeypatch.setattr(all_pairs, "BLOCK", block)
    embeddings, identities = crowd(60, 4)
    similarity, same = listed(embeddings, identities)
    fars = [0.1, 1e-2, 1e-3] if kept > 50 else [1e-3, 1e-4]
    found = compare_all(embeddings, identities, fars)
    assert (found.genuine, found.impostor) == (360, 28_320)
    for far in fars:
        mine, other = found.points[far], tar_at_far(similarity, same, far)
        assert mine.tar.value == other.tar.value and mine.measured_far == other.measured_far
        assert mine.threshold.value == pytest.approx(other.threshold.value, abs=1e-6)
        assert mine.tar.low < mine.tar.value < mine.tar.high
        assert mine.threshold.low < mine.threshold.value < mine.threshold.high


def test_equal_similarities_are_rejected_together():
    # three people thrice in one place, and a fourth far away: of 12 impostor pairs 3 have a cosine of 1
    embeddings, identities = angles(0, 0, 0, 90, 180, 180), np.array([0, 1, 2, 3, 4, 4])
    similarity, same = listed(embeddings, identities)
    mine, other = compare_all(embeddings, identities, [0.2]).points[0.2], tar_at_far(similarity, same, 0.2)
    assert (mine.measured_far, mine.tar.value) == (other.measured_far, other.tar.value) == (0.0, 0.0)


def test_lower_powers_of_ten_are_added_where_30_impostor_pairs_carry_them():
    embeddings, identities = crowd(800, 1, size=4)
    identities[1] = identities[0]  # 319,600 pairs, of which one is genuine
    assert set(compare_all(embeddings, identities, [1e-2]).points) == {1e-2, 1e-4}  # 1e-4 accepts 31, 1e-5 three


def test_a_far_that_accepts_more_pairs_than_are_kept_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(all_pairs, "MOST_KEPT", 1000)
    assert set(compare_all(*crowd(60, 4), [1e-1, 1e-2]).points) == {1e-2}  # 2 x 2,832 and 2 x 283 of 28,320


def test_of_too_many_faces_people_are_drawn_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(all_pairs, "MOST_COMPARED", 10_000)  # 141 faces make 9,870 pairs
    found = compare_all(*crowd(60, 4), [1e-2])
    assert found.sample == "faces of 35 of 60 people" and found.pairs == 140 * 139 // 2


def test_without_a_genuine_pair_there_is_nothing_to_tell():
    with pytest.raises(ValueError, match="3 faces of 3 people make no pairs of both kinds"):
        compare_all(angles(0, 10, 20), np.arange(3), [0.1])


def test_the_intervals_hold_what_twenty_times_as_many_people_give():
    fars = (1e-2, 1e-3)
    truth = compare_all(*crowd(2_500, 2, seed=999), fars).points
    inside = dict.fromkeys(["tar 0.01", "tar 0.001", "threshold 0.01", "threshold 0.001"], 0)
    for seed in range(100):
        points = compare_all(*crowd(120, 2, seed=seed), fars).points
        for far in fars:
            for name, mine, other in (
                ("tar", points[far].tar, truth[far].tar),
                ("threshold", points[far].threshold, truth[far].threshold),
            ):
                inside[f"{name} {far:g}"] += mine.low <= other.value <= mine.high
    assert min(inside.values()) >= 88, inside  # of 95 expected, 88 is three standard deviations below


def test_memory_does_not_grow_with_the_pairs():
    peaks = []
    for people in (1_000, 2_000):  # 2 and 8 million pairs, of which 1,400 and 2,600 are kept
        embeddings, identities = crowd(people, 2)
        tracemalloc.start()
        compare_all(embeddings, identities, [1e-4])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 80e6 and peaks[1] < 1.5 * peaks[0], peaks
