"""What hooks capture of a network's channels while one mini-batch passes through it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..channels.groups import Group

Reduction = Callable[[Tensor, Tensor], Tensor]
"""Activations and their gradients, both (N, channels, places), to (N, channels)."""


@dataclass
class Capture:
    """What criteria score: the network with its weights and gradients, and what hooks captured of the mini-batch."""

    backbone: nn.Module
    seed: int = 0  # of criteria that are random
    gates: dict[str, Tensor] = field(default_factory=dict)  # by reader, (N, inputs) reduced activations and gradients
    maps: dict[str, list[Tensor]] = field(default_factory=dict)  # by maker, (N, outputs, ...) each time it ran

    def gates_of(self, group: Group) -> Tensor:
        """Gives (N, width): the gates of each channel summed over its readers; zeros where nothing was captured."""
        total = torch.zeros(1, group.width)
        for share in group.readers:
            if share.layer in self.gates:  # else the embedding does not depend on this reader
                gate = self.gates[share.layer]
                total = total.to(gate) + gate[:, share.index].sum(2)
        return total

    def clear(self) -> None:
        """Makes room for the next mini-batch; the weights are not touched."""
        self.gates.clear()
        self.maps.clear()


@contextmanager
def capturing_gates(capture: Capture, readers: Iterable[str], reduce: Reduction) -> Iterator[None]:
    """Adds to `capture.gates`, at each backward, `reduce` of the readers' inputs and their gradients.

    The network's outputs and gradients do not change. A reader that runs twice has the sum of both.
    """

    def hook_of(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...] | None]:
        def before(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            if not inputs[0].requires_grad:
                return None
            own = inputs[0].view_as(inputs[0])  # one tensor may feed several readers: each has its own gradient
            channel = 1 if isinstance(layer, nn.Conv2d) else own.ndim - 1
            activation = places_of(own.detach(), channel)

            def add_gate(gradient: Tensor) -> None:
                gate = reduce(activation, places_of(gradient, channel))
                capture.gates[name] = capture.gates[name] + gate if name in capture.gates else gate

            own.register_hook(add_gate)  # type: ignore[no-untyped-call]
            return (own, *inputs[1:])

        return before

    with ExitStack() as hooks:
        for name in sorted(set(readers)):
            hooks.enter_context(capture.backbone.get_submodule(name).register_forward_pre_hook(hook_of(name)))
        yield


def places_of(values: Tensor, channel: int = 1) -> Tensor:
    """Gives `values` as float32 (N, channels, places); vectors have one place.

    >>> places_of(torch.zeros(2, 3, 4, 5)).shape, places_of(torch.zeros(2, 3)).shape
    (torch.Size([2, 3, 20]), torch.Size([2, 3, 1]))
    """
    values = values.movedim(channel, 1).float()
    return values.flatten(2) if values.ndim > 2 else values[:, :, None]
