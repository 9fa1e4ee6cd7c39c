"""The importance of channels: what the embedding, or the identification, would lose without them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from ...faces.folders import LabelledFaces
from ...models.embedder import Embedder
from ..channels.groups import Group
from ..recipe import CriterionName
from .capture import Capture
from .feature_maps import capturing_maps, feature_map
from .gradients import (
    capturing_deviation_gates,
    capturing_mean_gates,
    gauss_newton,
    taylor,
    taylor_activation,
    taylor_gate,
)
from .magnitude import bn_scale, fpgm, l1, l2, random
from .scoring_passes import SCORING_PASSES


def _no_hooks(capture: Capture, groups: Sequence[Group]) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True)
class Criterion:
    """A way to score channels by mini-batches."""

    score: Callable[[Capture, Group], Tensor]  # (width,) of one mini-batch
    signal: Literal["weights", "maps", "probe", "loss"]  # a key of `SCORING_PASSES`
    hooks: Callable[[Capture, Sequence[Group]], AbstractContextManager[None]] = _no_hooks  # capture what `score` needs


CRITERIA: dict[CriterionName, Criterion] = {
    "gauss-newton": Criterion(gauss_newton, "probe", capturing_deviation_gates),
    "taylor": Criterion(taylor, "loss"),
    "taylor-activation": Criterion(taylor_activation, "loss", capturing_mean_gates),
    "taylor-gate": Criterion(taylor_gate, "loss"),
    "feature-map": Criterion(feature_map, "maps", capturing_maps),
    "l1": Criterion(l1, "weights"),
    "l2": Criterion(l2, "weights"),
    "fpgm": Criterion(fpgm, "weights"),
    "bn-scale": Criterion(bn_scale, "weights"),
    "random": Criterion(random, "weights"),
}


@dataclass
class ScoreSums:
    """Scores summed over mini-batches: saved and set again, they let a killed epoch be resumed."""

    totals: dict[str, Tensor] = field(default_factory=dict)  # by group, (width,) float32
    batches: int = 0

    def mean(self) -> dict[str, Tensor]:
        """Gives the mean over the mini-batches, each with the same weight.

        Returns:
            By group name, (width,) float32 on the CPU, >= 0; the lowest goes first.

        Raises:
            ValueError: There was no mini-batch, or a group's scores are not finite or all zero.
        """
        if not self.batches:
            raise ValueError("there are no scores before a mini-batch was scored; one at least would do")
        scores = {name: (total / self.batches).float().cpu() for name, total in self.totals.items()}
        # Scores of zero rank nothing, and the greedy selection would silently cut the first layers.
        for name, score in scores.items():
            if not bool(torch.isfinite(score).all()):
                raise ValueError(f"the scores of group {name!r} are not finite; the network overflows on these faces")
            if not bool(score.any()):
                raise ValueError(f"the scores of group {name!r} are all zero; the embedding does not depend on it")
        return scores


@dataclass
class ChannelScorer:
    """Scores channels while mini-batches pass through a network."""

    criterion: Criterion
    groups: Sequence[Group]
    capture: Capture
    sums: ScoreSums

    @torch.no_grad()
    def observe(self) -> None:
        """Adds the scores of the last mini-batch; call it after each backward, before the weights change."""
        self._follow_to_device()
        totals = self.sums.totals
        for group in self.groups:
            score = self.criterion.score(self.capture, group)
            totals[group.name] = totals[group.name].to(score) + score if self.sums.batches else score
        self.sums.batches += 1
        self.capture.clear()

    def scores(self) -> dict[str, Tensor]:
        """Gives the mean scores, see `ScoreSums.mean`."""
        return self.sums.mean()

    def _follow_to_device(self) -> None:
        device = next(self.capture.backbone.parameters()).device
        if any(group.shares[0].index.device != device for group in self.groups[:1]):
            self.groups = [_on(group, device) for group in self.groups]


@contextmanager
def channel_scorer(
    backbone: nn.Module,
    groups: Sequence[Group],
    criterion: CriterionName,
    seed: int = 0,
    sums: ScoreSums | None = None,
) -> Iterator[ChannelScorer]:
    """Gives a scorer whose hooks stay on `backbone` inside the `with`; the network's outputs do not change.

    Args:
        backbone: In any mode, on any device; the scorer follows when it is moved.
        groups: Of the backbone.
        criterion: A key of `CRITERIA`. Those of signal `loss` use the gradients of the training's own loss, and
            `gauss-newton` then is its empirical Fisher diagonal.
        seed: Of `random`.
        sums: Of earlier mini-batches, to be added to; None: there were none.

    Yields:
        A scorer: call `observe` after each mini-batch, then `scores`.
    """
    chosen, capture = CRITERIA[criterion], Capture(backbone, seed)
    with chosen.hooks(capture, groups):
        yield ChannelScorer(chosen, groups, capture, ScoreSums() if sums is None else sums)


def importance(
    criterion: CriterionName,
    embedder: Embedder,
    groups: Sequence[Group],
    faces: LabelledFaces,
    images: int,
    seed: int,
) -> dict[str, Tensor]:
    """Scores the channels of an embedder as it is; its weights do not change.

    Args:
        criterion: A key of `CRITERIA`.
        embedder: Left as it is, in eval mode, without gradients.
        groups: Of its backbone.
        faces: Crops; only the taylor criteria use their labels.
        images: How many of them are used; 64 rank nearly as 256 do.
        seed: Of the choice of images, and of all else that is random.

    Returns:
        By group name, (width,) float32 >= 0; the lowest goes first.

    Raises:
        ValueError: A group's scores are not finite or all zero, or labels or batch norms that the criterion needs are
            missing.
    """
    backbone, signal = embedder.backbone, CRITERIA[criterion].signal
    with _evaluating(backbone, gradients=signal == "loss"), channel_scorer(backbone, groups, criterion, seed) as scorer:
        for _ in SCORING_PASSES[signal](embedder, faces, images, seed):
            scorer.observe()
    return scorer.scores()


@contextmanager
def _evaluating(backbone: nn.Module, gradients: bool) -> Iterator[None]:
    """Puts `backbone` in eval mode; inside the `with`, its weights have gradients or not."""
    before = [parameter.requires_grad for parameter in backbone.parameters()]
    backbone.eval().requires_grad_(gradients)
    try:
        with torch.enable_grad():
            yield
    finally:
        for parameter, requires_grad in zip(backbone.parameters(), before, strict=True):
            parameter.requires_grad_(requires_grad)


def _on(group: Group, device: torch.device) -> Group:
    shares = [dataclasses.replace(share, index=share.index.to(device)) for share in group.shares]
    return dataclasses.replace(group, shares=tuple(shares))
