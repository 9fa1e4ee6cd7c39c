"""Three converters from the same network to .tflite: pocketface, litert-torch and TensorFlow's own.

    python evidence/converters.py --faces FOLDER --weights FOLDER --peers PYTHON [--out runs/converters]

Run it from the repository root; it takes about ten minutes on two idle cores, and keeps what was converted already.
The folders are described in examples/lfw_relu6.toml. PYTHON is the interpreter of another environment, where the other
two converters are installed: `python -m venv peers && peers/bin/pip install torch==2.13.0 litert-torch==0.10.0
tensorflow-cpu==2.21.0 onnx safetensors`. Writes evidence/converters.jsonl.

Each network is converted to float32 and to int8 (the same 200 faces of `train112` set the ranges), each time in a
process of its own, so that wall time and peak memory are the tool's, imports included. The files are then timed in
turns by the engine of `pocketface benchmark`, and compared with PyTorch on 64 other faces of `train112`.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rows import write_rows

from pocketface.benchmark.machine import device_name
from pocketface.benchmark.measurement import Measurement, RowMaker
from pocketface.benchmark.speed.latency import TimingJob, latency_rows, measure_all
from pocketface.export.artifact import Card
from pocketface.export.calibration import choose_calibration_faces
from pocketface.export.formats import open_session
from pocketface.export.graph.to_onnx import to_onnx
from pocketface.export.parity import measure_parity
from pocketface.export.session import unit_embeddings
from pocketface.export.tflite.delegation import delegation
from pocketface.faces.contract import Faces
from pocketface.inputs import open_faces, open_source
from pocketface.models.embedder import Embedder
from pocketface.run_recipe import Roots, read_recipe

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
RECIPES = ("lfw_prelu.toml", "lfw_relu6.toml")
TOOLS = ("pocketface", "litert-torch", "tensorflow")
PRECISIONS = ("fp32", "w8a8")
CALIBRATION_FACES, PROBE_FACES = 200, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--peers", required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/converters"))
    options = parser.parse_args()
    rows: list[Measurement] = []
    for name in RECIPES:
        roots = Roots(EXAMPLES, options.faces, options.weights)
        recipe = roots.resolve(read_recipe(EXAMPLES / name))
        source = open_source(recipe)
        folder = options.out / source.name
        folder.mkdir(parents=True, exist_ok=True)
        train = open_faces(recipe.train, source.contract).faces
        faces = choose_calibration_faces(train, CALIBRATION_FACES + PROBE_FACES, 0)
        to_onnx(source, Card(source.name, source.contract, source.embedding_size), folder / "network.onnx")
        np.save(folder / "faces.npy", source.contract.preprocess(faces[:CALIBRATION_FACES]))
        arguments = ["--recipe", EXAMPLES / name, "--weights", options.weights]
        arguments += ["--onnx", folder / "network.onnx", "--faces", folder / "faces.npy"]
        conversions = {
            (tool, precision): convert(tool, precision, folder, arguments, options.peers)
            for precision in PRECISIONS
            for tool in TOOLS
        }
        rows += list(rows_of(conversions, source, faces[CALIBRATION_FACES:]))
    write_rows(rows, HERE / "converters.jsonl")


Conversion = dict[str, float | str]
"""What a conversion took: `file`, and `seconds` and `bytes`, or the `reason` why there is no file."""


def convert(tool: str, precision: str, folder: Path, arguments: list[object], peers: str) -> Conversion:
    """Runs one conversion in a process of its own, unless an earlier try has."""
    path = folder / f"{tool}.{precision}.tflite"
    note = path.with_suffix(".json")
    if note.is_file():
        return dict(json.loads(note.read_text()))
    python = sys.executable if tool == "pocketface" else peers
    command = [python, HERE / "converters_child.py", tool, precision, *arguments, "--out", path]
    started = time.perf_counter()
    with open(path.with_suffix(".log"), "w") as log:
        status = subprocess.run([str(part) for part in command], stdout=log, stderr=log, check=False).returncode
    seconds = time.perf_counter() - started
    lines = path.with_suffix(".log").read_text(errors="replace").splitlines()
    peak = [int(line.rpartition(" ")[2]) * 1024 for line in lines if line.startswith("peak memory, KiB:")]
    if status or not path.is_file() or not peak:
        conversion: Conversion = {"reason": f"{tool} makes no {precision} file: {lines[-1] if lines else status}"}
    else:
        conversion = {"file": str(path), "seconds": seconds, "bytes": peak[0]}
    note.write_text(json.dumps(conversion))
    print(tool, precision, conversion, flush=True)
    return conversion


def rows_of(conversions: dict[tuple[str, str], Conversion], source: Embedder, probe: Faces) -> Iterator[Measurement]:
    """Yields the rows of one network's files."""
    reference = source.embed(probe)
    jobs: list[tuple[RowMaker, TimingJob]] = []
    for (tool, precision), result in conversions.items():
        row = RowMaker(source.name, "", "tflite", precision, "litert", device_name()).under(converter=tool)
        if "reason" in result:
            failed = row.missing("load_ms", str(result["reason"]))
            yield dataclasses.replace(failed, metric="conversion_s", unit="s")
            continue
        path = Path(str(result["file"]))
        seconds = row.value("load_ms", round(float(result["seconds"]), 2))
        yield dataclasses.replace(seconds, metric="conversion_s", unit="s")
        memory = row.value("peak_memory_bytes", float(result["bytes"]))
        yield dataclasses.replace(memory, metric="conversion_peak_memory_bytes")
        yield row.value("size_bytes", path.stat().st_size)
        yield row.value("xnnpack_partitions", delegation(path).partitions)
        parity = measure_parity(unit_embeddings(open_session(path), source.contract, probe), reference)
        yield row.value("largest_difference", parity.largest_difference, len(probe))
        yield row.value("parity_cosine_mean", parity.cosine_mean, len(probe))
        yield row.value("parity_cosine_min", parity.cosine_min, len(probe))
        jobs.append((row, TimingJob(path)))
    latencies = measure_all([job for _, job in jobs], rounds=5, progress=lambda line: print(line, flush=True))
    for (row, _), latency in zip(jobs, latencies, strict=True):
        yield from latency_rows(latency, row)


if __name__ == "__main__":
    main()
