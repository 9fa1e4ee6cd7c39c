"""Error rates against hand-counted tables and scikit-learn, intervals against their analytic counterparts."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from pocketface.benchmark.accuracy.intervals import wilson
from pocketface.benchmark.accuracy.roc import auc, best_threshold, eer, roc, tar_at_far
from pocketface.benchmark.accuracy.verification import (
    similarities,
    tenfold_accuracy,
    usual_fars,
    verify,
    verify_similarities,
)


def scores(pairs, seed=0, ties=False):
    """Genuine pairs around 0.5, impostor pairs around 0; with ties, rounded to tenths."""
    random = np.random.default_rng(seed)
    same = np.arange(pairs) % 2 == 0
    similarity = np.clip(random.normal(np.where(same, 0.5, 0.0), 0.2), -1, 1)
    return (similarity.round(1) if ties else similarity), same


def labelled(same, fold, side=8):
    """Pair p compares face 2p with face 2p + 1."""
    left = np.arange(len(same)) * 2
    faces = np.zeros((2 * len(same), side, side, 3), np.uint8)
    return SimpleNamespace(faces=faces, left=left, right=left + 1, same=same, fold=fold, sha256="abc")


def embeddings_with(similarity):
    """(2P, 2) unit vectors of which 2p and 2p + 1 have the cosine similarity[p]."""
    angle = np.arccos(similarity)
    pairs = np.stack([np.ones_like(angle), np.zeros_like(angle), np.cos(angle), np.sin(angle)], axis=1)
    return pairs.reshape(-1, 2)


def test_similarity_is_the_cosine_of_unit_vectors():
    vectors = np.float32([[1, 0], [0.6, 0.8], [-1, 0]])
    assert similarities(vectors, np.array([0, 0, 1]), np.array([1, 2, 1])) == pytest.approx([0.6, -1.0, 1.0])


# Fold 0: 0.9 same, 0.7 same, 0.5 other, 0.1 other.  Fold 1: 0.8 same, 0.3 same, 0.4 other, 0.2 other.
# Best on fold 1: midway 0.8 and 0.4 three of four are right (0.3 is not); midway 0.3 and 0.2 three of four
# are, too (0.4 is not). The higher stands: 0.6. Fold 0 at 0.6: all four right.
# Best on fold 0: midway 0.7 and 0.5, 0.6: all right. Fold 1 at 0.6: 0.3 is wrong, the other three are right.
TABLE = np.array([0.9, 0.7, 0.5, 0.1, 0.8, 0.3, 0.4, 0.2])
TABLE_SAME = np.array([True, True, False, False] * 2)
TABLE_FOLD = np.array([0, 0, 0, 0, 1, 1, 1, 1])


def test_tenfold_accuracy_matches_a_hand_counted_table():
    accuracies, thresholds = tenfold_accuracy(TABLE, TABLE_SAME, TABLE_FOLD)
    assert thresholds == pytest.approx([0.6, 0.6])
    assert accuracies.tolist() == [1.0, 0.75]


def test_a_fold_is_judged_by_nothing_of_its_own():
    changed = TABLE.copy()
    changed[4:] = [0.0, 0.1, 0.9, 0.95]  # fold 1 turned round
    assert tenfold_accuracy(changed, TABLE_SAME, TABLE_FOLD)[1][1] == pytest.approx(0.6)


def test_the_best_threshold_is_as_good_as_the_best_of_a_fine_grid():
    similarity, same = scores(500)
    exact = ((similarity >= best_threshold(similarity, same)) == same).mean()
    grid = [((similarity >= threshold) == same).mean() for threshold in np.linspace(-1, 1, 20001)]
    assert exact == max(grid)


def test_the_best_threshold_parts_neighbours_that_have_no_number_between_them():
    low = 0.5
    high = np.nextafter(low, 1)
    assert best_threshold(np.array([low, high]), np.array([False, True])) == high


def test_identical_similarities_are_accepted_together():
    far, tar, thresholds = roc(np.array([0.5, 0.5, 0.5, 0.1]), np.array([True, False, True, False]))
    assert far.tolist() == [0.0, 0.5, 1.0]
    assert tar.tolist() == [0.0, 1.0, 1.0]
    assert thresholds[1:].tolist() == [0.3, 0.1]


@pytest.mark.parametrize("ties", [False, True])
def test_roc_and_auc_match_scikit_learn(ties):
    similarity, same = scores(400, ties=ties)
    far, tar, thresholds = roc(similarity, same)
    their_far, their_tar, _ = roc_curve(same, similarity, drop_intermediate=False)
    assert far == pytest.approx(their_far)
    assert tar == pytest.approx(their_tar)
    assert auc(similarity, same) == pytest.approx(roc_auc_score(same, similarity))
    at_threshold = [(similarity[~same] >= threshold).mean() for threshold in thresholds]
    assert far == pytest.approx(at_threshold)


def test_eer_is_zero_where_a_threshold_parts_all():
    assert eer(np.array([0.9, 0.8, 0.2, 0.1]), np.array([True, True, False, False])) == 0.0


def test_eer_is_a_quarter_where_one_in_four_is_on_the_wrong_side():
    similarity = np.array([0.9, 0.8, 0.7, 0.2, 0.6, 0.3, 0.1, 0.0])
    assert eer(similarity, np.arange(8) < 4) == 0.25


def test_eer_is_a_half_where_all_are_equal():
    assert eer(np.full(6, 0.3), np.arange(6) < 2) == 0.5


def test_eer_is_one_where_everything_is_turned_round():
    assert eer(np.array([0.1, 0.9]), np.array([True, False])) == 1.0


# 100 impostor pairs at 0.00, 0.01 ... 0.99 and four genuine pairs. FAR 0.01 lets 0.99 in, and with it what
# lies above 0.98: three genuine pairs. FAR 0.02 lets 0.98 in, and with it what lies above 0.97: all four.
TAIL = np.concatenate([np.arange(100) / 100, [0.975, 0.985, 0.995, 0.995]])
TAIL_SAME = np.arange(104) >= 100


@pytest.mark.parametrize(("far", "tar", "threshold"), [(0.01, 0.75, 0.9825), (0.02, 1.0, 0.9725)])
def test_tar_at_far_matches_a_hand_counted_tail(far, tar, threshold):
    point = tar_at_far(TAIL, TAIL_SAME, far)
    assert (point.tar.value, point.measured_far) == (tar, far)
    assert point.threshold.value == pytest.approx(threshold)


def test_a_far_that_wants_more_impostors_is_refused():
    point = tar_at_far(TAIL, TAIL_SAME, 1e-3)
    assert point.tar.value is None
    assert point.threshold.value is None
    assert point.tar.reason == "FAR 1e-3 wants at least 1,000 impostor pairs; there are 100"


def test_three_false_accepts_in_three_thousand_are_within_a_far_of_one_in_thousand():
    similarity = np.concatenate([np.arange(3000) / 3000, [2.0]])
    assert tar_at_far(similarity, np.arange(3001) >= 3000, 1e-3).measured_far == 3 / 3000


@pytest.mark.parametrize(
    ("similarity", "same", "sentence"),
    [
        ([0.1, np.nan], [True, False], "1 similarities are not finite"),
        ([0.1, 0.2], [True, True], "wants genuine and impostor pairs"),
        ([0.1, 0.2, 0.3], [True, False], "one value per pair"),
    ],
)
def test_what_no_error_rate_can_be_computed_from_is_refused(similarity, same, sentence):
    with pytest.raises(ValueError, match=sentence):
        roc(np.array(similarity), np.array(same))


def test_labels_of_numbers_are_refused():
    with pytest.raises(ValueError, match="want bool"):
        roc(np.array([0.1, 0.2]), np.array([1, 0]))


def test_one_fold_is_refused():
    with pytest.raises(ValueError, match="at least 2 folds"):
        tenfold_accuracy(TABLE, TABLE_SAME, np.zeros(8, int))


def test_wilson_matches_the_textbook():
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, table I


def test_many_pairs_are_exact_where_no_interval_is():
    similarity, same = scores(250_000)
    found = verify_similarities(similarity, same, np.arange(len(same)) // 25_000, fars=usual_fars(same))
    assert list(found.tar) == [1e-2, 1e-3, 1e-4, 1e-5]
    far, tar, thresholds = roc(similarity, same)
    for rate, point in found.tar.items():
        last = np.flatnonzero(far <= rate * (1 + 1e-9))[-1]
        assert (point.tar.value, point.measured_far) == (tar[last], far[last])
        assert point.threshold.value == thresholds[last]
        assert point.tar.low <= point.tar.value <= point.tar.high
    assert found.auc.value == pytest.approx(roc_auc_score(same, similarity))
    crossing = np.argmax(far >= 1 - tar)
    assert min(far[crossing - 1], 1 - tar[crossing]) <= found.eer.value <= max(far[crossing], 1 - tar[crossing - 1])
    for estimate in (found.accuracy, found.eer, found.auc):
        assert estimate.low < estimate.value < estimate.high


def test_eer_and_auc_by_sorting_are_those_of_the_curve():
    for seed in range(5):
        random = np.random.default_rng(seed)
        same = random.random(300) < 0.4
        similarity = np.round(random.normal(np.where(same, 0.3, 0.0), 0.3), 1 + seed % 2)
        far, tar, _ = roc(similarity, same)
        after = int(np.argmax(far >= 1 - tar))
        gap = far + tar - 1
        way = gap[after - 1] / (gap[after - 1] - gap[after])
        assert eer(similarity, same) == pytest.approx(far[after - 1] + way * (far[after] - far[after - 1]))
        assert auc(similarity, same) == pytest.approx(np.trapezoid(tar, far))
        at = tar_at_far(similarity, same, 0.1)
        assert at.measured_far == far[np.flatnonzero(far <= 0.1 * (1 + 1e-9))[-1]]


def test_no_error_in_few_pairs_is_not_certainty():
    same = np.arange(40) % 2 == 0
    found = verify(embeddings_with(np.where(same, 0.9, 0.1)), labelled(same, np.arange(40) // 4), fars=(0.1,))
    assert found.accuracy.value == 1
    assert found.accuracy.low == pytest.approx(wilson(1, 40)[0])
    assert found.eer.value == 0
    assert found.eer.high == pytest.approx(wilson(0, 20)[1])
    assert found.tar[0.1].tar.low == pytest.approx(wilson(1, 20)[0])


def test_people_are_what_is_independent_unless_somebody_is_not_known():
    similarity, same = scores(100)
    pairs = labelled(same, np.arange(100) // 10)
    person = np.arange(200)
    person[1::2][same] = person[::2][same]
    vectors = embeddings_with(similarity)
    assert verify(vectors, pairs, person).units == "100 groups of people that share no pair"
    person[7] = -1
    assert verify(vectors, pairs, person).units == "100 pairs"


def test_identities_that_contradict_the_labels_are_refused():
    similarity, same = scores(20)
    with pytest.raises(ValueError, match="pair 0 is labelled same, but its identities say otherwise"):
        verify(embeddings_with(similarity), labelled(same, np.arange(20) // 2), np.arange(40))


def test_embeddings_for_other_faces_are_refused():
    similarity, same = scores(20)
    with pytest.raises(ValueError, match="38 embeddings for 40 faces"):
        verify(embeddings_with(similarity)[:-2], labelled(same, np.arange(20) // 2))
