"""Where the cells of a sweep are made: in this process, in several of this machine, or as tasks of a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Protocol

from .benchmark.machine import lent_cores
from .benchmark.processes import ask
from .sweep_cells import Job, finished, make
from .sweep_plan import SweepCell

THREADS_ON_RAY = 1  # of a task, which asks for one CPU; another number gives other last bits

Progress = Callable[[str], None]
Outcome = Mapping[str, str]
"""By the folder of each cell that could not be made, the reason."""


class Engine(Protocol):
    """Makes cells; several at a time, or one."""

    def submit(self, job: Job) -> Future[Any]:
        """Begins a cell whose needs are made."""

    def close(self) -> None:
        """Ends what the engine started."""


class InThisProcess:
    """Makes each cell at once, before `submit` returns."""

    def __init__(self, progress: Progress) -> None:
        """Tells `progress` what the stages say."""
        self._progress = progress

    def submit(self, job: Job) -> Future[Any]:
        """Makes the cell."""
        future: Future[Any] = Future()
        try:
            future.set_result(make(job, lambda line: self._progress(f"  {line}")))
        except (ValueError, RuntimeError) as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Nothing was started."""


class InProcesses:
    """Makes so many cells at a time on this machine, each in a process of its own."""

    def __init__(self, jobs: int) -> None:
        """Shares the cores among the processes."""
        self._pool, self._threads = ThreadPoolExecutor(jobs), max(1, lent_cores() // jobs)

    def submit(self, job: Job) -> Future[Any]:
        """Queues the cell."""
        what = job.request(), job.cell.label, "made", self._threads
        return self._pool.submit(ask, "pocketface.sweep_cells", *what)

    def close(self) -> None:
        """Forgets what is queued."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class OnRay:
    """Makes cells as tasks of a Ray cluster; latencies only where a node has the resource `timing`, one at a time."""

    def __init__(self, address: str | None) -> None:
        """Connects to a cluster, or starts one of this machine.

        Raises:
            ValueError: Ray is not installed, or there is no cluster at `address`.
        """
        try:
            import ray
        except ImportError:
            raise ValueError("the engine ray wants Ray: pip install 'pocketface[ray]'") from None
        try:
            ray.init(
                address=address,
                resources=None if address else {"timing": 1},
                include_dashboard=False,
                log_to_driver=False,
                runtime_env={"env_vars": {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}},
            )
        except ConnectionError as error:
            raise ValueError(f"there is no Ray cluster at {address}: {str(error).splitlines()[0]}") from None
        self._ray = ray
        self._make = ray.remote(make_requested)

    def submit(self, job: Job) -> Future[Any]:
        """Queues the cell; it is begun anew where its node dies."""
        needs = {"timing": 1} if job.cell.kind == "timing" else {}
        task = self._make.options(num_cpus=1, resources=needs, max_retries=-1)
        future: Future[Any] = task.remote(job.request()).future()
        return future

    def close(self) -> None:
        """Leaves the cluster."""
        self._ray.shutdown()


def make_requested(request: Mapping[str, Any]) -> dict[str, str]:
    """Makes the cell of a request in a process of its own; an error is one that every machine can read."""
    job = Job.of(request)
    return ask("pocketface.sweep_cells", job.request(), job.cell.label, "made", THREADS_ON_RAY)


ENGINES: Mapping[str, Callable[[int, str | None, Progress], Engine]] = {
    "local": lambda jobs, address, progress: InThisProcess(progress) if jobs == 1 else InProcesses(jobs),
    "ray": lambda jobs, address, progress: OnRay(address),
}


def make_all(cells: Sequence[SweepCell], store: Path, engine: Engine, progress: Progress) -> Outcome:
    """Makes cells, each when what it needs is made; a cell that cannot be made takes along those that need it.

    Latencies are taken at the end, one at a time, when nothing else runs.

    Args:
        cells: The needs of each are among them.
        store: The folder of cells.
        engine: Where they are made.
        progress: Gets a line per cell.

    Returns:
        Which could not be made, and why.
    """
    failed: dict[str, str] = {}
    missing = [cell for cell in cells if finished(cell, store) is None]
    timed = [[cell] for cell in missing if cell.kind == "timing"]
    made = 0
    for some in [[cell for cell in missing if cell.kind != "timing"], *timed]:
        for line in _make_some(some, store, engine, failed):
            made += 1
            progress(f"{made} of {len(missing)}: {line}")
    return failed


def _make_some(cells: Sequence[SweepCell], store: Path, engine: Engine, failed: dict[str, str]) -> Iterator[str]:
    """Makes cells; yields a line for each, and adds those that could not be made to `failed`."""
    waiting = {cell.folder: cell for cell in cells}
    running: dict[Future[Any], SweepCell] = {}
    while waiting or running:
        for name, cell in list(waiting.items()):
            held_up = {*waiting, *(one.folder for one in running.values())} & set(cell.needs.values())
            if lost := [failed[need] for need in cell.needs.values() if need in failed]:
                failed[name] = lost[0]
                del waiting[name]
                yield f"{cell.label}: not made, as what it needs was not"
            elif not held_up:
                running[engine.submit(Job(cell, store))] = waiting.pop(name)
                if any(future.done() for future in running):
                    break  # to tell of it
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            cell = running.pop(future)
            try:
                future.result()
            except (ValueError, RuntimeError) as error:
                failed[cell.folder] = " ".join(str(error).split())
                yield f"{cell.label}: {failed[cell.folder]}"
            else:
                done = finished(cell, store)
                yield f"{cell.label}, {0.0 if done is None else done.seconds:.1f} s"
