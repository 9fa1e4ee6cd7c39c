"""Scores and a target in, the channels that go out: greedy, what costs much and is worth little first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..recipe import MEASURED, Budget, Cost, Criterion, PruneRecipe
from .groups import Group
from .sizes import Size, Sizes

COSTS: dict[Cost, dict[str, float]] = {  # shares of what saving counts; nothing: each channel costs the same
    "balanced": {"parameters": 0.5, "macs": 0.5},
    "parameters": {"parameters": 1.0},
    "macs": {"macs": 1.0},
    "filters": {"filters": 1.0},
    "bytes": {"bytes": 1.0},
    "measured": {"measured": 1.0},
    "equal": {},
}

# Divided by cost they choose worse: at 0.7 M parameters of a MobileFaceNet the cosine to it falls from .70 to .58.
RANKED_AS_THEY_ARE: tuple[Criterion, ...] = ("l1", "l2", "fpgm", "bn-scale", "random")

WIDEST_TILE = 32  # outputs that a kernel computes at once: up to so many channels save time only together


@dataclass(frozen=True)
class Bunch:
    """Channels of one group that may go next."""

    group: str
    channels: int
    worth: float  # the sum of their scores
    saved: Size

    def rank(self, left: Size, before: Size, by: Budget, target: float, cost: Cost) -> tuple[bool, float]:
        """Gives what the lowest of goes first: the score per saving, and at the very end what saves nothing."""
        weights = COSTS[cost].items()
        saves = sum(weight * self.saved.of(name) / max(before.of(name), 1e-30) for name, weight in weights)
        useful = min(1.0, (left.of(by) - target) / max(self.saved.of(by), 1e-30))
        return self.saved.of(by) <= 0, self.worth / max((saves if weights else self.channels) * useful, 1e-30)


def select(
    groups: Sequence[Group],
    scores: Mapping[str, Tensor],
    sizes: Sizes,
    *,
    by: Budget,
    target: float,
    floors: Mapping[str, int],
    cost: Cost = "balanced",
    round_to: int = 8,
) -> dict[str, Tensor]:
    """Chooses the channels to cut so that the network measures `target` or a little less.

    Channels go in bunches that leave a multiple of `round_to`, each group's least important first. Of all bunches
    the one with the lowest score per saving goes next, the saving being counted anew each time: a channel is cheaper
    once its neighbours are narrower. What a bunch saves beyond the target counts for nothing, so the last one is a
    small one. Where time is measured a bunch may have several times `round_to` channels: kernels compute 8 or 16
    outputs in the time of one, so that 8 fewer save nothing by themselves.

    Args:
        groups: Where channels can be cut.
        scores: By group name, (width,) what each channel is worth.
        sizes: Of the network in which `groups` were found.
        by: What `target` counts; "score": every channel whose score is at most the target goes, in whole bunches.
        target: Filters, parameters, MACs, … to be left.
        floors: By group name, the width that must stay.
        cost: A key of `COSTS`: what a score is divided by.
        round_to: Widths become multiples of this; a group that is narrower stays as it is.

    Returns:
        By group name, the channels that go, ascending; groups that stay whole are not named.

    Raises:
        ValueError: So much cannot go.

    Source: Molchanov et al., CVPR 2019, rank all filters globally; here divided by what they cost.
    """
    order = {group.name: torch.argsort(scores[group.name], stable=True) for group in groups}
    if by == "score":
        gone = _below(groups, scores, target, floors, round_to)
    else:
        check_reachable(groups, sizes, by, target, floors)
        gone = _greedy(groups, scores, sizes, by, target, floors, cost, round_to)
    return {name: order[name][:count].sort().values for name, count in gone.items()}


def cost_of(recipe: PruneRecipe) -> Cost:
    """Gives what the scores of a recipe are divided by: what it says, or what suits its criterion and budget.

    >>> cost_of(PruneRecipe()), cost_of(PruneRecipe(by="milliseconds")), cost_of(PruneRecipe(criterion="l1"))
    ('balanced', 'measured', 'equal')
    """
    if recipe.cost is not None:
        return recipe.cost
    if recipe.criterion in RANKED_AS_THEY_ARE:
        return "equal"
    return "measured" if recipe.by in MEASURED else "balanced"


def floors_of(groups: Sequence[Group], least_kept: float, least_width: int, round_to: int) -> dict[str, int]:
    """Gives the width that each group keeps at least: a share of its own, and so many channels, in whole bunches.

    >>> groups = [Group("stem", 64, ()), Group("top", 24, ()), Group("squeeze", 4, ())]
    >>> floors_of(groups, least_kept=0.25, least_width=12, round_to=8)
    {'stem': 16, 'top': 16, 'squeeze': 4}
    """
    least = {group.name: max(1, group.width * least_kept, least_width) for group in groups}
    return {group.name: min(group.width, math.ceil(least[group.name] / round_to) * round_to) for group in groups}


def in_scope(groups: Sequence[Group], backbone: nn.Module, scope: str) -> tuple[Group, ...]:
    """Gives the groups that may be cut: all, or as the papers do, those that no addition ties to another layer.

    An addition makes the filters of two layers, depthwise ones aside, one group; where a layer is added to its own
    input, that is tied to whatever made the input. A product of two layers, as in squeeze-and-excitation, is left out
    with them. A concatenation ties nothing.

    Args:
        groups: Of `backbone`.
        backbone: The network.
        scope: "all" or "papers".

    Raises:
        ValueError: Nothing is left.

    Source: Diba & Khosravi, IASC 38(3), 2024, sec. 3: layers that feed an addition are not pruned.
    """
    if scope == "all":
        return tuple(groups)
    single = tuple(group for group in groups if sum(share.side == "out" for share in group.makers(backbone)) < 2)
    if not single:
        raise ValueError("every layer that can be cut feeds an addition; scope = 'all' would cut those too")
    return single


def check_reachable(
    groups: Sequence[Group], sizes: Sizes, by: Budget, target: float, floors: Mapping[str, int]
) -> None:
    """Refuses a target that lies below the size of a network with every group at its floor.

    Raises:
        ValueError: As said.
    """
    before = sizes.before.of(by)
    least = sizes.without({group.name: group.width - floors[group.name] for group in groups}).of(by)
    if target < least * (1 - 1e-9):
        raise ValueError(
            f"of {_told(before)} {by}, {_told(target)} shall be left, but {_told(least)} is the least that this "
            f"network can be cut to; the most that can be removed is {1 - least / before:.3f} of them, or more with a "
            "lower least_kept, least_width or round_to"
        )


def _greedy(
    groups: Sequence[Group],
    scores: Mapping[str, Tensor],
    sizes: Sizes,
    by: Budget,
    target: float,
    floors: Mapping[str, int],
    cost: Cost,
    round_to: int,
) -> dict[str, int]:
    """Gives, by group name, how many of its least important channels go."""
    widths = {group.name: group.width for group in groups}
    sums = {name: [0.0, *scores[name].double().sort().values.cumsum(0).tolist()] for name in widths}
    in_one = math.ceil(WIDEST_TILE / round_to) if by in MEASURED or cost == "measured" else 1
    left, gone = sizes.before, dict.fromkeys(widths, 0)

    def next_bunches(name: str) -> Iterator[Bunch]:
        done, channels = gone[name], 0
        for _ in range(in_one):
            channels += (widths[name] - done - channels) % round_to or round_to
            if widths[name] - done - channels < max(floors[name], 1):
                return
            worth = sums[name][done + channels] - sums[name][done]
            yield Bunch(name, channels, worth, sizes.saved(name, channels, gone))

    bunches = {name: list(next_bunches(name)) for name in widths}
    while left.of(by) > target:
        candidates = [bunch for of_group in bunches.values() for bunch in of_group]
        if not candidates:  # every group is at its floor, which is the target but for rounding
            break
        best = min(candidates, key=lambda bunch: bunch.rank(left, sizes.before, by, target, cost))
        gone[best.group] += best.channels
        left = left - best.saved
        for name in sizes.neighbours(best.group):
            bunches[name] = list(next_bunches(name))
    return {name: count for name, count in gone.items() if count}


def _below(
    groups: Sequence[Group], scores: Mapping[str, Tensor], target: float, floors: Mapping[str, int], round_to: int
) -> dict[str, int]:
    """Gives, by group name, how many channels have scores of at most `target`, in whole bunches and above the floor."""
    gone = {}
    for group in groups:
        below = int((scores[group.name] <= target + 1e-6 * abs(target)).sum())
        least = max(floors[group.name], group.width - below)
        left = min(group.width, math.ceil(least / round_to) * round_to)
        if left < group.width:
            gone[group.name] = group.width - left
    return gone


def _told(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
