"""A finished file's card, replaced without a touch to its weights; and the hash that a certificate does not change."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from ..files import sha256_of
from .artifact import Card, Format
from .session import CARDS, format_of


def _onnx(path: Path, card: Card, to: Path) -> None:
    from .graph.reading import read_onnx
    from .graph.to_onnx import write_onnx

    write_onnx(read_onnx(path), card, to, batch=None)


def _ort(path: Path, card: Card, to: Path) -> None:
    from .ort_format import write_ort_card

    write_ort_card(path, card, to)


def _tflite(path: Path, card: Card, to: Path) -> None:
    from .tflite.flatbuffer import unpack
    from .tflite.to_tflite import write_tflite

    write_tflite(unpack(path.read_bytes()), card, to)


def _coreml(path: Path, card: Card, to: Path) -> None:
    from .coreml.package import read_package, write_package
    from .coreml.to_coreml import describe

    package = read_package(path)
    describe(package.model.description, card)
    write_package(to, package.model, package.weights)


WRITERS: dict[Format, Callable[[Path, Card, Path], None]] = {
    "onnx": _onnx,
    "ort": _ort,
    "tflite": _tflite,
    "coreml": _coreml,
}
"""What writes a file again with another card; an ExecuTorch program holds its card as code and cannot be changed."""


def read_card(path: Path) -> Card | None:
    """Gives the card that a file carries, or None.

    Raises:
        ValueError: The file is missing, damaged or of no known format, or its card is none.
    """
    kind = format_of(path)
    return CARDS[kind](path) if kind in CARDS else None


def write_card(path: Path, card: Card) -> None:
    """Gives the file at `path` another card; its graph and weights stay what they are.

    The bytes depend on nothing but the file and the card: the old card again gives the old file.

    Raises:
        ValueError: The format carries no card that can be replaced, or the file carries none yet.
    """
    kind = format_of(path)
    if kind not in WRITERS or read_card(path) is None:
        raise ValueError(f"{path.name} carries no card to replace; files that `pocketface export` wrote do")
    WRITERS[kind](path, card, path)


def uncertified_sha256(path: Path) -> str:
    """Gives the SHA-256 that the file had before it was certified: a certificate does not change it.

    Args:
        path: A converted file, or a checkpoint folder, which is never certified.
    """
    card = read_card(path)
    if card is None or card.certificate is None:
        return sha256_of(path)
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / path.name
        WRITERS[format_of(path)](path, card.but(certificate=None), bare)
        return sha256_of(bare)
