"""What becomes of Ray's errors, and which machine a cell may be made on; Ray itself runs in test_sweeper.py."""

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from pocketface.run_recipe import RunRecipe
from pocketface.sweep_cells import Job
from pocketface.sweep_order import CellLost
from pocketface.sweep_plan import SweepCell
from pocketface.sweep_ray import _pass_on, make_requested


def passed_on(error: BaseException) -> BaseException | None:
    task, made = Future[Any](), Future[Any]()
    task.set_exception(error)
    _pass_on(made, task)
    return made.exception()


def test_a_reply_passes() -> None:
    task, made = Future[Any](), Future[Any]()
    task.set_result({"seconds": 1.0})
    _pass_on(made, task)
    assert made.result() == {"seconds": 1.0}


def test_the_reason_of_a_task_has_no_traceback() -> None:
    errors = pytest.importorskip("ray.exceptions", reason="the extra `ray` is not installed")
    try:
        raise RuntimeError("tiny could not be made: why")
    except RuntimeError as error:
        failed = errors.RayTaskError("make_requested", "Traceback ...", error).as_instanceof_cause()
    passed = passed_on(failed)
    assert type(passed) is RuntimeError and str(passed) == "tiny could not be made: why"


def test_a_full_disk_stays_one() -> None:
    errors = pytest.importorskip("ray.exceptions", reason="the extra `ray` is not installed")
    full = OSError(28, "No space left on device", "cells")
    passed = passed_on(errors.RayTaskError("make_requested", "Traceback ...", full).as_instanceof_cause())
    assert isinstance(passed, OSError) and passed.errno == 28


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("NodeDiedError", "its node died"), ("WorkerCrashedError", "its process was killed")],
)
def test_what_says_nothing_of_the_cell_is_a_loss(name: str, sentence: str) -> None:
    errors = pytest.importorskip("ray.exceptions", reason="the extra `ray` is not installed")
    kind = getattr(errors, name)
    passed = passed_on(kind("node 7") if name == "NodeDiedError" else kind())
    assert isinstance(passed, CellLost) and str(passed) == sentence


def test_a_latency_is_not_taken_on_another_device(tmp_path: Path) -> None:
    cell = SweepCell("timing", "0" * 64, {}, RunRecipe(embedder="none"), "tiny: latency", 1.0)
    with pytest.raises(RuntimeError, match="tiny: latency: it was to be taken on a phone, and this node is "):
        make_requested(Job(cell, tmp_path).request(), "a phone")
