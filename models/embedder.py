"""What an embedder is: aligned RGB crops in, D floats of unit length out."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..faces.contract import Faces, InputContract
from ..files import checked_name
from .activations import activations_of

Embeddings = NDArray[np.float32]
"""(N, D) float32, each row of unit length."""


def unit(embeddings: NDArray[np.float32]) -> Embeddings:
    """Scales each row to unit length; a row of zeros stays zero.

    Args:
        embeddings: (N, D), of any length.

    Returns:
        (N, D) float32.

    >>> unit(np.float32([[3, 4]])).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    norm = np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(embeddings / np.maximum(norm, 1e-12), dtype=np.float32)


@dataclass(frozen=True)
class Embedder:
    """A backbone, its input contract, and its history.

    The backbone maps (N, 3, H, W) float32, preprocessed by `contract`, to (N, D) float32 of any length;
    `embed` scales them to unit length, to be compared by cosine.
    """

    name: str
    backbone: nn.Module
    contract: InputContract
    architecture: str  # what builds the unpruned backbone: a zoo name, `file.py:factory`, or "onnx", its own graph
    options: Mapping[str, Any] = field(default_factory=dict)  # keyword arguments of the constructor
    licence: str = "unknown"
    ancestry: tuple[Mapping[str, Any], ...] = ()  # the steps that made it, oldest first, with hashes

    def __post_init__(self) -> None:
        """Refuses a name that is a path: files and folders are called by it."""
        checked_name(self.name, "embedder")

    @property
    def embedding_size(self) -> int:
        """D."""
        with torch.inference_mode():
            self.backbone.eval()
            return int(self.backbone(self.example()).shape[1])

    @property
    def pruned_from(self) -> str:
        """The name of the embedder that was pruned to this one, the first if that happened twice; "" if none was."""
        names = (str(entry.get("source", "")) for entry in self.ancestry if entry.get("stage") == "prune")
        return next(filter(None, names), "")

    @property
    def sha256(self) -> str:
        """SHA-256 of all that decides the embeddings: every named tensor, the activations, the input contract."""
        plain: dict[str, Any] = {"contract": self.contract.to_dict(), "activations": activations_of(self.backbone)}
        if isinstance(graph := getattr(self.backbone, "onnx_graph", None), bytes):  # no architecture of ours says it
            plain["graph"] = hashlib.sha256(graph).hexdigest()
        digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
        for name, tensor in self.backbone.state_dict().items():
            digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def example(self, batch: int = 1) -> Tensor:
        """Gives (batch, C, H, W) zeros on the backbone's device, for tracing."""
        device = next(self.backbone.parameters()).device
        return torch.zeros(batch, self.contract.channels, self.contract.height, self.contract.width, device=device)

    @cached_property
    def memory_format(self) -> torch.memory_format:
        """Channels last, which CPUs compute faster; contiguous where the backbone needs that.

        A `Tensor.view` over a map that is not 1x1 is one that does.
        """
        self.backbone.eval()
        try:
            with torch.inference_mode():
                self.backbone(self.example().contiguous(memory_format=torch.channels_last))
        except RuntimeError:
            return torch.contiguous_format
        return torch.channels_last

    @torch.inference_mode()
    def run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps (N, C, H, W) preprocessed faces to (N, D), of any length."""
        device = next(self.backbone.parameters()).device
        laid_out = torch.from_numpy(inputs).contiguous(memory_format=self.memory_format)
        outputs: Tensor = self.backbone.eval()(laid_out.to(device))
        return outputs.cpu().numpy()

    def embed(self, faces: Faces, batch: int = 16) -> Embeddings:
        """Embeds (N, H, W, 3) uint8 RGB crops in batches: (N, D) float32 of unit length.

        Raises:
            ValueError: The faces do not have the contract's size and type.
        """
        rows = [self.run(self.contract.preprocess(faces[i : i + batch])) for i in range(0, len(faces), batch)]
        return unit(np.concatenate(rows)) if rows else np.zeros((0, self.embedding_size), np.float32)

    def clone(self) -> Embedder:
        """Gives a deep copy."""
        return dataclasses.replace(self, backbone=copy.deepcopy(self.backbone))
