"""Every embedder of the zoo, pruned by 30 % of its filters with every criterion, saved, reloaded and exported.

    python evidence/prune_zoo.py [--out runs/prune-zoo]

Run it from the repository root; it needs no files, takes about ten minutes on one core, and resumes after a kill.
Writes evidence/prune_zoo.jsonl.

Each pruned network is written and read back (`reload_difference` of any component of the embeddings; 0 means bit for
bit the same), and exported to every target of ONNX, TFLite and Core ML in fp32 (`largest_difference` to PyTorch). The
weights are fresh and the faces rendered: this shows that files are right, not that networks are accurate. A pair that
cannot be pruned is a row with the reason.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from rows import write_rows

from pocketface.benchmark.machine import device_name
from pocketface.benchmark.measurement import Measurement, read_measurements, write_measurements
from pocketface.export.exporter import export
from pocketface.export.recipe import ExportRecipe
from pocketface.faces.folders import LabelledFaces
from pocketface.faces.rendering.synthetic import synthetic_faces
from pocketface.models.batch_norm import reestimate_batch_norms
from pocketface.models.checkpoint import load_checkpoint, save_checkpoint
from pocketface.models.embedder import Embedder
from pocketface.models.zoo import ZOO, create
from pocketface.prune.pruner import prune
from pocketface.prune.recipe import CriterionName, PruneRecipe

HERE = Path(__file__).parent
RECIPE = PruneRecipe(by="filters", remove=0.3, cost="filters", steps=1, epochs=0, variants=1, images=16, least_kept=0.1)
TARGETS = {"onnx": "onnxruntime", "tflite-fp32": "litert", "coreml-fp32": "coreml-evaluator"}  # and what runs them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/prune-zoo"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    rows: list[Measurement] = []
    for name in sorted(ZOO):
        embedder, faces = whole(name)
        for criterion in get_args(CriterionName):
            done = out / f"{name}-{criterion}.json"
            if not done.is_file():
                write_measurements(measured(embedder, faces, criterion), done)
            rows += read_measurements(done)
            print(f"{name} {criterion}: {sentence_of(read_measurements(done))}", flush=True)
    write_rows(rows, HERE / "prune_zoo.jsonl")


def whole(name: str) -> tuple[Embedder, LabelledFaces]:
    """Gives a fresh network whose batch norms have seen faces, and the faces: four of each of four people."""
    embedder = create(name)
    crops, labels = synthetic_faces(4, 4, size=embedder.contract.height)
    reestimate_batch_norms(embedder.backbone, [torch.from_numpy(embedder.contract.preprocess(crops))])
    return embedder, LabelledFaces(crops, labels, tuple("abcd"), f"rendered, {embedder.contract.height} pixels")


def measured(embedder: Embedder, faces: LabelledFaces, criterion: str) -> Iterator[Measurement]:
    """Prunes, reloads and exports; yields a row for each result."""
    conditions: dict[str, object] = {"criterion": criterion, "weights": "fresh"}

    def row(format: str, runtime: str, metric: str, value: float | None, reason: str = "") -> Measurement:
        known = dict(n=len(faces), valid=not reason, reason=reason, conditions=conditions)
        return Measurement(embedder.name, "", format, "fp32", runtime, device_name(), metric, value, "1", **known)

    try:
        pruned = prune(embedder, faces, RECIPE.model_copy(update={"criterion": criterion}), lambda line: None)
    except ValueError as error:
        yield row("pytorch", "torch", "filters", None, str(error))
        return
    before, after = pruned.ancestry[-1]["filters"]
    conditions["filters_before"] = before
    yield row("pytorch", "torch", "filters", after)
    with tempfile.TemporaryDirectory() as folder:
        reloaded = load_checkpoint(save_checkpoint(pruned, Path(folder) / "checkpoint"))
        difference = np.abs(reloaded.embed(faces.faces) - pruned.embed(faces.faces)).max()
        yield row("pytorch", "torch", "reload_difference", float(difference))
        for made in export(reloaded, faces.faces, ExportRecipe(targets=tuple(TARGETS)), Path(folder) / "artifacts"):
            file = made.target.partition("-")[0], TARGETS[made.target]
            if made.parity is None:
                yield row(*file, "largest_difference", None, made.reason)
            else:
                yield row(*file, "largest_difference", made.parity.largest_difference)
                yield row(*file, "parity_cosine_min", made.parity.cosine_min)


def sentence_of(rows: list[Measurement]) -> str:
    """Gives the result of a pair in one sentence."""
    if reasons := [row.reason for row in rows if not row.valid]:
        return reasons[0]
    worst = max(row.value for row in rows if row.metric == "largest_difference")
    return f"reloads to {rows[1].value}, files differ by at most {worst:.1e}"


if __name__ == "__main__":
    main()
