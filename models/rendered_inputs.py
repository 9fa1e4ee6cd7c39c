"""Rendered faces as a network takes them, for proofs that it computes the same as another."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..faces.contract import InputContract


def rendered_inputs(contract: InputContract, count: int) -> Tensor:
    """Gives a face of each of `count` people, preprocessed: (count, C, H, W) float32.

    A proof on faces says more than one on noise: what no network was trained for may drive it to where float32 sums in
    another order differ by a thousand times as much.

    Args:
        contract: Of the network; any size.
        count: How many.

    Returns:
        The same numbers in every call.
    """
    from ..faces.rendering.synthetic import synthetic_faces  # which loads SciPy

    crops, _ = synthetic_faces(count, 1)
    pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
    sized = nn.functional.interpolate(pixels, (contract.height, contract.width), mode="bilinear")
    return torch.from_numpy(contract.preprocess(sized.permute(0, 2, 3, 1).byte().numpy()))
