"""A network of 16 channels, and faces of 16x16."""

import numpy as np
import pytest
import torch
from torch import nn

from pocketface.faces.contract import InputContract
from pocketface.faces.folders import LabelledFaces, content_sha256
from pocketface.models.embedder import Embedder


class Tiny(nn.Module):
    """A stem, a residual block with a depthwise convolution, and an embedding of 8."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.PReLU(16))
        self.block = nn.Sequential(
            nn.Conv2d(16, 32, 1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU6(),
            nn.Conv2d(32, 32, 3, 1, 1, groups=32, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU6(),
            nn.Conv2d(32, 16, 1, bias=False),
            nn.BatchNorm2d(16),
        )
        self.dropout = nn.Dropout(0.1)
        self.embedding = nn.Linear(16 * 64, 8)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.block(x)
        return self.embedding(self.dropout(x).flatten(1))


def embedder_of(seed, name):
    torch.manual_seed(seed)
    return Embedder(name, Tiny().eval(), InputContract(16, 16), architecture="tests:tiny")


@pytest.fixture
def tiny():
    return embedder_of(0, "tiny")


@pytest.fixture
def student():
    """The same architecture with other weights."""
    return embedder_of(1, "student")


@pytest.fixture(scope="module")
def faces():
    """48 noisy faces of 12 people."""
    random = np.random.default_rng(0)
    persons = random.integers(0, 256, (12, 4, 4, 3)).repeat(4, 1).repeat(4, 2)
    noisy = persons[np.arange(48) % 12] + random.normal(0, 20, (48, 16, 16, 3))
    pixels, labels = noisy.clip(0, 255).astype(np.uint8), np.arange(48) % 12
    return LabelledFaces(pixels, labels, tuple(map(str, range(12))), content_sha256(pixels, labels))
