"""Crops a second of the training, beside a plain PyTorch loop on the same network, batch and data.

    python evidence/training_speed.py --faces FOLDER --weights FOLDER [--repeats 2]

Run it from the repository root; it takes about five minutes of two idle cores. The folders are described in
examples/lfw_relu6.toml. Writes evidence/training_speed.jsonl.

The published MobileFaceNet learns from itself in batches of 32 augmented crops, with 1 and with 2 threads. Each way of
feeding it runs in processes of its own, which take turns:

    pocketface                  a thread augments crops and asks the teacher ahead
    pocketface, teacher known   the same when every embedding is kept already, as after the first round of all crops
    worker process              the same step, but a worker of torch's DataLoader augments and asks the teacher
    plain PyTorch               a loop as one writes it: augmentation in a DataLoader worker, teacher in the loop,
                                default memory format
    step alone                  the step on one batch that is at hand: what no way of feeding can exceed

Rows: `training_crops_per_s`, the median with the least and the most; in the conditions `cpu_ms_per_crop` of the
process and its worker, which a busy machine changes less, and `first_batch_s`, from the call to the end of the first
step.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rows import write_rows
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pocketface.benchmark.machine import device_name
from pocketface.benchmark.measurement import Measurement
from pocketface.freed_memory import keep_freed_memory
from pocketface.inputs import open_faces, open_source
from pocketface.models.embedder import Embedder
from pocketface.prune.recipe import TrainingRecipe
from pocketface.prune.training.augmentation import Crops
from pocketface.prune.training.batches import BatchMaker, Order
from pocketface.prune.training.losses import Distillation
from pocketface.prune.training.recovery import lay_out, learn, start_recovery
from pocketface.prune.training.teacher import TeacherEmbeddings
from pocketface.run_recipe import Roots, read_recipe

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "examples" / "lfw_relu6.toml"
BATCH, WARM, MEASURED = 32, 2, 8  # crops; batches
THREADS = (1, 2)


class Bench:
    """A student, its teacher, and numbered crops."""

    def __init__(self, source: Embedder, crops: Crops) -> None:
        self.student, self.teacher, self.crops = source.clone(), source.clone(), crops
        self.recipe = TrainingRecipe(batch_size=BATCH, epochs=1000.0)
        lay_out(self.teacher, self.teacher.memory_format)
        self.signal = Distillation(TeacherEmbeddings(self.teacher, len(crops)))
        order = Order(len(crops), BATCH, (0, 0))
        self.make = BatchMaker(crops, self.student, self.signal, lambda batch: order[batch])

    def step(self) -> Callable[[Tensor, Tensor], None]:
        """Gives the step on inputs and targets."""
        backbone = self.student.backbone.train()
        optimiser = torch.optim.AdamW(backbone.parameters(), 1e-4, weight_decay=0.0)

        def step(inputs: Tensor, targets: Tensor) -> None:
            loss = (1 - (F.normalize(backbone(inputs), dim=1) * targets).sum(1)).mean()
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()

        return step

    def fast_step(self) -> Callable[[Tensor, Tensor], None]:
        """Gives the step with the layout and the memory settings of the training."""
        keep_freed_memory()
        lay_out(self.student, self.student.memory_format)
        return self.step()


class Made(Dataset):  # type: ignore[type-arg]
    """Batches by number, for a worker process."""

    def __init__(self, make: Callable[[int], object]) -> None:
        self.make = make

    def __len__(self) -> int:
        return WARM + MEASURED + 1

    def __getitem__(self, number: int) -> object:
        return self.make(number)


def pocketface(bench: Bench) -> Iterator[object]:
    """Yields after each batch, as all of these."""
    progress = start_recovery(bench.student, bench.signal, bench.recipe)
    yield from learn(bench.student, bench.signal, bench.crops, bench.recipe, 1000.0, 0, progress)


def teacher_known(bench: Bench) -> Iterator[object]:
    rows = np.random.default_rng(0).standard_normal((len(bench.crops), bench.signal.teacher.size), np.float32)
    bench.signal.teacher.keep(np.arange(len(bench.crops)), rows / np.linalg.norm(rows, axis=1, keepdims=True))
    yield from pocketface(bench)


def worker_process(bench: Bench) -> Iterator[object]:
    def make(number: int) -> tuple[Tensor, Tensor]:
        batch = bench.make(number)
        return batch.inputs, batch.targets

    step = bench.fast_step()
    for inputs, targets in DataLoader(Made(make), batch_size=None, num_workers=1, prefetch_factor=3):
        yield step(inputs, targets)


def plain(bench: Bench) -> Iterator[object]:
    order, contract = Order(len(bench.crops), BATCH, (0, 0)), bench.student.contract

    def make(number: int) -> Tensor:
        return torch.from_numpy(contract.preprocess(bench.crops[order[number]]))

    lay_out(bench.teacher, torch.contiguous_format)
    teacher, step = bench.teacher.backbone.eval(), bench.step()
    for inputs in DataLoader(Made(make), batch_size=None, num_workers=1):
        with torch.no_grad():
            targets = F.normalize(teacher(inputs), dim=1)
        yield step(inputs, targets)


def alone(bench: Bench) -> Iterator[object]:
    step, batch = bench.fast_step(), bench.make(0)
    while True:
        yield step(batch.inputs, batch.targets)


WAYS: dict[str, Callable[[Bench], Iterator[object]]] = {
    "pocketface": pocketface,
    "pocketface, teacher known": teacher_known,
    "worker process": worker_process,
    "plain PyTorch": plain,
    "step alone": alone,
}


def child(way: str, threads: int, faces: Path, weights: Path) -> None:
    """Trains for some batches, and prints how long they took."""
    torch.set_num_threads(threads)
    recipe = Roots(EXAMPLE.parent, faces, weights).resolve(read_recipe(EXAMPLE))
    source = open_source(recipe)
    pixels: NDArray[np.uint8] = open_faces(recipe.train, source.contract).faces[:]
    bench = Bench(source, Crops(pixels, 6, seed=0))
    began = time.perf_counter()
    batches = WAYS[way](bench)
    next(batches)
    first = time.perf_counter() - began
    list(islice(batches, WARM - 1))
    began, busy = time.perf_counter(), processor_seconds()
    list(islice(batches, MEASURED))
    seconds, busy = time.perf_counter() - began, processor_seconds() - busy
    print(json.dumps({"first": first, "rate": BATCH * MEASURED / seconds, "cpu": 1000 * busy / BATCH / MEASURED}))


def processor_seconds() -> float:
    """Of this process and of its workers, which run on."""
    ticks = 0
    for task in Path("/proc/self/task").iterdir():
        for number in (task / "children").read_text().split():
            fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def measured(way: str, threads: int, options: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", way, "--threads", str(threads)]
    command += ["--faces", str(options.faces), "--weights", str(options.weights)]
    # Threads that wait for each other by spinning take the cores of whoever should be waited for.
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    process = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(process.stdout.splitlines()[-1])
    took = f"{result['rate']:6.1f} crops/s, {result['cpu']:5.1f} ms of CPU a crop, first batch {result['first']:.1f} s"
    print(f"{threads} threads  {way:26} {took}", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.threads, options.faces, options.weights)
        return
    results: dict[tuple[str, int], list[dict[str, float]]] = {}
    for _ in range(options.repeats):
        for threads in THREADS:
            for way in WAYS:
                results.setdefault((way, threads), []).append(measured(way, threads, options))
    write_rows([row_of(*key, runs) for key, runs in results.items()], HERE / "training_speed.jsonl")


def row_of(way: str, threads: int, runs: list[dict[str, float]]) -> Measurement:
    """The median; low and high are the extremes of the repeats."""
    rates = [run["rate"] for run in runs]
    conditions = {
        "way": way,
        "threads": threads,
        "batch": BATCH,
        "batches": MEASURED,
        "repeats": len(runs),
        "interval": "least and most",
        "cpu_ms_per_crop": round(float(np.median([run["cpu"] for run in runs])), 2),
        "first_batch_s": round(float(np.median([run["first"] for run in runs])), 2),
    }
    identity = dict(model="mobilefacenet-relu6", artifact="", format="pytorch", precision="fp32", runtime="torch")
    fields = dict(value=float(np.median(rates)), low=min(rates), high=max(rates), unit="1/s", n=len(rates))
    return Measurement(**identity, device=device_name(), metric="training_crops_per_s", **fields, conditions=conditions)


if __name__ == "__main__":
    main()
