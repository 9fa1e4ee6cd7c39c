"""Where the cells of a sweep are made: in this process, in several of this machine, or as tasks of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from .benchmark.machine import device_name, lent_cores
from .benchmark.processes import ask
from .spelling import known_names
from .sweep_cells import Job, make
from .sweep_order import Engine
from .sweep_ray import OnRay

Progress = Callable[[str], None]


class InThisProcess:
    """Makes each cell at once, before `submit` returns."""

    orders_latencies = False

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

    def timing_device(self) -> str:
        """Names this machine."""
        return device_name()

    def close(self) -> None:
        """Nothing was started."""


class InProcesses:
    """Makes so many cells at a time on this machine, each in a process of its own."""

    orders_latencies = False

    def __init__(self, jobs: int) -> None:
        """Shares the cores among the processes."""
        self._pool, self._threads = ThreadPoolExecutor(jobs), max(1, lent_cores() // jobs)

    def submit(self, job: Job) -> Future[Any]:
        """Queues the cell."""
        what = job.request(), job.cell.label, "made", self._threads
        return self._pool.submit(ask, "pocketface.sweep_cells", *what)

    def timing_device(self) -> str:
        """Names this machine."""
        return device_name()

    def close(self) -> None:
        """Forgets what is queued."""
        self._pool.shutdown(wait=False, cancel_futures=True)


ENGINES: Mapping[str, Callable[[int, str | None, Progress], Engine]] = {
    "local": lambda jobs, address, progress: InThisProcess(progress) if jobs == 1 else InProcesses(jobs),
    "ray": lambda jobs, address, progress: OnRay(address),
}


@contextmanager
def started(engine: str, jobs: int, address: str | None, progress: Progress) -> Iterator[Engine]:
    """Lends an engine, and ends what it started.

    Args:
        engine: A name of `ENGINES`.
        jobs: How many cells are made at a time on this machine.
        address: Of a Ray cluster; None: one is started on this machine.
        progress: Told what the stages say, where cells are made one at a time.

    Raises:
        ValueError: There is no such engine, or it cannot start.
    """
    if engine not in ENGINES:
        raise ValueError(f"no engine {engine!r}; {known_names(engine, ENGINES)}")
    if address is not None and engine != "ray":
        raise ValueError(f"--address {address} is of a Ray cluster, and the engine is {engine}; give --engine ray")
    if jobs < 1:
        raise ValueError(f"--jobs {jobs} makes nothing; give 1 or more")
    made = ENGINES[engine](jobs, address, progress)
    try:
        yield made
    finally:
        made.close()
