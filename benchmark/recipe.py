"""How to measure: threads, runs and seconds."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class BenchmarkRecipe(BaseModel):
    """What the benchmark stage does with each file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threads: tuple[int, ...] = (1, 2)
    minimum_runs: int = Field(50, ge=5)  # per file, thread count and round
    minimum_seconds: float = Field(0.5, ge=0)
    rounds: int = Field(2, ge=1)  # fresh processes per file and thread count, files interleaved
