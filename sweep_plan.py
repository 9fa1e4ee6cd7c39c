"""The plan of a sweep: which networks it makes, as which cells, each under a hash of all that decides its content."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from .prune.criteria.importance import CRITERIA
from .prune.recipe import MEASURED, PruneRecipe, TrainingRecipe
from .prune.schedules import SCHEDULES
from .run_recipe import RunRecipe, validated
from .sweep_recipe import SWEPT, SweepRecipe

Kind = Literal["source", "cut", "recovery", "files", "timing"]
"""A network as it enters; after its cuts; after recovery; its converted files, measured; their latency."""

FORMAT = 1  # of cells: one more whenever the same key would get another content
TRAINING = {"learning_rate", "batch_size", "accumulate", "variants", "epochs_before", "epochs_between"}
NOT_OF_A_CUT = {"epochs", "control", "most_lost", "precision", "activation", "activation_layers"}
TIMED_BY = {"threads", "minimum_runs", "minimum_seconds", "rounds", "warm_up_seconds", "runtimes", "strict"}
BUDGET = ("remove", "target")


@dataclass(frozen=True)
class PlannedPoint:
    """One network that a sweep makes: a recipe that `pocketface run` would take, and where it stands in the grid."""

    recipe: RunRecipe = field(repr=False)
    network: int  # which of the sweep's networks it starts from
    settings: Mapping[str, str]  # the fields of [prune] that vary, but for the budget
    nested: bool = True  # whether it goes on from a shallower one, where its schedule cuts in steps

    @property
    def prune(self) -> PruneRecipe:
        """How it is pruned."""
        assert self.recipe.prune is not None
        return self.recipe.prune

    @property
    def series(self) -> str:
        """What it is called together with all that differ from it in the budget only: "l1, seed 1"."""
        named = [f"seed {text}" if key == "seed" else text for key, text in self.settings.items()]
        return ", ".join(named) or self.prune.criterion

    @property
    def level(self) -> str:
        """How much goes: "30 % of parameters", "to 700000 parameters"."""
        prune = self.prune
        if prune.by == "score":
            return f"scores up to {prune.target:g}"
        return f"{100 * prune.remove:g} % of {prune.by}" if prune.target is None else f"to {prune.target:g} {prune.by}"

    def name(self, source: str) -> str:
        """Gives the name of the network in files: the source's, and what of `[prune]` made it this one."""
        prune = self.prune
        usual = PruneRecipe()
        told: list[str] = [prune.criterion]
        for key in ("schedule", "signal", "scope"):
            told += [getattr(prune, key)] * (getattr(prune, key) != getattr(usual, key))
        told += [f"seed{prune.seed}"] * (prune.seed != usual.seed)
        amount = f"less{100 * prune.remove:g}" if prune.target is None else f"to{prune.target:g}"
        return "-".join([source, *told, amount + ("" if prune.by == usual.by else prune.by)])


@dataclass(frozen=True)
class Hashes:
    """What a point's cells depend on besides its recipe."""

    source: str
    train: str
    faces: int  # of `train`
    pairs: str
    device: str  # that latencies are taken on


@dataclass(frozen=True)
class SweepCell:
    """One piece of work of a sweep, and what it needs to be done before; what decides its content is in its key."""

    kind: Kind
    key: str
    needs: Mapping[str, str]  # folders of cells by their part: "source", "cut", "shallower"
    recipe: RunRecipe = field(repr=False)
    label: str  # for people
    work: float  # how much it is among cells of its kind: crops trained on, or files
    name: str = ""  # of the network in its files

    @property
    def folder(self) -> str:
        """Its folder's name in the store of cells."""
        return f"{self.kind}-{self.key[:32]}"


@dataclass(frozen=True)
class PointCells:
    """The cells of one point: None where there is nothing to do, as with a recovery of no epochs."""

    point: PlannedPoint
    cut: SweepCell
    recovered: SweepCell  # the cut itself where nothing is trained after it
    files: SweepCell
    timing: SweepCell | None


def points_of(recipe: RunRecipe) -> list[PlannedPoint]:
    """Gives the grid of a sweep, shallower cuts first.

    Args:
        recipe: Its table `sweep` names the values that fields of `prune` take in turn.

    Raises:
        ValueError: A combination of values is no recipe of a prune; there is nothing to vary.
    """
    sweep, base = recipe.sweep or SweepRecipe(), recipe.prune or PruneRecipe()
    for name in ("control", "most_lost"):
        if getattr(base, name) != getattr(PruneRecipe(), name):
            raise ValueError(f"prune.{name} decides by itself how much is cut, which a sweep varies; leave it out")
    axes = {name: values for name in SWEPT if (values := getattr(sweep, name))}
    for name in BUDGET:
        if name in axes:
            keeps_more = name == "target" and (sweep.by or (base.by,)) != ("score",)
            axes[name] = tuple(sorted(axes.pop(name), reverse=keeps_more))
    varied = {name for name, values in axes.items() if len(values) > 1 and name not in BUDGET}
    fixed = base.model_dump(exclude_unset=True)
    if set(axes) & set(BUDGET):
        fixed = {name: value for name, value in fixed.items() if name not in BUDGET}
    points = []
    for number, network in enumerate(networks_of(recipe)):
        for values in itertools.product(*axes.values()):
            chosen = dict(zip(axes, values, strict=True))
            prune = validated(PruneRecipe, {**fixed, **chosen})
            settings = {name: str(value) for name, value in chosen.items() if name in varied}
            points.append(PlannedPoint(network.model_copy(update={"prune": prune}), number, settings, sweep.nested))
    return points


def networks_of(recipe: RunRecipe) -> list[RunRecipe]:
    """Gives the recipe once for each of its source networks, without the table `sweep`."""
    sweep = recipe.sweep or SweepRecipe()
    networks = [{name: getattr(each, name) for name in type(each).model_fields} for each in sweep.networks]
    return [recipe.model_copy(update={**network, "sweep": None}) for network in networks or [{}]]


def at_share(point: PlannedPoint, share: float) -> PlannedPoint:
    """Gives `point` with another share of its budget removed, cut from the source at once.

    Raises:
        ValueError: Its budget has no shares.
    """
    if point.prune.by == "score":
        raise ValueError("a search removes shares of a budget, and by = 'score' has none; search by parameters or macs")
    prune = point.prune.model_copy(update={"remove": round(share, 4), "target": None})
    return PlannedPoint(point.recipe.model_copy(update={"prune": prune}), point.network, point.settings, nested=False)


def source_cell(recipe: RunRecipe, hashes: Hashes, name: str) -> SweepCell:
    """Gives the cell that keeps the source network."""
    return SweepCell("source", _digest("source", hashes.source), {}, recipe, f"{name}: source", 1.0, name)


def source_files(recipe: RunRecipe, hashes: Hashes, name: str, source: SweepCell) -> tuple[SweepCell, SweepCell | None]:
    """Gives the cells of the source's own files, the recipe's `compare`, and of their latency."""
    targets = recipe.model_copy(update={"export": recipe.export.model_copy(update={"targets": recipe.compare})})
    return _measured(targets, hashes, name, f"{name}: source", {"source": source})


def cells_of(
    points: Sequence[PlannedPoint], hashes: Hashes, name: str, source: SweepCell, measured: SweepCell
) -> Iterator[PointCells]:
    """Gives the cells of points that start from one network; see `SweepCell`.

    Args:
        points: Shallower ones first. Under schedules that cut in steps a point goes on from the shallower one of its
            series, unless the sweep says otherwise.
        hashes: Of their inputs.
        name: The network's.
        source: The cell that keeps it.
        measured: The cell of its files, whose embeddings serve all others.
    """
    deepest: dict[str, SweepCell] = {}
    for point in points:
        label = f"{name}, {point.series}, {point.level}"
        shallower = deepest.get(point.series + point.prune.by) if _is_nested(point) else None
        cut = _cut(point, hashes, label, source, shallower)
        deepest[point.series + point.prune.by] = cut
        recovered = _recovery(point, hashes, label, source, cut)
        needs = {"source": source, "source_files": measured, "cut": cut, "recovered": recovered}
        files, timing = _measured(point.recipe, hashes, point.name(name), label, needs)
        yield PointCells(point, cut, recovered, files, timing)


def cut_recipe(prune: PruneRecipe, goes_on: bool) -> PruneRecipe:
    """Gives the recipe of a cut alone: nothing is trained after the last one.

    Args:
        prune: With its recovery.
        goes_on: Whether the network was cut before: what trains between two cuts then trains before the first one.
    """
    before = prune.epochs_before
    if goes_on:
        before = prune.epochs_between if prune.schedule == "iterative" else 0.0
    return prune.model_copy(update={"epochs": 0.0, "epochs_before": before})


def recovery_recipe(prune: PruneRecipe) -> TrainingRecipe:
    """Gives the recipe of the training after the last cut."""
    return TrainingRecipe(**{name: getattr(prune, name) for name in TrainingRecipe.model_fields})


def _is_nested(point: PlannedPoint) -> bool:
    prune = point.prune
    is_measured = prune.by in MEASURED or prune.by == "score"  # costs of the source's layers, scores of one network
    return point.nested and prune.schedule != "one-shot" and not is_measured


def _cut(point: PlannedPoint, hashes: Hashes, label: str, source: SweepCell, shallower: SweepCell | None) -> SweepCell:
    recipe = cut_recipe(point.prune, shallower is not None)
    plan = SCHEDULES[recipe.schedule](recipe)
    needs = {"source": source} if shallower is None else {"source": source, "shallower": shallower}
    key = _digest("cut", hashes.source, hashes.train, decides_cut(recipe), *(cell.key for cell in needs.values()))
    scored = min(recipe.images, hashes.faces) * len([phase for phase in plan if phase.cut])
    work = sum(phase.epochs for phase in plan) * hashes.faces + scored
    folders = {part: cell.folder for part, cell in needs.items()}
    return SweepCell("cut", key, folders, point.recipe, f"{label}: cut", work)


def decides_cut(recipe: PruneRecipe) -> dict[str, Any]:
    """Gives the fields that decide what a cut without recovery gives; others may change without cutting anew."""
    idle = set(NOT_OF_A_CUT)
    if not any(phase.epochs for phase in SCHEDULES[recipe.schedule](recipe)):
        idle |= TRAINING if CRITERIA[recipe.criterion].signal == "loss" else TRAINING | {"signal"}
    if recipe.schedule == "one-shot":
        idle |= {"steps", "epochs_between"}
    idle |= {"remove"} if recipe.target is not None else {"target"}
    return recipe.model_dump(mode="json", exclude=idle)


def _recovery(point: PlannedPoint, hashes: Hashes, label: str, source: SweepCell, cut: SweepCell) -> SweepCell:
    recipe = recovery_recipe(point.prune)
    if recipe.epochs == 0:
        return cut
    key = _digest("recovery", hashes.source, hashes.train, recipe.model_dump(mode="json"), cut.key)
    needs = {"source": source.folder, "cut": cut.folder}
    return SweepCell("recovery", key, needs, point.recipe, f"{label}: recovery", recipe.epochs * hashes.faces)


def _measured(
    recipe: RunRecipe, hashes: Hashes, name: str, label: str, needs: Mapping[str, SweepCell]
) -> tuple[SweepCell, SweepCell | None]:
    told = [recipe.export.model_dump(mode="json"), recipe.benchmark.model_dump(mode="json", exclude=TIMED_BY)]
    inputs = hashes.train, hashes.pairs, name, recipe.licence, *told
    made_of = [cell.key for part, cell in needs.items() if part != "source_files"]  # of which only embeddings are taken
    key = _digest("files", *inputs, *made_of)
    folders = {part: cell.folder for part, cell in needs.items()}
    targets = len(recipe.export.targets)
    files = SweepCell("files", key, folders, recipe, f"{label}: files", 1.0 + targets, name)
    if not recipe.benchmark.threads or not targets:
        return files, None
    how = recipe.benchmark.model_dump(mode="json", include=TIMED_BY)
    work = float(targets * len(recipe.benchmark.threads))
    key = _digest("timing", files.key, how, hashes.device)
    return files, SweepCell("timing", key, {"files": files.folder}, recipe, f"{label}: latency", work, name)


def _digest(kind: Kind, *parts: Any) -> str:
    text = json.dumps([FORMAT, kind, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
