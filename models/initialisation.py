"""Initial weights that keep activations in range through a deep network; and networks without any."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


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


@contextlib.contextmanager
def shapes_alone() -> Iterator[None]:
    """Makes the networks that are built inside of shapes on the device "meta": they take no memory and have no weights.

    Torch draws normal numbers for such tensors, which hold none, by way of its compiler, whose import takes as long as
    that of torch itself; so none are drawn.
    """
    with torch.device("meta"), _Undrawn():
        yield


class _Undrawn(TorchFunctionMode):
    """Leaves a tensor without memory as it is where normal numbers are to fill it."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        arguments: Sequence[Any] = (),
        keywords: Mapping[str, Any] | None = None,
    ) -> Any:
        if function is torch.Tensor.normal_ and arguments[0].is_meta:
            return arguments[0]
        return function(*arguments, **(keywords or {}))
