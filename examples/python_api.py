"""The stages from Python: prune the embedded default, export it, measure the files, print a table.

    python examples/python_api.py [--out runs/python] [--epochs 2]

Takes about two minutes on two cores, and needs no files: faces and pairs are rendered. With files of your own, open the
embedder by `open_embedder("my_net.py:build", Path("my_net.safetensors"), contract=...)`, faces by `pf.read_faces`
and pairs by `pf.read_pairs`.
"""

import argparse
from pathlib import Path

import pocketface as pf
from pocketface.benchmark import benchmark_files
from pocketface.export import export
from pocketface.faces import synthetic_pairs
from pocketface.inputs import open_faces
from pocketface.models import open_embedder
from pocketface.prune import prune

TARGETS = ("onnx", "tflite-fp32", "tflite-w8a8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/python"))
    parser.add_argument("--epochs", type=float, default=2.0, help="of recovery after pruning")
    parser.add_argument("--people", type=int, default=100, help="rendered ones, to recover and verify on")
    options = parser.parse_args()

    embedder = open_embedder("embedded-default")
    faces = open_faces("synthetic", embedder.contract, options.people)  # four crops of each
    pairs = synthetic_pairs(options.people, shots=4, first=1_000_000)  # of other people

    pruned = prune(embedder, faces, pf.PruneRecipe(remove=0.3, steps=2, epochs=options.epochs))
    made = export(pruned, faces.faces, pf.ExportRecipe(targets=TARGETS, ranges="minmax"), options.out / "artifacts")
    files = [result.artifact.path for result in made if result.artifact is not None]

    recipe = pf.BenchmarkRecipe(threads=(1,), rounds=1)
    rows = benchmark_files(files, lambda contract: pairs, recipe, options.out)
    for line in rows:
        if line.metric in ("size_bytes", "latency_ms_p50", "verification_accuracy"):
            print(f"{Path(line.artifact).name:55} {line.metric:22} {line.value:14.4f} {line.unit}")


if __name__ == "__main__":
    main()
