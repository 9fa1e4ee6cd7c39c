"""Operators of a Core ML program that sum, by an accumulator of half precision: the evaluator's pessimistic table.

What hardware sums in is not documented; sums of squares are reported to overflow on the Neural Engine. An accumulator
of 16 bits shows whether a program would survive it: beyond 65,504 it holds infinity.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .mil_operators import Operator, reduction
from .mil_shape_operators import Inputs


def _half_sum(x: Tensor, axes: list[int], keep: bool = True) -> Tensor:
    """Sums over `axes` in a tree of additions, each rounded to half precision.

    >>> _half_sum(torch.tensor([40000.0, 40000.0]), [0]).tolist()
    [inf]
    """
    places = [axis % x.ndim for axis in axes]
    rest = [axis for axis in range(x.ndim) if axis not in places]
    terms = x.half().permute(*rest, *places).flatten(len(rest))
    while terms.shape[-1] > 1:
        if terms.shape[-1] % 2:
            terms = torch.nn.functional.pad(terms, (0, 1))
        terms = terms[..., ::2] + terms[..., 1::2]
    kept = [1 if axis in places else size for axis, size in enumerate(x.shape)]
    return terms.float().reshape(kept if keep else [x.shape[axis] for axis in rest])


def _half_mean(x: Tensor, axes: list[int], keep: bool = True) -> Tensor:
    return _half_sum(x, axes, keep) / math.prod(x.shape[axis] for axis in axes)


def _squares(x: Tensor) -> Tensor:
    return (x * x).half().float()


def _l2_norm(i: Inputs) -> Tensor:
    squares = _half_sum(_squares(i["x"]), [-3, -2, -1])
    return i["x"] / torch.sqrt(squares + float(i.get("epsilon", 1e-6)))  # type: ignore[no-any-return]


def _layer_norm(i: Inputs) -> Tensor:
    centred = (i["x"] - _half_mean(i["x"], i["axes"]).half()).half().float()
    variance = _half_mean(_squares(centred), i["axes"]).half().float()
    normal: Tensor = centred / torch.sqrt(variance + float(i.get("epsilon", 1e-5)))
    return torch.addcmul(torch.as_tensor(i.get("beta", 0.0)), normal, torch.as_tensor(i.get("gamma", 1.0)))


HALF_SUMS: dict[str, Operator] = {
    "reduce_sum": reduction(_half_sum),
    "reduce_mean": reduction(_half_mean),
    "reduce_sum_square": reduction(lambda x, axes, keep: _half_sum(_squares(x), axes, keep)),
    "reduce_l2_norm": reduction(lambda x, axes, keep: _half_sum(_squares(x), axes, keep).sqrt()),
    "l2_norm": _l2_norm,
    "layer_norm": _layer_norm,
}
