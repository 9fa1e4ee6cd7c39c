"""How progress is shown: in a terminal a bar with the time that is left, elsewhere a line a step."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from .spelling import printable
from .steps import ProgressStep

if TYPE_CHECKING:
    from rich.progress import Progress


class Pace:
    """How fast a task goes, from the steps that were seen of it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begins to watch; `clock` gives seconds."""
        self._clock, self._begun = clock, clock()
        self._task, self._start, self._first = "", 0.0, 0

    def text(self, step: ProgressStep) -> str:
        """Gives how far a step's task is, how long all took so far, and how much is left: "3/13, 0:21, 1:10 left"."""
        now = self._clock()
        if step.task != self._task:
            self._task, self._start, self._first = step.task, now, step.done
        parts = [f"{step.done}/{step.total}", minutes(now - self._begun)]
        done = step.done - self._first
        if done > 0 and step.done < step.total:
            parts.append(f"{minutes((now - self._start) / done * (step.total - step.done))} left")
        return ", ".join(parts)


def minutes(seconds: float) -> str:
    """Gives minutes and seconds.

    >>> minutes(70.4), minutes(3600)
    ('1:10', '60:00')
    """
    return f"{int(seconds + 0.5) // 60}:{int(seconds + 0.5) % 60:02d}"


class Lines:
    """Prints every line at once, also into a pipe; steps say how far they are."""

    def __init__(self) -> None:
        """Begins to count the time."""
        self._pace, self.muted = Pace(), False  # muted: shows nothing, for now

    def show(self, line: str) -> None:
        """Shows a line; what names of files may tell a terminal to do is spelt out."""
        place = f"[{self._pace.text(line)}] " if isinstance(line, ProgressStep) else ""
        if not self.muted:
            print(place + printable(line), flush=True)

    def close(self) -> None:
        """Has nothing to clear away."""


class Bar(Lines):
    """Prints lines above a bar, which is the current task's: how far, how long so far, and how much is left."""

    _bar: Progress | None = None
    _task = ""

    def show(self, line: str) -> None:
        """Shows a line, a step in the bar; a task that is done leaves one line behind."""
        if self.muted or not isinstance(line, ProgressStep):
            super().show(line)
            return
        bar = self._bar = self._bar or _new_bar()
        if line.task != self._task:
            for task in bar.task_ids:
                bar.remove_task(task)
            bar.add_task("", total=line.total)
            bar.start()
            self._task = line.task
        bar.update(bar.task_ids[-1], completed=line.done, total=line.total, description=printable(line.task))
        print(printable(line), flush=True)
        if line.done >= line.total:
            self.close()

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()
        self._bar, self._task = None, ""


def display() -> Lines:
    """Gives what shows progress on standard output."""
    in_terminal = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return Bar() if in_terminal else Lines()


def _new_bar() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    class Visible(Console):
        """Leaves the cursor where it is: a signal may end the program before it is shown again."""

        def show_cursor(self, show: bool = True) -> bool:
            return False

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Visible(),
        transient=True,
        refresh_per_second=1,  # a clock; what is timed meanwhile has the processor for itself
    )
