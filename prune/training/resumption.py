"""Resuming a killed training: one file with its whole state, written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ...files import made_again, written_whole
from ...models.embedder import Embedder
from ...models.widths import resize, widths_of
from ..criteria.importance import ScoreSums
from ..recipe import TrainingRecipe
from .losses import Distillation, Signal
from .recovery import Progress, lay_out, start_recovery
from .teacher import TeacherEmbeddings

STATE, TEACHER = "state.safetensors", "teacher.safetensors"


@dataclass(frozen=True)
class Snapshot:
    """A copy of a network's state, to go back to."""

    widths: dict[str, list[int]]
    weights: dict[str, Tensor]

    @classmethod
    def of(cls, backbone: nn.Module) -> Snapshot:
        """Copies `backbone`."""
        return cls(widths_of(backbone), {name: value.detach().clone() for name, value in backbone.state_dict().items()})

    def restore(self, backbone: nn.Module) -> None:
        """Restores `backbone` to that state."""
        resize(backbone, self.widths)
        backbone.load_state_dict(self.weights)


@dataclass
class TrainingState:
    """How far a prune or a recovery is."""

    student: Embedder
    phase: int = 0  # of the plan; earlier ones are done
    notes: list[dict[str, Any]] = field(default_factory=list)  # one for each phase so far
    recovery: Progress | None = None  # of this phase, once it has begun
    scores: ScoreSums = field(default_factory=ScoreSums)  # of the channels, over the batches of this phase
    share: float = 1.0  # of the planned removal; halved whenever it was too much
    before_cut: Snapshot | None = None  # to go back to


@dataclass(frozen=True)
class TrainingStore:
    """The folder from which a training can be resumed; without a folder nothing is stored.

    state.safetensors     weights; while a phase trains also the optimiser's moments and the signal's parameters; in its
                          metadata, as JSON, widths, progress, and a fingerprint of the inputs
    teacher.safetensors   the teacher's embedding of each crop, zeros where it was not needed yet; the crops follow from
                          the seed. It may be copied into the folder of another training with the same teacher and
                          faces: no result depends on what is known already
    """

    folder: Path | None
    fingerprint: str
    writes: bool = True  # only one of several processes does

    def save(self, state: TrainingState, signal: Signal) -> None:
        """Stores `state`, and the trained parameters of `signal`."""
        if self.folder is None or not self.writes:
            return
        backbone = state.student.backbone
        tensors = {f"weights.{name}": tensor for name, tensor in backbone.state_dict().items()}
        tensors |= {f"signal.{name}": tensor for name, tensor in signal.state_dict().items()}
        tensors |= {f"scores.{name}": tensor for name, tensor in state.scores.totals.items()}
        values: dict[str, Any] = {name: getattr(state, name) for name in ("phase", "notes", "share")}
        values |= {"scored_batches": state.scores.batches, "widths": widths_of(backbone)}
        if state.before_cut is not None:
            tensors |= {f"before_cut.{name}": tensor for name, tensor in state.before_cut.weights.items()}
            values["before_cut_widths"] = state.before_cut.widths
        if state.recovery is not None:
            values |= {"batch": state.recovery.batch, "losses": state.recovery.losses}
            for number, moments in state.recovery.optimiser.state_dict()["state"].items():
                tensors |= {f"optimiser.{number}.{name}": tensor for name, tensor in moments.items()}
        _write(self.folder / STATE, tensors, {"fingerprint": self.fingerprint, **values})

    def load(
        self,
        embedder: Embedder,
        signal: Signal,
        recipe: TrainingRecipe,
        progress: Callable[[str], None] = lambda line: None,
    ) -> TrainingState:
        """Gives the stored state of a training that began with `embedder`, or a fresh one if none is stored whole.

        Args:
            embedder: What the training began with.
            signal: Gets its trained parameters.
            recipe: Of the training.
            progress: Told of a damaged file.

        Raises:
            ValueError: The file was stored with another embedder, recipe or set of faces.
        """
        state = TrainingState(embedder.clone())
        backbone = state.student.backbone.requires_grad_(True)
        # The memory format decides the order of sums: it must not depend on whether a run was resumed.
        lay_out(state.student, state.student.memory_format)
        stored = self._open(progress)
        if stored is None:
            return state
        tensors, values = stored
        Snapshot(values["widths"], _part(tensors, "weights.")).restore(backbone)
        lay_out(state.student, state.student.memory_format)
        signal.load_state_dict(_part(tensors, "signal."))
        state.phase, state.notes, state.share = values["phase"], values["notes"], values["share"]
        state.scores = ScoreSums(_part(tensors, "scores."), values["scored_batches"])
        if "before_cut_widths" in values:
            state.before_cut = Snapshot(values["before_cut_widths"], _part(tensors, "before_cut."))
        if "batch" in values:
            state.recovery = start_recovery(state.student, signal, recipe)
            moments: dict[int, dict[str, Tensor]] = {}
            for name, tensor in _part(tensors, "optimiser.").items():
                number, moment = name.split(".", 1)
                moments.setdefault(int(number), {})[moment] = tensor
            optimiser = state.recovery.optimiser
            optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})
            state.recovery.batch, state.recovery.losses = values["batch"], values["losses"]
        return state

    def save_teacher(self, signal: Signal) -> None:
        """Stores the embeddings of the signal's teacher that are known so far, if it has one and new ones are."""
        if self.folder is None or not self.writes or not isinstance(signal, Distillation) or not signal.teacher.changed:
            return
        with signal.teacher.saving() as embeddings:
            kept = {"embeddings": torch.from_numpy(embeddings)}
            _write(self.folder / TEACHER, kept, {"fingerprint": signal.teacher.fingerprint})

    def load_teacher(self, teacher: TeacherEmbeddings, progress: Callable[[str], None] = lambda line: None) -> None:
        """Gives `teacher` its stored embeddings, if they are of that teacher and those crops.

        Args:
            teacher: Knows them afterwards.
            progress: Told of a damaged file.
        """
        stored = None if self.folder is None else _read(self.folder / TEACHER, progress)
        if stored is not None and stored[1].get("fingerprint") == teacher.fingerprint:
            teacher.restore(np.asarray(stored[0]["embeddings"].numpy(), np.float32))

    def _open(self, progress: Callable[[str], None]) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        if self.folder is None:
            return None
        stored = _read(self.folder / STATE, progress)
        if stored is not None and stored[1].get("fingerprint") != self.fingerprint:
            raise ValueError(
                f"{self.folder / STATE} was begun with another embedder, recipe, or other faces; "
                "give another folder, or remove it to start anew"
            )
        return stored


def _write(path: Path, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    whole = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    with written_whole(path) as beside:
        save_file(whole, beside, {"training": json.dumps(values)})


def _read(path: Path, progress: Callable[[str], None]) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            values = json.loads((file.metadata() or {})["training"])
            return {key: file.get_tensor(key) for key in file.keys()}, values
    except (SafetensorError, KeyError, TypeError, ValueError, OSError, RecursionError) as error:
        progress(made_again(str(path), error))
        return None


def forget_training(folder: Path) -> None:
    """Removes the files that a `TrainingStore` wrote into `folder`, and the folder if nothing else lies in it."""
    for name in (STATE, TEACHER):
        (folder / name).unlink(missing_ok=True)
        (folder / f".{name}.part").unlink(missing_ok=True)  # of a process that was killed
    with contextlib.suppress(OSError):  # it holds something of somebody else's
        folder.rmdir()


def fingerprint_of(*parts: str) -> str:
    """Gives the SHA-256 of all that decides a training: hashes of embedders and faces, the recipe."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
