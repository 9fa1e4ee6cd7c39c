"""Every embedder of the zoo can be pruned: its groups are found, cut together, and it still embeds."""

from dataclasses import dataclass

import numpy as np
import pytest

from pocketface.models.widths import widths_of
from pocketface.models.zoo import ZOO, create
from pocketface.prune.pruner import prune
from pocketface.prune.recipe import PruneRecipe

QUICK = PruneRecipe(by="filters", remove=0.3, cost="filters", steps=1, epochs=0, variants=1, images=4, least_kept=0.1)


@dataclass(frozen=True)
class Faces:
    faces: np.ndarray
    labels: np.ndarray


@pytest.mark.parametrize("name", sorted(ZOO))
def test_three_tenths_of_the_filters_can_go(name):
    embedder = create(name)
    size = (8, embedder.contract.height, embedder.contract.width, 3)
    pixels = np.random.default_rng(0).integers(0, 256, size).astype(np.uint8)
    pruned = prune(embedder, Faces(pixels, np.arange(8)), QUICK, lambda line: None)
    before, after = pruned.ancestry[-1]["filters"]
    assert 0.69 * before < after <= 0.7 * before
    embeddings = pruned.embed(pixels)
    assert embeddings.shape == (8, embedder.embedding_size)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)
    assert (
        sum(
            width != old
            for width, old in zip(
                widths_of(pruned.backbone).values(), widths_of(embedder.backbone).values(), strict=True
            )
        )
        > 5
    )
