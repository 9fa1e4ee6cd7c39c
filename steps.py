"""Lines of progress that say how far the work is, so that whoever shows them can tell how long it will take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self


class ProgressStep(str):
    """A line of progress about one of several steps of a task: where lines are shown plainly, it is just that line.

    >>> step = ProgressStep("embedded 800 faces with a.tflite", "embed", 3, 13)
    >>> step, step.done, step.total
    ('embedded 800 faces with a.tflite', 3, 13)
    """

    __slots__ = ("done", "task", "total")

    task: str  # in a word or two; steps of one task count together
    done: int  # steps that are behind
    total: int

    def __new__(cls, line: str, task: str, done: int, total: int) -> Self:
        """Makes a line; see the attributes."""
        step = super().__new__(cls, line)
        step.task, step.done, step.total = task, done, total
        return step


@dataclass(frozen=True)
class Losses:
    """The losses of consecutive batches of a training."""

    phase: int  # of the training, from 1
    first: int  # the number of the first of these batches in the phase, from 1
    values: tuple[float, ...]


class LossLine(str):
    """A line of progress about a training that also tells the losses since the line before."""

    losses: Losses

    def __new__(cls, line: str, losses: Losses) -> Self:
        """Makes a line; see the attributes."""
        told = super().__new__(cls, line)
        told.losses = losses
        return told


class LossStep(ProgressStep):
    """A step of a training that also tells the losses since the line before."""

    losses: Losses

    @classmethod
    def of(cls, step: ProgressStep, losses: Losses) -> LossStep:
        """Gives a step its losses."""
        told = cls(step, step.task, step.done, step.total)
        told.losses = losses
        return told
