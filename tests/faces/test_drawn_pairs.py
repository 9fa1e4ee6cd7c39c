"""Pairs drawn at random: of rendered identities, and of labelled crops."""

import numpy as np
import pytest

from pocketface.faces import drawn_pairs
from pocketface.faces.drawn_pairs import draw_pairs, synthetic_pairs
from pocketface.faces.folders import LabelledFaces, StoredFaces

# Synthetic


@pytest.fixture
def plain_identities(monkeypatch):
    """Instead of rendered faces, crops whose pixels are their label, in no order."""

    def fake(identities, shots, seed=0, size=112, first=0):
        labels = np.random.default_rng(5).permutation(np.repeat(np.arange(identities), shots))
        faces = np.broadcast_to(labels.astype(np.uint8)[:, None, None, None], (len(labels), size, size, 3))
        return np.ascontiguousarray(faces), labels

    monkeypatch.setattr(drawn_pairs, "synthetic_faces", fake)


@pytest.mark.parametrize(("identities", "shots"), [(2, 2), (5, 4), (30, 3), (43, 2)])
def test_synthetic_pairs_are_balanced_different_and_right(plain_identities, identities, shots):
    got = synthetic_pairs(identities, shots, seed=1, size=8)
    genuine = identities * shots * (shots - 1) // 2
    assert got.same.sum() == genuine
    assert len(got) == 2 * genuine
    who = got.faces[:, 0, 0, 0]
    assert np.array_equal(who[got.left] == who[got.right], got.same)
    assert np.array_equal(who, got.identities)
    sides = np.sort(np.column_stack([got.left, got.right]), axis=1)
    assert len(np.unique(sides, axis=0)) == len(got)
    assert (got.left != got.right).all()


def test_synthetic_folds_share_no_identity(plain_identities):
    got = synthetic_pairs(43, 3, size=8)
    assert np.unique(got.fold).tolist() == list(range(10))
    folds_of = {}
    for side in (got.left, got.right):
        for fold, identity in zip(got.fold.tolist(), got.identities[side].tolist(), strict=True):
            folds_of.setdefault(identity, set()).add(fold)
    assert len(folds_of) == 43
    assert all(len(folds) == 1 for folds in folds_of.values())


def test_synthetic_folds_hold_as_many_impostors_as_genuine_pairs(plain_identities):
    got = synthetic_pairs(25, 3, size=8)
    assert np.array_equal(np.bincount(got.fold[got.same]), np.bincount(got.fold[~got.same]))


def test_synthetic_impostors_follow_the_seed(plain_identities):
    one, again, other = (synthetic_pairs(20, 3, seed=seed, size=8) for seed in (1, 1, 2))
    assert np.array_equal(one.right, again.right)
    assert not np.array_equal(one.right, other.right)


def test_every_synthetic_crop_has_its_own_name(plain_identities):
    got = synthetic_pairs(4, 3, size=8)
    assert len(set(got.names)) == 12
    assert got.names[got.left[0]] == "synthetic_00000/0000"


@pytest.mark.parametrize(("identities", "shots"), [(1, 5), (5, 1), (0, 0)])
def test_too_few_synthetic_faces_are_told(identities, shots):
    with pytest.raises(ValueError, match=f"{identities} identities x {shots} shots make no pairs"):
        synthetic_pairs(identities, shots)


def test_rendered_identities_make_pairs():
    got = synthetic_pairs(4, 2, seed=3, size=32, first=7)
    assert got.faces.shape == (8, 32, 32, 3)
    assert (len(got), int(got.same.sum())) == (8, 4)


# Pairs of labelled crops


def crowd(*counts):
    """As many crops of each person as `counts` says, in no order; a crop's pixels are its number."""
    labels = np.random.default_rng(3).permutation(np.repeat(np.arange(len(counts)), counts))
    faces = np.arange(len(labels), dtype=np.uint8)[:, None, None, None] + np.zeros((1, 2, 2, 3), np.uint8)
    return LabelledFaces(faces, labels, tuple(f"p{label}" for label in range(len(counts))), "")


def test_all_genuine_pairs_are_taken_where_most_allows():
    got = draw_pairs(crowd(3, 2), 100)
    assert (int(got.same.sum()), len(got)) == (4, 8)  # 3 + 1 genuine pairs, of 3 x 2 impostors as many


@pytest.mark.parametrize(("counts", "most"), [((3, 2), 100), ((9, 9, 1), 10), ((4,) * 30, 200), ((2, 20, 1) * 9, 99)])
def test_pairs_of_labels_are_balanced_different_and_right(counts, most):
    people = crowd(*counts)
    got = draw_pairs(people, most, seed=1)
    crop = got.faces[:, 0, 0, 0].astype(int)
    assert np.array_equal(got.identities, people.labels[crop])
    assert np.array_equal(got.identities[got.left] == got.identities[got.right], got.same)
    assert np.array_equal(np.bincount(got.fold[got.same]), np.bincount(got.fold[~got.same]))
    assert 2 <= len(got) <= most
    sides = np.sort(np.column_stack([crop[got.left], crop[got.right]]), axis=1)
    assert len(np.unique(sides, axis=0)) == len(got)
    assert (got.left != got.right).all()


def test_no_person_is_seen_in_two_folds_nor_without_a_second_crop():
    got = draw_pairs(crowd(*(3,) * 25, *(1,) * 10), 1000)
    folds_of = {}
    for side in (got.left, got.right):
        for fold, identity in zip(got.fold.tolist(), got.identities[side].tolist(), strict=True):
            folds_of.setdefault(identity, set()).add(fold)
    assert sorted(folds_of) == list(range(25))
    assert all(len(folds) == 1 for folds in folds_of.values())
    assert np.unique(got.fold).tolist() == list(range(10))


def test_a_person_with_many_crops_does_not_crowd_out_the_others():
    got = draw_pairs(crowd(40, 3, 3), 14)  # 780, 3 and 3 genuine pairs, of which 7 are wanted
    assert sorted(np.bincount(got.identities[got.left[got.same]]).tolist()) == [2, 2, 3]
    one, other = np.sort([got.identities[got.left[~got.same]], got.identities[got.right[~got.same]]], axis=0)
    assert sorted(np.bincount(3 * one + other)[[1, 2, 5]].tolist()) == [2, 2, 3]


def test_drawn_pairs_follow_the_seed():
    one, again, other = (draw_pairs(crowd(*(5,) * 12), 40, seed) for seed in (1, 1, 2))
    assert one.sha256 == again.sha256 != other.sha256


def test_only_crops_that_are_in_pairs_are_decoded():
    decoded = []
    faces = StoredFaces(
        lambda number: decoded.append(number) or np.full((2, 2, 3), number, np.uint8), np.arange(6), 2, 2
    )
    got = draw_pairs(LabelledFaces(faces, np.array([0, 0, 1, 1, 2, 3]), tuple("abcd"), ""), 4)
    assert sorted(decoded) == [0, 1, 2, 3]
    assert got.names == ("a/0000000", "a/0000001", "b/0000002", "b/0000003")


@pytest.mark.parametrize(("counts", "most"), [((5,), 10), ((5, 1, 1), 10), ((2, 2), 1)])
def test_too_few_people_to_pair_are_told(counts, most):
    with pytest.raises(ValueError, match=r"pairs of \d people with two crops; 2 of 2 are the fewest"):
        draw_pairs(crowd(*counts), most)
