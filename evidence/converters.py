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
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from rows import write_rows

from pocketface.benchmark.measurement import Measurement
from pocketface.benchmark.speed.latency import Job, device_name, measure_all
from pocketface.benchmark.speed.latency import measurements as latency_rows
from pocketface.export.artifact import Card
from pocketface.export.calibration import choose_calibration_faces
from pocketface.export.formats import open_session
from pocketface.export.graph.to_onnx import to_onnx
from pocketface.export.parity import measure_parity
from pocketface.export.session import unit_embeddings
from pocketface.export.tflite.litert import xnnpack_partitions
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
    seconds, log = time.perf_counter() - started, path.with_suffix(".log").read_text(errors="replace").splitlines()
    peak = [int(line.rpartition(" ")[2]) * 1024 for line in log if line.startswith("peak memory, KiB:")]
    if status or not path.is_file() or not peak:
        conversion: Conversion = {"reason": f"{tool} makes no {precision} file: {log[-1] if log else status}"}
    else:
        conversion = {"file": str(path), "seconds": seconds, "bytes": peak[0]}
    note.write_text(json.dumps(conversion))
    print(tool, precision, conversion, flush=True)
    return conversion


def rows_of(conversions: dict[tuple[str, str], Conversion], source: Embedder, probe: Faces) -> Iterator[Measurement]:
    """Yields the rows of one network's files."""
    reference = source.embed(probe)
    jobs: list[tuple[Callable[..., Measurement], Job]] = []
    for (tool, precision), result in conversions.items():
        identity = dict(model=source.name, format="tflite", precision=precision, device=device_name())
        row = partial(row_about, tool, identity)
        if "reason" in result:
            yield row(metric="conversion_s", value=None, unit="s", valid=False, reason=str(result["reason"]))
            continue
        path = Path(str(result["file"]))
        yield row(metric="conversion_s", value=round(float(result["seconds"]), 2), unit="s")
        yield row(metric="conversion_peak_memory_bytes", value=float(result["bytes"]), unit="bytes")
        yield row(metric="size_bytes", value=path.stat().st_size, unit="bytes")
        yield row(metric="xnnpack_partitions", value=xnnpack_partitions(path), unit="1")
        parity = measure_parity(unit_embeddings(open_session(path), source.contract, probe), reference)
        yield row(metric="largest_difference", value=parity.largest_difference, unit="1", n=len(probe))
        yield row(metric="parity_cosine_mean", value=parity.cosine_mean, unit="1", n=len(probe))
        yield row(metric="parity_cosine_min", value=parity.cosine_min, unit="1", n=len(probe))
        jobs.append((row, Job(path)))
    latencies = measure_all([job for _, job in jobs], rounds=5, progress=lambda line: print(line, flush=True))
    for (row, _), latency in zip(jobs, latencies, strict=True):
        yield from latency_rows(latency, row)


def row_about(tool: str, identity: dict[str, str], **fields: object) -> Measurement:
    """Gives a row that says whose file it is about."""
    conditions = {"converter": tool, **dict(fields.pop("conditions", {}))}  # type: ignore[call-overload]
    return Measurement(**identity, artifact="", runtime="litert", conditions=conditions, **fields)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
