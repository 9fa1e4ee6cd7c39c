"""What names a network: the embedded default, the zoo, a checkpoint folder, a factory, a file. Loads no torch."""

from __future__ import annotations

from pathlib import Path

from ..spelling import known_names
from .file_kinds import way_in
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


def check_network(name: str) -> None:
    """Refuses what names no network; where a file that is there or a factory is named, opening it tells more.

    Raises:
        ValueError: With the networks that are known, or what the file is and which way leads in.
    """
    path = Path(name)
    if ":" in name or (is_network(name) and (path.exists() or not is_network_file(path))):
        return
    if name and path.exists() and (known := way_in(path)):
        raise ValueError(f"{name} {known}")
    if name and path.exists():
        hints = {".py": f"; name its factory: {name}:FACTORY"}
        raise ValueError(f"{name} is no checkpoint folder, and no embedder has that name{hints.get(path.suffix, '')}")
    if path.suffix or len(path.parts) > 1:
        raise ValueError(f"there is no file or folder {name}")
    raise ValueError(f"no embedder {name!r}; {known_names(name, sorted((EMBEDDED_DEFAULT, *ZOO)))}")
