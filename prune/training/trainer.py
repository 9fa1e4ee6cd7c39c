"""Phases of training that can be killed and resumed; `pruner` cuts between them, `recover` has one."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...models.embedder import Embedder
from ..channels.groups import Group
from ..criteria.importance import Labelled, Watch, watching
from ..recipe import PruneRecipe, TrainingRecipe
from ..schedules import Phase
from .augmentation import Crops
from .fading_activations import replaced, settle
from .losses import Signal, distillation, identification, teach
from .recovery import lay_out, learn, start
from .resumption import State, Store, fingerprint_of

SECONDS_BETWEEN_SAVES = 30.0


def recover(
    student: Embedder,
    faces: Labelled,
    recipe: TrainingRecipe,
    teacher: Embedder | None = None,
    progress: Callable[[str], None] = print,
    resume: Path | None = None,
) -> Embedder:
    """Trains `student` towards a teacher's embeddings, or by the faces' labels.

    Args:
        student: Left as it is.
        faces: Crops as both embedders want them, which must be of the same size.
        recipe: What to learn from, and how long.
        teacher: Wanted by the signal `distillation`; its embeddings may be of another size.
        progress: Gets a line now and then.
        resume: As in `prune`.

    Returns:
        A new embedder; the last entry of its ancestry says what was done.

    Raises:
        ValueError: No teacher, or one too many; faces that do not fit; too few people for labels.
    """
    if (teacher is not None) != (recipe.signal == "distillation"):
        raise ValueError(
            f"the signal {recipe.signal} wants {'a teacher' if teacher is None else 'labels, not a teacher'}; "
            "distillation learns from a teacher, softmax, arcface and cosface from labels"
        )
    replaced(student.backbone, recipe)  # whatever is wrong with that is said before anything slow begins
    crops = crops_of(student, faces, recipe, recipe.epochs)
    origin = teacher.sha256 if teacher is not None else ""
    store = store_of(resume, student.sha256, faces.sha256, recipe.model_dump_json(), origin)
    signal = signal_of(teacher or student, faces, crops, recipe, store, progress)
    state = store.load(student, signal, recipe)
    if state.phase == 0:
        if state.recovery is None:
            state.recovery = start(state.student, signal, recipe)
        train(state, Phase(0.0, recipe.epochs), signal, crops, recipe, store, progress)
        state.phase = 1
        store.save(state, signal)
    settle(state.student.backbone, recipe)
    entry: dict[str, Any] = {
        "stage": "recover",
        "recipe": recipe.model_dump(),
        "teacher": None if teacher is None else {"name": teacher.name, "sha256": teacher.sha256},
        "faces": len(faces.faces),
        "sha256": store.fingerprint,
        "phases": state.notes,
    }
    return finished(state.student, student.name, (*student.ancestry, entry))


def crops_of(embedder: Embedder, faces: Labelled, recipe: TrainingRecipe, epochs: float) -> Crops:
    """Gives the crops to learn from: as many of each face as there will be epochs, but no more than the recipe's.

    Raises:
        ValueError: Too few faces, or faces of another size.
    """
    if len(faces.faces) < 2:
        raise ValueError(f"an embedder learns from faces, and {len(faces.faces)} are too few; some hundred would do")
    embedder.contract.preprocess(faces.faces[:1])
    return Crops(faces.faces, max(1, min(recipe.variants, math.ceil(epochs))), recipe.seed)


def store_of(folder: Path | None, *parts: str) -> Store:
    """Gives the store of a stage that `parts` decide; of several processes one writes."""
    from accelerate import Accelerator

    return Store(folder, fingerprint_of(*parts), bool(Accelerator().is_main_process))


def signal_of(
    teacher: Embedder,
    faces: Labelled,
    crops: Crops,
    recipe: TrainingRecipe,
    store: Store,
    progress: Callable[[str], None],
) -> Signal:
    """Gives what is learnt: `teacher`'s embeddings, of which it is asked once, or the labels."""
    if recipe.signal != "distillation":
        return identification(teacher, faces, recipe)
    teacher = teacher.clone()
    lay_out(teacher, torch.channels_last)
    asked = fingerprint_of(teacher.sha256, faces.sha256, f"{crops.variants} {crops.seed}")
    answers = store.load_teacher(asked)
    if answers is None and recipe.epochs > 0:
        progress(f"asking {teacher.name} about {len(crops):,} crops of {len(faces.faces):,} faces")
        answers = teach(teacher, crops)
        store.save_teacher(answers, asked)
    return distillation(teacher, crops, answers)


def train(
    state: State,
    phase: Phase,
    signal: Signal,
    crops: Crops,
    recipe: TrainingRecipe,
    store: Store,
    progress: Callable[[str], None],
    groups: Sequence[Group] = (),
) -> None:
    """Trains `state.student` for one phase, saves now and then, and notes how the loss fell.

    With `groups`, channels are scored by every mini-batch; the sums are left in `state.watched`.
    """
    assert state.recovery is not None
    saved = time.monotonic()
    with watch_of(state, groups, recipe) as watch:
        observe = nothing if watch is None else watch.observe
        seen = learn(state.student, signal, crops, recipe, phase.epochs, state.phase, state.recovery, observe)
        for recovery in seen:
            if watch is not None:
                state.watched, state.watches = watch.totals, watch.batches
            if time.monotonic() - saved >= SECONDS_BETWEEN_SAVES:
                store.save(state, signal)
                saved = time.monotonic()
                progress(f"phase {state.phase + 1}: batch {recovery.batch}, loss {np.mean(recovery.losses[-50:]):.4f}")
    losses = state.recovery.losses
    note: dict[str, Any] = {"epochs": phase.epochs, "batches": len(losses)}
    if losses:
        tenth = max(1, len(losses) // 10)
        note |= {"loss_first": float(np.mean(losses[:tenth])), "loss_last": float(np.mean(losses[-tenth:]))}
        progress(f"phase {state.phase + 1}: loss {note['loss_first']:.4f} -> {note['loss_last']:.4f}")
    state.notes.append(note)
    state.recovery = None


@contextmanager
def watch_of(state: State, groups: Sequence[Group], recipe: TrainingRecipe) -> Iterator[Watch | None]:
    """Scores channels while it lasts, going on from what `state` holds; without groups it does nothing."""
    if not groups:
        yield None
        return
    assert isinstance(recipe, PruneRecipe), "only pruning scores channels"
    with watching(state.student.backbone, groups, recipe.criterion) as watch:
        if state.watched:
            watch.totals, watch.batches = state.watched, state.watches
        yield watch


def watched_scores(state: State, groups: Sequence[Group], criterion: str) -> dict[str, Tensor]:
    """Gives the scores that were taken while the latest phase trained, of all processes."""
    from accelerate.utils import reduce

    with watching(state.student.backbone, groups, criterion) as watch:
        watch.totals = {name: reduce(total, "mean") for name, total in state.watched.items()}
        watch.batches = state.watches
        return watch.scores()


def agreed(gone: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gives the first process's choice to all."""
    from accelerate.utils import broadcast_object_list

    choice = [dict(gone)]
    broadcast_object_list(choice)
    return choice[0]


def finished(student: Embedder, name: str, ancestry: tuple[Mapping[str, Any], ...]) -> Embedder:
    """Gives the trained student as it will be when it is read from a checkpoint, with its name and history."""
    lay_out(student, torch.contiguous_format)
    student.backbone.cpu().eval()
    return dataclasses.replace(student, name=name, ancestry=ancestry)


def nothing() -> None:
    """Observes nothing."""
