"""Pairs drawn at random: of rendered identities, and of labelled crops."""

import itertools
import tracemalloc

import numpy as np
import pytest

from pocketface.faces import drawn_pairs
from pocketface.faces.drawn_pairs import cross_pairs, draw_pairs, synthetic_pairs
from pocketface.faces.folders import LabelledFaces, StoredFaces
from pocketface.faces.rendering import synthetic

# Synthetic


@pytest.fixture
def plain_identities(monkeypatch):
    """Instead of rendered faces, crops whose pixels are their label, in no order."""

    def fake(identities, shots, seed=0, size=112, first=0):
        labels = np.random.default_rng(5).permutation(np.repeat(np.arange(identities), shots))
        faces = np.broadcast_to(labels.astype(np.uint8)[:, None, None, None], (len(labels), size, size, 3))
        return np.ascontiguousarray(faces), labels

    monkeypatch.setattr(synthetic, "synthetic_faces", fake)


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


def crops_of(*sizes: int) -> LabelledFaces:
    """Grey crops, numbered in an order that is not by person; person p has sizes[p] of them."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    pixels = np.broadcast_to(np.arange(len(labels), dtype=np.uint8)[:, None, None, None], (len(labels), 8, 8, 3))
    return LabelledFaces(pixels.copy(), labels, tuple(f"p{number}" for number in range(len(sizes))), "")


def listed(pairs):
    return [frozenset(pair) for pair in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)]


def test_every_genuine_pair_is_in_the_fold_of_its_person_and_as_many_impostor_pairs_are() -> None:
    faces = crops_of(*[3] * 40)
    pairs = cross_pairs(faces)
    assert pairs.sample == "120 of 120 genuine pairs, and 120 of 540 impostor pairs of two people in one fold"
    assert pairs.whole and len(set(listed(pairs))) == len(pairs) == 240  # 540 = 10 folds x 6 couples x 9
    genuine = set(itertools.chain(*(itertools.combinations(np.flatnonzero(faces.labels == p), 2) for p in range(40))))
    assert {tuple(sorted(pair)) for pair, same in zip(listed(pairs), pairs.same, strict=True) if same} == genuine
    assert ((faces.labels[pairs.left] == faces.labels[pairs.right]) == pairs.same).all()
    assert np.bincount(pairs.fold[pairs.same]).tolist() == np.bincount(pairs.fold[~pairs.same]).tolist() == [12] * 10
    both, fold = np.concatenate([pairs.left, pairs.right]), np.tile(pairs.fold, 2)
    people = {number: set(faces.labels[both[fold == number]].tolist()) for number in range(10)}
    assert all(len(those) == 4 for those in people.values()) and set().union(*people.values()) == set(range(40))
    assert pairs.faces[:, 0, 0, 0].tolist() == list(range(120)) and pairs.identities.tolist() == faces.labels.tolist()


def test_people_with_most_pairs_are_dealt_over_the_folds() -> None:
    pairs = cross_pairs(crops_of(*[6] * 10, *[1] * 30))
    assert np.bincount(pairs.fold[pairs.same]).tolist() == [15] * 10  # 6 x 5 / 2 of one person in each


def test_beyond_the_most_a_sample_of_both_kinds_is_drawn_and_said() -> None:
    faces = crops_of(*[4] * 50)
    pairs = cross_pairs(faces, most=100)
    assert pairs.sample == "100 of 300 genuine pairs, and 100 of 1,600 impostor pairs of two people in one fold"
    assert len(set(listed(pairs))) == 200 and int(pairs.same.sum()) == 100
    assert ((faces.labels[pairs.left] == faces.labels[pairs.right]) == pairs.same).all()
    assert cross_pairs(faces, most=100).sha256 == pairs.sha256 != cross_pairs(faces, most=100, seed=1).sha256


def test_a_hundred_million_pairs_are_never_listed() -> None:
    labels = np.repeat(np.arange(7_100), 2)
    faces = LabelledFaces(np.zeros((14_200, 1, 1, 3), np.uint8), labels, ("a",) * 7_100, "")
    tracemalloc.start()
    pairs = cross_pairs(faces)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # 10 folds of 710 people: 4 x 710 x 709 / 2 impostor pairs in each
    assert pairs.sample.startswith("7,100 of 7,100 genuine pairs, and 7,100 of 10,067,800 impostor pairs of two people")
    assert peak < 50e6


def test_crops_that_do_not_fit_into_memory_are_mapped_from_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn_pairs, "LARGEST_IN_MEMORY", 100)
    monkeypatch.setattr(drawn_pairs, "READ_AT_A_TIME", 3)
    labels = np.repeat(np.arange(4), 2)
    crops = StoredFaces(lambda number: np.full((4, 4, 3), number, np.uint8), np.arange(8), 4, 4)
    pairs = cross_pairs(LabelledFaces(crops, labels, tuple("abcd"), ""))
    assert isinstance(pairs.faces, np.memmap) and pairs.faces[:, 0, 0, 0].tolist() == list(range(8))
    held = LabelledFaces(crops[:], labels, tuple("abcd"), "")
    assert cross_pairs(held).sha256 == pairs.sha256


def test_people_who_make_no_pairs() -> None:
    for faces in (crops_of(3), crops_of(2, 2, 2), crops_of(1, 1, 1, 1)):
        with pytest.raises(ValueError, match="make no pairs for two folds of people; at least 4 people are wanted"):
            cross_pairs(faces)
