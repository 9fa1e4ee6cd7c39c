"""The network whose contract is sought: a file, or PyTorch code and weights, and what it says of its own input."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...export.formats import CHECKPOINT, FORMATS, Format, format_of
from ...faces.contract import InputContract
from ...faces.usual_contracts import COLOUR_ORDERS, SIZES, USUAL
from ...models.checkpoint import load_checkpoint, open_embedder, save_checkpoint
from ...models.embedder import Embedder
from ...models.graph.ports import stated_by
from ...models.network_names import DESCRIPTION
from .embedded import Opened

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class ProbedNetwork:
    """A network that can be fed, and what is open about how."""

    name: str
    opened: Opened
    sizes: tuple[Size, ...]  # the file's own, or those to try
    orders: tuple[str, ...]  # of the colours, to try
    own: InputContract | None = None  # what its card, its checkpoint or the zoo says
    prepares: bool = False  # whether the file takes pixels as they are, and applies mean and scale itself
    picture: bool = False  # whether it takes a picture, and orders the colours too


def open_network(
    name: str,
    weights: Path | None,
    folder: Path,
    size: Size | None = None,
    output: str = "",
    factory: str | None = None,
) -> ProbedNetwork:
    """Opens what `name` names, without a contract.

    Args:
        name: A converted file, a checkpoint folder, a zoo name, or a factory as `open_embedder` takes it.
        weights: For a zoo name or a factory.
        folder: Gets the checkpoint of a network that has none, for another process to open.
        size: Of its input, where that is known; None: the file's own, or the usual ones are tried.
        output: The name of the embedding, where a file has several outputs.
        factory: The code of a checkpoint that is not of the zoo.

    Raises:
        ValueError: There is no such network, it is damaged, or no embedder.
    """
    path, sizes = Path(name), SIZES if size is None else (size,)
    if path.exists() and not (path / DESCRIPTION).is_file() and any(each.is_at(path) for each in FORMATS.values()):
        return _file(path, format_of(path), sizes, output)
    if (path / DESCRIPTION).is_file() and weights is None:
        return _checkpoint(load_checkpoint(path, factory), path)
    if ":" not in name:  # of the zoo, which knows its input
        embedder = open_embedder(name, weights)
        return _checkpoint(embedder, save_checkpoint(embedder, folder / embedder.name))
    embedder = _embedder(name, weights, sizes)
    return _checkpoint(embedder, save_checkpoint(embedder, folder / embedder.name), sizes)


def _file(path: Path, kind: Format, sizes: tuple[Size, ...], output: str) -> ProbedNetwork:
    opened = Opened(path, kind.opener, None, output)
    card = kind.read_card(path)
    ports = None if kind.ports is None else kind.ports(path, output)
    if ports is None:
        own = None if card is None else card.contract
        return ProbedNetwork(path.name, opened, sizes if own is None else (_size(own),), COLOUR_ORDERS, own)
    own = card.contract if card is not None else stated_by(ports, None)
    channels, height, width = ports.sides
    return ProbedNetwork(
        path.name,
        opened,
        ((height, width),) if height and width else sizes,
        ("gray",) if channels == 1 else COLOUR_ORDERS,
        None if card is None and not ports.face.picture else own,
        "mean" in ports.stated(),
        bool(ports.face.picture),
    )


def _embedder(name: str, weights: Path | None, sizes: tuple[Size, ...]) -> Embedder:
    """Opens a PyTorch network under the first contract, of any size and number of channels, that it embeds a face by.

    What else is wrong with it is said as of the first.
    """
    first: ValueError | None = None
    for order in ("rgb", "gray"):
        for size in sizes:
            try:
                return open_embedder(name, weights, contract=USUAL[0].contract(order, *size))
            except ValueError as error:
                first = first or error
    assert first is not None
    raise first


def _checkpoint(embedder: Embedder, folder: Path, sizes: tuple[Size, ...] | None = None) -> ProbedNetwork:
    """Describes a PyTorch network; `sizes` are open where nobody states its contract."""
    factory = embedder.architecture if ":" in embedder.architecture else None
    opened = Opened(folder, FORMATS[CHECKPOINT].opener, factory)
    contract = embedder.contract
    gray = contract.channel_order == "gray"
    own = contract if sizes is None else None
    return ProbedNetwork(
        embedder.name,
        opened,
        (_size(contract),) if sizes is None else sizes,
        ("gray",) if gray else COLOUR_ORDERS,
        own,
    )


def _size(contract: InputContract) -> Size:
    return contract.height, contract.width
