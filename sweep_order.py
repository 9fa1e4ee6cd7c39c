"""The order in which the cells of a sweep are made, and what becomes of those that need one that could not be made."""

from __future__ import annotations

import heapq
import platform
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

from .sweep_archive import CellArchive
from .sweep_cells import Job
from .sweep_plan import SweepCell
from .tracking import UNTRACKED, Tracking

MOST_LOSSES = 5  # of one cell: a node that dies is bad luck, five are the cell's doing

Progress = Callable[[str], None]
Outcome = Mapping[str, str]
"""By the folder of each cell that could not be made, the reason."""


class CellLost(Exception):
    """What made a cell is gone, which says nothing of the cell: it is begun anew."""


class Engine(Protocol):
    """Makes cells; several at a time, or one."""

    orders_latencies: bool
    """Whether each machine takes one latency at a time by itself, so that several may be submitted."""

    def submit(self, job: Job) -> Future[Any]:
        """Begins a cell whose needs are made; the future raises `CellLost` where it is to be begun anew."""

    def timing_device(self) -> str:
        """Names the machine that takes latencies, as `device_name` does."""

    def close(self) -> None:
        """Ends what the engine started."""


def make_all(
    cells: Sequence[SweepCell],
    store: Path,
    engine: Engine,
    progress: Progress,
    tracking: Tracking = UNTRACKED,
    archive: CellArchive | None = None,
) -> Outcome:
    """Makes cells, each when what it needs is made; a cell that cannot be made takes along those that need it.

    Latencies are taken at the end, one at a time on each machine, when nothing else runs.

    Args:
        cells: The needs of each are among them.
        store: The folder of cells.
        engine: Where they are made.
        progress: Gets a line per cell.
        tracking: Which trackers are told of what is made.
        archive: Keeps finished cells too; those that it has are taken from there.

    Returns:
        Which could not be made, and why.
    """
    failed: dict[str, str] = {}
    jobs = {cell.folder: Job(cell, store, tracking, archive) for cell in cells}
    missing = [cell for cell in cells if jobs[cell.folder].done() is None]
    for folder in jobs.keys() - {cell.folder for cell in missing}:
        jobs[folder].keep()
    timed = [cell for cell in missing if cell.kind == "timing"]
    made = 0
    alone = [timed] if engine.orders_latencies else [[cell] for cell in timed]
    for some in [[cell for cell in missing if cell.kind != "timing"], *alone]:
        for line, is_settled in _make_some([jobs[cell.folder] for cell in some], engine, failed):
            made += is_settled
            progress(f"{made} of {len(missing)}: {line}" if is_settled else line)
    return failed


class _Ready:
    """The cells whose needs are settled, in the order of the plan."""

    def __init__(self, cells: Sequence[SweepCell]) -> None:
        self._cells, self._places = cells, {cell.folder: place for place, cell in enumerate(cells)}
        self._unmet = {cell.folder: {need for need in cell.needs.values() if need in self._places} for cell in cells}
        self._needed_by: dict[str, list[SweepCell]] = {}
        for cell in cells:
            for need in self._unmet[cell.folder]:
                self._needed_by.setdefault(need, []).append(cell)
        self._heap = [place for place, cell in enumerate(cells) if not self._unmet[cell.folder]]

    def __bool__(self) -> bool:
        return bool(self._heap)

    def add(self, cell: SweepCell) -> None:
        heapq.heappush(self._heap, self._places[cell.folder])

    def take(self) -> SweepCell:
        return self._cells[heapq.heappop(self._heap)]

    def settle(self, cell: SweepCell) -> None:
        """Notes that a cell is made, or cannot be."""
        for waiting in self._needed_by.get(cell.folder, ()):
            self._unmet[waiting.folder].discard(cell.folder)
            if not self._unmet[waiting.folder]:
                self.add(waiting)


def _make_some(jobs: Sequence[Job], engine: Engine, failed: dict[str, str]) -> Iterator[tuple[str, bool]]:
    """Makes cells; yields lines, with whether a cell is settled, and adds those that could not be made to `failed`."""
    ready, running = _Ready([job.cell for job in jobs]), 0
    of_cell = {job.cell.folder: job for job in jobs}
    ended: SimpleQueue[tuple[Job, Future[Any]]] = SimpleQueue()
    losses: Counter[str] = Counter()
    while ready or running:
        if ready and ended.empty():  # those that ended are told of first
            cell = ready.take()
            if lost := [failed[need] for need in cell.needs.values() if need in failed]:
                failed[cell.folder] = lost[0]
                ready.settle(cell)
                yield f"{cell.label}: not made, as what it needs was not", True
            else:
                running += 1
                job = of_cell[cell.folder]
                engine.submit(job).add_done_callback(partial(_put, ended, job))
            continue
        job, future = ended.get()
        cell = job.cell
        running -= 1
        try:
            future.result()
        except CellLost as error:
            losses[cell.folder] += 1
            if losses[cell.folder] < MOST_LOSSES:
                ready.add(cell)
                yield f"{cell.label}: {error}; begun anew", False
                continue
            failed[cell.folder] = f"{error}, {MOST_LOSSES} times"
        except (ValueError, RuntimeError) as error:
            failed[cell.folder] = " ".join(str(error).split())
        ready.settle(cell)
        yield _line(job, failed), True


def _put(ended: SimpleQueue[tuple[Job, Future[Any]]], job: Job, future: Future[Any]) -> None:
    ended.put((job, future))


def _line(job: Job, failed: Outcome) -> str:
    cell = job.cell
    if cell.folder in failed:
        return f"{cell.label}: {failed[cell.folder]}"
    done = job.done()
    where = "" if done is None or done.machine in ("", platform.node()) else f" on {done.machine}"
    return f"{cell.label}, {0.0 if done is None else done.seconds:.1f} s{where}"
