"""What each operator of a Core ML program computes, in PyTorch: the evaluator's table.

Each function takes the operator's inputs by the names of Apple's MIL reference: tensors of float32, and plain
numbers, lists and strings where the program holds constants. Nothing of coremltools' own arithmetic is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .mil_shape_operators import SHAPES, Inputs, padded_axes

Operator = Callable[[Inputs], Tensor | tuple[Tensor, ...]]


# ---- convolution, pooling, dense


def _conv(i: Inputs) -> Tensor:
    """Convolves (N, C, H, W), or with one or three spatial axes; `pad` is start and end of each axis."""
    x, weight = i["x"], i["weight"]
    axes = weight.ndim - 2
    strides, dilations = i.get("strides", [1] * axes), i.get("dilations", [1] * axes)
    pad = _padding(i, x.shape[2:], weight.shape[2:], strides, dilations)
    if pad[::2] == pad[1::2]:
        here = pad[::2]
    else:
        x, here = padded_axes(x, pad, 0.0), [0] * axes
    convolve: Callable[..., Tensor] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[axes]
    return convolve(x, weight, i.get("bias"), strides, here, dilations, i.get("groups", 1))


def _conv_transpose(i: Inputs) -> Tensor:
    """Spreads each pixel of (N, C, H, W) by its kernel; `pad` is cut off at start and end of each axis."""
    x, weight, strides = i["x"], i["weight"], i.get("strides", [1, 1])
    kind = i.get("pad_type", "valid")
    if kind not in ("valid", "custom") or weight.ndim != 4:
        raise ValueError("the evaluator knows transposed convolutions of images, padded by custom numbers")
    whole = F.conv_transpose2d(
        x, weight, i.get("bias"), strides, groups=i.get("groups", 1), dilation=i.get("dilations", [1, 1])
    )
    top, bottom, left, right = list(i["pad"]) if kind == "custom" else [0, 0, 0, 0]
    height, width = whole.shape[2] - top - bottom, whole.shape[3] - left - right
    if "output_shape" in i and [height, width] != list(i["output_shape"])[2:]:
        raise ValueError(f"a transposed convolution that says {i['output_shape']} makes {height} x {width}")
    return whole[:, :, top : top + height, left : left + width]


def _max_pool(i: Inputs) -> Tensor:
    """Takes the largest of each window of (N, C, H, W); padding is lower than every number."""
    kernel, strides, pad = _window(i)
    return F.max_pool2d(padded_axes(i["x"], pad, -math.inf), kernel, strides, ceil_mode=i.get("ceil_mode", False))


def _avg_pool(i: Inputs) -> Tensor:
    """Takes the mean of each window of (N, C, H, W); padding counts as zeros, or not at all."""
    kernel, strides, pad = _window(i)
    ceil = i.get("ceil_mode", False)
    mean = F.avg_pool2d(padded_axes(i["x"], pad, 0.0), kernel, strides, ceil_mode=ceil)
    if not i.get("exclude_padding_from_average", False):
        return mean
    inside = padded_axes(torch.ones_like(i["x"][:1, :1]), pad, 0.0)
    return mean / F.avg_pool2d(inside, kernel, strides, ceil_mode=ceil)


def _window(i: Inputs) -> tuple[list[int], list[int], list[int]]:
    kernel = i["kernel_sizes"]
    if len(kernel) != 2:
        raise ValueError(f"the evaluator pools images, not {len(kernel)} axes")
    strides = i.get("strides", [1, 1])
    return kernel, strides, _padding(i, i["x"].shape[2:], kernel, strides, [1, 1])


def _padding(i: Inputs, sizes: torch.Size, kernel: list[int], strides: list[int], dilations: list[int]) -> list[int]:
    """Gives start and end of each spatial axis: [top, bottom, left, right]."""
    kind = i["pad_type"]
    if kind == "custom":
        return list(i["pad"])
    pad: list[int] = []
    for size, width, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        reach = (width - 1) * dilation + 1
        total = 0 if kind == "valid" else max((-(-size // stride) - 1) * stride + reach - size, 0)
        less, more = total // 2, total - total // 2
        pad += [less, more] if kind == "same" else [more, less]
    return pad


def _matmul(i: Inputs) -> Tensor:
    x, y = i["x"], i["y"]
    product = (x.mT if i.get("transpose_x", False) else x) @ (y.mT if i.get("transpose_y", False) else y)
    return product  # type: ignore[no-any-return]


def _batch_norm(i: Inputs) -> Tensor:
    return F.batch_norm(
        i["x"], i["mean"], i["variance"], i.get("gamma"), i.get("beta"), eps=float(i.get("epsilon", 1e-5))
    )


# ---- elementwise


def _gelu(i: Inputs) -> Tensor:
    """Gives x times the normal distribution function at x, or one of its two approximations."""
    x, mode = i["x"], i.get("mode", "EXACT")
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)  # type: ignore[no-any-return]
    return F.gelu(x, approximate="none" if mode == "EXACT" else "tanh")


def _quantize(i: Inputs) -> Tensor:
    """Gives the integers round(input / scale) + zero_point within the bounds of their type, as floats."""
    scale, zero = _steps(i)
    lowest, highest = {"int8": (-128, 127), "uint8": (0, 255)}[i["output_dtype"]]
    quotient: Tensor = i["input"] / scale
    return quotient.round_().add_(zero).clamp_(lowest, highest)


def _dequantize(i: Inputs) -> Tensor:
    """Gives scale (input - zero_point)."""
    scale, zero = _steps(i)
    return (_tensor(i["input"]) - zero).mul_(scale)


def _steps(i: Inputs) -> tuple[Tensor, Tensor]:
    """Gives scale and zero point, one for all or one for each slice along `axis`."""
    scale, zero = _tensor(i["scale"]), _tensor(i.get("zero_point", 0))
    along = [1] * _tensor(i["input"]).ndim
    if scale.ndim:
        along[i["axis"]] = -1
    return tuple(one.reshape(along) if one.ndim else one for one in (scale, zero))  # type: ignore[return-value]


def _of_two(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda i: function(_tensor(i["x"]), _tensor(i["y"]))


def _of_one(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda i: function(i["x"])


def _tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float32)


# ---- over axes


def reduction(function: Callable[[Tensor, list[int], bool], Tensor]) -> Operator:
    """Gives the operator that reduces its input over axes, all where none are named, by `function`."""
    return lambda i: function(i["x"], i.get("axes", list(range(i["x"].ndim))), i.get("keep_dims", False))


def _l2_norm(i: Inputs) -> Tensor:
    """Divides by the length over the last three axes."""
    squares = (i["x"] * i["x"]).sum((-3, -2, -1), True)
    return i["x"] / torch.sqrt(squares + float(i.get("epsilon", 1e-6)))  # type: ignore[no-any-return]


def _layer_norm(i: Inputs) -> Tensor:
    sizes = [i["x"].shape[axis] for axis in i["axes"]]
    return F.layer_norm(i["x"], sizes, i.get("gamma"), i.get("beta"), float(i.get("epsilon", 1e-5)))


def _instance_norm(i: Inputs) -> Tensor:
    """Normalises each channel of each face by its own mean and variance, then scales and shifts."""
    epsilon = float(i.get("epsilon", 1e-5))
    return F.instance_norm(i["x"], weight=i.get("gamma"), bias=i.get("beta"), eps=epsilon)


OPERATORS: dict[str, Operator] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "linear": lambda i: F.linear(i["x"], i["weight"], i.get("bias")),
    "matmul": _matmul,
    "batch_norm": _batch_norm,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "prelu": lambda i: F.prelu(i["x"], i["alpha"]),
    "leaky_relu": lambda i: F.leaky_relu(i["x"], float(i["alpha"])),
    "relu": _of_one(F.relu),
    "relu6": _of_one(F.relu6),
    "elu": lambda i: F.elu(i["x"], float(i["alpha"])),
    "gelu": _gelu,
    "silu": _of_one(F.silu),
    "softplus": _of_one(F.softplus),
    "softsign": _of_one(F.softsign),
    "sigmoid": _of_one(torch.sigmoid),
    "sigmoid_hard": lambda i: (i["x"] * float(i.get("alpha", 0.2)) + float(i.get("beta", 0.5))).clamp(0, 1),
    "tanh": _of_one(torch.tanh),
    "clip": lambda i: i["x"].clamp(float(i.get("alpha", 0)), float(i.get("beta", 1))),
    "softmax": lambda i: torch.softmax(i["x"], i.get("axis", -1)),
    "add": _of_two(torch.add),
    "sub": _of_two(torch.sub),
    "mul": _of_two(torch.mul),
    "real_div": _of_two(torch.div),
    "maximum": _of_two(torch.maximum),
    "minimum": _of_two(torch.minimum),
    "pow": _of_two(torch.pow),
    "greater": _of_two(torch.gt),
    "greater_equal": _of_two(torch.ge),
    "less": _of_two(torch.lt),
    "less_equal": _of_two(torch.le),
    "equal": _of_two(torch.eq),
    "logical_not": _of_one(torch.logical_not),
    "logical_and": _of_two(torch.logical_and),
    "logical_or": _of_two(torch.logical_or),
    "select": lambda i: torch.where(_tensor(i["cond"]).bool(), _tensor(i["a"]), _tensor(i["b"])),
    "sin": _of_one(torch.sin),
    "cos": _of_one(torch.cos),
    "floor": _of_one(torch.floor),
    "ceil": _of_one(torch.ceil),
    "round": _of_one(torch.round),
    "sign": _of_one(torch.sign),
    "abs": _of_one(torch.abs),
    "erf": _of_one(torch.erf),
    "exp": _of_one(torch.exp),
    "log": lambda i: torch.log(i["x"] + float(i.get("epsilon", 0))),
    "sqrt": _of_one(torch.sqrt),
    "square": _of_one(torch.square),
    "rsqrt": lambda i: torch.rsqrt(i["x"] + float(i.get("epsilon", 0))),
    "inverse": lambda i: 1 / (i["x"] + float(i.get("epsilon", 0))),
    "cast": lambda i: i["x"].clone(),  # the evaluator rounds where the result's type says so
    "identity": lambda i: i["x"],
    "reduce_mean": reduction(lambda x, axes, keep: x.mean(axes, keep)),
    "reduce_sum": reduction(lambda x, axes, keep: x.sum(axes, keep)),
    "reduce_max": reduction(lambda x, axes, keep: x.amax(axes, keep)),
    "reduce_min": reduction(lambda x, axes, keep: x.amin(axes, keep)),
    "reduce_sum_square": reduction(lambda x, axes, keep: (x * x).sum(axes, keep)),
    "reduce_l2_norm": reduction(lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep)),
    "l2_norm": _l2_norm,
    "layer_norm": _layer_norm,
    "instance_norm": _instance_norm,
    **SHAPES,
    "quantize": _quantize,
    "dequantize": _dequantize,
}

# These give only numbers that they were given: nothing to round.
SELECTING = {
    "relu", "relu6", "clip", "maximum", "minimum", "abs", "max_pool", "reduce_max", "identity", "reshape", "transpose",
    "squeeze", "expand_dims", "concat", "tile", "slice_by_index", "split", "gather", "reduce_min", "select",
    "depth_to_space", "pixel_shuffle", "space_to_depth",
}  # fmt: skip
