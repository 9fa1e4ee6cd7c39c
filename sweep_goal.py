"""A search for the smallest network within a loss of accuracy: bisection over the budget, a training for each try."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist

from .benchmark.accuracy.intervals import Z
from .benchmark.report.limits import DIFFERENCE
from .benchmark.report.swept import SweptPoint
from .sweep_plan import PlannedPoint, at_share
from .sweep_recipe import SweepGoal


@dataclass(frozen=True)
class BudgetTrial:
    """One network that a search made, and what it lost."""

    point: PlannedPoint
    share: float  # of the budget, that was removed
    difference: float | None  # in accuracy to the source, a share; None where it could not be made
    low: float  # of the 95 % interval
    high: float
    reason: str = ""  # why it could not be made

    def confidence(self, most: float) -> float:
        """Gives how likely the true loss is at most `most` points, by the interval of the pairs alone."""
        if self.difference is None:
            return 0.0
        spread = (self.high - self.low) / (2 * Z)
        if spread == 0:
            return float(self.keeps(most))
        return 1 - NormalDist(self.difference, spread).cdf(-most / 100)

    def keeps(self, most: float) -> bool:
        """Tells whether the measured loss is at most `most` points."""
        return self.difference is not None and 100 * self.difference >= -most


@dataclass(frozen=True)
class BudgetSearch:
    """What a search tried, in order."""

    series: str
    goal: SweepGoal
    trials: tuple[BudgetTrial, ...]

    @property
    def tried(self) -> list[PlannedPoint]:
        """The points, those that were cut least first."""
        return [trial.point for trial in sorted(self.trials, key=lambda trial: trial.share)]

    @property
    def best(self) -> BudgetTrial | None:
        """The smallest network whose measured loss is within the limit."""
        kept = [trial for trial in self.trials if trial.keeps(self.goal.max_drop)]
        return max(kept, key=lambda trial: trial.share, default=None)

    def sentences(self) -> Iterator[str]:
        """Says what was found, how sure it is, and what it cost."""
        goal, best, by = self.goal, self.best, self.trials[0].point.prune.by
        grid = round(goal.most / goal.within)
        cost = f"{len(self.trials)} trainings; a grid as fine has {grid}"
        if best is None:
            yield f"{self.series}: every cut that was tried loses more than {goal.max_drop:g} points; {cost}"
        else:
            yield (
                f"{self.series}: the smallest network within {goal.max_drop:g} points has {100 * best.share:.0f} % of "
                f"{by} removed: {_difference(best)}; by the interval of these pairs it is within the limit with a "
                f"confidence of {100 * best.confidence(goal.max_drop):.0f} %; {cost}"
            )
        deeper = [trial for trial in self.trials if best is None or trial.share > best.share]
        if deeper:
            worse = min(deeper, key=lambda trial: trial.share)
            beyond = 100 - 100 * worse.confidence(goal.max_drop)
            why = worse.reason or f"{_difference(worse)}, beyond the limit with a confidence of {beyond:.0f} %"
            yield f"{self.series}: {100 * worse.share:.0f} % removed is too much: {why}"


def most_trials(goal: SweepGoal) -> int:
    """Gives how many trainings a search of one series takes at most: one at the largest share, then bisection.

    >>> most_trials(SweepGoal(most=0.8, within=0.05))  # 0.8, then 16 parts halved four times
    5
    """
    return 1 + math.ceil(math.log2(max(1.0, goal.most / goal.within)) - 1e-9)


def search(
    start: PlannedPoint, goal: SweepGoal, trial: Callable[[PlannedPoint], SweptPoint], progress: Callable[[str], None]
) -> BudgetSearch:
    """Searches for the largest share of the budget that can go within the goal's loss of accuracy.

    The loss is taken to grow with the share. Each try is a training from the source; the pairs' interval and the
    luck of one training are the uncertainty that is left, of which the sentences tell the first.

    Args:
        start: Its recipe is that of every try, but for the share.
        goal: The loss that is allowed, and how closely the share is to be known.
        trial: Makes a point and measures it.
        progress: Gets a line per try.
    """
    trials: list[BudgetTrial] = []
    low, high, share = 0.0, goal.most, goal.most
    while True:
        point = at_share(start, share)
        trials.append(_judged(point, share, trial(point)))
        said = trials[-1].reason or _difference(trials[-1])
        progress(f"{start.series}: {100 * share:.0f} % removed: {said}")
        if trials[-1].keeps(goal.max_drop):
            low = share
        else:
            high = share
        if low == goal.most or high - low <= goal.within:
            return BudgetSearch(start.series, goal, tuple(trials))
        share = round((low + high) / 2, 4)  # as the recipe of the point has it


def _judged(point: PlannedPoint, share: float, made: SweptPoint) -> BudgetTrial:
    row = None if made.network is None else made.network.cells.get(DIFFERENCE)
    if row is None or row.value is None or row.low is None or row.high is None:
        why = (
            made.reason or (row.reason if row is not None else "") or "its accuracy was not compared with the source's"
        )
        return BudgetTrial(point, share, None, 0.0, 0.0, why)
    return BudgetTrial(point, share, row.value, row.low, row.high)


def _difference(trial: BudgetTrial) -> str:
    assert trial.difference is not None
    low, high = 100 * trial.low, 100 * trial.high
    return f"{100 * trial.difference:+.2f} points [{low:+.2f}, {high:+.2f}]"
