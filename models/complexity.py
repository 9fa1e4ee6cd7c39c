"""How big a network is and how much it computes: parameters and multiply-accumulates."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from .embedder import Embedder
from .initialisation import shapes_alone
from .layer_runs import LayerRun, layer_runs
from .zoo import ZOO, create


def parameters(backbone: nn.Module) -> int:
    """Counts every trained number once: batch norms' scales and shifts too, but not their running statistics.

    >>> parameters(nn.Linear(3, 2))
    8
    """
    return sum(parameter.numel() for parameter in backbone.parameters())


def mac_layers(embedder: Embedder) -> list[LayerRun]:
    """Lists the convolutions and linear layers in the order they run on one face; see `layer_runs`."""
    return [run for run in layer_runs(embedder) if run.macs]


def macs(embedder: Embedder) -> int:
    """Counts the multiply-accumulates for one face: 1 MAC = 2 FLOPs.

    Convolutions and linear layers only. Biases, batch norms (folded on export), activations, additions and pooling are
    not counted, and neither is what runs outside `nn.Conv2d` and `nn.Linear`, such as the products inside an attention.
    """
    return sum(run.macs for run in layer_runs(embedder))


def zoo_rows() -> Iterator[tuple[str, ...]]:
    """Gives a row of text per network of the zoo: name, parameters, MACs, input, D and paper."""
    for name, architecture in ZOO.items():
        with shapes_alone():
            embedder = create(name)
        contract, size = embedder.contract, f"{parameters(embedder.backbone):,}"
        fed = f"{contract.height}x{contract.width} {contract.channel_order}"
        work, width = f"{macs(embedder) / 1e6:,.0f} M", str(embedder.embedding_size)
        yield name, size, work, fed, width, architecture.paper
