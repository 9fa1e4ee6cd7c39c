"""EdgeFace XXS (George et al., IEEE T-BIOM 2024) as its weights name its layers, for `edgeface.py:edgeface`."""

from typing import Any

from torch import Tensor, nn

from pocketface.models.torchvision_shim import import_torchvision


def edgeface() -> nn.Module:
    """Gives the network without weights: (N, 3, H, W) to (N, 512)."""
    import_torchvision()
    import timm  # imports torchvision by itself, which wants the line above

    return EdgeFace(timm.create_model("edgenext_xx_small"))


class EdgeFace(nn.Module):
    """timm's EdgeNeXt with another last layer, under the name `model`."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        model.reset_classifier(512)
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.model(x)
        return y
