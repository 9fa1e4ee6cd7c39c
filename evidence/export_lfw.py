"""Two published MobileFaceNets in every format and precision, on the 6,000 pairs of LFW.

    python evidence/export_lfw.py --faces FOLDER --weights FOLDER [--out runs/export-lfw] [--only NETWORK] [--accuracy]

Run it from the repository root; it takes about two hours on one core and resumes after a kill. The folders are
described in examples/lfw_relu6.toml. Writes evidence/export_lfw.jsonl. `--accuracy` takes less:
it embeds and judges the quick targets again, and leaves all other rows as they are.

Each network is exported unpruned: to every target, with int8 ranges from 200 faces of `train112`, and to `RENDERED`
with ranges from rendered faces (`calibration` in the conditions). The network with PReLUs is also retrained with leaky
ReLUs, one slope a layer, in its first layers (models `...-leaky-...`). LiteRT is a hundred times slower with 16-bit
activations, so those files are measured last and apart. Every file is verified on all pairs and compared with the
PyTorch network pair by pair (metric `accuracy_difference`); every file that has a runtime here is timed in turns with
the others; every .tflite file runs on emulated ARM64 cores where the emulator is installed (runtime
`litert-arm64-a53` ...).
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from rows import read_rows, write_rows

from pocketface.benchmark.measurement import Measurement, read_measurements, write_measurements
from pocketface.benchmark.recipe import BenchmarkRecipe
from pocketface.benchmark.runner import Subject, benchmark
from pocketface.chain import run
from pocketface.export.exporter import export
from pocketface.export.targets import TARGETS
from pocketface.inputs import open_faces, open_pairs, open_source
from pocketface.models.checkpoint import load_checkpoint, save_checkpoint, save_once
from pocketface.prune.recipe import TrainingRecipe
from pocketface.prune.training.trainer import recover
from pocketface.run_recipe import SYNTHETIC, Roots, RunRecipe, read_recipe

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
RECIPES = ("lfw_prelu", "lfw_relu6")
RENDERED = ("tflite-fp32", "tflite-w8a8", "coreml-w8a8")
SLOW = ("tflite-w8a16",)
QUICK = tuple(target for target in TARGETS if target not in SLOW)
FROM_EMBEDDINGS = ("verification_", "accuracy_difference", "eer", "auc", "tar_at_", "threshold_at_", "embedding_cosine")
TIMED = BenchmarkRecipe(rounds=5)
LEAKY = {"leaky-3": TrainingRecipe(activation="leaky", activation_layers=3, epochs=8)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/export-lfw"))
    parser.add_argument("--only", choices=RECIPES, help="one of the networks [both]")
    parser.add_argument("--accuracy", action="store_true", help="judge again, and keep what was timed and counted")
    options = parser.parse_args()
    if options.accuracy:
        judged_again(options)
        return
    for targets, kind in ((QUICK, ""), (RENDERED, "-synthetic"), (SLOW, "-slow")):
        for name in [options.only] if options.only else RECIPES:
            roots = Roots(EXAMPLES, options.faces, options.weights)
            recipe = roots.resolve(read_recipe(EXAMPLES / f"{name}.toml"))
            if kind == "-synthetic":
                recipe = recipe.model_copy(update={"train": SYNTHETIC})
            measured(recipe, targets, options.out / f"{name}{kind}")
            if name == "lfw_prelu" and not kind:
                for variant, training in LEAKY.items():
                    recovered(recipe, training, options.out / f"{name}-{variant}")
    rows = [row for path in sorted(options.out.glob("*/evidence.json")) for row in read_measurements(path)]
    write_rows(rows, HERE / "export_lfw.jsonl")


def judged_again(options: argparse.Namespace) -> None:
    """Replaces the rows that come from embeddings."""
    kept = read_rows(HERE / "export_lfw.jsonl")
    brief = BenchmarkRecipe(rounds=1, minimum_runs=5, minimum_seconds=0.0, arm64=())
    for name in [options.only] if options.only else RECIPES:
        given = Roots(EXAMPLES, options.faces, options.weights).resolve(read_recipe(EXAMPLES / f"{name}.toml"))
        old = {place_of(row) for row in kept if row.model == given.name}
        for targets, kind in ((QUICK, ""), (RENDERED, "-synthetic")):
            recipe = given.model_copy(update={"train": SYNTHETIC}) if kind else given
            measured(recipe, targets, options.out / f"{name}{kind}-again", brief)
            rows = read_measurements(options.out / f"{name}{kind}-again" / "evidence.json")
            new = {place_of(row): row for row in rows if row.metric.startswith(FROM_EMBEDDINGS)}
            kept = [new.get(place_of(row), row) for row in kept]
            write_rows(kept, HERE / "export_lfw.jsonl")
            say(f"{name}{kind}: {len(old & new.keys())} rows are judged again")


def place_of(row: Measurement) -> tuple[Any, ...]:
    """Gives what tells a row from others of the same network."""
    given = (row.conditions.get(key) for key in ("calibration", "recovery", "to"))
    return (row.model, row.artifact, row.runtime, row.metric, *given)


def measured(recipe: RunRecipe, targets: tuple[str, ...], out: Path, how: BenchmarkRecipe = TIMED) -> None:
    """Exports, verifies and times one network: OUT/evidence.json."""
    export = recipe.export.model_copy(update={"targets": targets, "allow_drift": True})
    update = {"prune": None, "compare": (), "export": export, "benchmark": how}
    run(recipe.model_copy(update=update), out, say)
    rows = read_measurements(out / "measurements.json")
    calibration = {"calibration": recipe.train_name}
    labelled = [dataclasses.replace(row, conditions={**row.conditions, **calibration}) for row in rows]
    write_measurements(labelled, out / "evidence.json")


def recovered(recipe: RunRecipe, training: TrainingRecipe, out: Path) -> None:
    """Retrains a network with other activations, and measures it beside the network it learned from."""
    source = open_source(recipe)
    train = open_faces(recipe.train, source.contract)
    pairs = open_pairs(recipe.pairs, recipe.images, source.contract)
    checkpoint = out / "checkpoints" / f"{source.name}-{out.name.partition('-')[2]}"
    if not (checkpoint / "embedder.json").is_file():
        learned = recover(source, train, training, source, say, out / "unfinished")
        save_checkpoint(dataclasses.replace(learned, name=checkpoint.name), checkpoint)
    subjects = []
    for embedder, targets in (
        (source, ("tflite-fp32",)),
        (load_checkpoint(checkpoint, source.architecture), ("tflite-fp32", "tflite-w8a8", "coreml-w8a8")),
    ):
        place = save_once(embedder, out / "checkpoints" / embedder.name, source.architecture)
        export_recipe = recipe.export.model_copy(update={"targets": targets})
        made = export(embedder, train.faces, export_recipe, out / "artifacts" / embedder.name, say, pairs.faces)
        subjects.append(Subject(embedder, place, made))
    rows = benchmark(subjects, pairs, BenchmarkRecipe(rounds=5), out, say, Path(recipe.pairs).name)
    conditions = {"calibration": recipe.train_name, "recovery": f"{training.epochs:g} epochs"}
    write_measurements(
        [dataclasses.replace(row, conditions={**row.conditions, **conditions}) for row in rows], out / "evidence.json"
    )


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
