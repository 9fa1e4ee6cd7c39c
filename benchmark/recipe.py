"""How to measure: threads, runs and seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from .arm64.cores import core_of
from .runtimes import check_names

EmulatedName = Literal["litert", "onnxruntime"]  # the names of `arm64.libraries.RUNTIMES`


class BenchmarkRecipe(BaseModel):
    """What the benchmark stage does with each file."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    threads: tuple[Annotated[int, Field(ge=1, le=256)], ...] = (1, 2)  # thread counts to time on
    minimum_runs: int = Field(50, ge=5, le=1_000_000)  # per file, thread count and round
    minimum_seconds: float = Field(0.5, ge=0, le=3600)  # per file, thread count and round
    rounds: int = Field(2, ge=1, le=1000)  # fresh processes per file and thread count, files interleaved
    warm_up_seconds: float = Field(0.1, ge=0, le=3600)  # before the runs that count, five runs at least
    runtimes: tuple[str, ...] = ()  # names of runtimes, or "all"; without one, the usual runtime of each format
    strict: bool = False  # 1,024 runs and 60 s for each row, MLPerf Mobile's single stream
    layers: bool = False  # how far each layer of a quantised file is from the source's
    operators: bool = False  # the time of each operator too, where the runtime reports it
    fars: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()  # besides 1e-2, 1e-3 and lower ones that the pairs carry
    flip: bool = False  # verifies on the sum of the embeddings of a face and its mirror image; times one embedding
    templates: Path | None = None  # a table image,person,template[,pose]: which faces make a template
    attributes: Path | None = None  # a table image,...: each column cuts the pairs in slices
    robustness: int = Field(0, ge=0, le=1000)  # pairs to disturb in eight ways and embed again; 0: none
    margin: float = Field(0.002, gt=0, lt=1)  # loss in accuracy that is still called equal: 0.2 points
    arm64: tuple[str, ...] | None = None  # cores to emulate; without it a53, a55, a76 if qemu is there
    arm64_runtimes: tuple[EmulatedName, ...] = ("litert",)  # LiteRT runs .tflite, onnxruntime .onnx and .ort
    arm64_pairs: int = Field(0, ge=0, multiple_of=2)  # pairs to embed on each emulated core, which takes seconds a face

    @field_validator("threads")
    @classmethod
    def _each_once(cls, threads: tuple[int, ...]) -> tuple[int, ...]:
        if twice := [count for count in dict.fromkeys(threads) if threads.count(count) > 1]:
            raise ValueError(f"{twice[0]} is named more than once")
        return threads

    @field_validator("runtimes")
    @classmethod
    def _known_runtimes(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        check_names(names)
        return names

    @field_validator("arm64")
    @classmethod
    def _known_cores(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in names or ():
            core_of(name)
        return names
