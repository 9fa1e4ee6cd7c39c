"""Our latencies beside those of LiteRT's and onnxruntime's own tools, and a run that is disturbed on purpose.

    python evidence/latency_agreement.py [FILE...] [--rounds 5]

Run it from the repository root; it takes about two minutes on two idle cores. FILE is a .tflite or .onnx; without one,
two untrained networks of the zoo are exported. Writes evidence/latency_agreement.jsonl.

Each file is timed in turns, on one thread and one core, in a fresh process each time: by the engine of `pocketface
benchmark` and by a tool that is independent of it: `litert-benchmark`, which ships with LiteRT and runs the file
through another interface than ours, or the profile that onnxruntime records (`model_run`). `agreement_ratio` is their
median divided by ours, with its interval. The tools leave out two things that ours counts: passing in the face and
reading out the embedding. Last, the first file is timed beside a busy loop on every core: that row must not be valid.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rows import write_rows

from pocketface.benchmark.accuracy.intervals import Estimate
from pocketface.benchmark.machine import device_name
from pocketface.benchmark.measurement import Measurement, RowMaker
from pocketface.benchmark.speed.latency import TimingJob, latency_rows, measure_all, merged_rounds
from pocketface.benchmark.speed.layer_measuring import tflite_of
from pocketface.benchmark.speed.ratio import METHOD, latency_ratio
from pocketface.benchmark.speed.stopwatch import Latency
from pocketface.export.formats import format_of, read_artifact
from pocketface.models.zoo import create

NETWORKS = ("mobilefacenet", "mobilenetv2")
RUNS = 100
BUSY = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nprint(flush=True)\nwhile True: pass"

WATCHED = """
import json, statistics, sys
from pathlib import Path
from pocketface.benchmark.machine import lent_cores, pin
from pocketface.benchmark.speed.noise import NoiseWatch
path, told, runs, height, width = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:])
lent, cores = lent_cores(), pin(1)
"""
LITERT = """
from ai_edge_litert.tools.benchmark_litert_model import main
sys.argv = ["", f"--model={path}", f"--num_runs={runs}", "--num_threads=1", f"--result_json={told}"]
with NoiseWatch(1, lent, cores) as watch:
    main()
median = json.loads(told.read_text())["latency"]["median_ms"]
"""
ONNXRUNTIME = """
import numpy as np
from pocketface.benchmark.speed.operator_profile import onnxruntime_profile
inputs = np.random.default_rng(0).uniform(-1, 1, (1, 3, height, width)).astype(np.float32)
with NoiseWatch(1, lent, cores) as watch:
    events = onnxruntime_profile(path, inputs, runs)
median = statistics.median(event["dur"] / 1000 for event in events if event["name"] == "model_run")
"""
TELL = "told.write_text(json.dumps([median, watch.noise.disturbance()]))"
TOOLS = {"tflite": ("litert-benchmark", LITERT), "onnx": ("onnxruntime's profile", ONNXRUNTIME)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = options.files or exported(Path(folder))
        rows = [row for file in files for row in compared(file, options.rounds)]
        rows += disturbed(files[0])
    write_rows(rows, Path(__file__).with_suffix(".jsonl"))


def exported(folder: Path) -> list[Path]:
    """Exports the networks in both formats."""
    tflites = [tflite_of(create(name), folder) for name in NETWORKS]
    return [file for tflite in tflites for file in (tflite, tflite.with_suffix(".onnx"))]


def compared(file: Path, rounds: int) -> list[Measurement]:
    """Gives our rows, the tool's median, and the ratio of both."""
    tool, code = TOOLS[format_of(file).name]
    job = job_of(file)
    ours, theirs = [], []
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}: {file.name}, ours and {tool}", flush=True)
        ours += measure_all([job], rounds=1, minimum_runs=RUNS, minimum_seconds=0)
        theirs.append(asked(file, code))
    latency, other = (
        merged_rounds(ours),
        Latency(tuple((ms,) for ms, _ in theirs), disturbances=tuple(why for _, why in theirs)),
    )
    median, ratio = other.quantile(0.5), latency_ratio(other, latency)
    row = row_of(file)
    rows = [found for found in latency_rows(latency, row) if found.metric == "latency_ms_p50"]
    row = row.under(threads=1, tool=tool)
    theirs_p50 = Estimate(median.value, min(other.samples_ms), max(other.samples_ms), other.disturbed)
    rows.append(row.estimate("latency_ms_p50", theirs_p50, rounds * RUNS, interval="the rounds"))
    agreement = row.estimate("latency_ratio", ratio, len({*other.clean} & {*latency.clean}), interval=METHOD)
    rows.append(dataclasses.replace(agreement, metric="agreement_ratio"))
    return rows


def asked(file: Path, code: str) -> tuple[float, str]:
    """Runs a tool in a process of its own, on one core; gives its median in ms and what disturbed it."""
    contract = read_artifact(file).card.contract
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder, "told.json")
        arguments = [file, told, RUNS, contract.height, contract.width]
        command = [sys.executable, "-c", WATCHED + code + TELL, *map(str, arguments)]
        subprocess.run(command, capture_output=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        median, why = json.loads(told.read_text())
    return median, why


def disturbed(file: Path) -> list[Measurement]:
    """Times a file while every core has a busy loop."""
    cores = sorted(os.sched_getaffinity(0))
    busy = [subprocess.Popen([sys.executable, "-c", BUSY, str(core)], stdout=subprocess.PIPE) for core in cores]
    try:
        for process in busy:
            assert process.stdout is not None
            process.stdout.readline()
        (latency,) = measure_all([job_of(file)], rounds=2, progress=lambda line: print(line, flush=True))
    finally:
        for process in busy:
            process.kill()
            process.communicate()
    row = row_of(file)
    rows = [found for found in latency_rows(latency, row) if found.metric == "latency_ms_p50"]
    return [dataclasses.replace(found, conditions={**found.conditions, "busy_loops": len(cores)}) for found in rows]


def job_of(file: Path) -> TimingJob:
    """Says what to feed the file."""
    contract = read_artifact(file).card.contract
    return TimingJob(file, shape=(1, 3, contract.height, contract.width))


def row_of(file: Path) -> RowMaker:
    """Gives the maker of a file's rows."""
    artifact = read_artifact(file)
    runtime = "litert" if artifact.format == "tflite" else "onnxruntime"
    card = artifact.card
    return RowMaker(card.model, file.name, artifact.format, card.precision, runtime, device_name())


if __name__ == "__main__":
    main()
