"""What each operator that a format may lack is composed of: the table of `compose_lacking`."""

from __future__ import annotations

import math

import numpy as np

from ...models.graph.resizing import resizing_in
from .composition import Compose, Composition
from .einsum import compose_einsum

TINY = 1e-12  # the least that is divided by


# ---- activations


def _selu(one: Composition) -> None:
    alpha, gamma = one.attribute("alpha", 1.6732632423543772), one.attribute("gamma", 1.0507009873554805)
    bent = one.step("Elu", one.node.input[0], alpha=alpha)
    one.last("Mul", bent, one.constant(gamma))


def _celu(one: Composition) -> None:
    alpha = one.attribute("alpha", 1.0)
    bent = one.step("Elu", one.step("Mul", one.node.input[0], one.constant(1 / alpha)), alpha=1.0)
    one.last("Mul", bent, one.constant(alpha))


def _elu(one: Composition) -> None:
    """relu(x) + alpha elu(min(x, 0)), with an elu whose alpha is 1."""
    x, alpha = one.node.input[0], one.attribute("alpha", 1.0)
    below = one.step("Elu", one.step("Min", x, one.constant(0.0)), alpha=1.0)
    one.last("Add", one.step("Relu", x), one.step("Mul", below, one.constant(alpha)))


def _thresholded_relu(one: Composition) -> None:
    x = one.node.input[0]
    above = one.step("Greater", x, one.constant(one.attribute("alpha", 1.0)))
    one.last("Where", above, x, one.constant(0.0))


def _swish(one: Composition) -> None:
    x, alpha = one.node.input[0], one.attribute("alpha", 1.0)
    inside = x if alpha == 1 else one.step("Mul", x, one.constant(alpha))
    one.last("Mul", x, one.step("Sigmoid", inside))


def _softsign(one: Composition) -> None:
    x = one.node.input[0]
    one.last("Div", x, one.step("Add", one.step("Abs", x), one.constant(1.0)))


ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)


def _erf(one: Composition) -> None:
    """Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: off by at most 1.5e-7."""
    x = one.node.input[0]
    size = one.step("Abs", x)
    t = one.step("Reciprocal", one.step("Add", one.step("Mul", size, one.constant(0.3275911)), one.constant(1.0)))
    total = one.step("Mul", t, one.constant(ERF[-1]))
    for factor in ERF[-2::-1]:
        total = one.step("Mul", one.step("Add", total, one.constant(factor)), t)
    bell = one.step("Exp", one.step("Neg", one.step("Mul", x, x)))
    whole = one.step("Sub", one.constant(1.0), one.step("Mul", total, bell))
    one.last("Mul", one.step("Sign", x), whole)


# ---- sums, lengths, exponentials


def _mean(one: Composition) -> None:
    many = len(one.node.input)
    total = one.node.input[0] if many == 1 else one.step("Sum", *one.node.input)
    one.last("Mul", total, one.constant(1 / many))


def _reduction_axes(one: Composition) -> list[int]:
    rank = len(one.shape())
    given = one.attribute("axes")
    if given is None and len(one.node.input) > 1 and one.node.input[1]:
        given = one.view.constant(one.node.input[1])
    return list(range(rank)) if given is None else [int(axis) % rank for axis in given]


def _reduce_l1(one: Composition) -> None:
    size = one.step("Abs", one.node.input[0])
    one.last("Identity", one.reduce("ReduceSum", size, _reduction_axes(one), bool(one.attribute("keepdims", 1))))


def _reduce_log_sum_exp(one: Composition) -> None:
    """The largest, plus the logarithm of the sum of what is left, which cannot overflow."""
    x, axes, keep = one.node.input[0], _reduction_axes(one), bool(one.attribute("keepdims", 1))
    below = one.step("Exp", one.step("Sub", x, one.reduce("ReduceMax", x, axes)))
    log = one.step("Log", one.reduce("ReduceSum", below, axes, keep))
    one.last("Add", log, one.reduce("ReduceMax", x, axes, keep))


def _softmax(one: Composition) -> None:
    """Before opset 13: over all sides from the axis on, as one."""
    sides = one.shape()
    axis = int(one.attribute("axis", 1)) % max(1, len(sides))
    if not sides:
        return
    row = one.reshape(one.node.input[0], (math.prod(sides[:axis]), math.prod(sides[axis:])))
    one.reshape(one.step(one.node.op_type, row, axis=1), sides, last=True)


def _log_softmax(one: Composition) -> None:
    x = one.node.input[0]
    axis = int(one.attribute("axis", -1 if one.opset >= 13 else 1))
    if one.opset < 13 and axis % len(one.shape()) != len(one.shape()) - 1:
        _softmax(one)
        return
    below = one.step("Sub", x, one.reduce("ReduceMax", x, [axis]))
    one.last("Sub", below, one.step("Log", one.reduce("ReduceSum", one.step("Exp", below), [axis])))


def _lp_norm(one: Composition) -> None:
    """Divided by the sum of the sizes."""
    if one.attribute("p", 2) != 1:
        return
    x = one.node.input[0]
    total = one.reduce("ReduceSum", one.step("Abs", x), [int(one.attribute("axis", -1))])
    one.last("Div", x, one.step("Max", total, one.constant(TINY)))


def _power(one: Composition, x: str, p: int) -> str:
    return one.step("Mul", x, x) if p == 2 else one.step("Pow", one.step("Abs", x), one.constant(float(p)))


def _root(one: Composition, x: str, p: int) -> None:
    if p == 2:
        one.last("Sqrt", x)
    else:
        one.last("Pow", x, one.constant(1 / p))


def _global_lp_pool(one: Composition) -> None:
    p, axes = int(one.attribute("p", 2)), list(range(2, len(one.shape())))
    _root(one, one.reduce("ReduceSum", _power(one, one.node.input[0], p), axes), p)


def _global_max_pool(one: Composition) -> None:
    axes = list(range(2, len(one.shape())))
    one.last("Identity", one.reduce("ReduceMax", one.node.input[0], axes))


def _lp_pool(one: Composition) -> None:
    """The mean of the powers in each window, times their number, and its root."""
    if one.attribute("ceil_mode", 0) or set(one.attribute("dilations", [1])) != {1}:
        return
    p, kernel = int(one.attribute("p", 2)), one.attribute("kernel_shape")
    names = ("kernel_shape", "strides", "pads", "auto_pad")
    given = {name: value for name in names if (value := one.attribute(name)) is not None}
    mean = one.step("AveragePool", _power(one, one.node.input[0], p), count_include_pad=1, **given)
    _root(one, one.step("Mul", mean, one.constant(float(math.prod(kernel)))), p)


# ---- normalisations


def _normalised(one: Composition, x: str, axes: list[int], epsilon: float) -> str:
    centred = one.step("Sub", x, one.reduce("ReduceMean", x, axes))
    variance = one.reduce("ReduceMean", one.step("Mul", centred, centred), axes)
    return one.step("Div", centred, one.step("Sqrt", one.step("Add", variance, one.constant(epsilon))))


def _scaled(one: Composition, x: str, sides: tuple[int, ...] | None) -> None:
    """Times the second input, plus the third, of the shape `sides` each; None leaves them as they are."""
    names = []
    for place in (1, 2)[: len(one.node.input) - 1]:
        values = one.view.constants[one.node.input[place]]
        if sides is not None:
            values = np.repeat(values, math.prod(sides) // values.size).reshape(sides)
        names.append(one.constant(values))
    if len(names) == 1:
        one.last("Mul", x, names[0])
    else:
        one.last("Add", one.step("Mul", x, names[0]), names[1])


def _has_constant_scale(one: Composition) -> bool:
    return bool(one.shape()) and all(name in one.view.constants for name in one.node.input[1:])


def _layer_norm(one: Composition) -> None:
    if not _has_constant_scale(one) or len(one.node.output) > 1:
        return
    rank = len(one.shape())
    axes = list(range(int(one.attribute("axis", -1)) % rank, rank))
    _scaled(one, _normalised(one, one.node.input[0], axes, one.attribute("epsilon", 1e-5)), None)


def _rms_norm(one: Composition) -> None:
    if not _has_constant_scale(one):
        return
    x, rank = one.node.input[0], len(one.shape())
    axes = list(range(int(one.attribute("axis", -1)) % rank, rank))
    mean = one.reduce("ReduceMean", one.step("Mul", x, x), axes)
    safe = one.step("Add", mean, one.constant(one.attribute("epsilon", 1e-5)))
    _scaled(one, one.step("Div", x, one.step("Sqrt", safe)), None)


def _instance_norm(one: Composition) -> None:
    if not _has_constant_scale(one):
        return
    sides = one.shape()
    axes = list(range(2, len(sides)))
    normal = _normalised(one, one.node.input[0], axes, one.attribute("epsilon", 1e-5))
    _scaled(one, normal, (sides[1], *[1] * len(axes)))


def _group_norm(one: Composition) -> None:
    """Of (N, C, ...): of (N, groups, C / groups, the rest), over the last two."""
    if not _has_constant_scale(one):
        return
    (faces, channels, *rest), groups = one.shape(), int(one.attribute("num_groups"))
    parts = one.reshape(one.node.input[0], (faces, groups, channels // groups, math.prod(rest)))
    normal = _normalised(one, parts, [2, 3], one.attribute("epsilon", 1e-5))
    _scaled(one, one.reshape(normal, one.shape()), (channels, *[1] * len(rest)))


def _local_response(one: Composition) -> None:
    """Divided by a power of what a 1x1 convolution sums of the squares of the neighbouring channels."""
    x, size, channels = one.node.input[0], int(one.attribute("size")), one.shape()[1]
    apart = np.arange(channels)[None, :] - np.arange(channels)[:, None]
    near = (apart >= -((size - 1) // 2)) & (apart <= size // 2)
    weights = near.astype(np.float32)[:, :, None, None] * np.float32(one.attribute("alpha", 1e-4) / size)
    bias = one.constant(np.full(channels, one.attribute("bias", 1.0), np.float32))
    total = one.step("Conv", one.step("Mul", x, x), one.constant(weights), bias)
    one.last("Div", x, one.step("Pow", total, one.constant(one.attribute("beta", 0.75))))


# ---- places


def _gather(one: Composition) -> None:
    """Neighbours in their order are a slice, or all of the axis; a table of places, and one place, are reshaped."""
    index, sides, x = one.view.constant(one.node.input[1]), one.shape(), one.node.input[0]
    if index is None or not sides:
        return
    axis = int(one.attribute("axis", 0)) % len(sides)
    places = index.reshape(-1) % sides[axis]
    result = (*sides[:axis], *index.shape, *sides[axis + 1 :])
    if np.array_equal(places, np.arange(len(places)) + places[0]):
        bounds = [int(places[0])], [int(places[-1]) + 1], [axis]
        names = [one.constant(np.array(values, np.int64)) for values in bounds]
        found = x if len(places) == sides[axis] else one.step("Slice", x, *names)
    else:
        found = one.step("Gather", x, one.constant(places), axis=axis)
    one.reshape(found, result, last=True)


def _resize(one: Composition) -> None:
    """Rows and columns are picked by their numbers; between pixels they are products with a matrix of weights."""
    found, x = resizing_in(one.view, one.node), one.node.input[0]
    if isinstance(found, str):
        return
    if found.mode == "nearest":
        rows, columns = found.rows_and_columns
        one.last("Gather", one.step("Gather", x, one.constant(rows), axis=2), one.constant(columns), axis=3)
        return
    wide = one.step("MatMul", x, one.constant(found.weights(1)))
    turned = one.step("Transpose", wide, perm=[0, 1, 3, 2])
    one.last("Transpose", one.step("MatMul", turned, one.constant(found.weights(0))), perm=[0, 1, 3, 2])


def _depth_to_space(one: Composition) -> None:
    """A block in the channels' inner places (CRD) is one in their outer places (DCR) once they are put in order."""
    block, channels = int(one.attribute("blocksize")), one.shape()[1]
    order = np.arange(channels).reshape(-1, block * block).T.reshape(-1)
    inner = one.step("Gather", one.node.input[0], one.constant(order), axis=1)
    one.last("DepthToSpace", inner, blocksize=block, mode="DCR")


COMPOSITIONS: dict[str, Compose] = {
    "Celu": _celu,
    "DepthToSpace": _depth_to_space,
    "Einsum": compose_einsum,
    "Elu": _elu,
    "Erf": _erf,
    "Gather": _gather,
    "GlobalLpPool": _global_lp_pool,
    "GlobalMaxPool": _global_max_pool,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LRN": _local_response,
    "LayerNormalization": _layer_norm,
    "LogSoftmax": _log_softmax,
    "LpNormalization": _lp_norm,
    "LpPool": _lp_pool,
    "Mean": _mean,
    "RMSNormalization": _rms_norm,
    "ReduceL1": _reduce_l1,
    "ReduceLogSumExp": _reduce_log_sum_exp,
    "Resize": _resize,
    "Selu": _selu,
    "Softmax": _softmax,
    "Softsign": _softsign,
    "Swish": _swish,
    "ThresholdedRelu": _thresholded_relu,
}
"""By operator."""
