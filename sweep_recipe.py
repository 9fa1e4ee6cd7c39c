"""The `[sweep]` table of a recipe: which values the fields of `[prune]` take in turn, or the goal of a search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from .faces.contract import stated_contract
from .prune.recipe import Budget, CriterionName, ScheduleName, ScopeName, SignalName

SWEPT = ("criterion", "schedule", "signal", "scope", "by", "remove", "target", "seed")
"""The fields of `[prune]` that a sweep varies."""

Share = Annotated[float, Field(gt=0, lt=1)]
Amount = Annotated[float, Field(gt=0)]


class SweptNetwork(BaseModel):
    """A source network of a sweep, in the fields that a recipe has for its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    embedder: str  # zoo name, checkpoint folder, file.py:factory, or a file
    weights: Path | None = None  # file of weights for a zoo name or a factory
    name: str | None = None  # name in files and reports
    licence: str = "unknown"  # licence of the weights
    options: dict[str, Any] = {}  # keyword arguments of the constructor
    contract: dict[str, Any] | None = None  # what the network is fed

    @field_validator("contract")
    @classmethod
    def _readable(cls, contract: dict[str, Any] | None) -> dict[str, Any] | None:
        return None if contract is None else stated_contract(contract).to_dict()


class SweepGoal(BaseModel):
    """What an app allows: the smallest network within `max_drop` is searched for, and held to the other limits."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    max_drop: float = Field(0.2, ge=0, lt=100)  # most points of accuracy to lose against the source
    max_mb: float | None = Field(None, gt=0)  # largest file, in MB of 10^6 bytes
    max_ms: float | None = Field(None, gt=0)  # longest median latency on one thread
    most: float = Field(0.9, gt=0, lt=1)  # largest share of the budget that is tried
    within: float = Field(0.05, gt=0, lt=1)  # the search ends when the share is known this closely


class SweepRecipe(BaseModel):
    """What `pocketface sweep` varies; a field that is left out keeps its value of `[prune]`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    networks: tuple[SweptNetwork, ...] = ()  # source networks, instead of the recipe's own
    criterion: tuple[CriterionName, ...] = ()  # how channels are scored
    schedule: tuple[ScheduleName, ...] = ()  # when to score, cut and recover
    signal: tuple[SignalName, ...] = ()  # what is learned from
    scope: tuple[ScopeName, ...] = ()  # which layers are cut
    by: tuple[Budget, ...] = ()  # what `remove` counts
    remove: tuple[Share, ...] = ()  # shares of the budget to remove
    target: tuple[Amount, ...] = ()  # amounts to keep, instead of `remove`
    seed: tuple[Annotated[int, Field(ge=0)], ...] = ()  # seeds of everything random
    nested: bool = True  # deeper cuts go on from shallower ones; never one-shot, nor budgets that need measuring
    goal: SweepGoal | None = None  # a search for the smallest network within limits, instead of `remove` or `target`

    @field_validator(*SWEPT)
    @classmethod
    def _each_once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if twice := [value for value in dict.fromkeys(values) if values.count(value) > 1]:
            raise ValueError(f"{twice[0]} is named more than once")
        return values

    @model_validator(mode="after")
    def _one_kind_of_budget(self) -> Self:
        if self.remove and self.target:
            raise ValueError("remove and target both say how much goes; leave one of them out")
        if self.target and len(self.by) > 1:
            raise ValueError(f"target counts one thing, and by names {len(self.by)}; use remove, or one by")
        return self
