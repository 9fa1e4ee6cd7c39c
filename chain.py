"""Every stage in a row: an embedder and faces in, files for phones and a report out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from .benchmark.accuracy.verification import similarities, tenfold_accuracy
from .benchmark.cost_meters import meter_of, phone_cost
from .benchmark.measurement import NOT_PEOPLE
from .benchmark.report.page import recommended_files, write_report
from .benchmark.runner import Subject, benchmark
from .benchmark.speed.layer_measuring import layer_costs
from .export.app.handoff import handoff
from .export.exporter import export
from .export.targets import Source
from .faces.drawn_pairs import draw_pairs
from .faces.folders import LabelledFaces, split_identities
from .files import DAMAGE, checked_name, made_again, sweep_parts, written_whole
from .held_folders import hold_folder
from .inputs import open_faces, open_pairs, source_of_run
from .models.checkpoint import load_checkpoint, save_checkpoint, save_once
from .models.embedder import Embedder
from .models.group_sensitivity import read_sensitivity, write_sensitivity
from .models.network_names import DESCRIPTION
from .prune.pruner import Judge, prune
from .prune.recipe import MEASURED, PruneRecipe
from .prune.sensitivity_analysis import sensitivity
from .prune.training.resumption import forget_training
from .run_claims import claim
from .run_recipe import SYNTHETIC, RunRecipe, with_ranges_for
from .stage_clock import StageClock

T = TypeVar("T")

PRUNED, SENSITIVITY = "checkpoints/pruned.json", "sensitivity.json"
SHIP = "ship"  # the folder for the app's developers
HELD_OUT = 0.2  # share of the people that a recipe with `most_lost` judges by and never trains on
JUDGED_PAIRS = 6000


def run(recipe: RunRecipe, out: Path | str, progress: Callable[[str], None] = print) -> Path:
    """Prunes, exports, benchmarks and reports, and continues where an earlier run of the same recipe stopped.

    Args:
        recipe: What to do; its relative paths start here, see `Roots`.
        out: The run folder.
        progress: Gets a line per step.

    Returns:
        The path of the report.

    Raises:
        ValueError: An input is missing or wrong, or `out` holds a run of another recipe.
    """
    with hold_folder(Path(out)):
        return _run(recipe.model_copy(update={"sweep": None}), Path(out), progress)


def _run(recipe: RunRecipe, out: Path, progress: Callable[[str], None]) -> Path:
    claimed, clock = claim(out, recipe, progress), StageClock()
    with clock.stage("read the network and the faces"):
        source = source_of_run(recipe)
        progress(_introduction(source))
        if SYNTHETIC in (recipe.train, recipe.pairs):
            progress("rendering faces of people who do not exist")
        train = open_faces(recipe.train, source.contract)
        pairs = open_pairs(recipe.pairs, recipe.images, source.contract)
    drawn = f" ({NOT_PEOPLE})" if pairs.rendered else ""
    progress(f"faces: {len(train.faces):,} to recover and calibrate on, {len(pairs):,} pairs to verify on{drawn}")
    claimed.settle(source, train, pairs)
    if claimed.recorded:  # begun before, and so pocketface's alone
        sweep_parts(out)
    if claimed.damaged:  # whether these are of this recipe cannot be known
        for name in (PRUNED, SENSITIVITY):
            (out / name).unlink(missing_ok=True)
    factory = source.architecture if isinstance(source, Embedder) and ":" in source.architecture else None
    embedders = [source]
    if recipe.prune is not None and isinstance(source, Embedder):
        with clock.stage("prune"):
            embedders.append(_pruned_once(source, train, recipe.prune, out, factory, progress))
    if (
        recipe.sensitivity
        and isinstance(source, Embedder)
        and not _whole(out / SENSITIVITY, read_sensitivity, progress)
    ):
        with clock.stage("sensitivity"):
            rows = sensitivity(source, train, recipe.prune or PruneRecipe(), progress=progress)
        write_sensitivity(rows, out / SENSITIVITY)
    subjects: list[Subject] = []
    for embedder in embedders:
        folder = _saved(embedder, out, factory, progress)
        targets = recipe.export.targets if embedder is embedders[-1] else recipe.compare
        export_recipe = with_ranges_for(recipe.export, recipe.train).model_copy(update={"targets": targets})
        artifacts = out / "artifacts" / embedder.name
        with clock.stage("export"):
            exported = export(embedder, train.faces, export_recipe, artifacts, progress, pairs.faces, phone_cost)
        subjects.append(Subject(embedder, folder, exported))
    with clock.stage("benchmark"):
        benchmark(subjects, pairs, recipe.benchmark, out, progress, Path(recipe.pairs).name)
    claimed.finish(source, train, pairs, clock.to_plain())  # which the report shows
    with clock.stage("report and hand-off"):
        report, _ = write_report([out], out, progress=progress)
        _ship(out, progress)
    claimed.finish(source, train, pairs, clock.to_plain())
    return report


def _introduction(source: Source) -> str:
    read = next((entry for entry in source.ancestry if "difference" in entry), None)
    of = "" if read is None else f" ({read['weights']} is {read['architecture']}, read within {read['difference']:.1e})"
    if isinstance(source, Embedder):
        return f"embedder {source.name}: {source.embedding_size} numbers per face{of}"
    return f"embedder {source.name}: {source.path.name} is converted and measured as it is{of}"


def _saved(source: Source, out: Path, factory: str | None, progress: Callable[[str], None]) -> Path:
    """Gives the embedder's checkpoint in the run folder, or the path of the ONNX file that has none."""
    if isinstance(source, Embedder):
        return save_once(source, out / "checkpoints" / source.name, factory, progress)
    return source.path


def _pruned_once(
    source: Embedder,
    train: LabelledFaces,
    recipe: PruneRecipe,
    out: Path,
    factory: str | None,
    progress: Callable[[str], None],
) -> Embedder:
    """Gives the pruned embedder of an earlier run, or prunes, and continues where an earlier run was killed."""
    record, unfinished = out / PRUNED, out / "checkpoints" / "unfinished"
    inputs = {"source": source.sha256, "train": train.sha256}

    if note := _whole(record, _note, progress):
        name, of_inputs = note
        if of_inputs != inputs:
            raise ValueError(f"{out} holds a run of other weights or faces; name another folder with --out")
        description = out / "checkpoints" / name / DESCRIPTION
        if found := _whole(description, lambda path: load_checkpoint(path.parent, factory), progress):
            return found
    smaller = prune_by_measurements(source, train, recipe, progress, unfinished)
    save_checkpoint(smaller, out / "checkpoints" / smaller.name)
    with written_whole(record) as beside:
        beside.write_text(json.dumps({"folder": smaller.name, "inputs": inputs}), encoding="utf-8")
    forget_training(unfinished)
    return smaller


def _note(path: Path) -> tuple[str, dict[str, str]]:
    note = json.loads(path.read_text(encoding="utf-8"))
    return checked_name(str(note["folder"]), "checkpoint"), dict(note["inputs"])


def _whole(path: Path, read: Callable[[Path], T], progress: Callable[[str], None]) -> T | None:
    """Gives what an earlier try wrote; None where there is nothing, or where it is damaged, which is said."""
    if not path.is_file():
        return None
    try:
        return read(path)
    except DAMAGE as error:
        progress(made_again(str(path), error))
        return None


def prune_by_measurements(
    source: Embedder,
    train: LabelledFaces,
    recipe: PruneRecipe,
    progress: Callable[[str], None],
    resume: Path,
    teacher: Embedder | None = None,
    floors: Mapping[str, int] | None = None,
) -> Embedder:
    """Prunes, and measures what the recipe needs for it: the cost of each layer, accuracy on held-out people.

    Args:
        source: Left as it is.
        train: Faces to score channels and to recover on.
        recipe: How much, by which score, in which order, how long.
        progress: Gets a line now and then.
        resume: The folder for the state of an unfinished prune; see `prune`.
        teacher: See `prune`.
        floors: See `prune`.

    Returns:
        The smaller embedder.

    Raises:
        ValueError: See `prune`; or this machine cannot measure the recipe's budget.
    """
    judge, table = None, None
    if recipe.most_lost is not None:
        train, held_out = split_identities(train, HELD_OUT, recipe.seed)
        judge = _judge_on(held_out)
    if recipe.by in MEASURED:
        table = layer_costs(source, meter_of(recipe.by), progress)
    return prune(source, train, recipe, progress, resume, table, judge, teacher, floors)


def _judge_on(held_out: LabelledFaces) -> Judge:
    """Gives a function that measures an embedder's verification accuracy on pairs of these people."""
    pairs = draw_pairs(held_out, JUDGED_PAIRS, seed=0)

    def judge(embedder: Embedder) -> float:
        similarity = similarities(embedder.embed(pairs.faces), pairs.left, pairs.right)
        return float(tenfold_accuracy(similarity, pairs.same, pairs.fold)[0].mean())

    return judge


def _ship(out: Path, progress: Callable[[str], None]) -> None:
    """Writes what an app needs: the recommended files with their cards, golden faces, and code."""
    files, ship = recommended_files(out), out / SHIP
    if not files:
        shutil.rmtree(ship, ignore_errors=True)  # an older recommendation
        progress(f"nothing to ship: no file meets the limits; `pocketface handoff {out}` hands off all of them")
        return
    try:
        handoff(files, ship)
    except ValueError as error:  # the run's files and report are valid without it
        progress(f"no {ship}: {error}")
        return
    for file in files:
        shutil.copyfile(out / "cards" / f"{file.name}.md", ship / f"{file.name}.md")
    progress(f"to ship: {ship}")
