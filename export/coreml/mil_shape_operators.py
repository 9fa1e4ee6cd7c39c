"""What the operators of a Core ML program that change shapes compute, in PyTorch: a part of the evaluator's table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Inputs = dict[str, Any]
"""An operator's inputs by the names of Apple's MIL reference."""


def padded_axes(x: Tensor, pad: list[int], value: float, mode: str = "constant") -> Tensor:
    """Widens the last axes of `x` by `pad`, start and end of each."""
    if not any(pad):
        return x
    last_axis_first = [pad[axis + end] for axis in range(len(pad) - 2, -1, -2) for end in (0, 1)]
    return F.pad(x, last_axis_first, mode, value) if mode == "constant" else F.pad(x, last_axis_first, mode)


def _expand_dims(i: Inputs) -> Tensor:
    """Adds axes of size one; they are counted in the result."""
    x: Tensor = i["x"]
    rank = x.ndim + len(i["axes"])
    for axis in sorted(axis % rank for axis in i["axes"]):
        x = x.unsqueeze(axis)
    return x


def _pad(i: Inputs) -> Tensor:
    """Widens the last axes by `pad`, start and end of each."""
    mode = i.get("mode", "constant")
    ends = list(i["pad"])
    if mode != "constant":  # torch knows the other modes for spatial axes only
        ends = ends[-2 * (i["x"].ndim - 2) :]
    return padded_axes(i["x"], ends, float(i.get("constant_val", 0)), mode)


def _factors(i: Inputs) -> tuple[float, float]:
    return float(i.get("scale_factor_height", 1)), float(i.get("scale_factor_width", 1))


def _upsample_bilinear(i: Inputs) -> Tensor:
    """Widens height and width linearly, from corner to corner or between the middles of pixels."""
    if not (corners := i.get("align_corners", True)) and not i.get("half_pixel_centers", True):
        raise ValueError("the evaluator counts linear places from corners or from the middles of pixels")
    return F.interpolate(i["x"], scale_factor=_factors(i), mode="bilinear", align_corners=bool(corners))


def _resize_bilinear(i: Inputs) -> Tensor:
    """Gives height and width any size, on the grids of Apple's reference."""
    size = int(i["target_size_height"]), int(i["target_size_width"])
    mode = i.get("sampling_mode", "DEFAULT")
    if mode in ("STRICT_ALIGN_CORNERS", "UNALIGN_CORNERS"):
        return F.interpolate(i["x"], size, mode="bilinear", align_corners=mode == "STRICT_ALIGN_CORNERS")
    if mode != "DEFAULT":
        raise ValueError(f"the evaluator does not resize with sampling mode {mode}")
    x: Tensor = i["x"]
    for axis, after in ((2, size[0]), (3, size[1])):
        before = x.shape[axis]
        places = (torch.arange(after) * before / after).clamp(0, before - 1)
        low = places.floor().long()
        share = (places - low).reshape([-1, 1][: 4 - axis])
        above = x.index_select(axis, (low + 1).clamp(max=before - 1))
        x = x.index_select(axis, low) * (1 - share) + above * share
    return x


def _depth_to_space(i: Inputs) -> Tensor:
    """Spreads channels over blocks of pixels; which pixel is the channel's outer place."""
    x, size = i["x"], int(i["block_size"])
    faces, channels, height, width = x.shape
    x = x.reshape(faces, size, size, channels // size**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(faces, channels // size**2, height * size, width * size)  # type: ignore[no-any-return]


def _space_to_depth(i: Inputs) -> Tensor:
    """Collects blocks of pixels in channels; which pixel is the channel's outer place."""
    x, size = i["x"], int(i["block_size"])
    faces, channels, height, width = x.shape
    x = x.reshape(faces, channels, height // size, size, width // size, size).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(faces, channels * size**2, height // size, width // size)  # type: ignore[no-any-return]


def _concat(i: Inputs) -> Tensor:
    """Joins along one axis, one after the other or (a channel shuffle) one of each in turns.

    A constant among computed values, such as a class token, is joined to each face.
    """
    parts, axis = i["values"], i["axis"] % i["values"][0].ndim
    if axis and len(faces := {part.shape[0] for part in parts}) > 1:
        parts = [part.expand(max(faces), *part.shape[1:]) for part in parts]
    if i.get("interleave", False):
        return torch.stack(parts, axis + 1).flatten(axis, axis + 1)
    return torch.cat(parts, axis)


def _split(i: Inputs) -> tuple[Tensor, ...]:
    """Cuts one axis into parts, of given sizes or alike."""
    axis: int = i["axis"]
    sizes = i.get("split_sizes") or i["x"].shape[axis] // i["num_splits"]
    return tuple(torch.split(i["x"], sizes, axis))


def _gather(i: Inputs) -> Tensor:
    """Takes entries of one axis, which becomes the axes of the indices."""
    x, indices = i["x"], torch.tensor(i["indices"])
    axis = i.get("axis", 0) % x.ndim
    taken = torch.index_select(x, axis, indices.reshape(-1))
    return taken.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _slice_by_index(i: Inputs) -> Tensor:
    """Cuts out begin to end of each axis, by a positive stride."""
    x: Tensor = i["x"]
    none = [False] * x.ndim
    from_start, to_end, one = (i.get(mask, none) for mask in ("begin_mask", "end_mask", "squeeze_mask"))
    strides = i.get("stride", [1] * x.ndim)
    if min(strides) < 1:
        raise ValueError("the evaluator does not slice backwards")
    cuts: list[int | slice] = []
    for axis in range(x.ndim):
        begin = None if from_start[axis] else i["begin"][axis]
        end = None if to_end[axis] else i["end"][axis]
        cuts.append(i["begin"][axis] if one[axis] else slice(begin, end, strides[axis]))
    return x[tuple(cuts)]


SHAPES: dict[str, Callable[[Inputs], Tensor | tuple[Tensor, ...]]] = {
    "reshape": lambda i: i["x"].reshape(i["shape"]),
    "transpose": lambda i: i["x"].permute(i["perm"]),
    "squeeze": lambda i: i["x"].squeeze(i["axes"]) if "axes" in i else i["x"].squeeze(),
    "expand_dims": _expand_dims,
    "concat": _concat,
    "tile": lambda i: i["x"].repeat(i["reps"]),
    "pad": _pad,
    "upsample_nearest_neighbor": lambda i: F.interpolate(i["x"], scale_factor=_factors(i), mode="nearest"),
    "upsample_bilinear": _upsample_bilinear,
    "resize_bilinear": _resize_bilinear,
    "depth_to_space": _depth_to_space,
    "pixel_shuffle": lambda i: F.pixel_shuffle(i["x"], int(i["upscale_factor"])),
    "space_to_depth": _space_to_depth,
    "split": _split,
    "slice_by_index": _slice_by_index,
    "gather": _gather,
}
