"""SqueezeNet for faces: the small network that SqueezerFaceNet prunes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from .initialisation import he_normal

# Channels of the squeeze layer, and of each of the two expand layers: fire2 to fire9 of SqueezeNet 1.1.
FIRES = {2: (16, 64), 3: (16, 64), 4: (32, 128), 5: (32, 128), 6: (48, 192), 7: (48, 192), 8: (64, 256), 9: (64, 256)}

TORCHVISION_FIRES = (3, 4, 6, 7, 9, 10, 11, 12)  # their places in the features of torchvision's squeezenet1_1

# The fires that are followed by a pool, besides the one after conv1.
POOLS = {"late": (4, 8), "early": (3, 5)}


def squeezefacenet(pools: Literal["late", "early"] = "late") -> nn.Module:
    """Gives a fresh SqueezeNet with batch norms: (N, 3, 113, 113) to (N, 1000), 1,243,384 parameters.

    conv1 has stride 1, every convolution is followed by a batch norm and a ReLU, and the embedding is the global
    average of conv10. Three details follow the weight file of the authors' earlier SqueezeFacePoseNet: conv10 has a
    ReLU too, so that no embedding is negative; the places of the pools; and a dropout before conv10.

    Args:
        pools: `late`, after fire4 and fire8, as in that file: maps of 113, 56, 27 and 13, 687 M MACs.
            `early`, after fire3 and fire5, as in SqueezeNet 1.1: 353 M MACs.

    Raises:
        ValueError: There are no such pools.

    Source: Alonso-Fernandez et al., SqueezerFaceNet, arXiv 2307.10697; SqueezeFacePoseNet, arXiv 2007.08566.
    """
    if pools not in POOLS:
        raise ValueError(f"squeezefacenet has no pools {pools!r}; known: {', '.join(sorted(POOLS))}")
    return SqueezeFaceNet(POOLS[pools])


class SqueezeFaceNet(nn.Module):
    """SqueezeNet 1.1 with batch norms, first stride 1, and conv10's average as its embedding."""

    def __init__(self, pooled_fires: tuple[int, ...]) -> None:
        """Draws fresh weights."""
        super().__init__()
        layers: list[nn.Module] = []
        entering = 64
        for number, (squeezed, expanded) in FIRES.items():
            layers.append(Fire(entering, squeezed, expanded))
            entering = 2 * expanded
            if number in pooled_fires:
                layers.append(nn.MaxPool2d(3, stride=2))
        self.conv1 = conv_norm_relu(3, 64, 3)
        self.pool1 = nn.MaxPool2d(3, stride=2)
        self.fires = nn.Sequential(*layers)
        self.dropout = nn.Dropout(0.5)
        self.conv10 = conv_norm_relu(entering, 1000, 1)
        self.average = nn.AdaptiveAvgPool2d(1)
        he_normal(self)

    def forward(self, faces: Tensor) -> Tensor:
        """Embeds (N, 3, 113, 113)."""
        x: Tensor = self.conv1(faces)  # (N, 64, 113, 113)
        x = self.pool1(x)  # (N, 64, 56, 56)
        x = self.fires(x)  # late: (N, 256, 27, 27) after fire4, (N, 512, 13, 13) after fire8 and fire9
        x = self.conv10(self.dropout(x))  # (N, 1000, 13, 13)
        x = self.average(x).flatten(1)  # (N, 1000)
        return x


class Fire(nn.Module):
    """Narrows to a few channels, then widens by 1x1 and 3x3 side by side."""

    def __init__(self, entering: int, squeezed: int, expanded: int) -> None:
        """Takes (N, entering, H, W) to (N, 2 * expanded, H, W)."""
        super().__init__()
        self.squeeze = conv_norm_relu(entering, squeezed, 1)
        self.expand1x1 = conv_norm_relu(squeezed, expanded, 1)
        self.expand3x3 = conv_norm_relu(squeezed, expanded, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Filters (N, entering, H, W)."""
        x = self.squeeze(x)
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], dim=1)


def conv_norm_relu(entering: int, leaving: int, kernel: int) -> nn.Sequential:
    """Gives a convolution with bias, as in SqueezeNet, its batch norm and its ReLU."""
    return nn.Sequential(nn.Conv2d(entering, leaving, kernel, padding=kernel // 2), nn.BatchNorm2d(leaving), nn.ReLU())


def torchvision_names(backbone: nn.Module) -> dict[str, str]:
    """Gives, by torchvision's names of squeezenet1_1's tensors, this network's."""
    fires = [name for name, layer in backbone.named_modules() if isinstance(layer, Fire)]
    layers = {"features.0": "conv1.0", "classifier.1": "conv10.0"}
    for place, fire in zip(TORCHVISION_FIRES, fires, strict=True):
        for part in ("squeeze", "expand1x1", "expand3x3"):
            layers[f"features.{place}.{part}"] = f"{fire}.{part}.0"
    return {f"{theirs}.{tensor}": f"{own}.{tensor}" for theirs, own in layers.items() for tensor in ("weight", "bias")}
