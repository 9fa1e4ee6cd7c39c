"""The prune stage: an embedder and a recipe in, a smaller embedder that embeds like the first out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..models.batch_norm import reestimate_batch_norms
from ..models.complexity import Layer, layers
from ..models.embedder import Embedder
from ..models.layer_costs import CostTable
from ..models.widths import widths_of
from .channels.compensation import absorb_means
from .channels.groups import Group, cut, find_groups, left_whole
from .channels.selection import check_reachable, cost_of, floors_of, in_scope, select
from .channels.sizes import Size, Sizes, size_of
from .criteria.importance import CRITERIA, Labelled, importance
from .recipe import MEASURED, PruneRecipe
from .schedules import SCHEDULES
from .training.recovery import start
from .training.resumption import Snapshot, State, Store
from .training.trainer import agreed, crops_of, finished, signal_of, store_of, train, watched_scores

GLIMPSED, GLIMPSED_AT_ONCE = 512, 64  # faces that means and batch norms are taken from
LEAST_SHARE = 1 / 16  # of what was asked to go: if even this does not converge, nothing does

Judge = Callable[[Embedder], float]
"""Gives the verification accuracy, in 0..1, on people who are not trained on."""


def prune(
    embedder: Embedder,
    faces: Labelled,
    recipe: PruneRecipe,
    progress: Callable[[str], None] = print,
    resume: Path | None = None,
    table: CostTable | None = None,
    judge: Judge | None = None,
    teacher: Embedder | None = None,
) -> Embedder:
    """Makes `embedder` smaller by the phases of the recipe's schedule: training, and the cuts between.

    Args:
        embedder: Left as it is; its embedding size stays.
        faces: Crops as the embedder wants them; labels matter to the signals and criteria that say so.
        recipe: How much, by which score, in which order, how long.
        progress: Gets a line now and then.
        resume: A folder to keep the state in. A prune that was killed and is called again with the same arguments
            goes on from there and ends, on the same machine with as many threads, with the same bits.
        table: What layers cost, for budgets in milliseconds or instructions.
        judge: For `recipe.most_lost`: where a cut costs more accuracy than that, the pruning goes back to before it.
        teacher: What the rest shall embed like; none: `embedder` itself. Worth naming where that was pruned already.

    Returns:
        A new embedder; the last entry of its ancestry says what was done.

    Raises:
        ValueError: Too few faces, or of another size; nothing that can be cut, or not so much; scores that rank
            nothing; a `resume` folder of another prune; a table or a judge is missing.
    """
    plan = SCHEDULES[recipe.schedule](recipe)
    if recipe.remaining(1.0) == 1.0 and not recipe.control:
        return embedder.clone()
    found = find_groups(embedder.backbone, embedder.example())
    floors = check(embedder, found, faces, recipe, table, judge)
    crops = crops_of(embedder, faces, recipe, sum(phase.epochs for phase in plan))
    teacher = teacher or embedder
    parts = embedder.sha256, teacher.sha256, faces.sha256, recipe.model_dump_json(), table.sha256 if table else ""
    store = store_of(resume, *parts)
    signal = signal_of(teacher, faces, crops, recipe, store, progress)
    state = store.load(embedder, signal, recipe)
    best = judge(embedder) if judge is not None else 1.0
    for reason, names in whole(embedder, found).items() if state.phase == 0 else ():
        progress(f"{len(names)} layers stay whole, as {reason}: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}")
    while state.phase < len(plan):
        phase = plan[state.phase]
        if state.recovery is None:
            if phase.cut and not recipe.control:
                state.kept = Snapshot.of(state.student.backbone)
                shrink(state, faces, recipe, target_of(embedder, recipe, phase.cut * state.share, table), floors, table)
                progress(f"cut in phase {state.phase + 1}: {told(size_of(state.student, table))}")
            state.watched = {}
            state.recovery = start(state.student, signal, recipe)
            store.save(state, signal)
        watched = groups_of(state.student, floors) if phase.watched and is_watched(recipe) else []
        train(state, phase, signal, crops, recipe, store, progress, watched)
        state.notes[-1] |= dataclasses.asdict(size_of(state.student, table))
        if phase.check and not converges(state):
            reconsider(state, progress)
        elif judge is not None and lost_too_much(state, judge, best, recipe, progress):
            state.phase, state.share = len(plan) - 1, 0.0
        else:
            state.phase += 1
        store.save(state, signal)
    return named(embedder, state, recipe, len(faces.faces), store, table)


def check(
    embedder: Embedder,
    found: Sequence[Group],
    faces: Labelled,
    recipe: PruneRecipe,
    table: CostTable | None,
    judge: Judge | None,
) -> dict[str, int]:
    """Refuses what cannot end well before anything slow begins, and gives the groups' least widths."""
    if recipe.by in MEASURED and (table is None or table.unit != recipe.by):
        raise ValueError(f"a budget of {recipe.by} wants a table of measured costs in {recipe.by}")
    if recipe.most_lost is not None and judge is None:
        raise ValueError("most_lost is about accuracy on held-out people, and there is nobody to judge by")
    groups = in_scope(found, embedder.backbone, recipe.scope)
    floors = floors_of(groups, recipe.least_kept, recipe.least_width, recipe.round_to)
    if recipe.by != "score":
        target = target_of(embedder, recipe, 1.0, table)
        check_reachable(groups, Sizes(embedder, groups, table), recipe.by, target, floors)
    return floors


def whole(embedder: Embedder, found: Sequence[Group]) -> dict[str, list[str]]:
    """Gives, by reason, the layers that no cut can make narrower."""
    reasons: dict[str, list[str]] = {}
    for layer, reason in left_whole(embedder.backbone, embedder.example(), found).items():
        reasons.setdefault(reason, []).append(layer)
    return reasons


def target_of(embedder: Embedder, recipe: PruneRecipe, share: float, table: CostTable | None) -> float:
    """Gives what shall be left once `share` of what shall go is gone; of scores, the one below which channels go."""
    if recipe.by == "score":
        assert recipe.target is not None
        return recipe.target * share
    before = size_of(embedder, table).of(recipe.by)
    return before + (min(recipe.remaining(before), before) - before) * share


def is_watched(recipe: PruneRecipe) -> bool:
    """Says whether training itself scores channels; criteria that look at no loss score once, before the cut."""
    return CRITERIA[recipe.criterion].signal == "loss" and not recipe.control


def groups_of(student: Embedder, floors: dict[str, int]) -> list[Group]:
    """Finds the groups that may be cut."""
    return [group for group in find_groups(student.backbone, student.example()) if group.name in floors]


def shrink(
    state: State,
    faces: Labelled,
    recipe: PruneRecipe,
    target: float,
    floors: dict[str, int],
    table: CostTable | None,
) -> None:
    """Cuts the student in place to `target`: scores, selects, cuts, and takes means and batch norms anew."""
    student, seed = state.student, recipe.seed + state.phase
    groups = groups_of(student, floors)
    if state.watched:
        scores = watched_scores(state, groups, recipe.criterion)
    else:
        scores = importance(recipe.criterion, student, groups, faces, recipe.images, seed)
    sizes, cost = Sizes(student, groups, table), cost_of(recipe)
    gone = agreed(
        select(groups, scores, sizes, by=recipe.by, target=target, floors=floors, cost=cost, round_to=recipe.round_to)
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


def converges(state: State) -> bool:
    """Says whether the loss fell in the latest phase."""
    note = state.notes[-1]
    return bool(note["batches"] == 0 or note["loss_last"] < note["loss_first"])


def reconsider(state: State, progress: Callable[[str], None]) -> None:
    """Goes back to before the cut, of which half shall be tried."""
    assert state.kept is not None, "a check follows a cut"
    state.kept.restore(state.student.backbone)
    state.share /= 2
    if state.share < LEAST_SHARE:
        raise ValueError("the cut network does not converge, however little is cut; a lower learning rate would do")
    progress(f"the cut network does not converge: trying {state.share:.0%} of what should go")


def lost_too_much(
    state: State, judge: Judge, best: float, recipe: PruneRecipe, progress: Callable[[str], None]
) -> bool:
    """Notes the accuracy; where it fell by more points than allowed, puts the network back to before the last cut."""
    assert recipe.most_lost is not None
    accuracy = state.notes[-1]["accuracy"] = judge(state.student)
    if 100 * (best - accuracy) <= recipe.most_lost or state.kept is None or state.share == 0:
        return False
    state.kept.restore(state.student.backbone)
    state.notes[-1]["undone"] = True
    progress(f"accuracy on held-out people fell from {best:.2%} to {accuracy:.2%}: back to before the last cut")
    return True


def named(
    embedder: Embedder, state: State, recipe: PruneRecipe, faces: int, store: Store, table: CostTable | None
) -> Embedder:
    """Gives the student a name and its history."""
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
        "layers": [_change(*pair) for pair in zip(layers(embedder), layers(state.student), strict=True)],
        "phases": state.notes,
    }
    name = "control" if recipe.control else f"pruned-{after.parameters / 1e6:.2f}M"
    return finished(state.student, f"{embedder.name}-{name}", (*embedder.ancestry, entry))


def told(size: Size) -> str:
    """Gives a size as a person reads it."""
    return f"{size.parameters:,} parameters, {size.macs / 1e6:,.1f} M MACs, {size.filters:,} filters"


def _change(before: Layer, after: Layer) -> dict[str, Any]:
    """Gives what one layer was and is, in the order in which layers run."""
    pairs = {"groups": "groups", "filters": "out_channels", "parameters": "parameters", "macs": "macs"}
    changed = {key: [getattr(before, name), getattr(after, name)] for key, name in pairs.items()}
    return {"name": before.name, "kind": before.kind, "kernel": list(before.kernel), **changed}
