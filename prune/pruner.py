"""The prune stage: an embedder and a recipe in, a smaller embedder with similar embeddings out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..faces.folders import LabelledFaces
from ..models.complexity import mac_layers
from ..models.embedder import Embedder
from ..models.layer_costs import CostTable
from ..models.layer_runs import LayerRun
from ..models.widths import widths_of
from .channels.compensation import cut_keeping_means
from .channels.groups import Group, find_groups, uncut_reasons
from .channels.selection import check_reachable, cost_of, floors_of, groups_in_scope, select
from .channels.sizes import Size, Sizes, size_of
from .criteria.importance import CRITERIA, ChannelScorer, ScoreSums, channel_scorer, importance
from .recipe import MEASURED, PruneRecipe
from .schedules import SCHEDULES, Phase
from .training.fitted_norms import with_fitted_norms
from .training.recovery import start_recovery
from .training.resumption import Snapshot, TrainingState, TrainingStore
from .training.trainer import agree_on, crops_of, finish, mean_scores, signal_of, store_of, train

SAMPLED_FACES, SAMPLE_BATCH = 512, 64  # faces that means and batch norms are estimated on
LEAST_SHARE = 1 / 16  # of the planned removal: if even this does not converge, pruning fails

Judge = Callable[[Embedder], float]
"""Gives the verification accuracy, in 0..1, on people who are not in the training set."""


def prune(
    embedder: Embedder,
    faces: LabelledFaces,
    recipe: PruneRecipe,
    progress: Callable[[str], None] = print,
    resume: Path | None = None,
    table: CostTable | None = None,
    judge: Judge | None = None,
    teacher: Embedder | None = None,
    floors: Mapping[str, int] | None = None,
) -> Embedder:
    """Makes `embedder` smaller in the phases of the recipe's schedule, which cut and train.

    Args:
        embedder: Not changed; the result has the same embedding size.
        faces: Crops of the embedder's size; only some signals and criteria use their labels, see `PruneRecipe`.
        recipe: How much to cut, by which score, on which schedule, and how long to train.
        progress: Gets a line now and then.
        resume: A folder for the state. A prune that was killed and is called again with the same arguments is resumed
            from it and gives, on the same machine with as many threads, the same bits.
        table: Layer costs, for budgets in milliseconds or instructions.
        judge: For `recipe.most_lost`: a cut that costs more accuracy than that is undone, and pruning ends there.
        teacher: Whose embeddings are the training target; None: `embedder`. Give one if `embedder` was pruned before.
        floors: The least width of each group, see `checked_floors`; None: by the recipe, as shares of `embedder`'s own
            widths. Give those of the unpruned network if `embedder` was pruned before.

    Returns:
        A new embedder; the last entry of its ancestry describes the pruning.

    Raises:
        ValueError: Too few faces, or faces of another size; nothing can be cut, or less than asked; scores that rank
            nothing; a `resume` folder of another prune; a table or a judge is missing.
    """
    plan = SCHEDULES[recipe.schedule](recipe)
    if recipe.remaining(1.0) == 1.0 and not recipe.control:
        return embedder.clone()
    embedder = with_fitted_norms(embedder, faces, recipe.seed)
    groups = find_groups(embedder.backbone, embedder.example())
    own = checked_floors(embedder, groups, recipe, table, judge, floors)
    crops = crops_of(embedder, faces, recipe, sum(phase.epochs for phase in plan))
    teacher = teacher or embedder
    inputs = embedder.sha256, teacher.sha256, faces.sha256, recipe.model_dump_json(), table.sha256 if table else ""
    store = store_of(resume, *inputs, *([] if floors is None else [json.dumps(floors)]))
    signal = signal_of(teacher, faces, crops, recipe, store, progress)
    state = store.load(embedder, signal, recipe, progress)
    best = judge(embedder) if judge is not None else 1.0
    for reason, names in uncut_layers(embedder, groups).items() if state.phase == 0 else ():
        progress(
            f"{len(names)} layers are not cut, as {reason}: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}"
        )
    while state.phase < len(plan):
        phase = plan[state.phase]
        if state.recovery is None:
            if phase.cut and not recipe.control:
                state.before_cut = Snapshot.of(state.student.backbone)
                shrink(state, faces, recipe, target_of(embedder, recipe, phase.cut * state.share, table), own, table)
                progress(f"cut in phase {state.phase + 1}: {size_of(state.student, table)}")
            state.scores = ScoreSums()
            state.recovery = start_recovery(state.student, signal, recipe)
            store.save(state, signal)
        with training_scorer(state, phase, recipe, own) as scorer:
            observe = (lambda: None) if scorer is None else scorer.observe
            train(state, phase, signal, crops, recipe, store, progress, observe)
        state.notes[-1] |= dataclasses.asdict(size_of(state.student, table))
        if phase.check and not loss_fell(state):
            halve_cut(state, progress)
        elif judge is not None and lost_too_much(state, judge, best, recipe, progress):
            state.phase, state.share = len(plan) - 1, 0.0
        else:
            state.phase += 1
        store.save(state, signal)
    return pruned_embedder(embedder, state, recipe, len(faces.faces), store, table)


def checked_floors(
    embedder: Embedder,
    all_groups: Sequence[Group],
    recipe: PruneRecipe,
    table: CostTable | None,
    judge: Judge | None,
    stated: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Gives the least width of each group, after checking, before the slow part, that the recipe is possible.

    Where these are `stated`, they are given back for the groups that are in the recipe's scope.
    """
    if recipe.by in MEASURED and (table is None or table.unit != recipe.by):
        raise ValueError(f"a budget of {recipe.by} needs a table of measured costs in {recipe.by}")
    if recipe.most_lost is not None and judge is None:
        raise ValueError("most_lost is about accuracy on held-out people, and there is nobody to judge by")
    groups = groups_in_scope(all_groups, embedder.backbone, recipe.scope)
    floors = floors_of(groups, recipe.least_kept, recipe.least_width, recipe.round_to)
    if stated is not None:
        floors = {name: stated.get(name, floor) for name, floor in floors.items()}
    if recipe.by != "score":
        target = target_of(embedder, recipe, 1.0, table)
        check_reachable(groups, Sizes(embedder, groups, table), recipe.by, target, floors)
    return floors


def uncut_layers(embedder: Embedder, groups: Sequence[Group]) -> dict[str, list[str]]:
    """Gives, by reason, the layers that cannot be cut."""
    reasons: dict[str, list[str]] = {}
    for layer, reason in uncut_reasons(embedder.backbone, embedder.example(), groups).items():
        reasons.setdefault(reason, []).append(layer)
    return reasons


def target_of(embedder: Embedder, recipe: PruneRecipe, share: float, table: CostTable | None) -> float:
    """Gives the size to reach after `share` of the removal; by score, the score below which channels are cut."""
    if recipe.by == "score":
        assert recipe.target is not None
        return recipe.target * share
    before = size_of(embedder, table).of(recipe.by)
    return before + (min(recipe.remaining(before), before) - before) * share


def training_scorer(
    state: TrainingState, phase: Phase, recipe: PruneRecipe, floors: dict[str, int]
) -> AbstractContextManager[ChannelScorer | None]:
    """Gives what scores channels while a phase trains, or None; criteria without a loss score once, before the cut."""
    if not phase.scored or CRITERIA[recipe.criterion].signal != "loss" or recipe.control:
        return nullcontext()
    groups = cuttable_groups(state.student, floors)
    return channel_scorer(state.student.backbone, groups, recipe.criterion, sums=state.scores)


def cuttable_groups(student: Embedder, floors: dict[str, int]) -> list[Group]:
    """Finds the groups that may be cut: those with a least width."""
    return [group for group in find_groups(student.backbone, student.example()) if group.name in floors]


def shrink(
    state: TrainingState,
    faces: LabelledFaces,
    recipe: PruneRecipe,
    target: float,
    floors: dict[str, int],
    table: CostTable | None,
) -> None:
    """Cuts the student in place to `target`: scores, selects, cuts, and re-estimates means and batch norms."""
    student, seed = state.student, recipe.seed + state.phase
    groups = cuttable_groups(student, floors)
    if state.scores.batches:
        scores = mean_scores(state.scores)
    else:
        scores = importance(recipe.criterion, student, groups, faces, recipe.images, seed)
    sizes, cost = Sizes(student, groups, table), cost_of(recipe)
    cuts = agree_on(
        select(groups, scores, sizes, by=recipe.by, target=target, floors=floors, cost=cost, round_to=recipe.round_to)
    )
    cut_keeping_means(student.backbone, groups, cuts, lambda: sample_batches(student, faces, seed))


def sample_batches(student: Embedder, faces: LabelledFaces, seed: int) -> Iterator[Tensor]:
    """Yields preprocessed batches of up to 512 random faces."""
    chosen = np.random.default_rng(seed).permutation(len(faces.faces))[:SAMPLED_FACES]
    for batch in np.array_split(chosen, -(-len(chosen) // SAMPLE_BATCH)):
        yield torch.from_numpy(student.contract.preprocess(faces.faces[batch]))


def loss_fell(state: TrainingState) -> bool:
    """Says whether the loss fell in the latest phase."""
    note = state.notes[-1]
    return bool(note["batches"] == 0 or note["loss_last"] < note["loss_first"])


def halve_cut(state: TrainingState, progress: Callable[[str], None]) -> None:
    """Restores the network before the cut, and halves the share to cut."""
    assert state.before_cut is not None, "a check follows a cut"
    state.before_cut.restore(state.student.backbone)
    state.share /= 2
    if state.share < LEAST_SHARE:
        raise ValueError("the cut network does not converge, however little is cut; try a lower learning rate")
    progress(f"the cut network does not converge: trying {state.share:.0%} of what should go")


def lost_too_much(
    state: TrainingState, judge: Judge, best: float, recipe: PruneRecipe, progress: Callable[[str], None]
) -> bool:
    """Notes the accuracy; if it fell by more points than allowed, restores the network before the last cut."""
    assert recipe.most_lost is not None
    accuracy = state.notes[-1]["accuracy"] = judge(state.student)
    if 100 * (best - accuracy) <= recipe.most_lost or state.before_cut is None or state.share == 0:
        return False
    state.before_cut.restore(state.student.backbone)
    state.notes[-1]["undone"] = True
    progress(f"accuracy on held-out people fell from {best:.2%} to {accuracy:.2%}: back to before the last cut")
    return True


def pruned_embedder(
    embedder: Embedder,
    state: TrainingState,
    recipe: PruneRecipe,
    faces: int,
    store: TrainingStore,
    table: CostTable | None,
) -> Embedder:
    """Gives the student with its name and history."""
    before, after = size_of(embedder, table), size_of(state.student, table)
    wide, narrow = widths_of(embedder.backbone), widths_of(state.student.backbone)
    entry: dict[str, Any] = {
        "stage": "prune",
        "source": embedder.name,
        "recipe": recipe.model_dump(),
        "faces": faces,
        "sha256": store.fingerprint,  # of the weights before, the faces, their labels and the recipe
        **{field.name: [getattr(before, field.name), getattr(after, field.name)] for field in dataclasses.fields(Size)},
        "widths": {name: [wide[name], narrow[name]] for name in wide},  # as `models.widths` writes them
        "layers": [_change(*pair) for pair in zip(mac_layers(embedder), mac_layers(state.student), strict=True)],
        "phases": state.notes,
    }
    name = "control" if recipe.control else f"pruned-{after.parameters / 1e6:.2f}M"
    return finish(state.student, f"{embedder.name}-{name}", (*embedder.ancestry, entry))


def _change(before: LayerRun, after: LayerRun) -> dict[str, Any]:
    pairs = {"groups": "groups", "filters": "outputs", "parameters": "parameters", "macs": "macs"}
    changed = {key: [getattr(before, name), getattr(after, name)] for key, name in pairs.items()}
    return {"name": before.name, "kind": before.kind, "kernel": list(before.kernel), **changed}
