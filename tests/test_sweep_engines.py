"""Where cells are made, and in which order."""

from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from pocketface.files import Memo
from pocketface.run_recipe import RunRecipe
from pocketface.sweep_archive import RECORD
from pocketface.sweep_cells import Job
from pocketface.sweep_engines import ENGINES, InThisProcess, started
from pocketface.sweep_order import MOST_LOSSES, CellLost, make_all
from pocketface.sweep_plan import Kind, SweepCell


def cell(kind: Kind, number: int, needs: Mapping[str, SweepCell]) -> SweepCell:
    recipe = RunRecipe(embedder="no-such-network")
    folders = {part: need.folder for part, need in needs.items()}
    return SweepCell(kind, f"{number:064x}", folders, recipe, f"{kind} {number}", 1.0)


SOURCE = cell("source", 1 << 160, {})
FILES = cell("files", 2 << 160, {"source": SOURCE})
TIMING = cell("timing", 3 << 160, {"files": FILES})
CUT = cell("cut", 4 << 160, {"source": SOURCE})
DEEPER = cell("cut", 5 << 160, {"source": SOURCE, "shallower": CUT})


class AtOnce:
    """Says of every cell that it is made, and notes which and when."""

    orders_latencies = False

    def __init__(self) -> None:
        self.made: list[str] = []

    def submit(self, job: Job) -> Future[Any]:
        self.made.append(job.cell.label.split()[0])
        Memo(job.folder / RECORD, job.cell.key).write(kind=job.cell.kind, seconds=2.0, work=1.0, files={})
        future: Future[Any] = Future()
        future.set_result(None)
        return future

    def timing_device(self) -> str:
        return "a phone"

    def close(self) -> None: ...


class Losing(AtOnce):
    """Loses the cell CUT so many times before it makes it."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def submit(self, job: Job) -> Future[Any]:
        if job.cell is CUT and self.times:
            self.times -= 1
            future: Future[Any] = Future()
            future.set_exception(CellLost("its node died"))
            return future
        return super().submit(job)


def test_cells_come_after_what_they_need_and_latencies_last(tmp_path: Path) -> None:
    engine, lines = AtOnce(), list[str]()
    assert make_all([TIMING, DEEPER, FILES, CUT, SOURCE], tmp_path, engine, lines.append) == {}
    assert engine.made[0] == "source" and engine.made[-1] == "timing"
    assert lines[-1] == f"5 of 5: {TIMING.label}, 2.0 s"
    again = AtOnce()
    make_all([TIMING, DEEPER, FILES, CUT, SOURCE], tmp_path, again, lines.append)
    assert again.made == []


def test_what_needs_a_cell_that_could_not_be_made_is_not_made(tmp_path: Path) -> None:
    lines: list[str] = []
    failed = make_all([SOURCE, CUT, DEEPER], tmp_path, InThisProcess(lines.append), lines.append)
    assert set(failed) == {SOURCE.folder, CUT.folder, DEEPER.folder}
    assert len(set(failed.values())) == 1 and failed[DEEPER.folder].startswith("no embedder 'no-such-network'")
    assert lines[1] == f"2 of 3: {CUT.label}: not made, as what it needs was not"


def test_a_cell_that_was_lost_is_begun_anew_and_told(tmp_path: Path) -> None:
    engine, lines = Losing(2), list[str]()
    assert make_all([SOURCE, CUT, DEEPER], tmp_path, engine, lines.append) == {}
    assert engine.made == ["source", "cut", "cut"]
    assert lines == [
        f"1 of 3: {SOURCE.label}, 2.0 s",
        *[f"{CUT.label}: its node died; begun anew"] * 2,
        f"2 of 3: {CUT.label}, 2.0 s",
        f"3 of 3: {DEEPER.label}, 2.0 s",
    ]


def test_a_cell_that_is_lost_each_time_is_given_up(tmp_path: Path) -> None:
    failed = make_all([SOURCE, CUT, DEEPER], tmp_path, Losing(99), lambda line: None)
    assert failed == dict.fromkeys((CUT.folder, DEEPER.folder), f"its node died, {MOST_LOSSES} times")


def test_a_large_plan_is_ordered_in_seconds(tmp_path: Path) -> None:
    chain = [SOURCE]
    for number in range(2000):
        chain.append(cell("cut", (10 + number) << 160, {"shallower": chain[-1]}))
    engine = AtOnce()
    engine.submit = lambda job: _settled()  # type: ignore[method-assign]
    assert make_all(chain[::-1], tmp_path, engine, lambda line: None) == {}


def _settled() -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(None)
    return future


def test_the_address_of_a_cluster_wants_its_engine() -> None:
    with pytest.raises(ValueError, match="--address here:1 is of a Ray cluster, and the engine is local"):
        started("local", 1, "here:1", print).__enter__()


def test_a_job_is_the_same_after_it_was_sent(tmp_path: Path) -> None:
    job = Job(DEEPER, tmp_path)
    assert Job.of(job.request()).request() == job.request()


def test_there_is_an_engine_for_this_machine_and_one_for_a_cluster() -> None:
    assert list(ENGINES) == ["local", "ray"]
    assert isinstance(ENGINES["local"](1, None, print), InThisProcess)


def test_ray_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ValueError, match=r"the engine ray wants Ray: pip install 'pocketface\[ray\]'"):
        ENGINES["ray"](1, None, print)
