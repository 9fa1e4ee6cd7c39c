"""How long one face takes to be looked up among 1,000 to 1,000,000 templates, as float32 and as int8.

    python evidence/template_matching.py [--size 128] [--most 1000000]

Run it from the repository root; it takes about a minute on one idle core and wants a C compiler, `cc`. Writes
evidence/template_matching.jsonl.

`match_ms` is the median CPU time of one probe against the whole gallery, its best match included, on one thread of this
machine: no phone was at hand. Templates are random directions, int8 with the scale that `pocketface` chooses. NumPy
multiplies float32 by its BLAS; it has none for int8, nor has PyTorch a fast product of int8 with one vector. "C" is
the plain loop that an app's native code would have, compiled for this processor, over float32 and over int8; the int8
probe is widened to 16 bits once, without which compilers multiply 8 bits several times slower. The
templates that both find are compared: `agreement` is the share of 200 noisy probes whose best match is the same.
"""

import argparse
import ctypes
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import torch
from rows import write_rows

from pocketface.benchmark.machine import device_name
from pocketface.benchmark.measurement import Measurement
from pocketface.export.app.int8_template import int8_templates, lengths, template_scale
from pocketface.models.embedder import unit

COUNTS = (1_000, 10_000, 100_000, 1_000_000)
PROBES = 200
NOISE = 2.0  # of a probe, as a share of its template's length
FLAGS = ("-O3", "-march=native", "-ffast-math", "-shared", "-fPIC")
SOURCE = """
#include <stdint.h>
long nearest_float(const float *probe, const float *gallery, long count, long size) {
    long place = 0; float best = -2;
    for (long i = 0; i < count; i++) {
        float sum = 0;
        for (long d = 0; d < size; d++) sum += probe[d] * gallery[i * size + d];
        if (sum > best) { best = sum; place = i; }
    }
    return place;
}
long nearest_int8(const int16_t *probe, const int8_t *gallery, const float *inverse, long count, long size) {
    long place = 0; float best = -1e9;
    for (long i = 0; i < count; i++) {
        int32_t sum = 0;
        for (long d = 0; d < size; d++) sum += probe[d] * gallery[i * size + d];
        float cosine = sum * inverse[i];
        if (cosine > best) { best = cosine; place = i; }
    }
    return place;
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--most", type=int, default=COUNTS[-1])
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        loops = compiled(Path(folder))
        found = [row for count in COUNTS if count <= options.most for row in matched(count, options.size, loops)]
    write_rows(found, Path(__file__).with_suffix(".jsonl"))


def compiled(folder: Path) -> ctypes.CDLL:
    """Compiles both loops for this processor."""
    source, library = folder / "nearest.c", folder / "nearest.so"
    source.write_text(SOURCE, encoding="utf-8")
    subprocess.run(["cc", *FLAGS, str(source), "-o", str(library)], check=True)
    loops = ctypes.CDLL(str(library))
    loops.nearest_float.restype = loops.nearest_int8.restype = ctypes.c_long
    return loops


def matched(count: int, size: int, loops: ctypes.CDLL) -> list[Measurement]:
    """Gives the rows of a gallery of `count` templates."""
    random = np.random.default_rng(count)
    gallery = unit(random.standard_normal((count, size), np.float32))
    wanted = random.integers(count, size=PROBES)
    noise = random.standard_normal((PROBES, size), np.float32) * np.float32(NOISE / np.sqrt(size))
    probes = unit(gallery[wanted] + noise)
    scale = template_scale(gallery)
    assert scale is not None  # random directions are no zeros
    stored, small = int8_templates(gallery, scale), int8_templates(probes, scale)
    inverse = (1 / lengths(stored)).astype(np.float32)
    wide, as_torch = small.astype(np.int16), torch.from_numpy(stored)

    def in_numpy(i: int) -> int:
        return int((gallery @ probes[i]).argmax())

    def in_torch(i: int) -> int:
        products = torch._int_mm(as_torch, torch.from_numpy(small[i])[:, None])[:, 0]
        return int((products * torch.from_numpy(inverse)).argmax())

    def c_float(i: int) -> int:
        return int(loops.nearest_float(at(probes[i]), at(gallery), ctypes.c_long(count), ctypes.c_long(size)))

    def c_int8(i: int) -> int:
        longs = ctypes.c_long(count), ctypes.c_long(size)
        return int(loops.nearest_int8(at(wide[i]), at(stored), at(inverse), *longs))

    ways: dict[tuple[str, str], Callable[[int], int]] = {
        ("float32", "NumPy"): in_numpy,
        ("float32", "C"): c_float,
        ("int8", "C"): c_int8,
        ("int8", "PyTorch"): in_torch,
    }
    rows = []
    best = {}
    for (kind, by), way in ways.items():
        best[kind, by] = [way(i) for i in range(PROBES if by == "C" else 5)]
        times = timed(way)
        median = statistics.median(times)
        bytes_of = (gallery if kind == "float32" else stored).nbytes
        conditions = {"templates": count, "size": size, "by": by, "gallery_bytes": bytes_of}
        rows.append(row("match_ms", median, "ms", kind, len(times), **conditions))
        print(f"{count:>9,} templates, {kind} by {by}: {median:.3f} ms", flush=True)
    share = float(np.mean(np.array(best["float32", "C"]) == best["int8", "C"]))
    right = float(np.mean(np.array(best["int8", "C"]) == wanted))
    rows.append(row("agreement", share, "1", "int8", PROBES, templates=count, size=size, right=right))
    return rows


def timed(way: Callable[[int], int]) -> list[float]:
    """Gives milliseconds of single look-ups: at least 9 and at most 200, for about a second."""
    times: list[float] = []
    while len(times) < 9 or (sum(times) < 1000 and len(times) < PROBES):
        start = time.thread_time()
        way(len(times) % PROBES)
        times.append(1000 * (time.thread_time() - start))
    return times


def at(values: Any) -> ctypes.c_void_p:
    """Gives where an array's numbers lie."""
    return ctypes.c_void_p(values.ctypes.data)


def row(metric: str, value: float, unit: str, precision: str, n: int, **conditions: Any) -> Measurement:
    """Gives a row of this script."""
    machine = device_name()
    return Measurement("templates", "", "", precision, "", machine, metric, value, unit, n=n, conditions=conditions)


if __name__ == "__main__":
    main()
