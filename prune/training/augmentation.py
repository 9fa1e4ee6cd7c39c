"""Augmented crops, varied as photos and phones vary: each is determined by a seed and its number."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ...faces.contract import Faces
from ...faces.folders import FaceSource


@dataclass(frozen=True)
class Crops:
    """`variants` crops of each face, made on access.

    Crop i shows face i % N. The first N are the faces as they are, the others are augmented. The same seed and number
    give the same pixels, in any order of access and in any process.
    """

    faces: FaceSource  # (N, H, W, 3)
    variants: int
    seed: int

    def __len__(self) -> int:
        """The number of all variants of all faces."""
        return self.variants * len(self.faces)

    def __getitem__(self, chosen: NDArray[np.int64]) -> Faces:
        """Gives crops (n, H, W, 3) uint8."""
        crops = self.faces[chosen % len(self.faces)]
        varied = np.flatnonzero(chosen >= len(self.faces))
        if len(varied):
            dice = [np.random.default_rng((self.seed, int(number))) for number in chosen[varied]]
            others = np.array([die.integers(len(self.faces)) for die in dice])
            crops = crops.copy()
            crops[varied] = augment(crops[varied], lambda rows: self.faces[others[rows]], dice)
        return crops


def augment(faces: Faces, others: Callable[[NDArray[np.int64]], Faces], dice: list[np.random.Generator]) -> Faces:
    """Varies crops as alignment, cameras and light do.

    Half of them are flipped; each is turned up to 6 degrees, scaled by 8 %, shifted by 4 pixels of 112, and changed in
    contrast, brightness and colour. Then at most one of: blur (15 %), noise (10 %), an even mix with one of `others`
    (10 %), a grey square (7 %), no colour (4 %).

    Args:
        faces: (N, H, W, 3) uint8.
        others: Gives the faces (n, H, W, 3) to mix into the crops of some rows (n,); asked for those that need one.
        dice: N generators, one per crop, so that a crop does not depend on its neighbours.

    Returns:
        (N, H, W, 3) uint8.
    """
    height, width = faces.shape[1:3]
    rolls = torch.from_numpy(np.stack([die.random(18, np.float32) for die in dice]))

    def uniform(low: float, high: float, *columns: int) -> Tensor:
        return low + (high - low) * rolls[:, columns]

    x = _warped(torch.from_numpy(faces).permute(0, 3, 1, 2).float(), rolls[:, :8])
    x = (x - 128) * uniform(0.7, 1.25, 8)[..., None, None] + 128 + uniform(-30, 30, 9)[..., None, None]
    x = x * uniform(0.92, 1.08, 10, 11, 12)[..., None, None]
    mixed = [i for i, share in enumerate(rolls[:, 13].tolist()) if 0.25 <= share < 0.35]
    partners = dict(zip(mixed, others(np.array(mixed)), strict=True)) if mixed else {}
    for i, (share, amount, down, right) in enumerate(rolls[:, 13:17].tolist()):
        if share < 0.15:
            x[i] = _blurred(x[i], 0.5 + 1.1 * amount)
        elif share < 0.25:
            x[i] += (2 + 10 * amount) * torch.from_numpy(dice[i].standard_normal(x.shape[1:], np.float32))
        elif share < 0.35:
            x[i] = (x[i] + torch.from_numpy(partners[i]).permute(2, 0, 1)) / 2
        elif share < 0.42:
            side_y, side_x = height * 2 // 7, width * 2 // 7
            top, left = int(down * (height - side_y)), int(right * (width - side_x))
            x[i, :, top : top + side_y, left : left + side_x] = 255 * amount
        elif share < 0.46:
            x[i] = x[i].mean(0, keepdim=True)
    return x.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def _warped(x: Tensor, rolls: Tensor) -> Tensor:
    """Flips, turns, scales and shifts (N, 3, H, W); half of them are mirrored beyond the edge, half are black there."""
    flip = torch.where(rolls[:, 0] < 0.5, -1.0, 1.0)
    angle = (12 * rolls[:, 1] - 6) * (math.pi / 180) * (rolls[:, 2] < 0.7)
    zoom = (0.16 * rolls[:, 3] - 0.08).exp()
    cosine, sine, shift = zoom * angle.cos(), zoom * angle.sin(), (2 * rolls[:, 4:6] - 1) * 8 / 112
    theta = torch.stack(
        [torch.stack([cosine * flip, -sine, shift[:, 0]], 1), torch.stack([sine * flip, cosine, shift[:, 1]], 1)], 1
    )
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    mirrored = rolls[:, 6] < 0.5
    warped = torch.empty_like(x)
    for mask, padding in ((mirrored, "reflection"), (~mirrored, "zeros")):
        if mask.any():
            warped[mask] = F.grid_sample(x[mask], grid[mask], padding_mode=padding, align_corners=False)
    return warped


def _blurred(image: Tensor, sigma: float) -> Tensor:
    reach = min(max(1, round(3 * sigma)), min(image.shape[1:]) - 1)
    line = torch.exp(-torch.arange(-reach, reach + 1).square() / (2 * sigma**2))
    line = (line / line.sum()).expand(3, 1, 1, -1)
    padded = F.pad(image[None], (reach,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, line, groups=3), line.transpose(2, 3), groups=3)[0]
