"""Every stage in a row: an embedder and faces in, files for phones and a report out."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .benchmark.accuracy.verification import similarities, tenfold_accuracy
from .benchmark.cost_meters import meter_of
from .benchmark.report.page import write_report
from .benchmark.runner import Subject, benchmark
from .benchmark.speed.layer_measuring import layer_costs
from .export.app.handoff import handoff
from .export.exporter import export
from .faces.drawn_pairs import draw_pairs
from .faces.folders import LabelledFaces, split_identities
from .faces.pairs import Pairs
from .files import written_whole
from .inputs import open_faces, open_pairs, open_source
from .models.checkpoint import load_checkpoint, save_checkpoint, save_once
from .models.embedder import Embedder
from .prune.pruner import Judge, prune
from .prune.recipe import MEASURED, PruneRecipe
from .prune.sensitivity_analysis import sensitivity, write_sensitivity
from .run_recipe import RunRecipe, with_ranges_for

HELD_OUT, JUDGED_PAIRS = 0.2, 6000  # of the people: not trained on where a recipe says what may be lost at most


def run(recipe: RunRecipe, out: Path, progress: Callable[[str], None] = print) -> Path:
    """Prunes, exports, benchmarks and reports; what `out` holds already of the same recipe is kept.

    Args:
        recipe: What to do; its relative paths start here, see `Roots`.
        out: The run folder.
        progress: Gets a line per step.

    Returns:
        The path of the report.

    Raises:
        ValueError: An input is missing or wrong, or `out` holds a run of another recipe.
    """
    started = time.time()
    _claim(out, recipe)
    source = open_source(recipe)
    progress(f"embedder {source.name}: {source.embedding_size} numbers per face")
    train = open_faces(recipe.train, source.contract)
    pairs = open_pairs(recipe.pairs, recipe.images, source.contract)
    progress(f"faces: {len(train.faces):,} to recover and calibrate on, {len(pairs):,} pairs to verify on")
    factory = source.architecture if ":" in source.architecture else None
    embedders = [source]
    if recipe.prune is not None:
        embedders.append(_pruned_once(source, train, recipe.prune, out, factory, progress))
    if recipe.sensitivity and not (out / "sensitivity.json").is_file():
        rows = sensitivity(source, train, recipe.prune or PruneRecipe(), progress=progress)
        write_sensitivity(rows, out / "sensitivity.json")
    subjects: list[Subject] = []
    for embedder in embedders:
        folder = save_once(embedder, out / "checkpoints" / embedder.name, factory)
        targets = recipe.export.targets if embedder is embedders[-1] else recipe.compare
        chosen = with_ranges_for(recipe.export, recipe.train).model_copy(update={"targets": targets})
        artifacts = out / "artifacts" / embedder.name
        made = export(embedder, train.faces, chosen, artifacts, progress, pairs.faces)
        subjects.append(Subject(embedder, folder, made))
    benchmark(subjects, pairs, recipe.benchmark, out, progress, Path(recipe.pairs).name)
    _hand_off(subjects[-1], out, progress)
    _write_manifest(out, recipe, train, pairs, source, started)
    report, _ = write_report([out], out)
    return report


def _claim(out: Path, recipe: RunRecipe) -> None:
    """Makes the run folder, or checks that the one that is there is of the same recipe."""
    text = recipe.to_toml()
    path = out / "recipe.toml"
    try:
        if path.is_file() and path.read_text(encoding="utf-8") != text:
            raise ValueError(f"{out} holds a run of another recipe; name another folder with --out")
        with written_whole(path) as beside:
            beside.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"cannot write to {out}: {error.strerror}; name another folder with --out") from error


def _pruned_once(
    source: Embedder,
    train: LabelledFaces,
    recipe: PruneRecipe,
    out: Path,
    factory: str | None,
    progress: Callable[[str], None],
) -> Embedder:
    """Gives the pruned embedder: the finished one of an earlier try, or prunes, going on where that was killed."""
    finished, unfinished = out / "checkpoints" / "pruned.json", out / "checkpoints" / "unfinished"
    inputs = {"source": source.sha256, "train": train.sha256}
    if finished.is_file():
        note = json.loads(finished.read_text(encoding="utf-8"))
        if note["inputs"] != inputs:
            raise ValueError(f"{out} holds a run of other weights or faces; name another folder with --out")
        return load_checkpoint(out / "checkpoints" / note["folder"], factory)
    smaller = prune_by_measurements(source, train, recipe, progress, unfinished)
    save_checkpoint(smaller, out / "checkpoints" / smaller.name)
    with written_whole(finished) as beside:
        beside.write_text(json.dumps({"folder": smaller.name, "inputs": inputs}), encoding="utf-8")
    shutil.rmtree(unfinished, ignore_errors=True)
    return smaller


def prune_by_measurements(
    source: Embedder, train: LabelledFaces, recipe: PruneRecipe, progress: Callable[[str], None], resume: Path
) -> Embedder:
    """Prunes, and measures what the recipe asks for besides: each layer's cost, accuracy on people held out.

    Args:
        source: Left as it is.
        train: Faces to score channels and to recover on.
        recipe: How much, by which score, in which order, how long.
        progress: Gets a line now and then.
        resume: The folder for the state of an unfinished prune; see `prune`.

    Returns:
        The smaller embedder.

    Raises:
        ValueError: See `prune`; or nothing here measures what the recipe's budget counts.
    """
    judge, table = None, None
    if recipe.most_lost is not None:
        train, held_out = split_identities(train, HELD_OUT, recipe.seed)
        judge = _judge_on(held_out)
    if recipe.by in MEASURED:
        table = layer_costs(source, meter_of(recipe.by), progress)
    return prune(source, train, recipe, progress, resume, table, judge)


def _judge_on(held_out: LabelledFaces) -> Judge:
    """Gives what measures an embedder's verification accuracy on pairs of these people."""
    pairs = draw_pairs(held_out, JUDGED_PAIRS, seed=0)

    def judge(embedder: Embedder) -> float:
        similarity = similarities(embedder.embed(pairs.faces), pairs.left, pairs.right)
        return float(tenfold_accuracy(similarity, pairs.same, pairs.fold)[0].mean())

    return judge


def _hand_off(subject: Subject, out: Path, progress: Callable[[str], None]) -> None:
    """Writes the hand-off of what ships: golden faces, what each file makes of them, and code for an app."""
    paths = [result.artifact.path for result in subject.exported if result.artifact is not None]
    try:
        progress(f"hand-off: {handoff(paths, out / 'handoff')}")
    except ValueError as error:  # the run has its files and its report all the same
        progress(f"no hand-off: {error}")


def _write_manifest(
    out: Path, recipe: RunRecipe, train: LabelledFaces, pairs: Pairs, source: Embedder, started: float
) -> None:
    """Writes what went in: hashes, versions, the command."""
    packages = ("numpy", "torch", "onnx", "onnxruntime", "ai-edge-litert", "ai-edge-quantizer", "coremltools")
    manifest = {
        "command": " ".join(["pocketface", *sys.argv[1:]]),
        "inputs": {
            "embedder": {"name": source.name, "sha256": source.sha256, "licence": source.licence},
            "train": {"name": Path(recipe.train).name, "faces": len(train.faces), "sha256": train.sha256},
            "pairs": {"name": Path(recipe.pairs).name, "pairs": len(pairs), "sha256": pairs.sha256},
        },
        "versions": {
            "pocketface": importlib.metadata.version("pocketface"),
            "python": sys.version.split()[0],
            **{package: _version(package) for package in packages},
        },
        "seconds": round(time.time() - started, 1),
    }
    with written_whole(out / "manifest.json") as beside:
        beside.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # coremltools has no wheel for Windows
        return "not installed"
