"""Scores and a target in, the channels that go out: greedy, what costs much and is worth little first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .groups import Group
from .recipe import Measure
from .sizes import Size, Sizes

COSTS: dict[str, tuple[float, float, float]] = {  # weights of the shares of filters, parameters and MACs
    "balanced": (0.0, 0.5, 0.5),
    "parameters": (0.0, 1.0, 0.0),
    "macs": (0.0, 0.0, 1.0),
    "filters": (1.0, 0.0, 0.0),
}


def select(
    groups: Sequence[Group],
    scores: Mapping[str, Tensor],
    sizes: Sizes,
    *,
    by: Measure,
    target: float,
    floors: Mapping[str, int],
    cost: str = "balanced",
    round_to: int = 8,
) -> dict[str, Tensor]:
    """Chooses the channels to cut so that the network measures `target` or a little less.

    Channels go in bunches that leave a multiple of `round_to`, each group's least important first. Of all bunches
    the one with the lowest score per saving goes next, the saving being counted anew each time: a channel is cheaper
    once its neighbours are narrower. What a bunch saves beyond the target counts for nothing, so the last one is a
    small one.

    Args:
        groups: Where channels can be cut.
        scores: By group name, (width,) what each channel is worth.
        sizes: Of the network in which `groups` were found.
        by: What `target` counts.
        target: Filters, parameters or MACs to be left.
        floors: By group name, the width that must stay.
        cost: A key of `COSTS`: what a score is divided by.
        round_to: Widths become multiples of this; a group that is narrower stays as it is.

    Returns:
        By group name, the channels that go, ascending; groups that stay whole are not named.

    Raises:
        ValueError: So much cannot go.

    Source: Molchanov et al., CVPR 2019, rank all filters globally; here divided by what they cost.
    """
    check_reachable(groups, sizes, by, target, floors)
    left, gone = sizes.before, dict[str, int]()
    order = {group.name: torch.argsort(scores[group.name], stable=True) for group in groups}
    while getattr(left, by) > target:
        best: tuple[float, str, int, Size] | None = None
        for group in groups:
            width = group.width - gone.get(group.name, 0)
            bunch = width % round_to or round_to
            if width - bunch < max(floors[group.name], 1):
                continue
            saved = sizes.saved(group.name, bunch, gone)
            useful = min(1.0, (getattr(left, by) - target) / max(getattr(saved, by), 1))
            done = gone.get(group.name, 0)
            worth = float(scores[group.name][order[group.name][done : done + bunch]].double().sum())
            rank = worth / max(_share(saved, sizes.before, COSTS[cost]) * useful, 1e-30)
            if getattr(saved, by) > 0 and (best is None or rank < best[0]):
                best = rank, group.name, bunch, saved
        assert best is not None, "the target was checked to be reachable"
        _, name, bunch, saved = best
        gone[name] = gone.get(name, 0) + bunch
        left = left - saved
    return {name: order[name][:count].sort().values for name, count in gone.items()}


def floors_of(groups: Sequence[Group], least_kept: float, round_to: int) -> dict[str, int]:
    """Gives the width that each group keeps at least: a share of its own, in whole bunches.

    >>> floors_of([Group("stem", 64, ()), Group("squeeze", 4, ())], least_kept=0.25, round_to=8)
    {'stem': 16, 'squeeze': 4}
    """
    bunches = {group.name: max(1, math.ceil(group.width * least_kept / round_to)) for group in groups}
    return {group.name: min(group.width, bunches[group.name] * round_to) for group in groups}


def check_reachable(
    groups: Sequence[Group], sizes: Sizes, by: Measure, target: float, floors: Mapping[str, int]
) -> None:
    """Refuses a target that lies below the size of a network with every group at its floor.

    Raises:
        ValueError: As said.
    """
    before = getattr(sizes.before, by)
    least = getattr(sizes.without({group.name: group.width - floors[group.name] for group in groups}), by)
    if target < least:
        raise ValueError(
            f"of {before:,} {by}, {target:,.0f} shall be left, but {least:,} is the least that this network can be "
            f"cut to; the most that can be removed is {1 - least / before:.3f} of them, or more with a lower "
            "least_kept or round_to"
        )


def _share(saved: Size, before: Size, weights: tuple[float, float, float]) -> float:
    filters, parameters, macs = weights
    return (
        filters * saved.filters / max(before.filters, 1)
        + parameters * saved.parameters / max(before.parameters, 1)
        + macs * saved.macs / max(before.macs, 1)
    )
