"""What a channel is worth: what the embedding, or the identification, would lose without it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from ...models.embedder import Embedder
from ..channels.groups import Group
from .captured import Seen
from .feature_maps import feature_map, following_maps
from .gradients import gauss_newton, reading_deviations, reading_means, taylor, taylor_activation, taylor_gate
from .magnitude import bn_scale, fpgm, l1, l2, random
from .scoring_passes import STIMULI
from .scoring_passes import Labelled as Labelled  # the faces that `importance` wants


def _nothing(seen: Seen, groups: Sequence[Group]) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True)
class Criterion:
    """A way to score channels by mini-batches."""

    score: Callable[[Seen, Group], Tensor]  # (width,) of one mini-batch
    signal: Literal["weights", "maps", "probe", "loss"]  # what must have passed through the network, of `STIMULI`
    hooks: Callable[[Seen, Sequence[Group]], AbstractContextManager[None]] = _nothing  # keep what `score` looks at


CRITERIA: dict[str, Criterion] = {
    "gauss-newton": Criterion(gauss_newton, "probe", reading_deviations),
    "taylor": Criterion(taylor, "loss"),
    "taylor-activation": Criterion(taylor_activation, "loss", reading_means),
    "taylor-gate": Criterion(taylor_gate, "loss"),
    "feature-map": Criterion(feature_map, "maps", following_maps),
    "l1": Criterion(l1, "weights"),
    "l2": Criterion(l2, "weights"),
    "fpgm": Criterion(fpgm, "weights"),
    "bn-scale": Criterion(bn_scale, "weights"),
    "random": Criterion(random, "weights"),
}


@dataclass
class Watch:
    """Looks at a network while mini-batches pass through it.

    `totals` and `batches` are plain sums: saved and set again, they let a killed epoch go on where it was.
    """

    criterion: Criterion
    groups: Sequence[Group]
    seen: Seen
    totals: dict[str, Tensor] = field(default_factory=dict)  # by group, (width,) float32
    batches: int = 0

    @torch.no_grad()
    def observe(self) -> None:
        """Adds the mini-batch that has just passed; to be called after each backward, before the weights change."""
        self._follow_to_device()
        for group in self.groups:
            score = self.criterion.score(self.seen, group)
            self.totals[group.name] = self.totals[group.name].to(score) + score if self.batches else score
        self.batches += 1
        self.seen.forget()

    def scores(self) -> dict[str, Tensor]:
        """Gives the mean over the mini-batches, each counting the same.

        Returns:
            By group name, (width,) float32 on the CPU, >= 0; the lowest goes first.

        Raises:
            ValueError: No mini-batch was seen, or a group's scores are not finite or all zero.
        """
        if not self.batches:
            raise ValueError("there are no scores before a mini-batch was looked at; one at least would do")
        scores = {name: (total / self.batches).float().cpu() for name, total in self.totals.items()}
        # Scores of zero rank nothing, and the greedy selection would eat the first layers without a word.
        for name, score in scores.items():
            if not bool(torch.isfinite(score).all()):
                raise ValueError(f"the scores of group {name!r} are not finite; the network overflows on these faces")
            if not bool(score.any()):
                raise ValueError(f"the scores of group {name!r} are all zero; the embedding does not depend on it")
        return scores

    def _follow_to_device(self) -> None:
        device = next(self.seen.backbone.parameters()).device
        if any(group.shares[0].index.device != device for group in self.groups[:1]):
            self.groups = [_on(group, device) for group in self.groups]


@contextmanager
def watching(backbone: nn.Module, groups: Sequence[Group], criterion: str, seed: int = 0) -> Iterator[Watch]:
    """Scores channels while it lasts, by whatever passes through `backbone`; what that computes stays the same.

    Args:
        backbone: In any mode, on any device; moved ones are followed.
        groups: Of the backbone.
        criterion: A key of `CRITERIA`. Those of signal `loss` take the gradients of the training's own loss, and
            `gauss-newton` the empirical Fisher of it.
        seed: Of `random`.

    Yields:
        What is to `observe` each mini-batch, and gives the `scores`.
    """
    chosen, seen = CRITERIA[criterion], Seen(backbone, seed)
    with chosen.hooks(seen, groups):
        yield Watch(chosen, groups, seen)


def importance(
    criterion: str, embedder: Embedder, groups: Sequence[Group], labelled: Labelled, images: int, seed: int
) -> dict[str, Tensor]:
    """Scores the channels of an embedder as it is: its weights stay while mini-batches pass.

    Args:
        criterion: A key of `CRITERIA`.
        embedder: Left as it is, in eval mode, without gradients.
        groups: Of its backbone.
        labelled: Faces; their labels are looked at by the taylor criteria only.
        images: How many of them; 64 already rank nearly as 256 do.
        seed: Of the choice of images, and of what else is random.

    Returns:
        By group name, (width,) float32 >= 0; the lowest goes first.

    Raises:
        ValueError: A group's scores are not finite or all zero, or the criterion wants what is not there: labels, or
            batch norms.
    """
    backbone, signal = embedder.backbone, CRITERIA[criterion].signal
    with _evaluating(backbone, gradients=signal == "loss"), watching(backbone, groups, criterion, seed) as watch:
        for _ in STIMULI[signal](embedder, labelled, images, seed):
            watch.observe()
    return watch.scores()


@contextmanager
def _evaluating(backbone: nn.Module, gradients: bool) -> Iterator[None]:
    """Puts `backbone` in eval mode, with or without gradients of its weights until the end."""
    wanted = [parameter.requires_grad for parameter in backbone.parameters()]
    backbone.eval().requires_grad_(gradients)
    try:
        with torch.enable_grad():
            yield
    finally:
        for parameter, want in zip(backbone.parameters(), wanted, strict=True):
            parameter.requires_grad_(want)


def _on(group: Group, device: torch.device) -> Group:
    shares = [dataclasses.replace(share, index=share.index.to(device)) for share in group.shares]
    return dataclasses.replace(group, shares=tuple(shares))
