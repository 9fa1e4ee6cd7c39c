"""Scores from the gradients of a mini-batch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from ..channels.groups import Group, Share
from .capture import Capture, capturing_gates


def taylor(capture: Capture, group: Group) -> Tensor:
    """Scores each channel by sum (g w)^2 over the weights of its filter, g of the mini-batch's loss.

    To first order that is the squared change of the loss if the weight were zero, weight by weight. A channel that
    several layers make, in residual streams or by a depthwise convolution, has the sum of its filters.

    Args:
        capture: The network after a backward.
        group: Coupled channels.

    Returns:
        (width,) float32 >= 0; to be averaged over mini-batches.

    Source: Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR 2019, eq. 8, on weights; the
    criterion of Alonso-Fernandez et al., arXiv 2405.18302. Torch-Pruning's `TaylorImportance` sums |g w| instead, and
    adds the readers.
    """
    makers = group.makers(capture.backbone)
    return sum((_contributions(capture, share, "weight").square().sum(1) for share in makers), torch.zeros(()))


def taylor_activation(capture: Capture, group: Group) -> Tensor:
    """Scores each channel by |mean over places of a dL/da|, averaged over examples, divided by the group's L2 norm.

    The activation a is the input of the group's readers, after normalisation and nonlinearity; several readers are
    summed before the absolute value. Of three variants in use this is the paper's Theta_TE: the absolute value of each
    example's mean over places. Others take it of every element, or once of the mean over all examples. The norm is
    over the channels of the group in this mini-batch.

    Returns:
        (width,) float32 in 0..1; to be averaged over mini-batches.

    Source: Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient Inference, ICLR 2017,
    with its layer-wise L2 normalisation.
    """
    change = capture.gates_of(group).abs().mean(0)
    return nn.functional.normalize(change, dim=0, eps=torch.finfo(change.dtype).tiny)


def taylor_gate(capture: Capture, group: Group) -> Tensor:
    """Scores each channel by the squared gradient of a gate after its batch norm: a factor whose value is 1.

    The gate multiplies the batch norm's output, so its gradient is the sum over places and examples of the output
    times its gradient; as the output is linear in the norm's scale and shift, that is exactly
    scale * dL/dscale + shift * dL/dshift. It is summed over the examples before it is squared, as in the source.
    Channels without a batch norm have the gate after their convolution, which is linear in its weights and bias.

    A channel that is the output of several batch norms, in residual streams or around a depthwise convolution, has one
    gate behind all of them, so their gradients are added before the square. The source shares gates along a stream
    too, and divides the scores of the four stages of a ResNet-50 by 3, 4, 6 and 3, the uses of each; here nothing is
    divided, as a cut removes the channel from all its uses at once.

    Returns:
        (width,) float32 >= 0; to be averaged over mini-batches.

    Source: Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR 2019, the gate after batch
    norm (Taylor-FO-BN, method 22 of its code).
    """
    norms = [share for share in group.shares if _is_scaling(capture.backbone.get_submodule(share.layer))]
    gates = [
        _contributions(capture, share, name).sum(1)
        for share in norms or group.makers(capture.backbone)
        for name in ("weight", "bias")
    ]
    return torch.stack(gates).sum(0).square()


def gauss_newton(capture: Capture, group: Group) -> Tensor:
    """Scores each channel by how far the unit embeddings turn without it; needs no labels.

    The loss is 1 - cosine to the present embedding. There the loss and its gradient are zero, so the score is of second
    order. The Gauss-Newton matrix is the square of the unit embedding's Jacobian, and random directions v sample the
    diagonal of that square: E[(d<z, v>/d gate)^2] / 2 for z = e/|e|, v ~ N(0, I). The gate multiplies a channel's
    deviation from its mean, since the next batch norm or bias can replace the mean. It stands before every reader of
    the channel, and is summed over readers and places before it is squared.

    What is backpropagated must be <z, v>. With another loss this is that loss's empirical Fisher diagonal.

    Returns:
        (width,) float32 >= 0: the expected rise of 1 - cosine; to be averaged over mini-batches. 64 faces rank nearly
        as 256 do.

    Source: Gauss-Newton diagonal as in Hassibi & Stork, Optimal Brain Surgeon, NIPS 1992, for this loss.
    """
    return capture.gates_of(group).square().mean(0) / 2


def capturing_mean_gates(capture: Capture, groups: Sequence[Group]) -> AbstractContextManager[None]:
    """Captures the activation times gradient of the readers' inputs, averaged over places."""
    return capturing_gates(capture, _readers(groups), lambda activation, gradient: (activation * gradient).mean(2))


def capturing_deviation_gates(capture: Capture, groups: Sequence[Group]) -> AbstractContextManager[None]:
    """Captures the deviation from the channel's mean times gradient of the readers' inputs, summed over places."""

    def gate(activation: Tensor, gradient: Tensor) -> Tensor:
        return ((activation - activation.mean((0, 2), keepdim=True)) * gradient).sum(2)

    return capturing_gates(capture, _readers(groups), gate)


def _readers(groups: Sequence[Group]) -> set[str]:
    return {share.layer for group in groups for share in group.readers}


def _is_scaling(layer: nn.Module) -> bool:
    return isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and layer.affine


def _contributions(capture: Capture, share: Share, name: str) -> Tensor:
    """Gives (width, weights of a channel) weight times gradient; zeros where there is no such weight or gradient."""
    weight: Tensor | None = getattr(capture.backbone.get_submodule(share.layer), name)
    if weight is None or weight.grad is None:
        return torch.zeros(share.index.shape, device=share.index.device)
    return (weight.grad[share.index] * weight.detach()[share.index]).flatten(1).float()
