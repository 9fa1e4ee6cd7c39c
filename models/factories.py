"""Embedders by name: of the zoo, or other networks as `file.py:factory`, `package.module:factory` or .onnx files."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..faces.contract import InputContract, unstated_contract
from ..files import sha256_of
from .embedder import Embedder
from .file_kinds import NO_NETWORKS, way_in
from .graph.torch_import import import_onnx
from .network_conversion import ConvertedNetwork, onnx_origin
from .reparameterisation import with_fused_modules
from .state_dicts import state_dict_in, without_prefix
from .torch_files import read_torch_file
from .torchvision_shim import beside_torchvision
from .zoo import ZOO, create

IMPORTED = "onnx"
"""The architecture of an embedder that was read from an ONNX file: its own graph."""


def load_embedder(
    architecture: str,
    weights: Path | None = None,
    *,
    contract: InputContract | None = None,
    name: str | None = None,
    licence: str = "unknown",
    options: Mapping[str, Any] | None = None,
) -> Embedder:
    """Builds the embedder that `architecture` names and loads `weights` into it, strictly.

    Branches that a factory's network was trained with are fused, see `with_fused_modules`.

    Args:
        architecture: A zoo name, `path/to/file.py:factory` or `package.module:factory`; the factory takes `options`
            and returns a module that maps (N, 3, H, W) to (N, D). Its code is run: name only code you trust.
        weights: A safetensors file, or a torch file (read with `weights_only=True`). None: fresh weights.
        contract: The preprocessing that the network expects; a factory needs one, None is the zoo's own.
        name: Name of the embedder; None: that of the weights or the architecture.
        licence: Of the weights, an SPDX identifier if there is one.
        options: Keyword arguments of the constructor.

    Raises:
        ValueError: No such network, weights of another one, a factory without a contract, or a network that cannot
            embed a face of the contract's size.
    """
    options = dict(options or {})
    if ":" in architecture:
        backbone = build_foreign(architecture, options)
        if contract is None:  # a wrong mean costs so little accuracy on easy pairs that nobody would see it
            raise ValueError(unstated_contract(architecture))
    else:
        fresh = create(architecture, **options)
        backbone, contract = fresh.backbone, contract or fresh.contract
    ancestry: dict[str, Any] = {"stage": "source", "architecture": architecture}
    if weights is not None:
        load_weights(backbone, weights)
        ancestry |= {"weights": weights.name, "sha256": sha256_of(weights)}
    name = name or (weights.stem if weights else architecture.rpartition(":")[2])
    embedder = Embedder(name, backbone.eval(), contract, architecture, options, licence, (ancestry,))
    _check_embeds(embedder)
    return with_fused_modules(embedder) if ":" in architecture else embedder


def load_onnx(
    path: Path,
    contract: InputContract | None,
    name: str | None = None,
    licence: str = "unknown",
    converted: ConvertedNetwork | None = None,
) -> Embedder:
    """Reads an ONNX file as an embedder that can be trained and pruned.

    Args:
        path: The file; it is not trusted.
        contract: The preprocessing that the network expects.
        name: Name of the embedder; None: that of the file.
        licence: Of the weights, an SPDX identifier if there is one.
        converted: The file of another tool that this one was made from, if it was.

    Raises:
        ValueError: There is no contract; the file is missing, damaged, or no embedder of it; or it has what cannot be
            trained, which the sentence names.
    """
    if known := way_in(path, NO_NETWORKS):
        raise ValueError(f"{path} {known}")
    if contract is None:
        raise ValueError(unstated_contract(path if converted is None else converted.file))
    backbone = import_onnx(path, contract)
    file, ancestry = (path, onnx_origin(path)) if converted is None else (converted.file, converted.origin)
    return Embedder(name or file.stem, backbone, contract, IMPORTED, {}, licence, (ancestry,))


def build_foreign(architecture: str, options: Mapping[str, Any]) -> nn.Module:
    """Runs the factory that `file.py:factory` or `package.module:factory` names.

    Returns:
        The network. Of several outputs (a tuple, list or mapping) it gives the one that is (N, D) with D > 1, where
        there is one such.

    Raises:
        ValueError: No such file, module or factory, or it returns no `torch.nn.Module`.
    """
    place, _, attribute = architecture.rpartition(":")
    factory = getattr(_module(place), attribute, None)
    if not callable(factory):
        raise ValueError(f"{place} has no factory {attribute!r}")
    try:
        inspect.signature(factory).bind(**options)
    except TypeError as error:
        raise ValueError(f"{architecture} does not take {dict(options)}: {error}") from error
    try:
        backbone = beside_torchvision(lambda: factory(**options))
    except Exception as error:  # whatever somebody else's code raises
        raise ValueError(f"{architecture} failed: {_place_of(error)}") from error
    if not isinstance(backbone, nn.Module):
        raise ValueError(f"{architecture} gave a {type(backbone).__name__}; a factory gives a torch.nn.Module")
    backbone.register_forward_hook(_embedding_alone)
    return backbone


def _embedding_alone(network: nn.Module, inputs: object, outputs: Any) -> Any:
    """Gives the one row of numbers among several outputs: networks give lengths, maps or logits of one class too."""
    rows = [value for value in _parts(outputs) if isinstance(value, Tensor) and value.ndim == 2 and value.shape[1] > 1]
    return rows[0] if len(rows) == 1 else outputs


def _parts(outputs: Any) -> list[Any]:
    if isinstance(outputs, Mapping):
        return list(outputs.values())
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def _module(place: str) -> Any:
    if not place.endswith(".py"):
        try:
            return beside_torchvision(lambda: importlib.import_module(place))
        except ImportError as error:
            raise ValueError(f"no embedder in {place!r}: {error}; zoo names: {', '.join(sorted(ZOO))}") from error
    path = Path(place)
    if not path.is_file():
        raise ValueError(f"{place} is not there; an embedder is a zoo name or path/to/file.py:factory")
    spec = importlib.util.spec_from_file_location(f"pocketface_foreign_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module, loader = importlib.util.module_from_spec(spec), spec.loader
    try:
        beside_torchvision(lambda: loader.exec_module(module))
    except Exception as error:  # whatever somebody else's code raises
        raise ValueError(f"{place} cannot be run: {_place_of(error)}") from error
    return module


def _place_of(error: Exception) -> str:
    """Says what was raised, and in which file and line of the user's code."""
    frames = traceback.extract_tb(error.__traceback__)
    ours, libraries = str(Path(__file__).parents[1]), ("site-packages", "<frozen")
    own = [frame for frame in frames if not frame.filename.startswith((ours, sys.base_prefix))]
    own = [frame for frame in own if not any(library in frame.filename for library in libraries)]
    message = next(iter(str(error).splitlines()), "nothing said")
    if isinstance(error, SyntaxError) or not own:  # a syntax error names its own line
        return message
    return f"{message} ({type(error).__name__} in {Path(own[-1].filename).name}, line {own[-1].lineno})"


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads a state dict from safetensors or, without running any code in it, from a torch file.

    Raises:
        ValueError: The file is missing, damaged, or holds anything but tensors.
    """
    if not path.is_file():
        raise ValueError(f"no weights at {path}")
    if known := way_in(path, NO_NETWORKS):
        raise ValueError(f"{path} {known}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = read_torch_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}") from error
    try:
        return state_dict_in(state)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from None


def load_weights(backbone: nn.Module, path: Path) -> None:
    """Loads every tensor of `path` into `backbone`, strictly; a prefix that all its names have is taken away.

    Args:
        backbone: Parameters of it may be shapes alone, on the device "meta"; these get memory once all shapes agree.
        path: As `read_weights` takes it.

    Raises:
        ValueError: As `read_weights`, or a tensor is missing, left over, of another shape, or not finite.
    """
    state = read_weights(path)
    # torch counts batches for a momentum that is not used here; older checkpoints lack the counter
    own = {name: tensor for name, tensor in backbone.state_dict().items() if not name.endswith("num_batches_tracked")}
    state = without_prefix(state, own)
    tensors = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    for name in sorted(set(own) - set(tensors)):
        raise ValueError(f"{path.name} holds the weights of another network: {name!r} is missing")
    if left := sorted(set(tensors) - set(own)):
        raise ValueError(
            f"{path.name} holds the weights of another network: {left[0]!r} is not in the network; if it is left over "
            "from a classifier, save the state dict without it: "
            f"{{k: v for k, v in state.items() if not k.startswith({left[0].partition('.')[0]!r})}}"
        )
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise ValueError(
                f"{path.name} holds the weights of another network: {name!r} is {list(tensor.shape)}, "
                f"the network expects {list(own[name].shape)}"
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(f"{path.name}: {name!r} holds numbers that are not finite")
    places = {name: tensor.shape for name, tensor in backbone.state_dict().items()}
    state = {name: tensor for name, tensor in state.items() if places.get(name) == tensor.shape}  # all but counters
    _give_memory(backbone)
    backbone.load_state_dict(state, strict=False)


def _give_memory(backbone: nn.Module) -> None:
    """Puts zeros in the place of tensors that are shapes alone; `zeros_like` of such a tensor would load SymPy."""
    for module in backbone.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.is_meta:
                zeros = torch.zeros(parameter.shape, dtype=parameter.dtype)
                setattr(module, name, nn.Parameter(zeros, parameter.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_meta:
                setattr(module, name, torch.zeros(buffer.shape, dtype=buffer.dtype))


def _check_embeds(embedder: Embedder) -> None:
    contract = embedder.contract
    try:
        with torch.inference_mode():
            output = embedder.backbone(embedder.example())
    except Exception as error:  # of torch, or of whoever wrote the network
        raise ValueError(
            f"{embedder.name} cannot embed a {contract.height}x{contract.width} face: {_place_of(error)}"
        ) from error
    if not isinstance(output, Tensor) or output.ndim != 2 or output.shape[0] != 1:
        shapes = [list(part.shape) if isinstance(part, Tensor) else type(part).__name__ for part in _parts(output)]
        given = " and ".join(map(str, shapes)) or "nothing"
        raise ValueError(f"{embedder.name} gives {given} for one face; an embedder gives (1, D)")
