"""The prune stage: an embedder and a recipe in, a smaller embedder that embeds like the first out."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..models.batch_norm import reestimate_batch_norms
from ..models.embedder import Embedder
from ..models.widths import widths_of
from .compensation import absorb_means
from .groups import Group, cut, find_groups
from .importance import CRITERIA, Labelled
from .recipe import PruneRecipe
from .recovery import Lessons, lay_out, recover, start, teach, varied
from .resumption import State, Store, fingerprint_of
from .selection import check_reachable, floors_of, select
from .sizes import Size, Sizes, size_of

SECONDS_BETWEEN_SAVES = 30.0
GLIMPSED, GLIMPSED_AT_ONCE = 512, 64  # faces that means and batch norms are taken from


def prune(
    embedder: Embedder,
    faces: Labelled,
    recipe: PruneRecipe,
    progress: Callable[[str], None] = print,
    resume: Path | None = None,
) -> Embedder:
    """Makes `embedder` smaller in several cuts; after each it learns back what it lost, longest after the last.

    Args:
        embedder: Left as it is; its embedding size stays.
        faces: Crops as the embedder wants them; labels matter to `taylor` only. They and their augmented copies are
            held in memory: `recipe.variants` times their size.
        recipe: How much, by which score, how long.
        progress: Gets a line now and then.
        resume: A folder to keep the state in. A prune that was killed and is called again with the same arguments
            goes on from there and ends, on the same machine with as many threads, with the same bits.

    Returns:
        A new embedder; the last entry of its ancestry says what was done.

    Raises:
        ValueError: Too few faces, or of another size; nothing that can be cut, or not so much; scores that rank
            nothing; a `resume` folder of another prune.
    """
    targets = targets_of(embedder, recipe)
    if not targets:
        return embedder.clone()
    floors = check(embedder, faces, recipe, targets[-1])
    store = Store(resume, fingerprint_of(embedder, faces, recipe))
    lessons = lessons_of(embedder, faces, recipe, store, progress)
    state = store.load(embedder, recipe)
    for step, target in enumerate(targets):
        if step == len(state.cuts):
            shrink(state.student, faces, recipe, target, floors, seed=recipe.seed + step)
            state.cuts.append(dataclasses.asdict(size_of(state.student)))
            state.recovery = start(state.student, recipe)
            progress(f"cut {step + 1} of {len(targets)}: {told(size_of(state.student))}")
        if step == len(state.cuts) - 1 and state.recovery is not None:
            learn(state, lessons, recipe, last=step == len(targets) - 1, store=store, progress=progress)
    return finished(embedder, state, recipe, len(faces.faces), store.fingerprint)


def targets_of(embedder: Embedder, recipe: PruneRecipe) -> list[float]:
    """Gives what each cut shall leave, in even steps; nothing where nothing shall go."""
    before = getattr(size_of(embedder), recipe.by)
    after = recipe.remaining(before)
    if after >= before:
        return []
    return [before + (after - before) * (step + 1) / recipe.steps for step in range(recipe.steps)]


def check(embedder: Embedder, faces: Labelled, recipe: PruneRecipe, target: float) -> dict[str, int]:
    """Refuses what cannot end well before anything slow begins, and gives the groups' least widths."""
    if len(faces.faces) < 2:
        raise ValueError(f"pruning learns from faces, and {len(faces.faces)} are too few; some hundred would do")
    embedder.contract.preprocess(faces.faces[:1])
    groups = find_groups(embedder.backbone, embedder.example())
    floors = floors_of(groups, recipe.least_kept, recipe.round_to)
    check_reachable(groups, Sizes(embedder, groups), recipe.by, target, floors)
    return floors


def lessons_of(
    embedder: Embedder, faces: Labelled, recipe: PruneRecipe, store: Store, progress: Callable[[str], None]
) -> Lessons:
    """Varies the faces, and asks the unpruned embedder what it says of them, if it was not asked already."""
    crops = varied(faces.faces, recipe.variants, recipe.seed)
    answers = store.load_teacher()
    if answers is None:
        progress(f"asking the unpruned embedder about {len(crops):,} crops of {len(faces.faces):,} faces")
        answers = teach(embedder, crops)
        store.save_teacher(answers)
    return Lessons(crops, answers, len(faces.faces))


def shrink(
    student: Embedder, faces: Labelled, recipe: PruneRecipe, target: float, floors: dict[str, int], seed: int
) -> None:
    """Cuts `student` in place to `target`: scores, selects, cuts, and takes means and batch norms anew."""
    found = find_groups(student.backbone, student.example())
    groups: list[Group] = [group for group in found if group.name in floors]
    scores = CRITERIA[recipe.criterion](student, groups, faces, recipe.images, seed)
    gone = select(
        groups,
        scores,
        Sizes(student, groups),
        by=recipe.by,
        target=target,
        floors=floors,
        cost=recipe.cost,
        round_to=recipe.round_to,
    )
    absorb_means(student.backbone, groups, gone, glimpses(student, faces, seed))
    cut(student.backbone, groups, gone)
    if any(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in student.backbone.modules()):
        reestimate_batch_norms(student.backbone, glimpses(student, faces, seed))


def glimpses(student: Embedder, faces: Labelled, seed: int) -> Iterator[Tensor]:
    """Yields up to 512 of the faces as the student wants them, from which means can be taken."""
    chosen = np.random.default_rng(seed).permutation(len(faces.faces))[:GLIMPSED]
    for batch in np.array_split(chosen, -(-len(chosen) // GLIMPSED_AT_ONCE)):
        yield torch.from_numpy(student.contract.preprocess(faces.faces[batch]))


def learn(
    state: State,
    lessons: Lessons,
    recipe: PruneRecipe,
    last: bool,
    store: Store,
    progress: Callable[[str], None],
) -> None:
    """Trains `state.student` after its latest cut, saves now and then, and notes how the loss fell."""
    assert state.recovery is not None
    epochs, cuts = recipe.epochs if last else recipe.epochs_between, len(state.cuts)
    store.save(state)
    saved = time.monotonic()
    for recovery in recover(state.student, lessons, recipe, epochs, cuts, state.recovery):
        if time.monotonic() - saved >= SECONDS_BETWEEN_SAVES:
            store.save(state)
            saved = time.monotonic()
            progress(f"cut {cuts}: batch {recovery.batch}, 1 - cosine {np.mean(recovery.losses[-50:]):.4f}")
    losses = state.recovery.losses
    if losses:
        tenth = max(1, len(losses) // 10)
        state.cuts[-1] |= {
            "batches": len(losses),
            "loss_first": float(np.mean(losses[:tenth])),  # 1 - cosine on varied crops, by tenths of the recovery
            "loss_last": float(np.mean(losses[-tenth:])),
        }
        progress(f"cut {cuts}: 1 - cosine {state.cuts[-1]['loss_first']:.4f} -> {state.cuts[-1]['loss_last']:.4f}")
    state.recovery = None
    store.save(state)


def finished(embedder: Embedder, state: State, recipe: PruneRecipe, faces: int, fingerprint: str) -> Embedder:
    """Gives the student a name and its history."""
    lay_out(state.student, torch.contiguous_format)  # as it will be when it is read from a checkpoint
    state.student.backbone.eval()
    before, after = size_of(embedder), size_of(state.student)
    wide, narrow = widths_of(embedder.backbone), widths_of(state.student.backbone)
    entry: dict[str, Any] = {
        "stage": "prune",
        "recipe": recipe.model_dump(),
        "faces": faces,
        "sha256": fingerprint,  # of the weights before, the faces, their labels and the recipe
        **{name: [getattr(before, name), getattr(after, name)] for name in ("filters", "parameters", "macs")},
        "widths": {name: [wide[name], narrow[name]] for name in wide},  # as `models.widths` writes them
        "cuts": state.cuts,
    }
    return dataclasses.replace(
        state.student,
        name=f"{embedder.name}-pruned-{after.parameters / 1e6:.2f}M",
        ancestry=(*embedder.ancestry, entry),
    )


def told(size: Size) -> str:
    """Gives a size as a person reads it."""
    return f"{size.parameters:,} parameters, {size.macs / 1e6:,.1f} M MACs, {size.filters:,} filters"
