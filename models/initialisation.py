"""Fresh weights that keep a signal alive through a deep network before it is trained."""

from __future__ import annotations

from torch import nn


def he_normal(backbone: nn.Module) -> None:
    """Draws all convolutions and linear layers of `backbone` in place, from torch's generator; biases are 0.

    The variance is 2 / fan-in, so that a ReLU's output is as large as its input, depthwise layers included.
    Source: He et al., Delving Deep into Rectifiers, ICCV 2015, eq. 10.
    """
    for layer in backbone.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
