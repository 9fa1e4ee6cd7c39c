"""What contracts are tried on: the first crops make pairs too, and who is genuine is known."""

import numpy as np
import pytest

from pocketface.benchmark.probing.samples import labelled_sample, pixel_embeddings, unlabelled_sample
from pocketface.faces.pairs import Pairs

FACES = np.random.default_rng(0).integers(0, 256, (120, 16, 16, 3), np.uint8)


def pairs(genuine: int, impostor: int) -> Pairs:
    left = [*range(genuine), *range(impostor)]
    right = [*range(60, 60 + genuine), *range(61, 61 + impostor)]
    same = np.arange(genuine + impostor) < genuine
    people = np.arange(120) % 60
    return Pairs.of(FACES, left, right, same, np.zeros(len(same)), [str(i) for i in range(120)], people)


def test_a_labelled_sample_has_as_many_of_either_kind_also_in_its_beginning() -> None:
    sample = labelled_sample(pairs(40, 59), most=80)
    assert (len(sample.same), int(sample.same.sum())) == (80, 40)
    first = sample.among_first(40)
    assert len(first.same) >= 20
    assert abs(int(first.same.sum()) - len(first.same) / 2) <= len(first.same) / 4
    assert sample.among_first(len(sample.crops)).left.tolist() == sample.left.tolist()
    # person i is on face i and i + 60
    rows = {FACES[i].tobytes(): i for i in range(120)}
    numbers = np.array([rows[crop.tobytes()] % 60 for crop in sample.crops])
    assert ((numbers[sample.left] == numbers[sample.right]) == sample.same).all()


def test_too_few_pairs_are_refused_with_their_number() -> None:
    with pytest.raises(ValueError, match="40 genuine and 19 impostor pairs tell no contracts apart; 20 of each"):
        labelled_sample(pairs(40, 19))


def test_without_labels_each_face_is_genuine_with_its_own_copy_only() -> None:
    sample = unlabelled_sample(FACES[:20])
    assert sample.crops.shape == (40, 16, 16, 3)
    assert (sample.crops[::2] == FACES[:20]).all()
    assert (len(sample.same), int(sample.same.sum())) == (400, 20)
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
