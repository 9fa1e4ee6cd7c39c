"""ResNet50V2: residual blocks with normalisation and activation before each convolution."""

from __future__ import annotations

from torch import Tensor, nn

from .initialisation import he_normal

# Squeezed channels, blocks, and the stride of the LAST block, as in Keras, whose net Diba & Khosravi prune.
STAGES = ((64, 3, 2), (128, 4, 2), (256, 6, 2), (512, 3, 1))


def resnet50v2(embedding_size: int = 512) -> nn.Module:
    """Gives a fresh ResNet50V2: (N, 3, 112, 112) to (N, embedding_size), 24,568,448 parameters by default.

    The layers are those of Keras; only the first has stride 1, so that a 112x112 crop has maps of 56 to 7 and the
    3.5 G MACs (7.0 B FLOPs) of the paper. A linear layer makes the embedding from the global average. The paper gives
    neither the input's nor the embedding's size; these are ArcFace's.

    Raises:
        ValueError: The size leaves no embedding.

    Source: He et al., Identity Mappings, ECCV 2016; pruned by Diba & Khosravi, IASC 2023 38(3), table 5.
    """
    if embedding_size < 1:
        raise ValueError(f"embedding_size {embedding_size} leaves no embedding; 512 is the default")
    return ResNet50V2(embedding_size)


class ResNet50V2(nn.Module):
    """Keras's ResNet50V2 with first stride 1 and a linear embedding."""

    def __init__(self, embedding_size: int) -> None:
        """Draws fresh weights."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, padding=3)
        self.pool1 = nn.MaxPool2d(3, stride=2, padding=1)
        blocks: list[nn.Module] = []
        entering = 64
        for squeezed, repeats, last_stride in STAGES:
            for i in range(repeats):
                blocks.append(Block(entering, squeezed, last_stride if i == repeats - 1 else 1))
                entering = 4 * squeezed
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(entering)
        self.relu = nn.ReLU()
        self.average = nn.AdaptiveAvgPool2d(1)
        self.embedding = nn.Linear(entering, embedding_size)
        he_normal(self)

    def forward(self, faces: Tensor) -> Tensor:
        """Embeds (N, 3, 112, 112)."""
        x: Tensor = self.pool1(self.conv1(faces))  # (N, 64, 56, 56)
        x = self.blocks(x)  # (N, 256, 28, 28), (N, 512, 14, 14), (N, 1024, 7, 7), (N, 2048, 7, 7)
        x = self.relu(self.norm(x))  # (N, 2048, 7, 7)
        x = self.average(x).flatten(1)  # (N, 2048)
        x = self.embedding(x)  # (N, D)
        return x


class Block(nn.Module):
    """Narrows, filters, widens; adds its input, by a convolution where the channels change."""

    def __init__(self, entering: int, squeezed: int, stride: int) -> None:
        """Takes (N, entering, H, W) to (N, 4 * squeezed, H / stride, W / stride)."""
        super().__init__()
        leaving = 4 * squeezed
        self.norm1 = nn.BatchNorm2d(entering)
        self.conv1 = nn.Conv2d(entering, squeezed, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(squeezed)
        self.conv2 = nn.Conv2d(squeezed, squeezed, 3, stride, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(squeezed)
        self.conv3 = nn.Conv2d(squeezed, leaving, 1)
        self.relu = nn.ReLU()
        self.projected = entering != leaving
        self.shortcut: nn.Module
        if self.projected:
            self.shortcut = nn.Conv2d(entering, leaving, 1, stride)
        elif stride > 1:
            self.shortcut = nn.MaxPool2d(1, stride)
        else:
            self.shortcut = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Filters (N, entering, H, W)."""
        activated = self.relu(self.norm1(x))
        around: Tensor = self.shortcut(activated if self.projected else x)
        y: Tensor = self.conv1(activated)
        y = self.conv2(self.relu(self.norm2(y)))
        y = self.conv3(self.relu(self.norm3(y)))
        return around + y
