"""MobileNetV2 for faces, on torchvision's backbone."""

from __future__ import annotations

from torch import nn

from .initialisation import he_normal
from .torchvision_shim import import_torchvision


def mobilenetv2() -> nn.Module:
    """Gives a fresh MobileNetV2: (N, 3, 113, 113) to (N, 1280), 2,223,872 parameters.

    The first convolution has stride 1 instead of 2, so that maps of a crop of half ImageNet's side have the same sizes:
    113, 57, 29, 15, 8. The embedding is the global average. Layers have torchvision's names, and its ImageNet weights
    fit all but the classifier, which is removed. 343 M MACs.

    Source: Sandler et al., MobileNetV2, CVPR 2018; adapted as by Alonso-Fernandez et al., arXiv 2405.18302.
    """
    import_torchvision()
    from torchvision.models import mobilenet_v2

    network = mobilenet_v2(weights=None)
    network.features[0][0].stride = (1, 1)
    network.classifier = nn.Identity()
    backbone: nn.Module = network
    he_normal(backbone)
    return backbone
