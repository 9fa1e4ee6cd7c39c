"""ONNX operators that become layers: what has weights, and the activations that other stages look for."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .imported_node import Compute, ImportedNode, Operation
from .view import clip_bounds

CONVOLUTIONS: dict[int, Callable[..., nn.Module]] = {3: nn.Conv1d, 4: nn.Conv2d}
TRANSPOSED: dict[int, Callable[..., nn.Module]] = {3: nn.ConvTranspose1d, 4: nn.ConvTranspose2d}


def filled(layer: nn.Module, **tensors: Tensor | None) -> nn.Module:
    """Gives `layer` with these parameters and buffers."""
    with torch.no_grad():
        for name, values in tensors.items():
            if values is not None:
                getattr(layer, name).copy_(values.reshape(getattr(layer, name).shape))
    return layer


def padding_of(node: ImportedNode, kernel: list[int]) -> tuple[list[int], list[int]]:
    """Gives the pixels to add before and after each side of a convolution's or pool's image."""
    rank, size = len(kernel), node.shape()[2:]
    strides = node.integers("strides") or [1] * rank
    dilations = node.integers("dilations") or [1] * rank
    how = node.attribute("auto_pad", "NOTSET")
    if how in ("SAME_UPPER", "SAME_LOWER"):
        totals = [
            max(0, (math.ceil(side / stride) - 1) * stride + (width - 1) * dilation + 1 - side)
            for side, stride, width, dilation in zip(size, strides, kernel, dilations, strict=True)
        ]
        less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
        return (less, more) if how == "SAME_UPPER" else (more, less)
    pads = node.integers("pads") or [0] * 2 * rank
    return pads[:rank], pads[rank:]


def padded(before: list[int], after: list[int], value: float = 0.0) -> Compute:
    """Gives the function that adds so many pixels of `value` before and after the last sides."""
    sides = [count for pair in zip(reversed(before), reversed(after), strict=True) for count in pair]
    return partial(F.pad, pad=sides, value=value)


def _conv(node: ImportedNode) -> Operation:
    weight = node.weight(1)
    if node.rank() not in CONVOLUTIONS:
        raise node.refuse(f"convolves values with {node.rank()} sides")
    bias, groups, kernel = node.weight(2) if node.has(2) else None, node.attribute("group", 1), list(weight.shape[2:])
    before, after = padding_of(node, kernel)
    layer = CONVOLUTIONS[node.rank()](
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(kernel),
        stride=tuple(node.integers("strides") or [1] * len(kernel)),
        padding=tuple(before) if before == after else 0,
        dilation=tuple(node.integers("dilations") or [1] * len(kernel)),
        groups=groups,
        bias=bias is not None,
    )
    prepare = None if before == after else padded(before, after)
    return Operation(filled(layer, weight=weight, bias=bias), prepare=prepare)


def _conv_transpose(node: ImportedNode) -> Operation:
    weight = node.weight(1)
    if node.rank() not in TRANSPOSED:
        raise node.refuse(f"convolves values with {node.rank()} sides")
    bias, groups, kernel = node.weight(2) if node.has(2) else None, node.attribute("group", 1), list(weight.shape[2:])
    pads = node.integers("pads") or [0] * 2 * len(kernel)
    before, after = pads[: len(kernel)], pads[len(kernel) :]
    if before != after:
        raise node.refuse("pads its result unevenly")
    layer = TRANSPOSED[node.rank()](
        weight.shape[0],
        weight.shape[1] * groups,
        tuple(kernel),
        stride=tuple(node.integers("strides") or [1] * len(kernel)),
        padding=tuple(before),
        output_padding=tuple(node.integers("output_padding") or [0] * len(kernel)),
        groups=groups,
        bias=bias is not None,
        dilation=tuple(node.integers("dilations") or [1] * len(kernel)),
    )
    return Operation(filled(layer, weight=weight, bias=bias))


def _batch_norm(node: ImportedNode) -> Operation:
    if not node.attribute("spatial", 1):
        raise node.refuse("normalises each pixel by itself")
    scale = node.weight(1)
    kind = nn.BatchNorm2d if node.rank() == 4 else nn.BatchNorm1d
    layer = kind(len(scale), eps=node.attribute("epsilon", 1e-5))
    return Operation(
        filled(layer, weight=scale, bias=node.weight(2), running_mean=node.weight(3), running_var=node.weight(4))
    )


def _gemm(node: ImportedNode) -> Operation:
    """A linear layer where the matrix is a weight; else the product as it is written."""
    alpha, beta = float(node.attribute("alpha", 1.0)), float(node.attribute("beta", 1.0))
    flip, flip_right = bool(node.attribute("transA", 0)), bool(node.attribute("transB", 0))
    if flip or not node.is_weight(1) or (node.has(2) and node.view.producer(node.node.input[2]) is not None):
        return Operation(partial(_product, alpha, beta, flip, flip_right), node.given())
    weight = alpha * (node.weight(1) if flip_right else node.weight(1).T)
    bias = beta * node.weight(2) if node.has(2) else None
    if bias is not None and bias.numel() not in (1, len(weight)):
        raise node.refuse("adds a matrix where a bias has one number per output")
    return Operation(_linear(weight, bias))


def _product(
    alpha: float, beta: float, flip: bool, flip_right: bool, left: Tensor, right: Tensor, plus: Tensor | float = 0.0
) -> Tensor:
    product = (left.T if flip else left) @ (right.T if flip_right else right)
    product = product if alpha == 1 else alpha * product
    return product if isinstance(plus, float) and plus == 0 else product + (plus if beta == 1 else beta * plus)


def _matmul(node: ImportedNode) -> Operation:
    """A linear layer where the right side is a matrix of weights, with the bias that is added to it; else a product."""
    if not node.is_weight(1) or node.is_weight(0) or node.rank(1) != 2:
        return Operation(torch.matmul, (0, 1))
    weight = node.weight(1).T
    add = node.view.sole_consumer(node.node.output[0])
    if add is not None and add.op_type == "Add":
        names = [name for name in add.input if name in node.weights]
        bias = node.weights[names[0]] if len(names) == 1 else np.zeros(0)
        if bias.size == bias.shape[-1] == len(weight) and bias.ndim <= node.rank():
            return Operation(_linear(weight, torch.from_numpy(np.array(bias, np.float32))), follower=add)
    return Operation(_linear(weight, None))


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Module:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    return filled(layer, weight=weight, bias=None if bias is None else bias.reshape(-1).expand(len(weight)))


def _prelu(node: ImportedNode) -> Operation:
    if not node.is_weight(1):
        return Operation(_leak, (0, 1))
    slopes, shape = node.weight(1), node.shape()
    along = len(shape) - slopes.ndim  # ONNX aligns shapes from the right
    sides = [1] * along + list(slopes.shape)
    channels = len(shape) > 1 and slopes.numel() == sides[1] == shape[1] if along >= 0 else False
    if slopes.numel() != 1 and not channels:
        return Operation(_leak, (0, 1))
    return Operation(filled(nn.PReLU(slopes.numel()), weight=slopes))


def _leak(x: Tensor, slopes: Tensor | float) -> Tensor:
    return torch.where(x < 0, x * slopes, x)


def _layer_norm(node: ImportedNode) -> Operation:
    sides = list(node.shape()[node.axis(-1) :])
    if node.weight(1).numel() != math.prod(sides) or (node.has(2) and node.weight(2).numel() != math.prod(sides)):
        raise node.refuse("has fewer scales than it normalises")
    layer = nn.LayerNorm(sides, eps=node.attribute("epsilon", 1e-5), bias=node.has(2))
    return Operation(filled(layer, weight=node.weight(1), bias=node.weight(2) if node.has(2) else None))


def _rms_norm(node: ImportedNode) -> Operation:
    sides = node.shape()[node.axis(-1) :]
    if node.is_weight(1) and node.weight(1).numel() != math.prod(sides):
        raise node.refuse("has fewer scales than it normalises")
    return Operation(partial(_by_mean_square, len(sides), node.attribute("epsilon", 1e-5)), (0, 1))


def _by_mean_square(axes: int, epsilon: float, x: Tensor, scale: Tensor | float) -> Tensor:
    """In operators that are traced one by one: cut channels go through them, and the scale is cut with them."""
    mean = x.pow(2).mean(list(range(-axes, 0)), keepdim=True)
    return x * torch.rsqrt(mean + epsilon) * scale


def _instance_norm(node: ImportedNode) -> Operation:
    kind = nn.InstanceNorm2d if node.rank() == 4 else nn.InstanceNorm1d
    layer = kind(node.shape()[1], eps=node.attribute("epsilon", 1e-5), affine=True)
    return Operation(filled(layer, weight=node.weight(1), bias=node.weight(2)))


def _group_norm(node: ImportedNode) -> Operation:
    groups, channels = int(node.attribute("num_groups")), node.shape()[1]
    layer = nn.GroupNorm(groups, channels, eps=node.attribute("epsilon", 1e-5))
    scale, shift = (node.weight(place).repeat_interleave(channels // node.weight(place).numel()) for place in (1, 2))
    return Operation(filled(layer, weight=scale, bias=shift))  # before opset 21 they are one per group


def _relu(node: ImportedNode) -> Operation:
    return Operation(nn.ReLU())


def _leaky_relu(node: ImportedNode) -> Operation:
    return Operation(nn.LeakyReLU(node.attribute("alpha", 0.01)))


def _clip(node: ImportedNode) -> Operation:
    low, high = clip_bounds(node.node, node.constant(1), node.constant(2))
    if (low, high) == (0.0, 6.0):
        return Operation(nn.ReLU6())
    bounds = {name: bound for name, bound in (("min", low), ("max", high)) if math.isfinite(bound)}
    return Operation(partial(torch.clamp, **bounds) if bounds else torch.clone)


LAYERS: dict[str, Callable[[ImportedNode], Operation]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "BatchNormalization": _batch_norm,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "PRelu": _prelu,
    "LayerNormalization": _layer_norm,
    "InstanceNormalization": _instance_norm,
    "GroupNormalization": _group_norm,
    "RMSNormalization": _rms_norm,
    "Relu": _relu,
    "LeakyRelu": _leaky_relu,
    "Clip": _clip,
}
"""By operator, what makes the layer."""
