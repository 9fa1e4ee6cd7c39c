"""A prune that was killed goes on where it stood: one file with all of it, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..models.embedder import Embedder, Embeddings
from ..models.files import written_whole
from ..models.widths import resize, widths_of
from .importance import Labelled
from .recipe import PruneRecipe
from .recovery import Progress, lay_out, start

STATE, TEACHER = "state.safetensors", "teacher.safetensors"


@dataclass
class State:
    """How far a prune is."""

    student: Embedder
    cuts: list[dict[str, Any]]  # what was noted of each cut so far
    recovery: Progress | None = None  # of the last cut; None: it is over


@dataclass(frozen=True)
class Store:
    """The folder in which a prune can be resumed; without a folder nothing is kept.

    state.safetensors     weights, and the optimiser's moments while a recovery runs; in its metadata, as JSON, widths,
                          how far it is, and a fingerprint of what it was started with
    teacher.safetensors   what the teacher says of each crop; the crops follow from the seed
    """

    folder: Path | None
    fingerprint: str

    def save(self, state: State) -> None:
        """Keeps `state`."""
        if self.folder is None:
            return
        backbone = state.student.backbone
        tensors = {f"weights.{name}": tensor for name, tensor in backbone.state_dict().items()}
        values: dict[str, Any] = {"cuts": state.cuts, "widths": widths_of(backbone)}
        if state.recovery is not None:
            values |= {"batch": state.recovery.batch, "losses": state.recovery.losses}
            for number, moments in state.recovery.optimiser.state_dict()["state"].items():
                tensors |= {f"optimiser.{number}.{name}": tensor for name, tensor in moments.items()}
        self._write(STATE, tensors, values)

    def load(self, embedder: Embedder, recipe: PruneRecipe) -> State:
        """Gives the stored state of a prune of `embedder`, or its beginning where nothing is stored.

        Raises:
            ValueError: The file is damaged, or of another embedder, recipe or set of faces.
        """
        state = State(embedder.clone(), [])
        state.student.backbone.requires_grad_(True)
        # The layout decides the order of sums: it must not depend on whether a run was resumed.
        lay_out(state.student, torch.channels_last)
        stored = self._open(STATE)
        if stored is None:
            return state
        tensors, values = stored
        resize(state.student.backbone, values["widths"])
        lay_out(state.student, torch.channels_last)
        state.student.backbone.load_state_dict(_part(tensors, "weights."))
        state.cuts = values["cuts"]
        if "batch" in values:
            state.recovery = start(state.student, recipe)
            moments: dict[int, dict[str, Tensor]] = {}
            for name, tensor in _part(tensors, "optimiser.").items():
                number, moment = name.split(".", 1)
                moments.setdefault(int(number), {})[moment] = tensor
            optimiser = state.recovery.optimiser
            optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})
            state.recovery.batch, state.recovery.losses = values["batch"], values["losses"]
        return state

    def save_teacher(self, embeddings: Embeddings) -> None:
        """Keeps what the teacher said."""
        if self.folder is not None:
            self._write(TEACHER, {"embeddings": torch.from_numpy(embeddings)}, {})

    def load_teacher(self) -> Embeddings | None:
        """Gives what the teacher said, if it was asked already."""
        stored = self._open(TEACHER)
        return None if stored is None else np.asarray(stored[0]["embeddings"].numpy(), np.float32)

    def _write(self, name: str, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        assert self.folder is not None
        whole = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        with written_whole(self.folder / name) as beside:
            save_file(whole, beside, {"pocketface": json.dumps({"fingerprint": self.fingerprint, **values})})

    def _open(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        if self.folder is None or not (self.folder / name).is_file():
            return None
        path = self.folder / name
        try:
            with safe_open(path, "pt") as file:
                values = json.loads((file.metadata() or {})["pocketface"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            raise ValueError(f"{path} is no state of a prune ({error}); remove it to start anew") from error
        if values.get("fingerprint") != self.fingerprint:
            raise ValueError(
                f"{path} belongs to a prune of another embedder, with another recipe or other faces; "
                "give another folder, or remove it to start anew"
            )
        return tensors, values


def fingerprint_of(embedder: Embedder, labelled: Labelled, recipe: PruneRecipe) -> str:
    """Gives the SHA-256 of all that decides how a prune goes: weights, faces, labels, recipe."""
    digest = hashlib.sha256(recipe.model_dump_json().encode())
    digest.update(json.dumps(embedder.contract.to_dict(), sort_keys=True).encode())
    for name, tensor in sorted(embedder.backbone.state_dict().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).data)
    digest.update(np.ascontiguousarray(labelled.faces).data)
    digest.update(np.ascontiguousarray(labelled.labels).data)
    return digest.hexdigest()


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
