"""The recipes of pruning and training: how much to cut, by which score, on which schedule, and how long to train."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

CriterionName = Literal[
    "gauss-newton",
    "taylor",
    "taylor-activation",
    "taylor-gate",
    "feature-map",
    "l1",
    "l2",
    "fpgm",
    "bn-scale",
    "random",
]
ScheduleName = Literal["iterative", "epoch", "one-shot"]
ScopeName = Literal["all", "papers"]
Budget = Literal["parameters", "macs", "filters", "bytes", "milliseconds", "instructions", "score"]
Cost = Literal["balanced", "parameters", "macs", "filters", "bytes", "measured", "equal"]
SignalName = Literal["distillation", "softmax", "arcface", "cosface"]

MEASURED: tuple[Budget, ...] = ("milliseconds", "instructions")
"""Budgets that need a table of measured costs."""


class TrainingRecipe(BaseModel):
    """How an embedder is trained, from a teacher or from labels."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    signal: SignalName = "distillation"  # what is learned from; all but distillation need labels
    epochs: float = Field(10.0, ge=0)  # an epoch is as many crops as there are faces
    batch_size: int = Field(32, ge=2)  # per process
    accumulate: int = Field(1, ge=1)  # batches whose gradients are summed for one step
    learning_rate: float = Field(3e-3, gt=0)  # highest, during warm-up and cosine decay
    variants: int = Field(6, ge=1)  # crops of each face: the first as it is, the others augmented
    seed: int = Field(0, ge=0)  # seed of everything random
    precision: Literal["fp32", "w8a8"] = "fp32"  # w8a8: trains for int8 export; use a tenth of the learning rate
    activation: Literal["relu", "relu6", "leaky"] | None = None  # replaces the PReLUs; leaky has one slope per layer
    activation_layers: int | None = Field(None, ge=1)  # replaces only the first so many, which have the largest maps

    @model_validator(mode="after")
    def _one_at_a_time(self) -> Self:
        if self.activation is None and self.activation_layers is not None:
            raise ValueError("activation_layers counts PReLUs to replace; set activation to what replaces them")
        if self.activation is not None and self.precision != "fp32":
            raise ValueError("activations are replaced in fp32; recover again with precision = 'w8a8' afterwards")
        return self


class PruneRecipe(TrainingRecipe):
    """How an embedder is pruned; every default works on a laptop.

    >>> PruneRecipe(remove=0.5).remaining(1_000_000)
    500000.0
    >>> PruneRecipe(target=700_000).remaining(1_000_000)
    700000.0
    """

    schedule: ScheduleName = "iterative"  # when to score, cut and recover
    criterion: CriterionName = "gauss-newton"  # how channels are scored
    scope: ScopeName = "all"  # papers: leaves out layers that feed an addition
    by: Budget = "parameters"  # what `remove` and `target` count; bytes: of an fp32 TFLite file
    remove: float = Field(0.3, ge=0, lt=1)  # share of the budget
    target: float | None = Field(None, gt=0)  # amount to keep, instead of `remove`; by score: channels below it go
    cost: Cost | None = None  # what a channel's score is divided by; None: chosen by criterion and budget
    steps: int = Field(6, ge=1, le=1000)  # number of cuts; the schedule one-shot has one
    round_to: int = Field(8, ge=1, le=1024)  # widths stay multiples of this
    least_width: int = Field(8, ge=1)  # channels that every group keeps
    least_kept: float = Field(0.25, gt=0, le=1)  # share of its width that every group keeps
    images: int = Field(256, ge=1)  # faces that are scored before each cut
    control: bool = False  # trains as long without a cut, for comparison

    epochs_before: float = Field(0.0, ge=0)  # before the first cut
    epochs_between: float = Field(0.5, ge=0)  # after every cut but the last; the schedule epoch has always 1
    most_lost: float | None = Field(None, ge=0)  # points of accuracy on held-out people; a larger loss ends the pruning

    @model_validator(mode="after")
    def _possible(self) -> PruneRecipe:
        if self.by == "score" and self.target is None:
            raise ValueError("by = 'score' needs a target: channels whose score lies below it are cut")
        if self.schedule == "epoch" and self.accumulate > 1:
            raise ValueError("the schedule epoch scores every mini-batch, and accumulate splits them; leave it at 1")
        if self.precision != "fp32" or self.activation is not None:
            raise ValueError("precision and activation are set when recovering after pruning, not for pruning itself")
        if self.cost == "measured" and self.by not in MEASURED:
            raise ValueError(f"cost = 'measured' goes with by = {' or '.join(map(repr, MEASURED))}, not {self.by!r}")
        return self

    def remaining(self, before: float) -> float:
        """Gives how much of `before` parameters, MACs, …, whichever `by` names, is to be kept."""
        return self.target if self.target is not None else (1 - self.remove) * before
