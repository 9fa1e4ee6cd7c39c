"""Initial weights that keep activations in range through a deep network."""

from __future__ import annotations

from torch import nn


def he_normal(backbone: nn.Module) -> None:
    """Initialises all convolutions and linear layers of `backbone` in place, from torch's generator; biases are 0.

    The variance is 2 / fan-in, so that the output of layer and ReLU is as large as the input, also in depthwise layers.
    Source: He et al., Delving Deep into Rectifiers, ICCV 2015, eq. 10.
    """
    for layer in backbone.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
