"""Who is found first in a gallery, and what strangers find: small ones counted by hand, larger ones by plain loops."""

import numpy as np
import pytest

from pocketface.benchmark.accuracy.identification import Search, identify, search_of
from pocketface.benchmark.measurement import RowMaker
from pocketface.models.embedder import unit

ROW = RowMaker(model="m", artifact="a", format="onnx", precision="fp32", runtime="r", device="d")


def at(*degrees):
    """Unit vectors in the plane: the less the angles differ, the more similar."""
    angle = np.radians(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def test_the_first_image_is_enrolled_and_the_rest_is_looked_up():
    search = search_of(np.array([4, 9, 4, 4, 9, *range(100, 200)]))
    assert [faces.tolist() for faces in search.gallery] == [[0], [1]]
    assert search.enrolled.tolist() == [4, 9]
    assert search.mated.tolist() == [2, 3, 4]
    assert search.strangers.tolist() == list(range(5, 105))


def test_templates_of_two_images_leave_out_who_has_two():
    search = search_of(np.array([4, 4, 4, 9, 9, *range(100, 200)]), images=2)
    assert [faces.tolist() for faces in search.gallery] == [[0, 1]]
    assert search.strangers.tolist()[:2] == [3, 4]


def test_without_strangers_every_second_person_becomes_one():
    search = search_of(np.repeat(np.arange(4), 2))
    assert search.enrolled.tolist() == [0, 2]
    assert search.strangers.tolist() == [2, 3, 6, 7]


# The gallery: one at 0 degrees, two at 90. Probes of one at 10 (found) and 50 (40 from two, 50 from himself: not
# found), of two at 80 (found) and 120 (found, but 30 away). Ten strangers, the nearest of them 20 away from one.
PEOPLE = np.array([1, 2, 1, 1, 2, 2, *range(10, 20)])
FACES = at(0, 90, 10, 50, 80, 120, -20, *range(180, 189))
SEARCH = Search((np.array([0]), np.array([1])), np.array([1, 2]), np.array([2, 3, 4, 5]), np.arange(6, 16))


def test_rank_one_and_the_rate_at_which_strangers_find_nobody_match_a_hand_count():
    found = identify(FACES, PEOPLE, SEARCH)
    assert found.rank1.value == 0.75
    point = found.tpir[1e-1]  # one of ten strangers may find somebody: the threshold goes below him
    assert point.tar.value == 0.75
    assert point.measured_far == pytest.approx(0.1)
    assert found.tpir[1e-2].tar.value is None
    assert found.tpir[1e-2].tar.reason == (
        "FPIR 1e-2 wants at least 100 probes of people who are not enrolled; there are 10"
    )


def test_a_probe_that_two_templates_draw_for_is_missed():
    search = Search((np.array([0]), np.array([1])), np.array([1, 2]), np.array([2]), np.array([3]))
    found = identify(at(0, 0, 5, 90), np.array([1, 2, 1, 3]), search)
    assert found.rank1.value == 0.0


def people(count, noise, seed=0):
    """Three faces of each of `count` people, then as many strangers of one face."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((2 * count, 16))
    whose = np.concatenate([np.repeat(np.arange(count), 3), np.arange(count, 2 * count)])
    return unit((centres[whose] + noise * random.standard_normal((len(whose), 16))).astype(np.float32)), whose


def test_a_large_gallery_agrees_with_a_loop_over_the_probes():
    embeddings, whose = people(200, 1.0)
    search = search_of(whose)
    found = identify(embeddings, whose, search)
    gallery = embeddings[[faces[0] for faces in search.gallery]]
    scores = [[float(probe @ one) for one in gallery] for probe in embeddings.astype(np.float64)]
    right = [int(search.enrolled[int(np.argmax(scores[face]))]) == whose[face] for face in search.mated]
    assert found.rank1.value == pytest.approx(np.mean(right))
    for fpir in (1e-1, 1e-2):
        strangers = sorted((max(scores[face]) for face in search.strangers), reverse=True)
        bar = strangers[round(fpir * 200)]  # the most similar of those who must find nobody
        hits = [ok and max(scores[face]) > bar for ok, face in zip(right, search.mated, strict=True)]
        assert found.tpir[fpir].tar.value == pytest.approx(np.mean(hits))
        assert found.tpir[fpir].tar.low < np.mean(hits) < found.tpir[fpir].tar.high
    assert found.rank1.low < found.rank1.value < found.rank1.high
