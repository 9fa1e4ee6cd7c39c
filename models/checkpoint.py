"""Checkpoints: an embedder on disk and back: weights.safetensors and embedder.json in one folder, never a pickle.

folder/weights.safetensors   every parameter and buffer
folder/graph.pb              only of a network that was an ONNX file: that file without its weights
folder/embedder.json         name, architecture, options, activations, widths, input contract, licence, ancestry, hash
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from ..faces.contract import InputContract, unstated_contract
from ..files import sha256_of, written_whole
from .activations import activations_of, replace_activations
from .embedder import Embedder
from .factories import IMPORTED, build_foreign, load_embedder, load_onnx, load_weights
from .file_kinds import NO_NETWORKS, way_in
from .graph.imported_network import ImportedNetwork
from .graph.reading import LARGEST_FILE
from .graph.torch_import import rebuild
from .initialisation import shapes_alone
from .network_conversion import converted, with_weights_inside
from .network_names import DESCRIPTION, EMBEDDED_DEFAULT, check_network, is_network_file
from .reparameterisation import fused, is_fused
from .widths import resize, widths_of
from .zoo import create

WEIGHTS, GRAPH = "weights.safetensors", "graph.pb"
LARGEST_DESCRIPTION = 8 << 20  # bytes
DAMAGES = (TypeError, AttributeError, KeyError, ArithmeticError, RuntimeError, RecursionError)
"""What JSON of other types raises where it is used, besides ValueError; torch raises RuntimeError for a shape."""


def save_checkpoint(embedder: Embedder, folder: Path) -> Path:
    """Writes `embedder` into `folder`, whole or not at all, and gives `folder`.

    Args:
        embedder: What to write: weights as safetensors, all else as JSON.
        folder: Where to; an earlier checkpoint there is replaced.

    Returns:
        `folder`.

    Raises:
        ValueError: Something else lies there.
    """
    with written_whole(folder, DESCRIPTION) as beside:
        beside.mkdir(parents=True)
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in embedder.backbone.state_dict().items()}
        save_file(state, beside / WEIGHTS)
        (beside / WEIGHTS).chmod(0o644)  # safetensors makes it readable by its owner only, who may not be the user
        description = {
            "pocketface": 1,
            "name": embedder.name,
            "architecture": embedder.architecture,
            "options": dict(embedder.options),
            "activations": activations_of(embedder.backbone),
            "widths": widths_of(embedder.backbone),
            "contract": embedder.contract.to_dict(),
            "embedding_size": embedder.embedding_size,
            "licence": embedder.licence,
            "ancestry": list(embedder.ancestry),
            "sha256": sha256_of(beside / WEIGHTS),
        }
        if isinstance(embedder.backbone, ImportedNetwork):
            (beside / GRAPH).write_bytes(embedder.backbone.onnx_graph)
            description["graph_sha256"] = sha256_of(beside / GRAPH)
        (beside / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    return folder


def save_once(
    embedder: Embedder, folder: Path, factory: str | None = None, progress: Callable[[str], None] = lambda line: None
) -> Path:
    """Writes `embedder` into `folder` unless that very checkpoint is there; gives `folder`.

    Args:
        embedder: What to write.
        folder: Where to; a damaged checkpoint there is replaced.
        factory: See `load_checkpoint`.
        progress: Told of a damaged one.

    Raises:
        ValueError: Something else lies there.
    """
    try:
        if (folder / DESCRIPTION).is_file() and load_checkpoint(folder, factory).sha256 == embedder.sha256:
            return folder
    except ValueError as error:
        progress(f"{error}; it is written again")
    return save_checkpoint(embedder, folder)


def load_checkpoint(folder: Path, factory: str | None = None) -> Embedder:
    """Reads what `save_checkpoint` wrote; the embeddings are bit-identical.

    Args:
        folder: The checkpoint.
        factory: `file.py:factory` for a network that is not in the zoo; that in the checkpoint is not used, as a
            checkpoint must not choose which code runs.

    Returns:
        The embedder, in evaluation mode.

    Raises:
        ValueError: A file is missing, damaged, or of another network.
    """
    description = _describe(folder)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise ValueError(f"{folder} is no checkpoint: {WEIGHTS} is missing")
    if sha256_of(weights) != description["sha256"]:
        raise ValueError(f"{weights} is damaged: its SHA-256 is not the one that {DESCRIPTION} names")
    architecture = str(description["architecture"])
    if ":" in architecture and factory is None:
        raise ValueError(
            f"{folder} was built by {architecture!r}, and a checkpoint runs no code; name that code yourself: give "
            f"{architecture} for the network, and --weights {folder}; to `benchmark` give --embedder {architecture}"
        )
    try:
        options, ancestry = dict(description["options"]), tuple(map(dict, description["ancestry"]))
        contract = InputContract.from_dict(description["contract"])
        backbone: nn.Module
        if architecture == IMPORTED:
            backbone = _rebuilt(folder / GRAPH, description)
        elif ":" in architecture:
            architecture, backbone = str(factory), build_foreign(str(factory), options)
            backbone = fused(backbone).backbone if is_fused(ancestry) else backbone
        else:
            with shapes_alone():  # what the weights do not bear out never takes memory
                backbone = create(architecture, **options).backbone
        replace_activations(backbone, description.get("activations", {}))  # older checkpoints have no such entry
        resize(backbone, description["widths"], "meta")
    except DAMAGES as error:
        raise ValueError(f"{folder / DESCRIPTION} is damaged: {error or type(error).__name__}") from error
    load_weights(backbone, weights)
    return Embedder(
        str(description["name"]),
        backbone.eval(),
        contract,
        architecture,
        options,
        str(description["licence"]),
        ancestry,
    )


def open_embedder(
    name_or_path: str | Path,
    weights: Path | str | None = None,
    *,
    contract: InputContract | None = None,
    name: str | None = None,
    licence: str = "unknown",
    options: Mapping[str, Any] | None = None,
) -> Embedder:
    """Opens an embedder: it maps aligned RGB crops (N, H, W, 3) uint8 to (N, D) float32 of unit length.

    Args:
        name_or_path: A checkpoint folder, `embedded-default`, an .onnx file, a network of another tool (see
            `network_conversion`), or what `load_embedder` takes: a name of the zoo, or a factory as
            `path/to/file.py:factory` or `package.module:factory`, whose code is run.
        weights: A file, as for `load_embedder`; or a checkpoint folder, which is rebuilt with the factory
            `name_or_path`.
        contract: See `load_embedder`; like the following, ignored for a checkpoint, which has its own.
        name: See `load_embedder`.
        licence: See `load_embedder`.
        options: See `load_embedder`.

    Returns:
        The embedder, in evaluation mode.

    Raises:
        ValueError: There is no such embedder, it is damaged, or it does not fit the weights or the contract.
    """
    path, weights = Path(name_or_path), None if weights is None else Path(weights)
    if str(name_or_path) == EMBEDDED_DEFAULT:
        return load_checkpoint(Path(__file__).parent / EMBEDDED_DEFAULT)
    if (path / DESCRIPTION).is_file():
        return load_checkpoint(path)
    if is_network_file(path) and path.exists():
        if weights is not None or options:
            raise ValueError(f"{path} has its own weights and layers; leave out weights ({weights}) and options")
        if path.suffix == ".onnx":
            return load_onnx(with_weights_inside(path), contract, name, licence)
        if known := way_in(path, NO_NETWORKS):
            raise ValueError(f"{path} {known}")
        if contract is None:
            raise ValueError(unstated_contract(path))
        whole = converted(path, (contract.height, contract.width))
        return load_onnx(whole.onnx, contract, name, licence, whole)
    if weights is not None and weights.is_dir():
        return load_checkpoint(weights, str(name_or_path))
    check_network(str(name_or_path))
    return load_embedder(str(name_or_path), weights, contract=contract, name=name, licence=licence, options=options)


def _rebuilt(path: Path, description: Mapping[str, Any]) -> ImportedNetwork:
    """Builds the network of a checkpoint's graph, before its layers are cut."""
    if not path.is_file():
        raise ValueError(f"{path.parent} is no checkpoint: {GRAPH} is missing")
    if path.stat().st_size > LARGEST_FILE or sha256_of(path) != description.get("graph_sha256"):
        raise ValueError(f"{path} is damaged: its SHA-256 is not the one that {DESCRIPTION} names")
    return rebuild(path.read_bytes(), str(path))


def _describe(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    if not path.is_file():
        raise ValueError(f"{folder} is no checkpoint: {DESCRIPTION} is missing")
    if path.stat().st_size > LARGEST_DESCRIPTION:
        raise ValueError(f"{path} has {path.stat().st_size} bytes; no checkpoint needs so many")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    required = {"name", "architecture", "options", "widths", "contract", "licence", "ancestry", "sha256"}
    if not isinstance(description, dict) or required - set(description):
        missing = sorted(required - set(description)) if isinstance(description, dict) else ["an object"]
        raise ValueError(f"{path} is damaged: {missing[0]} is missing")
    return description
