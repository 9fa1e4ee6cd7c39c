"""The whole chain, pruning included, on two published MobileFaceNets and the 6,000 pairs of LFW.

    python evidence/chain_lfw.py --faces FOLDER --weights FOLDER [--out runs/evidence]

Run it from the repository root; it takes about an hour on two cores, most of it recovery, and resumes after a kill.
The folders are described in examples/lfw_relu6.toml. Writes evidence/chain_lfw.jsonl, and OUT/report.html with both
networks, pruned and not. Every file is measured in every runtime that runs it here, and on emulated ARM64 cores where
the emulator is installed.
"""

import argparse
import time
from pathlib import Path

from rows import write_rows

from pocketface.benchmark.machine import device_name
from pocketface.benchmark.measurement import Measurement, read_measurements
from pocketface.benchmark.recipe import BenchmarkRecipe
from pocketface.benchmark.report.page import write_report
from pocketface.chain import run
from pocketface.run_recipe import Roots, read_recipe

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
RECIPES = ("lfw_relu6", "lfw_prelu")
RUNTIMES = ("torch", "onnxruntime", "litert", "litert-no-xnnpack", "tf.lite")  # torch-compiled compiles for minutes
BENCHMARK = BenchmarkRecipe(threads=(1,), rounds=3, runtimes=RUNTIMES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/evidence"))
    options = parser.parse_args()
    rows: list[Measurement] = []
    for recipe in RECIPES:
        out = options.out / recipe
        resumed, started = out.exists(), time.time()
        roots = Roots(EXAMPLES, options.faces, options.weights)
        resolved = roots.resolve(read_recipe(EXAMPLES / f"{recipe}.toml"))
        resolved = resolved.model_copy(update={"benchmark": BENCHMARK})
        report = run(resolved, out, lambda line: print(line, flush=True))
        seconds = time.time() - started
        print(f"{recipe}: {seconds:.0f} s, {report}", flush=True)
        measured = read_measurements(out / "measurements.json")
        if not resumed:  # what a resumed run took says nothing
            whole = Measurement(str(resolved.name), "", "", "", "", device_name(), "run_s", round(seconds, 1), "s")
            measured.append(whole)
        rows += measured
    write_report([options.out / recipe for recipe in RECIPES], options.out)
    write_rows(rows, HERE / "chain_lfw.jsonl")


if __name__ == "__main__":
    main()
