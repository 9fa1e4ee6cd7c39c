"""Every stage in a row: an embedder and faces in, files for phones and a report out."""

from __future__ import annotations

import difflib
import importlib.metadata
import json
import shutil
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from .benchmark.accuracy.verification import similarities, tenfold_accuracy
from .benchmark.cost_meters import meter_of
from .benchmark.recipe import BenchmarkRecipe
from .benchmark.report.page import write_report
from .benchmark.runner import Subject, benchmark
from .benchmark.speed.layer_measuring import layer_costs
from .export.app.handoff import handoff
from .export.exporter import export
from .export.recipe import ExportRecipe
from .faces.contract import InputContract
from .faces.drawn_pairs import draw_pairs, synthetic_pairs
from .faces.folders import LabelledFaces, content_sha256, split_identities
from .faces.pairs import Pairs, read_pairs
from .faces.rendering.synthetic import synthetic_faces
from .faces.shards import read_faces
from .files import written_whole
from .models.checkpoint import EMBEDDED_DEFAULT, load_checkpoint, open_embedder, save_checkpoint
from .models.embedder import Embedder
from .prune.pruner import Judge, prune
from .prune.recipe import MEASURED, PruneRecipe, TrainingRecipe
from .prune.sensitivity import sensitivity, write_sensitivity

SYNTHETIC = "synthetic"
TRAIN_IDENTITIES, TRAIN_SHOTS = 250, 4
CALIBRATION_IDENTITIES = 50
TEST_IDENTITIES, TEST_SHOTS = 200, 4
FIRST_TEST_IDENTITY = 1_000_000  # no identity of training is ever tested
TABLES = ("templates", "attributes")  # of the benchmark's recipe: files about the faces
HELD_OUT, JUDGED_PAIRS = 0.2, 6000  # of the people: not trained on where a recipe says what may be lost at most


class RunRecipe(BaseModel):
    """What a run does; a stage that has no table is left out (prune) or done as usual (export, benchmark)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    embedder: str = EMBEDDED_DEFAULT  # checkpoint folder, zoo name, or file.py:factory
    weights: Path | None = None
    name: str | None = None
    licence: str = "unknown"  # of the weights
    options: dict[str, Any] = {}  # of the constructor
    contract: dict[str, Any] | None = None  # what the embedder must be fed; see InputContract
    train: str = SYNTHETIC  # faces for recovery and calibration: a folder per identity, or WebDataset shards
    pairs: str = SYNTHETIC  # pairs.txt, .csv or .bin, for verification only
    images: Path | None = None  # the folder that the pairs name images of
    prune: PruneRecipe | None = None
    sensitivity: bool = False  # also what each layer alone would lose
    export: ExportRecipe = ExportRecipe()
    compare: tuple[str, ...] = ("onnx", "tflite-fp32")  # targets made of the unpruned embedder too
    benchmark: BenchmarkRecipe = BenchmarkRecipe()

    @field_validator("contract")
    @classmethod
    def _readable(cls, contract: dict[str, Any] | None) -> dict[str, Any] | None:
        return None if contract is None else InputContract.from_dict(contract).to_dict()

    @field_validator("compare")
    @classmethod
    def _known(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        return ExportRecipe(targets=targets).targets


def default_recipe() -> RunRecipe:
    """Gives the recipe of a run without one: the embedded default, 30 % of its parameters removed."""
    return RunRecipe(
        prune=PruneRecipe(remove=0.3, steps=2, epochs=4, epochs_between=0.5, variants=2, images=128),
        # 2,400 rendered pairs do not tell less than 2 points apart
        benchmark=BenchmarkRecipe(rounds=1, minimum_runs=100, minimum_seconds=0.3, margin=0.02),
    )


@dataclass(frozen=True)
class Roots:
    """Where the relative paths of a recipe start."""

    recipe: Path = Path()
    faces: Path | None = None  # None: where the recipe lies
    weights: Path | None = None

    def resolve(self, recipe: RunRecipe) -> RunRecipe:
        """Gives `recipe` with every path made absolute."""
        faces, weights = self.faces or self.recipe, self.weights or self.recipe
        place, colon, factory = recipe.embedder.rpartition(":")
        embedder = recipe.embedder
        if place.endswith(".py"):
            embedder = str((self.recipe / place).absolute()) + colon + factory
        benchmark = recipe.benchmark
        tables = {key: path and (faces / path).absolute() for key in TABLES for path in [getattr(benchmark, key)]}
        return recipe.model_copy(
            update={
                "benchmark": benchmark.model_copy(update=tables),
                "embedder": embedder,
                "weights": recipe.weights and (weights / recipe.weights).absolute(),
                "train": recipe.train if recipe.train == SYNTHETIC else str((faces / recipe.train).absolute()),
                "pairs": recipe.pairs if recipe.pairs == SYNTHETIC else str((faces / recipe.pairs).absolute()),
                "images": recipe.images and (faces / recipe.images).absolute(),
            }
        )


def read_recipe(path: Path) -> RunRecipe:
    """Reads a run's recipe from TOML or YAML.

    Raises:
        ValueError: It cannot be read, or has a key or a value that no recipe has; the nearest known key is named.
    """
    if not path.is_file():
        raise ValueError(f"no recipe at {path}")
    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.safe_load(text) if path.suffix in (".yaml", ".yml") else tomllib.loads(text)
    except (tomllib.TOMLDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no TOML or YAML: {' '.join(str(error).split())}") from error
    try:
        return RunRecipe.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"{path}: {explain(error)}") from error


def explain(error: ValidationError) -> str:
    """Says in one sentence what is wrong with a recipe, and for an unknown key which known one is nearest."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{where} = {first['input']!r}: {first['msg'].removeprefix('Value error, ')}"
    *tables, key = (str(part) for part in first["loc"])
    recipes: dict[str, type[BaseModel]] = {
        "prune": PruneRecipe,
        "export": ExportRecipe,
        "benchmark": BenchmarkRecipe,
    }
    whole: tuple[type[BaseModel], ...] = (RunRecipe, TrainingRecipe, *recipes.values())
    table = recipes[tables[0]] if tables else next(model for model in whole if model.__name__ == error.title)
    known = set(table.model_fields)
    near = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
    return f"there is no {where!r}; {hint}"


def run(recipe: RunRecipe, out: Path, progress: Callable[[str], None] = print) -> Path:
    """Does every stage and gives the report's path; what `out` holds already from the same recipe is kept.

    Raises:
        ValueError: An input is missing or wrong, or `out` holds a run of another recipe.
    """
    started = time.time()
    claim(out, recipe)
    source = open_source(recipe)
    progress(f"embedder {source.name}: {source.embedding_size} numbers per face")
    train = read_train(recipe.train, source.contract)
    pairs = read_test(recipe.pairs, recipe.images, source.contract)
    progress(f"faces: {len(train.faces):,} to recover and calibrate on, {len(pairs):,} pairs to verify on")
    factory = source.architecture if ":" in source.architecture else None
    embedders = [source]
    if recipe.prune is not None:
        embedders.append(pruned(source, train, recipe.prune, out, factory, progress))
    if recipe.sensitivity and not (out / "sensitivity.json").is_file():
        rows = sensitivity(source, train, recipe.prune or PruneRecipe(), progress=progress)
        write_sensitivity(rows, out / "sensitivity.json")
    subjects: list[Subject] = []
    for embedder in embedders:
        folder = save_once(embedder, out / "checkpoints" / embedder.name, factory)
        targets = recipe.export.targets if embedder is embedders[-1] else recipe.compare
        chosen = calibrated(recipe.export, recipe.train).model_copy(update={"targets": targets})
        artifacts = out / "artifacts" / embedder.name
        made = export(embedder, train.faces, chosen, artifacts, progress, pairs.faces)
        subjects.append(Subject(embedder, folder, made))
    benchmark(subjects, pairs, recipe.benchmark, out, progress, Path(recipe.pairs).name)
    hand_off(subjects[-1], out, progress)
    write_manifest(out, recipe, train, pairs, source, started)
    report, _ = write_report([out], out)
    return report


def claim(out: Path, recipe: RunRecipe) -> None:
    """Makes the run folder, or checks that the one that is there is of the same recipe."""
    text = tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True))
    path = out / "recipe.toml"
    try:
        if path.is_file() and path.read_text(encoding="utf-8") != text:
            raise ValueError(f"{out} holds a run of another recipe; name another folder with --out")
        with written_whole(path) as beside:
            beside.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"cannot write to {out}: {error.strerror}; name another folder with --out") from error


def open_source(recipe: RunRecipe) -> Embedder:
    """Opens the embedder that the recipe names."""
    if recipe.embedder == EMBEDDED_DEFAULT:
        return open_embedder(recipe.embedder)
    contract = None if recipe.contract is None else InputContract.from_dict(recipe.contract)
    return open_embedder(
        recipe.embedder,
        recipe.weights,
        contract=contract,
        name=recipe.name,
        licence=recipe.licence,
        options=recipe.options,
    )


def read_train(train: str, contract: InputContract, identities: int = TRAIN_IDENTITIES) -> LabelledFaces:
    """Reads the faces to recover and calibrate on, or renders some of `identities` people."""
    if train != SYNTHETIC:
        return read_faces(Path(train), contract.height, contract.width)
    return rendered(identities, TRAIN_SHOTS, contract)


def rendered(identities: int, shots: int, contract: InputContract) -> LabelledFaces:
    """Renders labelled synthetic faces of the contract's size."""
    faces, labels = synthetic_faces(identities, shots, size=square(contract))
    names = tuple(f"synthetic/{label}" for label in range(identities))
    return LabelledFaces(faces, labels, names, content_sha256(faces, labels))


def read_test(pairs: str, images: Path | None, contract: InputContract) -> Pairs:
    """Reads the pairs to verify on, or renders them from identities that are never trained on."""
    if pairs != SYNTHETIC:
        return read_pairs(Path(pairs), images, contract.height, contract.width)
    return synthetic_pairs(TEST_IDENTITIES, TEST_SHOTS, 0, square(contract), FIRST_TEST_IDENTITY)


def square(contract: InputContract) -> int:
    """Gives the side of a square contract; synthetic faces are rendered as squares."""
    if contract.height != contract.width:
        raise ValueError(f"synthetic faces are square; the embedder wants {contract.height}x{contract.width}")
    return contract.height


def pruned(
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
    smaller = prune_on(source, train, recipe, progress, unfinished)
    save_checkpoint(smaller, out / "checkpoints" / smaller.name)
    with written_whole(finished) as beside:
        beside.write_text(json.dumps({"folder": smaller.name, "inputs": inputs}), encoding="utf-8")
    shutil.rmtree(unfinished, ignore_errors=True)
    return smaller


def prune_on(
    source: Embedder, train: LabelledFaces, recipe: PruneRecipe, progress: Callable[[str], None], resume: Path
) -> Embedder:
    """Prunes with what the recipe wants besides faces: people held out to judge by, a table of measured costs."""
    judge, table = None, None
    if recipe.most_lost is not None:
        train, held_out = split_identities(train, HELD_OUT, recipe.seed)
        judge = judge_by(held_out)
    if recipe.by in MEASURED:
        table = layer_costs(source, meter_of(recipe.by), progress)
    return prune(source, train, recipe, progress, resume, table, judge)


def judge_by(held_out: LabelledFaces) -> Judge:
    """Gives what measures an embedder's verification accuracy on pairs of these people."""
    pairs = draw_pairs(held_out, JUDGED_PAIRS, seed=0)

    def judge(embedder: Embedder) -> float:
        similarity = similarities(embedder.embed(pairs.faces), pairs.left, pairs.right)
        return float(tenfold_accuracy(similarity, pairs.same, pairs.fold)[0].mean())

    return judge


def save_once(embedder: Embedder, folder: Path, factory: str | None) -> Path:
    """Writes the checkpoint unless this very one is there."""
    if (folder / "embedder.json").is_file() and load_checkpoint(folder, factory).sha256 == embedder.sha256:
        return folder
    return save_checkpoint(embedder, folder)


def calibrated(recipe: ExportRecipe, train: str) -> ExportRecipe:
    """Gives `recipe` with int8 ranges as suit the faces, unless it says which."""
    if train != SYNTHETIC or "ranges" in recipe.model_fields_set:
        return recipe
    return recipe.model_copy(update={"ranges": "minmax"})  # photos reach further than rendered faces: cut nothing off


def hand_off(subject: Subject, out: Path, progress: Callable[[str], None]) -> None:
    """Writes the hand-off of what ships: golden faces, what each file makes of them, and code for an app."""
    paths = [result.artifact.path for result in subject.exported if result.artifact is not None]
    try:
        progress(f"hand-off: {handoff(paths, out / 'handoff')}")
    except ValueError as error:  # the run has its files and its report all the same
        progress(f"no hand-off: {error}")


def write_manifest(
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
            **{package: importlib.metadata.version(package) for package in packages},
        },
        "seconds": round(time.time() - started, 1),
    }
    with written_whole(out / "manifest.json") as beside:
        beside.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


__all__ = ["RunRecipe", "default_recipe", "read_recipe", "run"]
