"""What an embedder gives, and how its network is laid out in memory."""

import numpy as np
import pytest
import torch
from torch import nn

from pocketface.faces.contract import InputContract
from pocketface.models.embedder import Embedder, unit

FACES = np.random.default_rng(0).integers(0, 256, (21, 16, 16, 3)).astype(np.uint8)


class Viewing(nn.Module):
    """Ends in `view` over a map of 4x4, as many published networks do; torch refuses that where channels come last."""

    def __init__(self):
        super().__init__()
        self.convolution, self.dense = nn.Conv2d(3, 8, 5, stride=4, padding=2), nn.Linear(128, 4)

    def forward(self, x):
        x = self.convolution(x)
        return self.dense(x.view(x.size(0), -1))


class Flattening(Viewing):
    """The same, for any layout."""

    def forward(self, x):
        return self.dense(self.convolution(x).flatten(1))


def embedder_of(kind):
    torch.manual_seed(0)
    return Embedder("tiny", kind(), InputContract(16, 16), "none")


@pytest.mark.parametrize(("kind", "expected"), [(Viewing, torch.contiguous_format), (Flattening, torch.channels_last)])
def test_the_memory_format_is_the_fast_one_that_the_network_runs_in(kind, expected):
    assert embedder_of(kind).memory_format == expected


@pytest.mark.parametrize("kind", [Viewing, Flattening])
def test_embeddings_are_those_of_the_network_one_face_at_a_time_scaled_to_unit_length(kind):
    embedder = embedder_of(kind)
    with torch.inference_mode():
        rows = [embedder.backbone(torch.from_numpy(embedder.contract.preprocess(face[None]))) for face in FACES]
    np.testing.assert_allclose(embedder.embed(FACES), unit(torch.cat(rows).numpy()), atol=1e-6)
    assert embedder.embed(FACES[:0]).shape == (0, 4)
