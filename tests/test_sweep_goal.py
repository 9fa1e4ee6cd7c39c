"""The search for the smallest network within a loss: where it ends, how many trainings it takes, how sure it is."""

from pocketface.benchmark.measurement import Measurement
from pocketface.benchmark.report.summary import Line
from pocketface.benchmark.report.swept import SweptPoint
from pocketface.run_recipe import RunRecipe, with_settings
from pocketface.sweep_goal import BudgetSearch, search
from pocketface.sweep_plan import PlannedPoint, points_of
from pocketface.sweep_recipe import SweepGoal

START = points_of(with_settings(RunRecipe(), {"sweep": {"criterion": ["l1"], "remove": [0.3]}}))[0]


def made(difference: float | None) -> SweptPoint:
    """A network whose accuracy is that much above the source's, give or take 0.1 points; None: it cannot be made."""
    line = None
    if difference is not None:
        file = ("net", "net", "pytorch", "fp32", "torch", "a CPU")
        row = Measurement(*file, "accuracy_difference", difference, "1", difference - 0.001, difference + 0.001, 600)
        line = Line("", *file, {"accuracy_difference": row})
    return SweptPoint("net", "l1", "", {}, {}, (), None, line, (), "", "" if line else "too little is left")


def found(goal: SweepGoal, knee: float, deepest: float = 1.0) -> BudgetSearch:
    """Of a network that loses nothing up to a knee, then 1 point for each 10 % of the budget."""

    def trial(point: PlannedPoint) -> SweptPoint:
        share = point.prune.remove
        return made(None if share > deepest else -max(0.0, share - knee) / 10)

    return search(START, goal, trial, lambda line: None)


def test_bisection_finds_the_knee() -> None:
    result = found(SweepGoal(max_drop=0.3, most=0.8, within=0.05), knee=0.4)
    # 0.43 loses 0.3 points: 0.8 no, 0.4 yes, 0.6 no, 0.5 no, 0.45 no
    assert [trial.share for trial in result.trials] == [0.8, 0.4, 0.6, 0.5, 0.45]
    assert result.best is not None and result.best.share == 0.4
    first, second = result.sentences()
    assert "has 40 % of parameters removed: -0.00 points [-0.10, +0.10]" in first
    assert "5 trainings; a grid as fine has 16" in first
    assert "45 % removed is too much: -0.50 points [-0.60, -0.40]" in second


def test_one_training_is_enough_where_the_deepest_cut_keeps_the_bound() -> None:
    result = found(SweepGoal(max_drop=0.3, most=0.5), knee=0.9)
    assert [trial.share for trial in result.trials] == [0.5]


def test_what_cannot_be_cut_so_far_is_too_much() -> None:
    result = found(SweepGoal(max_drop=0.3, most=0.8, within=0.25), knee=0.9, deepest=0.5)
    assert [(trial.share, trial.reason) for trial in result.trials][:2] == [(0.8, "too little is left"), (0.4, "")]
    assert result.best is not None and result.best.share == 0.4


def test_confidence_is_that_of_the_interval() -> None:
    result = found(SweepGoal(max_drop=0.0, most=0.8, within=0.45), knee=0.8)
    assert round(result.trials[0].confidence(0.0), 3) == 0.5  # a difference of 0 lies on either side of 0
    assert round(result.trials[0].confidence(0.1), 3) == 0.975  # 0.1 points is the end of the 95 % interval


def test_nothing_that_keeps_the_bound_is_said() -> None:
    result = found(SweepGoal(max_drop=0.1, most=0.8, within=0.4), knee=-1.0)
    assert result.best is None
    assert next(result.sentences()).startswith("l1: every cut that was tried loses more than 0.1 points; ")
