"""VGG16 for faces, on torchvision's thirteen convolutions."""

from __future__ import annotations

from torch import Tensor, nn

from .initialisation import he_normal
from .torchvision_shim import import_torchvision


def vgg16(embedding_size: int = 512) -> nn.Module:
    """Gives a fresh VGG16: (N, 3, 112, 112) to (N, embedding_size), 14,977,344 parameters by default.

    The convolutions have torchvision's names, and its ImageNet weights fit them. A global average and one linear layer
    replace the layers of 4096, nine tenths of the original's 138 M parameters. That layer also keeps the embedding's
    size when the last convolution is pruned, the one that loses most in Diba & Khosravi 2024. 3.84 G MACs.

    Raises:
        ValueError: The size leaves no embedding.

    Source: Simonyan & Zisserman, arXiv 1409.1556; pruned by Diba & Khosravi, IASC 2023 38(3), table 4.
    """
    if embedding_size < 1:
        raise ValueError(f"embedding_size {embedding_size} leaves no embedding; 512 is the default")
    return VGG16(embedding_size)


class VGG16(nn.Module):
    """Thirteen 3x3 convolutions, a global average, a linear embedding."""

    def __init__(self, embedding_size: int) -> None:
        """Draws fresh weights."""
        super().__init__()
        import_torchvision()
        from torchvision.models.vgg import cfgs, make_layers

        self.features: nn.Sequential = make_layers(cfgs["D"])
        self.average = nn.AdaptiveAvgPool2d(1)
        self.embedding = nn.Linear(512, embedding_size)
        he_normal(self)

    def forward(self, faces: Tensor) -> Tensor:
        """Embeds (N, 3, 112, 112)."""
        x: Tensor = self.features(faces)  # (N, 64, 56, 56) .. (N, 512, 7, 7), (N, 512, 3, 3)
        x = self.average(x).flatten(1)  # (N, 512)
        x = self.embedding(x)  # (N, D)
        return x
