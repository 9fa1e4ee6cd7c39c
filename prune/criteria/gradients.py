"""What the gradient of a mini-batch says a channel is worth."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from ..channels.groups import Group, Share
from .captured import Seen, reading


def taylor(seen: Seen, group: Group) -> Tensor:
    """Scores each channel by sum (g w)^2 over the weights of its filter, g of the mini-batch's loss.

    It is the square of what the loss would change by if the weight were zero, to first order, weight by weight. A
    channel that several layers make, in residual streams or by a depthwise convolution, has the sum of its filters.

    Args:
        seen: The network after a backward.
        group: Coupled channels.

    Returns:
        (width,) float32 >= 0; to be averaged over mini-batches.

    Source: Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR 2019, eq. 8, on weights; the
    criterion of Alonso-Fernandez et al., arXiv 2405.18302. Torch-Pruning's `TaylorImportance` sums |g w| instead, and
    adds the readers.
    """
    makers = group.makers(seen.backbone)
    return sum((_contributions(seen, share, "weight").square().sum(1) for share in makers), torch.zeros(()))


def taylor_activation(seen: Seen, group: Group) -> Tensor:
    """Scores each channel by |mean over places of a dL/da|, averaged over examples, divided by the group's L2 norm.

    The activation a is what the group's readers read, after normalisation and nonlinearity; what several readers
    read adds up before the absolute value. Of three readings in use this is the paper's Theta_TE: the absolute value
    of each example's mean over places. Others take it of every element, or once of the mean over all examples.
    The norm, over the channels of the group, is that of the mini-batch.

    Returns:
        (width,) float32 in 0..1; to be averaged over mini-batches.

    Source: Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient Inference, ICLR 2017,
    with its layer-wise L2 normalisation.
    """
    change = seen.gates_of(group).abs().mean(0)
    return nn.functional.normalize(change, dim=0, eps=torch.finfo(change.dtype).tiny)


def taylor_gate(seen: Seen, group: Group) -> Tensor:
    """Scores each channel by the squared gradient of a gate after its batch norm, a factor that stands at 1.

    The gate of a channel multiplies what its batch norm gives, so its gradient is the sum over places and examples of
    output times gradient of the output; as the output is linear in the norm's scale and shift, that is exactly
    scale * dL/dscale + shift * dL/dshift. It is summed over the examples before it is squared, as in the source.
    Channels without a batch norm have the gate after their convolution, which is linear in its weights and bias.

    A channel that several batch norms give out, in residual streams or around a depthwise convolution, has one gate
    behind all of them, so their gradients add up before the square. The source shares gates along a stream too, and
    divides the scores of the four stages of a ResNet-50 by 3, 4, 6 and 3, the uses of each; here nothing is divided,
    as the channel goes from all its uses at once.

    Returns:
        (width,) float32 >= 0; to be averaged over mini-batches.

    Source: Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR 2019, the gate after batch
    norm (Taylor-FO-BN, method 22 of its code).
    """
    norms = [share for share in group.shares if _is_scaling(seen.backbone.get_submodule(share.layer))]
    gates = [
        _contributions(seen, share, name).sum(1)
        for share in norms or group.makers(seen.backbone)
        for name in ("weight", "bias")
    ]
    return torch.stack(gates).sum(0).square()


def gauss_newton(seen: Seen, group: Group) -> Tensor:
    """Scores each channel by how far the unit embeddings turn without it; wants no labels.

    The loss is 1 - cosine to the embedding as it is. There it is zero and so is its gradient: what the first order
    knows nothing about, the second does. Its Gauss-Newton matrix is the square of the unit embedding's Jacobian, and a
    random direction v sees that square's diagonal: E[(d<z, v>/d gate)^2] / 2 for z = e/|e|, v ~ N(0, I). The gate
    multiplies what a channel deviates from its mean, since the mean can be made up for, by the next batch norm
    or bias. It stands before every reader of the channel, and adds over readers and places before it is squared.

    That wants <z, v> to be backpropagated. Of another loss's gradient it makes that loss's empirical Fisher diagonal.

    Returns:
        (width,) float32 >= 0: the expected rise of 1 - cosine; to be averaged over mini-batches. 64 faces already
        rank nearly as 256 do.

    Source: Gauss-Newton diagonal as in Hassibi & Stork, Optimal Brain Surgeon, NIPS 1992, for this loss.
    """
    return seen.gates_of(group).square().mean(0) / 2


def reading_means(seen: Seen, groups: Sequence[Group]) -> AbstractContextManager[None]:
    """Keeps, of what readers read, activation times gradient, averaged over places."""
    return reading(seen, _readers(groups), lambda activation, gradient: (activation * gradient).mean(2))


def reading_deviations(seen: Seen, groups: Sequence[Group]) -> AbstractContextManager[None]:
    """Keeps, of what readers read, deviation from the channel's mean times gradient, summed over places."""

    def gate(activation: Tensor, gradient: Tensor) -> Tensor:
        return ((activation - activation.mean((0, 2), keepdim=True)) * gradient).sum(2)

    return reading(seen, _readers(groups), gate)


def _readers(groups: Sequence[Group]) -> set[str]:
    return {share.layer for group in groups for share in group.readers}


def _is_scaling(layer: nn.Module) -> bool:
    return isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and layer.affine


def _contributions(seen: Seen, share: Share, name: str) -> Tensor:
    """Gives (width, numbers of a channel) weight times gradient; zeros where there is no such weight or gradient."""
    weight: Tensor | None = getattr(seen.backbone.get_submodule(share.layer), name)
    if weight is None or weight.grad is None:
        return torch.zeros(share.index.shape, device=share.index.device)
    return (weight.grad[share.index] * weight.detach()[share.index]).flatten(1).float()
