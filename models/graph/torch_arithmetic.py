"""ONNX operators that become functions of numbers: activations, arithmetic, comparisons, reductions, pools."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import partial, reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from .imported_node import Compute, ImportedNode, Operation
from .torch_layers import padded, padding_of

Number = Tensor | float


def _plain(compute: Compute) -> Callable[[ImportedNode], Operation]:
    """Gives the operator that hands all its inputs to `compute`."""
    return lambda node: Operation(compute, node.given())


def _with(compute: Compute, **defaults: float) -> Callable[[ImportedNode], Operation]:
    """Gives the operator that hands its attributes to `compute` too; `defaults` are ONNX's."""
    return lambda node: Operation(
        partial(compute, **{name: float(node.attribute(name, value)) for name, value in defaults.items()})
    )


def _hard_sigmoid(x: Tensor, alpha: float, beta: float) -> Tensor:
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return F.hardsigmoid(x)
    return torch.clamp(alpha * x + beta, 0.0, 1.0)


def _selu(x: Tensor, alpha: float, gamma: float) -> Tensor:
    return gamma * F.elu(x, alpha)


def _thresholded(x: Tensor, alpha: float) -> Tensor:
    return torch.where(x > alpha, x, 0.0)


def _swish(x: Tensor, alpha: float) -> Tensor:
    return F.silu(x) if alpha == 1 else x * torch.sigmoid(alpha * x)


def _gelu(node: ImportedNode) -> Operation:
    return Operation(partial(F.gelu, approximate=node.attribute("approximate", "none")))


def _softmax(node: ImportedNode) -> Operation:
    compute = F.softmax if node.kind == "Softmax" else F.log_softmax
    axis = node.axis(-1 if node.opset >= 13 else 1)
    if node.opset >= 13 or axis == node.rank() - 1:
        return Operation(partial(compute, dim=axis))
    return Operation(partial(_of_rest, compute, axis))  # before opset 13: over all sides from the axis on


def _of_rest(compute: Compute, axis: int, x: Tensor) -> Tensor:
    result: Tensor = compute(x.flatten(axis), dim=-1)
    return result.reshape(x.shape)


def _maximum(*values: Number) -> Number:
    return reduce(_larger, values)


def _larger(left: Number, right: Number) -> Number:
    if isinstance(left, Tensor):
        return torch.maximum(left, right) if isinstance(right, Tensor) else left.clamp(min=right)
    return _larger(right, left) if isinstance(right, Tensor) else max(left, right)


def _minimum(*values: Number) -> Number:
    return reduce(_smaller, values)


def _smaller(left: Number, right: Number) -> Number:
    if isinstance(left, Tensor):
        return torch.minimum(left, right) if isinstance(right, Tensor) else left.clamp(max=right)
    return _smaller(right, left) if isinstance(right, Tensor) else min(left, right)


def _sum(*values: Number) -> Number:
    return reduce(operator.add, values)


def _mean(*values: Number) -> Number:
    return _sum(*values) / len(values)


def _reduction(compute: Compute) -> Callable[[ImportedNode], Operation]:
    """Gives the operator that reduces axes, all of them where it names none."""

    def operation(node: ImportedNode) -> Operation:
        axes = node.integers("axes", 1)
        if not axes and node.attribute("noop_with_empty_axes", 0):
            return Operation(_same)
        keep = bool(node.attribute("keepdims", 1))
        everything = list(range(int(keep and node.shape()[:1] == (1,)), node.rank()))  # of each face by itself
        axes = [axis % node.rank() for axis in axes] if axes else everything
        return Operation(partial(compute, axes=axes, keep=keep))

    return operation


def _same(x: Tensor, *_: object) -> Tensor:
    return x


def _reduce_mean(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.mean(axes, keepdim=keep)


def _reduce_sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.sum(axes, keepdim=keep)


def _reduce_max(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.amax(axes, keepdim=keep)


def _reduce_min(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.amin(axes, keepdim=keep)


def _reduce_l1(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.abs().sum(axes, keepdim=keep)


def _reduce_l2(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    result: Tensor = torch.linalg.vector_norm(x, 2, axes, keep)
    return result


def _reduce_squares(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return (x * x).sum(axes, keepdim=keep)


def _reduce_log_sum_exp(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return torch.logsumexp(x, axes, keep)


def _global_powers(node: ImportedNode) -> Operation:
    axes = list(range(2, node.rank()))
    return Operation(partial(_norm_of_axes, float(node.attribute("p", 2)), axes))


def _norm_of_axes(p: float, axes: list[int], x: Tensor) -> Tensor:
    result: Tensor = torch.linalg.vector_norm(x, p, axes, True)
    return result


def _unit_length(node: ImportedNode) -> Operation:
    return Operation(partial(F.normalize, p=float(node.attribute("p", 2)), dim=node.axis(-1)))


def _of_whole_image(average: bool) -> Callable[[ImportedNode], Operation]:
    def operation(node: ImportedNode) -> Operation:
        if node.rank() == 4:
            return Operation(partial(F.adaptive_avg_pool2d if average else F.adaptive_max_pool2d, output_size=1))
        axes = list(range(2, node.rank()))
        return Operation(partial(_reduce_mean if average else _reduce_max, axes=axes, keep=True))

    return operation


def _window(node: ImportedNode) -> tuple[list[int], list[int], list[int], list[int]]:
    """Gives a pool's kernel, strides, and the pixels added before and after."""
    kernel = node.integers("kernel_shape") or []
    if node.rank() != 4:
        raise node.refuse(f"pools values with {node.rank()} sides")
    return kernel, node.integers("strides") or [1, 1], *padding_of(node, kernel)


def _average_pool(node: ImportedNode) -> Operation:
    kernel, strides, before, after = _window(node)
    if set(node.integers("dilations") or [1]) != {1}:
        raise node.refuse("pools with holes")
    up, everything = bool(node.attribute("ceil_mode", 0)), bool(node.attribute("count_include_pad", 0))
    pool = partial(F.avg_pool2d, kernel_size=kernel, stride=strides, ceil_mode=up)
    if before == after and all(2 * pad <= side for pad, side in zip(before, kernel, strict=True)):
        return Operation(partial(pool, padding=before, count_include_pad=everything))
    if everything:
        return Operation(pool, prepare=padded(before, after))
    return Operation(partial(_average_of_pixels, pool, padded(before, after)))


def _average_of_pixels(pool: Compute, pad: Compute, x: Tensor) -> Tensor:
    """Averages over the pixels of the image itself, without those that were added."""
    result: Tensor = pool(pad(x)) / pool(pad(torch.ones_like(x[:1, :1])))
    return result


def _max_pool(node: ImportedNode) -> Operation:
    kernel, strides, before, after = _window(node)
    if len([name for name in node.node.output if name]) > 1:
        raise node.refuse("also gives where its maxima are")
    pool = partial(
        F.max_pool2d,
        kernel_size=kernel,
        stride=strides,
        dilation=node.integers("dilations") or 1,
        ceil_mode=bool(node.attribute("ceil_mode", 0)),
    )
    if before == after and all(2 * pad <= side for pad, side in zip(before, kernel, strict=True)):
        return Operation(partial(pool, padding=before))
    return Operation(pool, prepare=padded(before, after, -math.inf))


def _lp_pool(node: ImportedNode) -> Operation:
    kernel, strides, before, after = _window(node)
    if node.attribute("ceil_mode", 0) or set(node.integers("dilations") or [1]) != {1}:
        raise node.refuse("pools with holes or over the edge")
    return Operation(partial(_powers, float(node.attribute("p", 2)), kernel, strides), prepare=padded(before, after))


def _powers(p: float, kernel: list[int], strides: list[int], x: Tensor) -> Tensor:
    return (F.avg_pool2d(x.abs() ** p, kernel, strides) * math.prod(kernel)) ** (1 / p)


def _local_response(node: ImportedNode) -> Operation:
    size = int(node.attribute("size"))
    if size % 2 == 0:
        raise node.refuse("normalises over an even number of channels")
    share, beta, bias = node.attribute("alpha", 1e-4) / size, node.attribute("beta", 0.75), node.attribute("bias", 1.0)
    return Operation(partial(_locally_normalised, size, share, beta, bias))


def _locally_normalised(size: int, share: float, beta: float, bias: float, x: Tensor) -> Tensor:
    """Sums neighbouring channels by a 1x1 convolution, which every format has; torch's own function pools volumes."""
    places = torch.arange(x.shape[1], device=x.device)
    near = ((places[:, None] - places).abs() <= size // 2).to(x.dtype)[:, :, None, None]
    return x / (bias + share * F.conv2d(x * x, near)) ** beta


ARITHMETIC: dict[str, Callable[[ImportedNode], Operation]] = {
    "Sigmoid": _plain(torch.sigmoid),
    "HardSigmoid": _with(_hard_sigmoid, alpha=0.2, beta=0.5),
    "HardSwish": _plain(F.hardswish),
    "Swish": _with(_swish, alpha=1.0),
    "Gelu": _gelu,
    "Erf": _plain(torch.erf),
    "Tanh": _plain(torch.tanh),
    "Softplus": _plain(F.softplus),
    "Softsign": _plain(F.softsign),
    "Mish": _plain(F.mish),
    "Elu": _with(F.elu, alpha=1.0),
    "Celu": _with(F.celu, alpha=1.0),
    "Selu": _with(_selu, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875),
    "ThresholdedRelu": _with(_thresholded, alpha=1.0),
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Add": _plain(operator.add),
    "Sub": _plain(operator.sub),
    "Mul": _plain(operator.mul),
    "Div": _plain(operator.truediv),
    "Pow": _plain(operator.pow),
    "Max": _plain(_maximum),
    "Min": _plain(_minimum),
    "Sum": _plain(_sum),
    "Mean": _plain(_mean),
    "Abs": _plain(torch.abs),
    "Neg": _plain(torch.neg),
    "Exp": _plain(torch.exp),
    "Log": _plain(torch.log),
    "Sqrt": _plain(torch.sqrt),
    "Sin": _plain(torch.sin),
    "Cos": _plain(torch.cos),
    "Floor": _plain(torch.floor),
    "Ceil": _plain(torch.ceil),
    "Round": _plain(torch.round),
    "Sign": _plain(torch.sign),
    "Reciprocal": _plain(torch.reciprocal),
    "Not": _plain(torch.logical_not),
    "And": _plain(torch.logical_and),
    "Or": _plain(torch.logical_or),
    "Greater": _plain(operator.gt),
    "GreaterOrEqual": _plain(operator.ge),
    "Less": _plain(operator.lt),
    "LessOrEqual": _plain(operator.le),
    "Equal": _plain(operator.eq),
    "Where": _plain(torch.where),
    "ReduceMean": _reduction(_reduce_mean),
    "ReduceSum": _reduction(_reduce_sum),
    "ReduceMax": _reduction(_reduce_max),
    "ReduceMin": _reduction(_reduce_min),
    "ReduceL1": _reduction(_reduce_l1),
    "ReduceL2": _reduction(_reduce_l2),
    "ReduceSumSquare": _reduction(_reduce_squares),
    "ReduceLogSumExp": _reduction(_reduce_log_sum_exp),
    "LpNormalization": _unit_length,
    "GlobalAveragePool": _of_whole_image(average=True),
    "GlobalMaxPool": _of_whole_image(average=False),
    "AveragePool": _average_pool,
    "MaxPool": _max_pool,
    "LpPool": _lp_pool,
    "GlobalLpPool": _global_powers,
    "LRN": _local_response,
}
"""By operator, what makes the function."""
