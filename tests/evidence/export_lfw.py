"""Two published MobileFaceNets in every format and precision, on the 6,000 pairs of LFW; rows lie beside as JSON.

    python tests/evidence/export_lfw.py --faces FOLDER --weights FOLDER [--out runs/export-lfw] [--only NETWORK]

The folders are described in tests/examples/lfw_relu6.toml. Each network is exported as it is: to every target, ranges
set by 200 faces of `train112`; and to `SYNTHETIC` with ranges set by rendered faces (`calibration` in the rows'
conditions). 16-bit activations take LiteRT a hundred times as long, so those files come last, by themselves. Every
file is verified on all pairs and compared with the PyTorch network pair by pair (metric `accuracy_difference`), every
file that has a runtime here is timed in turns with the others, and every .tflite file is run on emulated ARM64 cores
where the emulator is installed (runtime `litert-arm64-a53` ...). Takes about an hour and a half of one core; resumes
after a kill.
"""

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from pocketface import chain
from pocketface.benchmark.arm64 import emulated as arm64
from pocketface.benchmark.measurement import Measurement, read_measurements, write_measurements
from pocketface.benchmark.recipe import BenchmarkRecipe
from pocketface.export.recipe import TARGETS

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
RECIPES = ("lfw_prelu", "lfw_relu6")
SYNTHETIC = ("tflite-fp32", "tflite-w8a8", "coreml-w8a8")
SLOW = ("tflite-w8a16",)
ON_ARM64 = ("a53", "a55", "a76")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/export-lfw"))
    parser.add_argument("--only", choices=RECIPES, help="one of the networks [both]")
    options = parser.parse_args()
    quick = tuple(target for target in TARGETS if target not in SLOW)
    for targets, kind in ((quick, ""), (SYNTHETIC, "-synthetic"), (SLOW, "-slow")):
        for name in [options.only] if options.only else RECIPES:
            roots = chain.Roots(EXAMPLES, options.faces, options.weights)
            recipe = roots.resolve(chain.read_recipe(EXAMPLES / f"{name}.toml"))
            if kind == "-synthetic":
                recipe = recipe.model_copy(update={"train": chain.SYNTHETIC})
            measured(recipe, targets, options.out / f"{name}{kind}")
    rows = [row for path in sorted(options.out.glob("*/evidence.json")) for row in read_measurements(path)]
    write_measurements(rows, HERE / "export_lfw.json")


def measured(recipe: chain.RunRecipe, targets: tuple[str, ...], out: Path) -> None:
    """Exports, verifies and times one network, and counts its .tflite files' instructions: OUT/evidence.json."""
    export = recipe.export.model_copy(update={"targets": targets})
    update = {"prune": None, "compare": (), "export": export, "benchmark": BenchmarkRecipe(rounds=5)}
    chain.run(recipe.model_copy(update=update), out, lambda line: print(line, flush=True))
    rows = read_measurements(out / "measurements.json")
    rows += counted(rows, out)
    calibration = {"calibration": "synthetic" if recipe.train == chain.SYNTHETIC else Path(recipe.train).name}
    told = [dataclasses.replace(row, conditions={**row.conditions, **calibration}) for row in rows]
    write_measurements(told, out / "evidence.json")


def counted(rows: list[Measurement], out: Path) -> Iterator[Measurement]:
    """Counts the instructions of one inference of every .tflite file on every core."""
    if arm64.installed():
        print(f"no ARM64 rows: {arm64.REMEDY}", flush=True)
        return
    files = {row.artifact: row for row in rows if row.format == "tflite" and row.metric == "size_bytes"}
    for core in ON_ARM64:
        counts = arm64.instructions_of([out / name for name in files], core)
        for row, count in zip(files.values(), counts, strict=True):
            fields = dict(metric="arm64_instructions", value=count, unit="count", runtime=f"litert-arm64-{core}")
            yield dataclasses.replace(row, **fields, device="emulated", conditions={"threads": 1})


if __name__ == "__main__":
    main()
