"""How to time on a phone: threads, cores, rounds, rests, and what makes a run not count."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from .accelerators import AcceleratorName


class PhoneRecipe(BaseModel):
    """What is done with each file on a phone."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    threads: tuple[Annotated[int, Field(ge=1, le=256)], ...] = Field((1,), min_length=1)  # thread counts to time on
    accelerators: tuple[AcceleratorName, ...] = Field(("cpu",), min_length=1)  # what runs the files, in turn
    cores: str = "big"  # big, all, or a hexadecimal mask as taskset takes it
    rounds: int = Field(3, ge=1, le=1000)  # processes per file and thread count, files in turns
    minimum_runs: int = Field(50, ge=1, le=1_000_000)  # of each process
    minimum_seconds: float = Field(1.0, ge=0, le=3600)  # of each process
    most_seconds: float = Field(30.0, gt=0)  # of timing in one process, whatever the minima are
    rest_seconds: float = Field(1.0, ge=0)  # before each process
    cool_down_seconds: float = Field(60.0, ge=0)  # longest wait until the phone is about as cool as at the start
    warmer_by: float = Field(2.0, ge=0)  # degrees Celsius that still count as about as cool
    hottest: float = 75.0  # degrees Celsius at the end of a process above which it does not count
    slowest: float = Field(0.9, ge=0, le=1)  # share of the cores' highest frequency, below which it does not count
    sustained_seconds: float = Field(0.0, ge=0, le=3600)  # that each file then runs without rest; 0: it does not
    patience_seconds: float = Field(30.0, gt=0)  # that a process may need besides timing: to start, to load the file
