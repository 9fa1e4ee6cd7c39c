"""What a sweep of 10,000 cells on 200 nodes would take: Ray's costs measured on this machine, the rest simulated.

    python evidence/ray_scale.py [--points 2500] [--nodes 200] [--cpus 8] [--tasks 500]

Run it from the repository root, on Linux; it takes some three minutes on two cores. It writes
evidence/ray_scale.jsonl. Rows whose condition `how` is "measured" were measured here: Ray's time for a task, with the
load of the machine meanwhile, the bytes of its request, the processor seconds of the coordinator for a cell, and those
of the process that makes the smallest cell, which imports what all do. Rows that are "simulated" come from a
discrete-event simulation with those numbers and with ASSUMED seconds of work for each cell (SECONDS), megabytes on the
shared disk (MEGABYTES), hours between deaths of a node, and seconds until a death is seen. No such cluster was used,
and the shared disk and the network are taken to be fast enough.
"""

from __future__ import annotations

import argparse
import heapq
import os
import pickle
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rows import write_rows
from tiny_sweep import write_sweep

from pocketface.benchmark.machine import device_name
from pocketface.benchmark.measurement import Measurement
from pocketface.files import Memo
from pocketface.run_recipe import Roots, read_recipe
from pocketface.sweep_archive import RECORD
from pocketface.sweep_cells import Job
from pocketface.sweep_engines import InProcesses
from pocketface.sweep_order import make_all
from pocketface.sweep_plan import Kind, SweepCell
from pocketface.sweep_ray import OnRay
from pocketface.sweeper import plan

HERE = Path(__file__).parent
SECONDS: Mapping[Kind, float] = {"source": 5, "cut": 120, "recovery": 3600, "files": 180, "timing": 30}  # assumed
MEGABYTES: Mapping[Kind, float] = {"source": 4, "cut": 4, "recovery": 4, "files": 12, "timing": 0.05}  # assumed
HOURS_BETWEEN_DEATHS = 500.0  # of one node, assumed
SEEN_AFTER = 30.0  # seconds until Ray says that a node died, assumed


@dataclass(frozen=True)
class Costs:
    """What a cell costs besides its work, in seconds."""

    ray: float  # for a task, at Ray's pace on one machine
    coordinator: float  # of our own for a cell
    process: float  # until the process of a cell works


class Instant:
    """Says of every cell that it is made."""

    orders_latencies = True

    def submit(self, job: Job) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(None)
        return future

    def timing_device(self) -> str:
        return ""

    def close(self) -> None: ...


def plan_of(points: int, cell: SweepCell) -> list[SweepCell]:
    """Gives the cells of a source and so many networks: a cut, its recovery, its files, their latency."""
    cells = [numbered("source", 0, {}, cell)]
    for number in range(1, points + 1):
        cut = numbered("cut", number, {"source": cells[0]}, cell)
        recovery = numbered("recovery", number, {"source": cells[0], "cut": cut}, cell)
        files = numbered("files", number, {"source": cells[0], "cut": cut, "recovered": recovery}, cell)
        cells += [cut, recovery, files, numbered("timing", number, {"files": files}, cell)]
    return cells


def numbered(kind: Kind, number: int, needs: Mapping[str, SweepCell], like: SweepCell) -> SweepCell:
    key = f"{list(SECONDS).index(kind)}{number:063x}"
    folders = {part: need.folder for part, need in needs.items()}
    return SweepCell(
        kind, key[:1] + key[-31:] + key[1:33], folders, like.recipe, f"{like.label} {number}", 1.0, like.name
    )


def coordinator_seconds(cells: Sequence[SweepCell], folder: Path) -> float:
    """Measures our own time for a cell, where making it takes none: order, lines, and looks at the disk."""
    begun = time.process_time()
    failed = make_all(cells, folder, Instant(), lambda line: None)
    assert not failed
    return (time.process_time() - begun) / len(cells)


def ray_seconds(request: Mapping[str, Any], tasks: int) -> list[float]:
    """Measures Ray's time for a task that does nothing with the request of a cell, in five rounds after one more."""
    import ray

    idle = ray.remote(lambda request, device: {"seconds": 1.0, "work": 1.0, "bytes": 1}).options(num_cpus=1)
    found = []
    for _ in range(6):
        begun = time.perf_counter()
        ray.get([idle.remote(request, "") for _ in range(tasks)])
        found.append((time.perf_counter() - begun) / tasks)
    return found[1:]


def process_seconds(job: Job) -> float:
    """Measures the processor seconds of the process that makes the smallest cell, nearly all of them imports."""
    engine = InProcesses(1)
    begun = resource.getrusage(resource.RUSAGE_CHILDREN)
    engine.submit(job).result()
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    engine.close()
    return ended.ru_utime + ended.ru_stime - begun.ru_utime - begun.ru_stime


@dataclass
class Simulated:
    """What a simulated sweep took."""

    seconds: float
    lost: int  # cells that were begun anew
    busy: float  # CPU seconds of cells, those that were lost included


def simulate(cells: Sequence[SweepCell], slots: int, timing: int, costs: Costs, deaths: bool, seed: int) -> Simulated:
    """Simulates a sweep: a coordinator that serves one cell after another, slots for cells, and latencies at the end.

    A cell is lost with the chance that its node dies meanwhile, at a moment of it, and each by itself.
    """
    dice = random.Random(seed)
    total = Simulated(0.0, 0, 0.0)
    for some, places in (
        ([cell for cell in cells if cell.kind != "timing"], slots),
        ([cell for cell in cells if cell.kind == "timing"], timing),
    ):
        _simulate_some(some, places, costs, deaths, dice, total)
    return total


def _simulate_some(
    cells: Sequence[SweepCell], slots: int, costs: Costs, deaths: bool, dice: random.Random, total: Simulated
) -> None:
    places = {cell.folder: place for place, cell in enumerate(cells)}
    unmet = [len({need for need in cell.needs.values() if need in places}) for cell in cells]
    needed_by: list[list[int]] = [[] for _ in cells]
    for place, cell in enumerate(cells):
        for need in {need for need in cell.needs.values() if need in places}:
            needed_by[places[need]].append(place)
    now = coordinator = total.seconds
    submitted = [(0.0, place) for place, count in enumerate(unmet) if not count]  # (when Ray has it, cell)
    for order, (_, place) in enumerate(list(submitted)):
        coordinator += costs.ray + costs.coordinator
        submitted[order] = (coordinator, place)
    waiting, events, free = submitted, list[tuple[float, int, bool]](), slots
    heapq.heapify(waiting)
    while waiting or events:
        while waiting and free and (not events or waiting[0][0] <= events[0][0]):
            ready, place = heapq.heappop(waiting)
            now, free = max(now, ready), free - 1
            takes = costs.process + SECONDS[cells[place].kind]
            dies = dice.expovariate(1 / (3600 * HOURS_BETWEEN_DEATHS)) if deaths else takes + 1
            is_lost = dies < takes
            heapq.heappush(events, (now + (dies + SEEN_AFTER if is_lost else takes), place, is_lost))
            total.busy += min(dies, takes)
        now, place, is_lost = heapq.heappop(events)
        free += 1
        next_ones = [place] if is_lost else []
        total.lost += is_lost
        for later in () if is_lost else needed_by[place]:
            unmet[later] -= 1
            next_ones += [later] * (not unmet[later])
        for later in next_ones:
            coordinator = max(coordinator, now) + costs.ray + costs.coordinator
            heapq.heappush(waiting, (coordinator, later))
    total.seconds = max(now, coordinator)


def row(metric: str, value: float, unit: str, how: str, **conditions: Any) -> Measurement:
    print(f"{how}: {metric} {value:.6g} {unit} {conditions}", flush=True)
    told = {"how": how, **conditions}
    return Measurement("", "", "", "", "", device_name(), metric, float(f"{value:.5g}"), unit, conditions=told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=2500, help="networks, of four cells each")
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--cpus", type=int, default=8, help="of a node; a cell takes one")
    parser.add_argument("--tasks", type=int, default=500, help="to measure Ray's time with")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        recipe = Roots(folder / "inputs", None, None).resolve(read_recipe(write_sweep(folder / "inputs")))
        (network,) = plan(recipe)
        job = Job(network.source, folder / "cells")
        cells = plan_of(options.points, network.points[0].files)
        request, reply = pickle.dumps(Job(cells[-1], folder).request()), {"seconds": 1.0, "work": 1.0, "bytes": 10**6}
        own = coordinator_seconds(cells, folder / "none")
        made = folder / "made"
        for cell in cells:
            Memo(made / cell.folder / RECORD, cell.key).write(kind=cell.kind, seconds=1.0, work=1.0, files={})
        resumed = len(cells) * coordinator_seconds(cells, made)
        process = process_seconds(job)
        engine = OnRay(None)
        try:
            per_task = ray_seconds(Job(cells[-1], folder).request(), options.tasks)
        finally:
            engine.close()
    costs = Costs(statistics.median(per_task), own, process)
    rounds = [round(one, 5) for one in per_task]
    moved = len(cells) * (len(request) + len(pickle.dumps(reply)))
    rows = [
        row(
            "ray_task_s",
            costs.ray,
            "s",
            "measured",
            tasks=options.tasks,
            rounds=rounds,
            load=os.getloadavg()[0],
        ),
        row("ray_request_bytes", len(request), "bytes", "measured"),
        row("coordinator_cell_cpu_s", own, "s", "measured", cells=len(cells)),
        row("coordinator_resumes_cpu_s", resumed, "s", "measured", cells=len(cells)),
        row("cell_process_cpu_s", process, "s", "measured"),
        row("ray_moved_bytes", moved, "bytes", "simulated", cells=len(cells)),
        row("shared_disk_bytes", 1e6 * sum(MEGABYTES[cell.kind] for cell in cells), "bytes", "simulated"),
    ]
    free = Costs(0.0, 0.0, 0.0)
    slots = options.nodes * options.cpus
    for timing in (1, 20):
        for deaths in (False, True):
            found = simulate(cells, slots, timing, costs, deaths, seed=0)
            ideal = simulate(cells, slots, timing, free, False, seed=0)
            setting = {"nodes": options.nodes, "cpus": options.cpus, "timing_nodes": timing, "deaths": deaths}
            more = {**setting, "cells": len(cells), "assumed_s": dict(SECONDS)}
            rows.append(row("sweep_s", found.seconds, "s", "simulated", lost=found.lost, **more))
            rows.append(
                row("overhead_s", found.seconds - ideal.seconds, "s", "simulated", ideal_s=ideal.seconds, **setting)
            )
    write_rows(rows, HERE / "ray_scale.jsonl")


if __name__ == "__main__":
    main()
