"""What to prune: how much, by which score, in which order, and how long the rest may learn."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Criterion = Literal[
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
Schedule = Literal["iterative", "epoch", "one-shot"]
Budget = Literal["parameters", "macs", "filters", "bytes", "milliseconds", "instructions", "score"]
Cost = Literal["balanced", "parameters", "macs", "filters", "bytes", "measured", "equal"]
Signal = Literal["distillation", "softmax", "arcface", "cosface"]

MEASURED: tuple[Budget, ...] = ("milliseconds", "instructions")
"""Budgets that want a table of measured costs."""


class TrainingRecipe(BaseModel):
    """How an embedder learns, from a teacher or from labels."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    signal: Signal = "distillation"  # the others want labels
    epochs: float = Field(10.0, ge=0)  # 1 = as many crops as there are faces
    batch_size: int = Field(32, ge=2)  # of each process
    accumulate: int = Field(1, ge=1)  # batches whose gradients are added up for one step
    learning_rate: float = Field(3e-3, gt=0)
    variants: int = Field(6, ge=1)  # different crops of each face, the first as it is, the others augmented
    seed: int = Field(0, ge=0)
    precision: Literal["fp32", "w8a8"] = "fp32"  # w8a8: learns to be exported in int8; wants a tenth of the rate
    activation: Literal["relu", "relu6", "leaky"] | None = None  # what PReLUs shall become; leaky has one slope a layer
    activation_layers: int | None = Field(None, ge=1)  # only the first so many, which see the largest maps

    @model_validator(mode="after")
    def _one_at_a_time(self) -> Self:
        if self.activation is None and self.activation_layers is not None:
            raise ValueError("activation_layers counts PReLUs to replace; say by what with activation")
        if self.activation is not None and self.precision != "fp32":
            raise ValueError("activations are replaced in fp32; recover once more with precision = 'w8a8' afterwards")
        return self


class PruneRecipe(TrainingRecipe):
    """How an embedder is made smaller; every field has a default that works on a laptop.

    >>> PruneRecipe(remove=0.5).remaining(1_000_000)
    500000.0
    >>> PruneRecipe(target=700_000).remaining(1_000_000)
    700000.0
    """

    schedule: Schedule = "iterative"
    criterion: Criterion = "gauss-newton"
    scope: Literal["all", "papers"] = "all"  # papers: not what feeds an addition
    by: Budget = "parameters"  # what `remove` and `target` count; bytes are those of an fp32 TFLite file
    remove: float = Field(0.3, ge=0, lt=1)
    target: float | None = Field(None, gt=0)  # what shall be left, instead of `remove`; of score: what goes lies below
    cost: Cost | None = None  # what a channel's score is divided by; none: what suits the budget
    steps: int = Field(6, ge=1, le=1000)  # cuts on the way; a one-shot has one
    round_to: int = Field(8, ge=1, le=1024)  # widths stay multiples of this
    least_width: int = Field(8, ge=1)  # a floor for every group
    least_kept: float = Field(0.25, gt=0, le=1)  # of every group's width: a cap on what it loses
    images: int = Field(256, ge=1)  # faces that one scoring looks at
    control: bool = False  # trains as long, and cuts nothing

    epochs_before: float = Field(0.0, ge=0)  # before the first cut
    epochs_between: float = Field(0.5, ge=0)  # after every cut but the last; the schedule epoch has 1
    most_lost: float | None = Field(None, ge=0)  # points of accuracy on held-out people; more ends the pruning

    @model_validator(mode="after")
    def _possible(self) -> PruneRecipe:
        if self.by == "score" and self.target is None:
            raise ValueError("by = 'score' wants a target: channels whose score lies below it go")
        if self.schedule == "epoch" and self.accumulate > 1:
            raise ValueError(
                "the schedule epoch scores every mini-batch, of which accumulate makes parts; leave it at 1"
            )
        if self.precision != "fp32" or self.activation is not None:
            raise ValueError("precision and activation are not for pruning, but for recovering afterwards")
        if self.cost == "measured" and self.by not in MEASURED:
            raise ValueError(f"cost = 'measured' goes with by = {' or '.join(map(repr, MEASURED))}, not {self.by!r}")
        return self

    def remaining(self, before: float) -> float:
        """Gives what shall be left of `before` parameters, MACs, …, whichever `by` names."""
        return self.target if self.target is not None else (1 - self.remove) * before
