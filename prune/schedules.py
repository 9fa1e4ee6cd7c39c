"""Schedules: in which order a network is cut and trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .recipe import PruneRecipe, ScheduleName

CHECK = 1 / 20  # share of the epochs: Diba & Khosravi train 10 to check convergence, then 200


@dataclass(frozen=True)
class Phase:
    """A cut, and the training after it."""

    cut: float  # the share of the whole removal that is reached after it; 0: nothing is cut
    epochs: float
    scored: bool = False  # channels are scored while it trains, for the next cut
    check: bool = False  # if the training does not converge, the cut is undone and halved


def iterative(recipe: PruneRecipe) -> list[Phase]:
    """Cuts in even steps, and trains a little after each and longest after the last."""
    cuts = [Phase((step + 1) / recipe.steps, recipe.epochs_between) for step in range(recipe.steps - 1)]
    return [*_before(recipe), *cuts, Phase(1.0, recipe.epochs)]


def epoch(recipe: PruneRecipe) -> list[Phase]:
    """Scores every mini-batch while it trains, cuts at the end of each epoch, and trains on after the last cut.

    Criteria without a loss (all but the taylor ones) score once, at the end of the epoch.

    Source: Alonso-Fernandez et al., Deep Network Pruning, arXiv 2405.18302, and SqueezerFaceNet, arXiv 2307.10697. The
    share cut in each epoch, the number of epochs and the learning rate are not in the parts that could be read.
    """
    phases = [Phase(step / recipe.steps, 1.0, scored=True) for step in range(recipe.steps)]
    return [*_before(recipe), *phases, Phase(1.0, recipe.epochs)]


def one_shot(recipe: PruneRecipe) -> list[Phase]:
    """Trains, cuts once, checks that the rest converges, and trains on; if it does not converge, less is cut.

    Source: Diba & Khosravi, IASC 38(3), 2024, sec. 3, fig. 3: 100 epochs, the cut, 10 to check, 200.
    """
    return [*_before(recipe), Phase(1.0, recipe.epochs * CHECK, check=True), Phase(0.0, recipe.epochs)]


def _before(recipe: PruneRecipe) -> list[Phase]:
    return [Phase(0.0, recipe.epochs_before)] if recipe.epochs_before else []


SCHEDULES: dict[ScheduleName, Callable[[PruneRecipe], list[Phase]]] = {
    "iterative": iterative,
    "epoch": epoch,
    "one-shot": one_shot,
}
