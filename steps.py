"""Lines of progress that say how far the work is, so that whoever shows them can tell how long it will take."""

from __future__ import annotations


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

    def __new__(cls, line: str, task: str, done: int, total: int) -> ProgressStep:
        """Makes a line; see the attributes."""
        step = super().__new__(cls, line)
        step.task, step.done, step.total = task, done, total
        return step
