"""Selects the channels to cut for a target: greedily, those of low score and high cost first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..recipe import MEASURED, Budget, Cost, CriterionName, PruneRecipe
from .groups import Group
from .sizes import Size, Sizes

COSTS: dict[Cost, dict[str, float]] = {  # weights of the saved shares; empty: each channel costs the same
    "balanced": {"parameters": 0.5, "macs": 0.5},
    "parameters": {"parameters": 1.0},
    "macs": {"macs": 1.0},
    "filters": {"filters": 1.0},
    "bytes": {"bytes": 1.0},
    "measured": {"measured": 1.0},
    "equal": {},
}

# Dividing these by cost selects worse: at 0.7 M parameters of a MobileFaceNet the cosine to it falls from .70 to .58.
NOT_DIVIDED_BY_COST: tuple[CriterionName, ...] = ("l1", "l2", "fpgm", "bn-scale", "random")

WIDEST_TILE = 32  # outputs that a kernel computes at once: up to so many channels may save time only together


@dataclass(frozen=True)
class Bunch:
    """Channels of one group that may be cut next."""

    group: str
    channels: int
    worth: float  # the sum of their scores
    saved: Size

    def rank(self, left: Size, before: Size, by: Budget, target: float, cost: Cost) -> tuple[bool, float]:
        """Gives the sort key: score per saving, lowest first; bunches that save nothing come last."""
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
    """Selects the channels to cut so that the network's size becomes `target` or slightly less.

    Channels are cut in bunches that leave a multiple of `round_to`, each group's least important first. Of all bunches
    the one with the lowest score per saving is cut next; savings are recomputed each time, as a channel is cheaper once
    its neighbours are narrower. Savings beyond the target do not count, so the last bunch is a small one. With measured
    times a bunch may have several times `round_to` channels: kernels compute 8 or 16 outputs in the time of one, so
    that 8 fewer alone may save nothing.

    Args:
        groups: The groups that may be cut.
        scores: By group name, (width,) the importance of each channel.
        sizes: Of the network in which `groups` were found.
        by: What `target` counts; "score": every channel whose score is at most the target is cut, in whole bunches.
        target: Filters, parameters, MACs, … to keep.
        floors: By group name, the least width.
        cost: A key of `COSTS`: what a score is divided by.
        round_to: Widths become multiples of this; a narrower group is not cut.

    Returns:
        By group name, the channels to cut, ascending; without groups that are not cut.

    Raises:
        ValueError: The target is out of reach.

    Source: Molchanov et al., CVPR 2019, rank all filters globally; here scores are divided by cost.
    """
    order = {group.name: torch.argsort(scores[group.name], stable=True) for group in groups}
    if by == "score":
        cuts = _below(groups, scores, target, floors, round_to)
    else:
        check_reachable(groups, sizes, by, target, floors)
        cuts = _greedy(groups, scores, sizes, by, target, floors, cost, round_to)
    return {name: order[name][:count].sort().values for name, count in cuts.items()}


def cost_of(recipe: PruneRecipe) -> Cost:
    """Gives what the scores of a recipe are divided by: its `cost`, or the default for its criterion and budget.

    >>> cost_of(PruneRecipe()), cost_of(PruneRecipe(by="milliseconds")), cost_of(PruneRecipe(criterion="l1"))
    ('balanced', 'measured', 'equal')
    """
    if recipe.cost is not None:
        return recipe.cost
    if recipe.criterion in NOT_DIVIDED_BY_COST:
        return "equal"
    return "measured" if recipe.by in MEASURED else "balanced"


def floors_of(groups: Sequence[Group], least_kept: float, least_width: int, round_to: int) -> dict[str, int]:
    """Gives the least width of each group: the larger of a share and a count, rounded up to whole bunches.

    >>> groups = [Group("stem", 64, ()), Group("top", 24, ()), Group("squeeze", 4, ())]
    >>> floors_of(groups, least_kept=0.25, least_width=12, round_to=8)
    {'stem': 16, 'top': 16, 'squeeze': 4}
    """
    least = {group.name: max(1, group.width * least_kept, least_width) for group in groups}
    return {group.name: min(group.width, math.ceil(least[group.name] / round_to) * round_to) for group in groups}


def groups_in_scope(groups: Sequence[Group], backbone: nn.Module, scope: str) -> tuple[Group, ...]:
    """Gives the groups that may be cut: all, or as the papers do, those that no addition ties to another layer.

    An addition couples the filters of two layers, depthwise ones aside, in one group; a layer that is added to its
    input is coupled to the layers that made the input. A product of two layers, as in squeeze-and-excitation, counts
    like an addition. A concatenation couples nothing.

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
    """Checks that the network with every group at its floor is no larger than the target.

    Raises:
        ValueError: It is larger.
    """
    before = sizes.before.of(by)
    least = sizes.without({group.name: group.width - floors[group.name] for group in groups}).of(by)
    if target < least * (1 - 1e-9):
        raise ValueError(
            f"of {_text(before)} {by} the target keeps {_text(target)}, but {_text(least)} is the least that this "
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
    """Gives, by group name, how many of its least important channels are cut."""
    widths = {group.name: group.width for group in groups}
    sums = {name: [0.0, *scores[name].double().sort().values.cumsum(0).tolist()] for name in widths}
    in_one = math.ceil(WIDEST_TILE / round_to) if by in MEASURED or cost == "measured" else 1
    left, cuts = sizes.before, dict.fromkeys(widths, 0)

    def next_bunches(name: str) -> Iterator[Bunch]:
        done, channels = cuts[name], 0
        for _ in range(in_one):
            channels += (widths[name] - done - channels) % round_to or round_to
            if widths[name] - done - channels < max(floors[name], 1):
                return
            worth = sums[name][done + channels] - sums[name][done]
            yield Bunch(name, channels, worth, sizes.saved(name, channels, cuts))

    bunches = {name: list(next_bunches(name)) for name in widths}
    while left.of(by) > target:
        candidates = [bunch for of_group in bunches.values() for bunch in of_group]
        if not candidates:  # every group is at its floor, which equals the target up to rounding
            break
        best = min(candidates, key=lambda bunch: bunch.rank(left, sizes.before, by, target, cost))
        cuts[best.group] += best.channels
        left = left - best.saved
        for name in sizes.neighbours(best.group):
            bunches[name] = list(next_bunches(name))
    return {name: count for name, count in cuts.items() if count}


def _below(
    groups: Sequence[Group], scores: Mapping[str, Tensor], target: float, floors: Mapping[str, int], round_to: int
) -> dict[str, int]:
    """Gives, by group name, how many channels have scores of at most `target`, in whole bunches and above the floor."""
    cuts = {}
    for group in groups:
        below = int((scores[group.name] <= target + 1e-6 * abs(target)).sum())
        least = max(floors[group.name], group.width - below)
        left = min(group.width, math.ceil(least / round_to) * round_to)
        if left < group.width:
            cuts[group.name] = group.width - left
    return cuts


def _text(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
