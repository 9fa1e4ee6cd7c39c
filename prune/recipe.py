"""What to prune: how much, by which score, and how long the rest may learn."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Criterion = Literal["gauss-newton", "taylor"]
Measure = Literal["parameters", "macs", "filters"]


class PruneRecipe(BaseModel):
    """How an embedder is made smaller; every field has a default that works on a laptop.

    >>> PruneRecipe(remove=0.5).remaining(1_000_000)
    500000.0
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    criterion: Criterion = "gauss-newton"  # taylor wants labels, gauss-newton none
    by: Measure = "parameters"  # what `remove` is a share of
    remove: float = Field(0.3, ge=0, lt=1)
    target_parameters: int | None = Field(None, ge=1)  # instead of `remove`
    cost: Literal["balanced", "parameters", "macs", "filters"] = "balanced"  # what a channel's score is divided by
    steps: int = Field(6, ge=1, le=1000)  # cuts on the way
    round_to: int = Field(8, ge=1, le=1024)  # widths stay multiples of this
    least_kept: float = Field(0.25, gt=0, le=1)  # of every group's width: a guard, seldom reached
    images: int = Field(256, ge=1)  # faces that one scoring looks at

    epochs_between: float = Field(0.5, ge=0)  # after every cut but the last; 1 = as many crops as there are faces
    epochs: float = Field(10.0, ge=0)  # after the last cut
    batch_size: int = Field(32, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    variants: int = Field(6, ge=1, le=100)  # crops kept of every face, the first as it is, the others augmented
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _one_target(self) -> PruneRecipe:
        if self.target_parameters is not None and self.by != "parameters":
            raise ValueError(f"target_parameters counts parameters, but by is {self.by!r}; leave one of them out")
        return self

    def remaining(self, before: int) -> float:
        """Gives what shall be left of `before` parameters, MACs or filters, whichever `by` names."""
        return float(self.target_parameters) if self.target_parameters is not None else (1 - self.remove) * before
