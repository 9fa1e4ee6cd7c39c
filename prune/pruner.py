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
from .groups import cut, find_groups
from .importance import CRITERIA, Labelled
from .recipe import PruneRecipe
from .recovery import Lessons, Progress, recover, start, teach, varied
from .resumption import Store, fingerprint_of
from .selection import floors_of, select
from .sizes import Size, Sizes, size_of

SECONDS_BETWEEN_SAVES = 30.0
NORM_BATCH, NORM_FACES = 64, 512  # what batch norms are re-estimated on


def prune(
    embedder: Embedder,
    faces: Labelled,
    recipe: PruneRecipe,
    progress: Callable[[str], None] = print,
    resume: Path | None = None,
) -> Embedder:
    """Makes `embedder` smaller in several cuts and lets it learn after each what it lost.

    Args:
        embedder: Left as it is; its embedding size stays.
        faces: Crops as the embedder wants them; labels matter for `taylor` only. With augmented copies they are all
            held in memory: `recipe.variants` times their size.
        recipe: How much, by which score, how long.
        progress: Gets a line now and then.
        resume: A folder to keep the state in. A prune that was killed and is called again with the same arguments goes
            on from there and ends, on the same machine with as many threads, with the same bits.

    Returns:
        A new embedder whose ancestry ends with what was done.

    Raises:
        ValueError: No face or of the wrong size, nothing that can be cut, or not so much; a score that ranks nothing;
            a `resume` folder of another prune.
    """
    if len(faces.faces) < 2:
        raise ValueError(f"pruning looks at faces, and {len(faces.faces)} are too few; some hundred would do")
    before = size_of(embedder)
    targets = targets_of(recipe, getattr(before, recipe.by))
    student = embedder.clone()
    student.backbone.requires_grad_(True)
    if targets:
        store = Store(resume, fingerprint_of(embedder, faces, recipe) if resume else "")
        floors = floors_of(find_groups(student.backbone, student.example()), recipe.least_kept, recipe.round_to)
        check_reachable(student, recipe, targets[-1], floors)
        lessons = lessons_of(embedder, faces, recipe, store, progress)
        step, history, recovery = store.load(student, recipe)
        while step + 1 < len(targets) or recovery is not None:
            if recovery is None:
                step += 1
                cut_once(student, faces, recipe, targets[step], floors, recipe.seed + step)
                recovery = start(student, recipe)
                history.append({**dataclasses.asdict(size_of(student))})
                progress(f"cut {step + 1} of {len(targets)}: {_told(size_of(student))}")
            last = step + 1 == len(targets)
            learn(student, lessons, recipe, recovery, step, last, history, store, progress)
            history[-1] |= {"batches": recovery.batch, **_first_and_last(recovery.losses)}
            recovery = None
            store.save(student, step, history, None)
            progress(...)
    ...
