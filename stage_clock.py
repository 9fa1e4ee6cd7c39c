"""How long each stage of a run takes: by the clock, and in seconds of processors."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator


class StageClock:
    """Adds up what each stage took, in the order in which the stages began."""

    def __init__(self) -> None:
        """Begins with no stage."""
        self._took: dict[str, tuple[float, float]] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts what runs inside to the stage `name`, in which the program may be several times."""
        started, cpu = time.monotonic(), _cpu_seconds()
        try:
            yield
        finally:
            before = self._took.get(name, (0.0, 0.0))
            self._took[name] = (before[0] + time.monotonic() - started, before[1] + _cpu_seconds() - cpu)

    def to_plain(self) -> list[dict[str, str | float]]:
        """Gives a table for manifest.json: stage, seconds, cpu_seconds."""
        return [
            {"stage": name, "seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1)}
            for name, (seconds, cpu) in self._took.items()
        ]


def _cpu_seconds() -> float:
    """Gives the seconds of processors that this process took, and the programs that it started and that ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system
