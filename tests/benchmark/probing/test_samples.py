"""What contracts are tried on: the first crops make pairs too, and who is genuine is known."""

import numpy as np
import pytest

from pocketface.benchmark.probing.samples import labelled_sample, pixel_embeddings, unlabelled_sample
from pocketface.faces.pairs import Pairs

FACES = np.random.default_rng(0).integers(0, 256, (120, 16, 16, 3), np.uint8)


def pairs(genuine: int, impostor: int, known: bool = True) -> Pairs:
    """Person i is on face i and on face i + 60."""
    left = [*range(genuine), *range(impostor)]
    right = [*range(60, 60 + genuine), *range(61, 61 + impostor)]
    same = np.arange(genuine + impostor) < genuine
    people = np.arange(120) % 60 if known else np.full(120, -1)
    return Pairs.of(FACES, left, right, same, np.zeros(len(same)), [str(i) for i in range(120)], people)


@pytest.mark.parametrize("known", [True, False], ids=["people are named", "pairs alone say who is who"])
def test_labels_make_the_other_photo_of_a_person_genuine(known: bool) -> None:
    sample = labelled_sample(pairs(40, 59, known), most=60)
    assert sample.crops.shape == (120, 16, 16, 3)
    numbers = {face.tobytes(): i for i, face in enumerate(FACES)}
    who = np.array([numbers[face.tobytes()] % 60 for face in sample.crops[::2]])
    assert len(np.unique(who)) == 30  # a pair is drawn whole
    found = sample.among_first(120)
    assert (len(found.same), int(found.same.sum())) == (3600, 120)
    assert ((who[found.left // 2] == who[found.right // 2]) == found.same).all()


def test_too_few_pairs_are_refused_with_their_number() -> None:
    with pytest.raises(ValueError, match="19 genuine pairs tell no contracts apart; 20 are the fewest"):
        labelled_sample(pairs(19, 40))


def test_without_labels_each_face_is_genuine_with_its_own_copy_only() -> None:
    sample = unlabelled_sample(FACES[:20])
    assert sample.crops.shape == (40, 16, 16, 3)
    assert (sample.crops[::2] == FACES[:20]).all()
    whole = sample.among_first(40)
    assert (len(whole.same), int(whole.same.sum())) == (400, 20)
    first = sample.among_first(10)
    assert (len(first.same), int(first.same.sum())) == (25, 5)
    assert (first.right[first.same] == first.left[first.same] + 1).all()


def test_too_few_faces_are_refused() -> None:
    with pytest.raises(ValueError, match="19 faces tell no contracts apart"):
        unlabelled_sample(FACES[:19])


def test_pixels_of_one_picture_are_as_similar_as_can_be() -> None:
    twice = np.concatenate([FACES[:3], FACES[:3]])
    found = pixel_embeddings(twice)
    assert np.einsum("md,md->m", found[:3], found[3:]) == pytest.approx([1, 1, 1], abs=1e-6)
