"""MobileFaceNet: one million parameters, made for faces on phones."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from .initialisation import he_normal

# Source: Chen et al., MobileFaceNets, arXiv 1804.07573, table 1: expansion, channels, repeats, first stride.
BOTTLENECKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))


def mobilefacenet(
    embedding_size: int = 128, activation: Literal["prelu", "relu6"] = "prelu", width: float = 1.0
) -> nn.Module:
    """Gives a fresh MobileFaceNet: (N, 3, 112, 112) to (N, embedding_size), 1,003,136 parameters by default.

    Args:
        embedding_size: D.
        activation: `prelu` has one slope per channel, as in the paper; `relu6` is easier on int8.
        width: Multiplies all channels but the embedding's; each is rounded to a multiple of 8.

    Raises:
        ValueError: An argument is out of range.
    """
    if activation not in ("prelu", "relu6"):
        raise ValueError(f"mobilefacenet has no activation {activation!r}; known: prelu, relu6")
    if embedding_size < 1:
        raise ValueError(f"embedding_size {embedding_size} leaves no embedding; 128 is the paper's")
    if not 0 < width <= 8:
        raise ValueError(f"width {width} makes no MobileFaceNet; it must be above 0 and at most 8, 1 is the paper's")
    return MobileFaceNet(embedding_size, activation, width)


class MobileFaceNet(nn.Module):
    """The network of arXiv 1804.07573, table 1, without normalising its embedding."""

    def __init__(self, embedding_size: int, activation: str, width: float) -> None:
        """Draws fresh weights; channels in the margin are those of width 1."""
        super().__init__()
        stem, top = scaled(64, width), scaled(512, width)
        self.stem = conv_norm_activation(3, stem, 3, stride=2, activation=activation)
        self.depthwise = conv_norm_activation(stem, stem, 3, groups=stem, activation=activation)
        blocks: list[nn.Module] = []
        entering = stem
        for expansion, channels, repeats, first_stride in BOTTLENECKS:
            leaving = scaled(channels, width)
            for i in range(repeats):
                stride = first_stride if i == 0 else 1
                blocks.append(Bottleneck(entering, leaving, expansion, stride, activation))
                entering = leaving
        self.blocks = nn.Sequential(*blocks)
        self.top = conv_norm_activation(entering, top, 1, activation=activation)
        # Not an average: the corner and centre of a face get different weights.
        self.global_depthwise = conv_norm_activation(top, top, 7, groups=top, padding=0)
        self.embedding = conv_norm_activation(top, embedding_size, 1)
        he_normal(self)

    def forward(self, faces: Tensor) -> Tensor:
        """Embeds (N, 3, 112, 112)."""
        x: Tensor = self.stem(faces)  # (N, 64, 56, 56)
        x = self.depthwise(x)  # (N, 64, 56, 56)
        x = self.blocks(x)  # (N, 64, 28, 28), (N, 128, 14, 14), (N, 128, 7, 7)
        x = self.top(x)  # (N, 512, 7, 7)
        x = self.global_depthwise(x)  # (N, 512, 1, 1)
        x = self.embedding(x).flatten(1)  # (N, D)
        return x


class Bottleneck(nn.Module):
    """Widens, filters each channel, narrows without activation; adds its input where the shapes agree."""

    def __init__(self, entering: int, leaving: int, expansion: int, stride: int, activation: str) -> None:
        """Takes (N, entering, H, W) to (N, leaving, H / stride, W / stride)."""
        super().__init__()
        wide = expansion * entering
        self.expand = conv_norm_activation(entering, wide, 1, activation=activation)
        self.depthwise = conv_norm_activation(wide, wide, 3, stride=stride, groups=wide, activation=activation)
        self.project = conv_norm_activation(wide, leaving, 1)
        self.residual = stride == 1 and entering == leaving

    def forward(self, x: Tensor) -> Tensor:
        """Filters (N, entering, H, W)."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


def conv_norm_activation(
    entering: int,
    leaving: int,
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
    padding: int | None = None,
    activation: str = "linear",
) -> nn.Sequential:
    """Gives a convolution, its batch norm and its activation; without `padding` stride 1 keeps the size."""
    padding = kernel // 2 if padding is None else padding
    layers: list[nn.Module] = [
        nn.Conv2d(entering, leaving, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(leaving),
    ]
    if activation == "prelu":
        layers.append(nn.PReLU(leaving))
    elif activation == "relu6":
        layers.append(nn.ReLU6())
    return nn.Sequential(*layers)


def scaled(channels: int, width: float) -> int:
    """Multiplies, and rounds to the nearest multiple of 8, at least 8.

    >>> scaled(64, 0.3)
    16
    """
    return max(8, int(channels * width / 8 + 0.5) * 8)
