"""What names a network: the embedded default, the zoo, a checkpoint folder, a factory, a file. Loads no torch."""

from __future__ import annotations

from pathlib import Path

from .network_conversion import is_other_network
from .zoo import ZOO

DESCRIPTION = "embedder.json"
"""The file by which a folder is known for a checkpoint."""

EMBEDDED_DEFAULT = "embedded-default"
"""The name of the small embedder that comes with pocketface, trained on its rendered faces."""


def is_network(name: str) -> bool:
    """Says whether `name` is what `open_embedder` takes, rather than another file, such as a recipe."""
    path = Path(name)
    known = name in (EMBEDDED_DEFAULT, *ZOO) or (path / DESCRIPTION).is_file() or is_network_file(path)
    return known or ":" in path.name


def is_network_file(path: Path) -> bool:
    """Says whether `path` names a file, or a SavedModel's folder, that holds a network with its weights."""
    return path.suffix == ".onnx" or is_other_network(path)
