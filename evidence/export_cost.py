"""What each export target costs in processor time, and how near its file comes: three trained networks, one process.

    python evidence/export_cost.py --faces FOLDER --weights FOLDER [--only NETWORK]

Run it from the repository root; it takes about ten minutes on one core. The folders are described in
examples/lfw_relu6.toml; `edgeface_xxs.safetensors` lies in the second. Writes evidence/export_cost.jsonl.

A target's seconds are those of the processor since the end of the one before: a target pays for what later ones share
with it (the traced graph, graphs with their channels levelled, imports), so that their order matters. Ranges come
from 200 faces of `train112`, cosines from 16 of them. Metric `export_cpu_s`, condition `cosine_mean`.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from int8_ways import NETWORKS, opened
from rows import write_rows

from pocketface.benchmark.machine import device_name
from pocketface.benchmark.measurement import Measurement
from pocketface.export.exporter import export
from pocketface.export.recipe import ExportRecipe
from pocketface.export.targets import TARGETS as ALL
from pocketface.faces.shards import read_faces
from pocketface.steps import ProgressStep

HERE = Path(__file__).parent
TARGETS = ("onnx", "tflite-fp32", "tflite-w8", "tflite-w8a8", "onnx-w8a8", "coreml-fp16", "coreml-w8a8", "tflite-int8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--only", choices=NETWORKS, help="one of the networks [all]")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        row
        for name in ([options.only] if options.only else NETWORKS)
        for row in measured(name, options.faces, options.weights)
    ]
    write_rows(rows, HERE / "export_cost.jsonl")


def measured(name: str, faces: Path, weights: Path) -> Iterator[Measurement]:
    """Exports one network to every target, one after the other."""
    embedder = opened(name, faces, weights)
    crops = read_faces(faces / "train112", embedder.contract.height, embedder.contract.width).faces
    seconds, told = [], processor_seconds()

    def note(line: str) -> None:
        nonlocal told
        if isinstance(line, ProgressStep):  # one for each target
            now = processor_seconds()
            seconds.append(now - told)
            told = now

    with tempfile.TemporaryDirectory() as folder:
        made = export(embedder, crops, ExportRecipe(targets=TARGETS, allow_drift=True), Path(folder), note)
    for one, took in zip(made, seconds, strict=True):
        cosine = one.parity.cosine_mean if one.parity else None
        kind = ALL[one.target]
        conditions = {"target": one.target, "cosine_mean": cosine, "reason": one.reason}
        print(f"{embedder.name} {one.target}: {took:.1f} s, cosine {cosine}", flush=True)
        yield Measurement(
            *(embedder.name, one.target, kind.format, kind.precision, "", device_name()),
            metric="export_cpu_s",
            value=round(took, 2),
            unit="s",
            conditions=conditions,
        )


def processor_seconds() -> float:
    """Gives the seconds of processors that this process and its children have used."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    main()
