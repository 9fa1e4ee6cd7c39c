"""Batch norms: statistics re-estimated on batches, and synchronised over processes while training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from types import MethodType
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode


@torch.no_grad()
def reestimate_batch_norms(backbone: nn.Module, batches: Iterable[Tensor]) -> None:
    """Sets all running means and variances of `backbone` to their averages over `batches`.

    A fresh network has mean 0 and variance 1, a pruned one the statistics with its removed channels; neither fits its
    activations. Every batch has the same weight. Dropout is off; momentum and train or eval mode are restored.

    Args:
        backbone: Changed in place. Batch norms without running statistics are skipped.
        batches: Each (N, 3, H, W) float32, preprocessed, N > 1.

    Raises:
        ValueError: There is no batch.
    """
    rest = iter(batches)
    first = next(rest, None)
    if first is None:
        raise ValueError("batch norms cannot be re-estimated from no batch at all; give at least one")
    norms = [norm for norm in backbone.modules() if isinstance(norm, _BatchNorm) and norm.track_running_stats]
    device = next(backbone.parameters()).device
    modes = {module: module.training for module in backbone.modules()}
    momenta = [norm.momentum for norm in norms]
    backbone.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # in torch: the plain average of all batches
        norm.train()
    try:
        for batch in chain([first], rest):
            backbone(batch.to(device))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, training in modes.items():
            module.training = training


@torch.no_grad()
def fit_fresh_norms(backbone: nn.Module, batches: Iterable[Tensor]) -> int:
    """Gives batch norms that have no statistics yet those of `batches`, and scales and shifts that undo them.

    Outputs in eval mode stay what they are but for rounding. In training, a batch norm then does what it would have
    done in a network that was trained with it.

    Args:
        backbone: Changed in place; in eval mode afterwards. Norms of mean 0 and variance 1 have no statistics.
        batches: Each (N, 3, H, W) float32, preprocessed.

    Returns:
        How many there were.
    """
    fresh = [
        norm
        for norm in backbone.modules()
        if isinstance(norm, _BatchNorm) and norm.running_mean is not None and norm.running_var is not None
        if norm.affine and not norm.running_mean.any() and bool((norm.running_var == 1).all())
    ]
    if not fresh:
        return 0
    sums: dict[_BatchNorm, list[Tensor]] = {norm: [] for norm in fresh}

    def count(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, _BatchNorm)
        values = inputs[0].double().movedim(1, 0).flatten(1)
        number = torch.full_like(values[:, 0], values.shape[1])
        sums[norm].append(torch.stack([number, values.sum(1), values.square().sum(1)]))

    hooks = [norm.register_forward_pre_hook(count) for norm in fresh]
    try:
        for batch in batches:
            backbone.eval()(batch.to(next(backbone.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    for norm in fresh:
        number, total, squares = torch.stack(sums[norm]).sum(0)
        mean = total / number
        variance = (squares / number - mean.square()).clamp(min=norm.eps)
        gain = norm.weight.double() / math.sqrt(1 + norm.eps)  # of the input, as the norm has it so far
        norm.weight.copy_(gain * (variance + norm.eps).sqrt())
        norm.bias.copy_(norm.bias.double() + gain * mean)
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
    return len(fresh)


@contextmanager
def synchronised(backbone: nn.Module) -> Iterator[None]:
    """Inside the `with`, batch norms in train mode normalise over the batches of all processes together.

    Outputs, gradients (once averaged over processes, as DistributedDataParallel does) and running statistics are those
    of one process with the whole batch; the parts may be of different sizes. torch's SyncBatchNorm does the same, on
    GPUs only. With a single process nothing changes.

    Args:
        backbone: Changed in place until the end. All processes must run it forward and backward equally often.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        yield
        return
    norms = [norm for norm in backbone.modules() if isinstance(norm, _BatchNorm)]
    for norm in norms:
        norm.forward = MethodType(_forward_of_all, norm)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _forward_of_all(norm: _BatchNorm, batch: Tensor) -> Any:
    forward = type(norm).forward  # may be that of a subclass, which does more
    if not norm.training:
        return forward(norm, batch)
    with _OfAll():
        return forward(norm, batch)


class _OfAll(TorchFunctionMode):
    """Replaces `torch.nn.functional.batch_norm`, and only that, by `_batch_norm_of_all`."""

    def __torch_function__(self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (_batch_norm_of_all if function is F.batch_norm else function)(*args, **(kwargs or {}))


def _batch_norm_of_all(
    batch: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """As torch's `batch_norm`, with the mean and variance over all processes."""
    if not training:
        return F.batch_norm(batch, running_mean, running_var, weight, bias, training, momentum, eps)
    wide = torch.promote_types(batch.dtype, torch.float32)
    weight = batch.new_ones(batch.shape[1], dtype=wide) if weight is None else weight
    bias = batch.new_zeros(batch.shape[1], dtype=wide) if bias is None else bias
    results: tuple[Tensor, ...] = _BatchNormOfAll.apply(batch, weight, bias, eps)  # type: ignore[no-untyped-call]
    normed, mean, var, total = results
    if running_mean is not None and running_var is not None:
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_((var * total / (total - 1)).to(running_var.dtype), momentum)
    return normed


class _BatchNormOfAll(torch.autograd.Function):
    """torch's own kernels with the mean, variance and gradient sums over all processes.

    They normalise as in eval mode, by given statistics; the backward adds the gradient through the statistics.
    Source: Ioffe & Szegedy, Batch Normalization, ICML 2015, sec. 3.
    """

    @staticmethod
    def forward(
        ctx: Any, batch: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        own_mean, own_var = (own.double() for own in torch.batch_norm_update_stats(batch, None, None, 0.0))
        # Double precision allows to subtract squares, so that one message is enough.
        count = torch.full_like(own_mean, batch.numel() // batch.shape[1])
        total, first, second = _sum_of_all(count, count * own_mean, count * (own_var + own_mean.square()))
        mean = first / total
        var = (second / total - mean.square()).clamp_(min=0)
        statistics = mean.to(weight.dtype), var.to(weight.dtype)
        ctx.eps = eps
        ctx.save_for_backward(batch, weight, *statistics, total)
        ctx.mark_non_differentiable(mean, var, total)
        return F.batch_norm(batch, *statistics, weight, bias, False, 0.0, eps), mean, var, total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        batch, weight, mean, var, total = ctx.saved_tensors
        direct, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, batch, weight, mean, var, None, None, False, ctx.eps, [True, True, True]
        )
        # With x^ the normalised batch: dx = w / std * (dy - mean(dy) - x^ * mean(dy * x^)), means over all processes.
        by_weight, by_bias = _sum_of_all(of_weight.double(), of_bias.double())
        std = (var.double() + ctx.eps).sqrt()
        slope = -weight * by_weight / (total * std.square())
        offset = -weight * by_bias / (total * std) - slope * mean
        shape = [1, -1] + [1] * (batch.ndim - 2)
        through = (part.to(direct.dtype).view(shape) for part in (offset, slope))
        return direct.add_(next(through)).addcmul_(batch, next(through)), of_weight, of_bias, None


def _sum_of_all(*rows: Tensor) -> Tensor:
    total = torch.stack(rows)
    dist.all_reduce(total)
    return total
