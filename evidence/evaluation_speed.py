"""Time and memory of the evaluation, beside InsightFace's algorithm and scikit-learn's ROC.

    python evidence/evaluation_speed.py [--repeats 5]

Run it from the repository root; it needs no files and takes about a quarter of an hour on one core, most of it for
InsightFace's algorithm. Writes evidence/evaluation_speed.jsonl.

Random unit vectors of 128 numbers, ten per person, are compared in 6,000, 1 million and 10 million pairs, half of
them genuine. Every row (metrics `evaluation_s` and `peak_memory_bytes`, the median with the least and the most) comes
from processes of their own on one thread, which take turns; memory is the peak of the process (VmHWM) from the moment
the vectors exist. In the conditions, `cpu_s` leaves out the time of other processes, and `includes` says what was
computed:

    pocketface                     similarities, ten-fold accuracy, EER, AUC, TAR and threshold at FAR 1e-2, 1e-3 and as
                                   low as the pairs carry, each with its interval, people being the units
    insightface's algorithm        ten-fold accuracy and TAR at FAR 1e-3, no interval; see insightface_protocol.py. On
                                   10 million pairs only the accuracy, with squared distances in parts; both are in its
                                   favour: as published it holds both vectors of every pair and their difference at once
    scikit-learn's roc_curve       the ROC and its area from given similarities, nothing else
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from rows import write_rows

from pocketface.benchmark.accuracy.verification import similarities, usual_fars, verify
from pocketface.benchmark.measurement import Measurement

HERE = Path(__file__).parent
MILLION = 1_000_000
SHOTS, SIZE, FAR = 10, 128, 1e-3
FACES = {6_000: 8_000, MILLION: 100_000, 10 * MILLION: 100_000}
OURS, THEIRS, SKLEARN = "pocketface", "insightface's algorithm, re-written", "scikit-learn's roc_curve"


def made_up(count: int) -> tuple[np.ndarray, np.ndarray, SimpleNamespace]:
    """Unit vectors, the person of each, and the pairs."""
    random = np.random.default_rng(0)
    faces = FACES[count]
    person = np.repeat(np.arange(faces // SHOTS), SHOTS)
    vectors = 1.1 * random.standard_normal((faces, SIZE), dtype=np.float32)
    vectors += np.repeat(random.standard_normal((faces // SHOTS, SIZE), dtype=np.float32), SHOTS, axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    same = np.arange(count) % 2 == 0
    left = random.integers(faces, size=count)
    own = left // SHOTS * SHOTS
    other = own + SHOTS + random.integers(faces - SHOTS, size=count)
    right = np.where(same, own + (left % SHOTS + random.integers(1, SHOTS, size=count)) % SHOTS, other % faces)
    pairs = SimpleNamespace(left=left, right=right, same=same, fold=np.arange(count) * 10 // count, sha256="made up")
    pairs.faces = np.broadcast_to(np.uint8(0), (faces, 112, 112, 3))  # what is timed looks at its shape only
    return vectors, person, pairs


def ours(count: int) -> tuple[Callable[[], float], str]:
    vectors, person, pairs = made_up(count)
    fars = usual_fars(pairs.same)
    text = f"similarities, ten-fold accuracy, EER, AUC, TAR and threshold at {len(fars)} FARs, all with intervals"
    return lambda: verify(vectors, pairs, person, fars).accuracy.value or 0.0, text


def theirs(count: int) -> tuple[Callable[[], float], str]:
    from insightface_protocol import distances, tar_at_far, tenfold_accuracy

    vectors, _, pairs = made_up(count)

    def whole() -> float:
        distance = distances(vectors[pairs.left], vectors[pairs.right])
        tar_at_far(distance, pairs.same, FAR)
        return float(tenfold_accuracy(distance, pairs.same).mean())

    def in_parts() -> float:
        parts = zip(np.array_split(pairs.left, 1000), np.array_split(pairs.right, 1000), strict=True)
        distance = np.concatenate([distances(vectors[left], vectors[right]) for left, right in parts])
        return float(tenfold_accuracy(distance, pairs.same).mean())

    if count > MILLION:
        return in_parts, "distances in parts, ten-fold accuracy; no TAR, no intervals"
    return whole, "distances, ten-fold accuracy, TAR at FAR 1e-3; no intervals"


def sklearn(count: int) -> tuple[Callable[[], float], str]:
    from sklearn.metrics import auc, roc_curve

    vectors, _, pairs = made_up(count)
    similarity = similarities(vectors, pairs.left, pairs.right)

    def area() -> float:
        far, tar, _ = roc_curve(pairs.same, similarity)
        return float(auc(far, tar))

    return area, "ROC and its area of given similarities; no accuracy, no intervals"


CODES = {OURS: ours, THEIRS: theirs, SKLEARN: sklearn}


def child(code: str, count: int) -> None:
    """Runs one evaluation and prints its time and memory."""
    evaluate, includes = CODES[code](count)
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew: making the vectors up does not count
    started, busy = time.perf_counter(), time.process_time()
    value = evaluate()
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    lines = Path("/proc/self/status").read_text().splitlines()
    memory = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    print(json.dumps({"seconds": seconds, "cpu": busy, "memory": memory, "value": value, "includes": includes}))


def measured(code: str, count: int) -> dict:
    command = [sys.executable, __file__, "--child", code, "--pairs", str(count)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    result = json.loads(process.stdout.splitlines()[-1])
    took = f"{result['seconds']:8.2f} s ({result['cpu']:.2f} busy) {result['memory'] / 1e6:8.0f} MB"
    print(f"{count:>10,} pairs  {code:36} {took}", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="fewer of what takes minutes")
    parser.add_argument("--child", choices=CODES, help=argparse.SUPPRESS)
    parser.add_argument("--pairs", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.pairs)
        return
    rows: list[Measurement] = []
    for count in FACES:
        results: dict[str, list[dict]] = {code: [] for code in CODES}
        for turn in range(options.repeats):
            for code in CODES:
                if turn == 0 or count < MILLION or (code != THEIRS and turn < 3):
                    results[code].append(measured(code, count))
        rows += [row for code in CODES for row in rows_of(code, count, results[code])]
        write_rows(rows, HERE / "evaluation_speed.jsonl")


def rows_of(code: str, count: int, results: list[dict]) -> list[Measurement]:
    """The medians; low and high are the extremes of the repeats."""
    from pocketface.benchmark.machine import device_name

    conditions = {
        "includes": results[0]["includes"],
        "repeats": len(results),
        "cpu_s": float(np.median([result["cpu"] for result in results])),
        "interval": "least and most",
        "threads": 1,
        "faces": FACES[count],
        "dimensions": SIZE,
    }
    identity = dict(model=code, artifact="", format="", precision="", runtime="numpy", device=device_name(), n=count)
    rows = []
    for metric, key, unit in (("evaluation_s", "seconds", "s"), ("peak_memory_bytes", "memory", "bytes")):
        values = [result[key] for result in results]
        fields = dict(value=float(np.median(values)), low=min(values), high=max(values), unit=unit)
        rows.append(Measurement(**identity, metric=metric, **fields, conditions=conditions))
    return rows


if __name__ == "__main__":
    main()
