"""Training in phases that can be killed and resumed: `recover` has one, `prune` cuts between several."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...faces.folders import LabelledFaces
from ...models.embedder import Embedder
from ...steps import Losses, LossLine, LossStep, ProgressStep
from ..criteria.importance import ScoreSums
from ..recipe import TrainingRecipe
from ..schedules import Phase
from .augmentation import Crops
from .fading_activations import fading_prelus, finish_fading
from .fitted_norms import with_fitted_norms
from .losses import Distillation, Signal, classification
from .recovery import lay_out, learn, start_recovery
from .resumption import TrainingState, TrainingStore, fingerprint_of
from .teacher import GROUP, TeacherEmbeddings

SECONDS_BETWEEN_SAVES, SECONDS_BETWEEN_LINES = 30.0, 10.0
LARGEST_SAVING_SHARE = 0.02  # of the time, for the teacher's embeddings


def recover(
    student: Embedder,
    faces: LabelledFaces,
    recipe: TrainingRecipe,
    teacher: Embedder | None = None,
    progress: Callable[[str], None] = print,
    resume: Path | None = None,
) -> Embedder:
    """Trains `student` towards a teacher's embeddings, or by the faces' labels.

    Args:
        student: Left as it is.
        faces: Crops of the size that both embedders expect.
        recipe: What to learn from, and how long.
        teacher: Required by the signal `distillation`, and only by it; its embeddings may be of another size.
        progress: Gets a line now and then.
        resume: As in `prune`.

    Returns:
        A new embedder; the last entry of its ancestry describes the training.

    Raises:
        ValueError: A teacher is missing or not used; faces that do not fit; too few people for labels.
    """
    if (teacher is not None) != (recipe.signal == "distillation"):
        raise ValueError(
            f"the signal {recipe.signal} needs {'a teacher' if teacher is None else 'labels, not a teacher'}; "
            "distillation learns from a teacher, softmax, arcface and cosface from labels"
        )
    student = with_fitted_norms(student, faces, recipe.seed)
    fading_prelus(student.backbone, recipe)  # checks the recipe before anything slow begins
    crops = crops_of(student, faces, recipe, recipe.epochs)
    origin = teacher.sha256 if teacher is not None else ""
    store = store_of(resume, student.sha256, faces.sha256, recipe.model_dump_json(), origin)
    signal = signal_of(teacher or student, faces, crops, recipe, store, progress)
    state = store.load(student, signal, recipe, progress)
    if state.phase == 0:
        if state.recovery is None:
            state.recovery = start_recovery(state.student, signal, recipe)
        train(state, Phase(0.0, recipe.epochs), signal, crops, recipe, store, progress)
        state.phase = 1
        store.save(state, signal)
    finish_fading(state.student.backbone, recipe)
    entry: dict[str, Any] = {
        "stage": "recover",
        "recipe": recipe.model_dump(),
        "teacher": None if teacher is None else {"name": teacher.name, "sha256": teacher.sha256},
        "faces": len(faces.faces),
        "sha256": store.fingerprint,
        "phases": state.notes,
    }
    return finish(state.student, student.name, (*student.ancestry, entry))


def crops_of(embedder: Embedder, faces: LabelledFaces, recipe: TrainingRecipe, epochs: float) -> Crops:
    """Gives the crops to train on: as many of each face as there will be epochs, at most the recipe's `variants`.

    Raises:
        ValueError: Too few faces, or faces of another size.
    """
    if len(faces.faces) < 2:
        raise ValueError(f"an embedder learns from faces, and {len(faces.faces)} are too few; some hundred would do")
    embedder.contract.preprocess(faces.faces[:1])
    return Crops(faces.faces, max(1, min(recipe.variants, math.ceil(epochs))), recipe.seed)


def store_of(folder: Path | None, *parts: str) -> TrainingStore:
    """Gives the store of a training that `parts` decide; only one of several processes writes."""
    from accelerate import Accelerator

    return TrainingStore(folder, fingerprint_of(*parts), bool(Accelerator().is_main_process))


def signal_of(
    teacher: Embedder,
    faces: LabelledFaces,
    crops: Crops,
    recipe: TrainingRecipe,
    store: TrainingStore,
    progress: Callable[[str], None],
) -> Signal:
    """Gives the training signal: `teacher`'s embeddings, each computed once when it is needed, or the labels."""
    from accelerate import Accelerator

    if recipe.signal != "distillation":
        return classification(teacher, faces, recipe)
    teacher = teacher.clone()
    if (device := Accelerator().device).type == "cuda":  # torch's other GPUs are not to be used by two threads at once
        teacher.backbone.to(device)
    lay_out(teacher, teacher.memory_format)
    fingerprint = fingerprint_of(teacher.sha256, faces.sha256, f"{crops.variants} {crops.seed} {GROUP}")
    embeddings = TeacherEmbeddings(teacher, len(crops), fingerprint)
    store.load_teacher(embeddings, progress)
    return Distillation(embeddings)


def train(
    state: TrainingState,
    phase: Phase,
    signal: Signal,
    crops: Crops,
    recipe: TrainingRecipe,
    store: TrainingStore,
    progress: Callable[[str], None],
    observe: Callable[[], None] = lambda: None,
) -> None:
    """Trains `state.student` for one phase, saves every half minute, and notes the first and last loss.

    What the teacher said, which is large and could be computed again, is saved less often where that takes long.
    `observe` is called after each backward, before the weights change.
    """
    assert state.recovery is not None
    saved = told = time.monotonic()
    teacher_due = saved + SECONDS_BETWEEN_SAVES
    known = len(state.recovery.losses)  # batches whose losses were told of
    batches = learn(state.student, signal, crops, recipe, phase.epochs, state.phase, state.recovery, observe)
    with closing(batches):
        for recovery in batches:
            now = time.monotonic()
            if due := now - saved >= SECONDS_BETWEEN_SAVES:
                store.save(state, signal)
                saved = time.monotonic()
            if now >= teacher_due:
                began = time.monotonic()
                store.save_teacher(signal)
                took = time.monotonic() - began
                teacher_due = began + max(SECONDS_BETWEEN_SAVES, took / LARGEST_SAVING_SHARE)
            if due or now - told >= SECONDS_BETWEEN_LINES:
                line = f"phase {state.phase + 1}: batch {recovery.batch}, loss {np.mean(recovery.losses[-50:]):.4f}"
                step = ProgressStep(line, f"training, phase {state.phase + 1}", recovery.batch, recovery.batches)
                progress(LossStep.of(step, Losses(state.phase + 1, known + 1, tuple(recovery.losses[known:]))))
                told, known = now, len(recovery.losses)
    losses = state.recovery.losses
    note: dict[str, Any] = {"epochs": phase.epochs, "batches": len(losses)}
    if losses:
        tenth = max(1, len(losses) // 10)
        note |= {"loss_first": float(np.mean(losses[:tenth])), "loss_last": float(np.mean(losses[-tenth:]))}
        line = f"phase {state.phase + 1}: loss {note['loss_first']:.4f} -> {note['loss_last']:.4f}"
        progress(LossLine(line, Losses(state.phase + 1, known + 1, tuple(losses[known:]))))
    store.save_teacher(signal)
    state.notes.append(note)
    state.recovery = None


def mean_scores(sums: ScoreSums) -> dict[str, Tensor]:
    """Gives the mean scores of the latest training phase, averaged over all processes."""
    from accelerate.utils import reduce

    return ScoreSums({name: reduce(total, "mean") for name, total in sums.totals.items()}, sums.batches).mean()


def agree_on(cuts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gives the first process's choice of channels in every process."""
    from accelerate.utils import broadcast_object_list

    choice = [dict(cuts)]
    broadcast_object_list(choice)
    return choice[0]


def finish(student: Embedder, name: str, ancestry: tuple[Mapping[str, Any], ...]) -> Embedder:
    """Gives the trained student with its name and history, laid out as if read from a checkpoint."""
    lay_out(student, torch.contiguous_format)
    student.backbone.cpu().eval()
    return dataclasses.replace(student, name=name, ancestry=ancestry)
