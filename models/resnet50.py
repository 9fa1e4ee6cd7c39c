"""ResNet50 for faces, on torchvision's backbone."""

from __future__ import annotations

from torch import nn

from .initialisation import he_normal
from .torchvision_shim import import_torchvision


def resnet50(first_stride: int = 1) -> nn.Module:
    """Gives a fresh ResNet50: (N, 3, 113, 113) to (N, 2048), 23,508,032 parameters.

    The embedding is the global average. Layers have torchvision's names, and its ImageNet weights fit all but the
    classifier, which is removed.

    Args:
        first_stride: Of conv1; the parts of the paper that could be read do not give it for ResNet50. 1, as in its
            other two networks at 113x113: maps of 113 to 8, 4.62 G MACs. 2, as for ImageNet: 57 to 4, 1.24 G MACs.

    Raises:
        ValueError: The stride is neither.

    Source: He et al., Deep Residual Learning, CVPR 2016; as in Alonso-Fernandez et al., arXiv 2405.18302.
    """
    if first_stride not in (1, 2):
        raise ValueError(f"resnet50 has no first_stride {first_stride!r}; known: 1, 2")
    import_torchvision()
    from torchvision.models import resnet50 as imagenet_resnet50

    network = imagenet_resnet50(weights=None)
    network.conv1.stride = (first_stride, first_stride)
    network.fc = nn.Identity()
    backbone: nn.Module = network
    he_normal(backbone)
    return backbone
