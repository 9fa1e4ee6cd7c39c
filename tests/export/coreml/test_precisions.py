import numpy as np
import pytest

from pocketface.export.coreml.precisions import palette


def test_two_clusters_are_their_means() -> None:
    lut, indices = palette(np.float32([[-1, 9], [-2, 8]]), 1)
    assert lut.tolist() == [-1.5, 8.5] and indices.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("bits", [4, 6])
def test_a_palette_is_nearer_than_the_k_means_of_scikit_learn(bits: int) -> None:
    sklearn = pytest.importorskip("sklearn.cluster", reason="wants the extra `test`")
    weights = np.random.default_rng(0).laplace(size=(50, 60)).astype(np.float32)
    lut, indices = palette(weights, bits)
    theirs = sklearn.KMeans(2**bits, n_init=1, random_state=0).fit(weights.reshape(-1, 1)).inertia_
    assert ((lut[indices] - weights.ravel()) ** 2).sum() < theirs


def test_half_precision_stays_and_each_weight_takes_its_nearest_entry() -> None:
    weights = np.random.default_rng(0).normal(size=1000).astype(np.float16)
    lut, indices = palette(weights, 4)
    assert lut.dtype == np.float16 and indices.dtype == np.uint8 and (np.diff(lut) >= 0).all()
    nearest = np.abs(weights[:, None].astype(float) - lut.astype(float)).min(1)
    assert np.array_equal(np.abs(weights.astype(float) - lut[indices].astype(float)), nearest)


def test_fewer_numbers_than_entries_are_kept_exactly() -> None:
    weights = np.float32([0.5, -3, 0.5, 7, -3])
    lut, indices = palette(weights, 4)
    assert len(lut) == 16 and np.allclose(lut[indices], weights, rtol=1e-6)


def test_weights_that_are_all_alike_are_kept() -> None:
    lut, indices = palette(np.full(9, 0.25, np.float32), 6)
    assert len(lut) == 64 and (lut[indices] == 0.25).all()
