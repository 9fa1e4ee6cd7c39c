"""The timings of a file on a phone, checked for heat and throttling, as rows of measurements.json."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...export.formats import FORMATS, read_artifact
from ..accuracy.intervals import Estimate
from ..measurement import NAME, Measurement, RowMaker, read_measurements, write_measurements
from ..subjects import name_in
from .accelerators import ACCELERATORS, AcceleratorName, phone_runtime
from .benchmark_model import PhoneTimes, Tool
from .phone import Phone, PhoneState
from .recipe import PhoneRecipe


@dataclass(frozen=True)
class SustainedStep:
    """One of the processes that follow each other without rest."""

    start: float  # seconds since the first of them began
    end: float
    timed: PhoneTimes
    state: PhoneState  # at its end

    @property
    def name(self) -> str:
        """The seconds that it took, for people."""
        return f"{self.start:.0f} to {self.end:.0f} s"


@dataclass(eq=False)
class PhoneJob:
    """A file to time with so many threads, and the results so far."""

    path: Path
    graph: str  # its name on the device
    threads: int
    cores: tuple[int, ...]
    accelerator: AcceleratorName = "cpu"
    rounds: list[PhoneTimes] = field(default_factory=list)
    before: list[PhoneState] = field(default_factory=list)
    after: list[PhoneState] = field(default_factory=list)  # right after each round
    operators: dict[str, float] = field(default_factory=dict)  # ms
    peak_memory_bytes: int | None = None
    sustained: list[SustainedStep] = field(default_factory=list)
    sustained_reason: str = ""  # why these end before their time
    reason: str = ""  # why it has fewer rounds than asked, or none that count
    operators_reason: str = ""

    @property
    def name(self) -> str:
        """The file, its threads and what runs it, for people."""
        on = "" if self.accelerator == "cpu" else f", {self.accelerator}"
        return f"{self.path.name} ({self.threads} thread{'s' if self.threads != 1 else ''}{on})"

    @property
    def mask(self) -> str:
        """Its cores, as taskset takes them: "f0" is cores 4 to 7."""
        return f"{sum(1 << core for core in self.cores):x}"


def mark_slowed(jobs: Sequence[PhoneJob], recipe: PhoneRecipe) -> None:
    """Gives a reason to every file in whose rounds the phone got too hot, or ran its cores slower than in others.

    Cores that wait for an accelerator may be slow.
    """
    for job in jobs:
        fastest = max((s.megahertz or 0 for one in jobs if one.cores == job.cores for s in one.after), default=0)
        on_accelerator = bool(ACCELERATORS[job.accelerator].delegate)
        for number, state in enumerate(job.after, 1):
            if job.reason:
                break
            if state.celsius is not None and state.celsius > recipe.hottest:
                job.reason = (
                    f"round {number} left the phone at {state.celsius:.0f} °C; more than {recipe.hottest:g} is hot"
                )
            elif state.megahertz and not on_accelerator and state.megahertz < recipe.slowest * fastest:
                ended = f"round {number} ended at {state.megahertz} MHz, the fastest of all rounds at {fastest}"
                job.reason = f"the phone slowed its cores down: {ended}"


def phone_rows(job: PhoneJob, phone: Phone, tool: Tool, folder: Path) -> list[Measurement]:
    """Gives the rows of one file and thread count; `folder` is what rows name files below."""
    conditions = {
        "runtime_version": tool.version,
        "threads": job.threads,
        "batch": 1,
        "cores": job.mask,
        "clusters": phone.clusters,
        "features": " ".join(phone.features),
    }
    if job.accelerator != "cpu":
        conditions["accelerated"] = " ".join(sorted({timed.taken for timed in job.rounds}))
    maker = _row_maker(job.path, folder, phone_runtime(tool.name, job.accelerator), str(phone)).under(**conditions)

    def row(metric: str, estimate: Estimate, n: int | None = None, **more: Any) -> Measurement:
        return maker.estimate(metric, replace(estimate, reason=job.reason or estimate.reason), n, **more)

    if not job.rounds:
        return [row("latency_ms_mean", Estimate(None))]
    of_rounds = {
        "rounds": len(job.rounds),
        "mean_by_round_ms": [round(timed.mean, 4) for timed in job.rounds],
        "temperature_c_before": [state.celsius for state in job.before],
        "temperature_c_after": [state.celsius for state in job.after],
        "frequency_mhz_after": [state.megahertz for state in job.after],
        "interval": "the least and the most of the rounds",
    }
    runs, rounds = sum(timed.runs for timed in job.rounds), len(job.rounds)
    rows = [row("latency_ms_mean", _spread([t.mean for t in job.rounds], statistics.fmean), runs, **of_rounds)]
    medians = [timed.median for timed in job.rounds if timed.median is not None]
    if len(medians) == rounds:
        rows.append(row("latency_ms_p50", _spread(medians, statistics.median), runs, **of_rounds))
    rows += [
        row("latency_ms_min", Estimate(min(timed.least for timed in job.rounds)), runs),
        row("load_ms", _spread([timed.load for timed in job.rounds], statistics.median), rounds),
        row("first_ms", _spread([timed.first for timed in job.rounds], statistics.median), rounds),
    ]
    if job.peak_memory_bytes is not None:
        rows.append(row("peak_memory_bytes", Estimate(job.peak_memory_bytes), 1))
    rows += [each for step in job.sustained for each in _of_step(step, maker)]
    if job.sustained_reason:
        rows.append(row("sustained_latency_ms", Estimate(None, reason=job.sustained_reason)))
    if job.operators_reason:
        rows.append(row("operator_ms", Estimate(None, reason=job.operators_reason)))
    return rows + [row("operator_ms", Estimate(ms), part=part) for part, ms in job.operators.items()]


def _of_step(step: SustainedStep, maker: RowMaker) -> list[Measurement]:
    """Gives the rows of a process under sustained load: what the phone does not tell is left out."""
    told = {"sustained_celsius": step.state.celsius, "sustained_mhz": step.state.megahertz}
    rows = [maker.value("sustained_latency_ms", step.timed.mean, step.timed.runs, part=step.name)]
    return rows + [maker.value(metric, value, part=step.name) for metric, value in told.items() if value is not None]


def keep(rows: Sequence[Measurement], folder: Path) -> Path:
    """Puts rows into the measurements.json of a folder, which may be a run's; gives the file, written whole.

    Earlier rows of the same file, runtime and device are replaced, all others stay.

    Raises:
        ValueError: There is one already, and it cannot be read.
    """
    path = folder / NAME
    before = read_measurements(path) if path.is_file() else []
    folder.mkdir(parents=True, exist_ok=True)
    anew = {(row.artifact, row.runtime, row.device) for row in rows}
    others = [row for row in before if (row.artifact, row.runtime, row.device) not in anew]
    write_measurements([*others, *rows], path)
    return path


def _spread(values: Sequence[float], middle: Any) -> Estimate:
    """Gives the middle of the rounds between their extremes; one round has no interval."""
    return Estimate(middle(values), *((min(values), max(values)) if len(values) > 1 else (None, None)))


def _row_maker(path: Path, folder: Path, runtime: str, device: str) -> RowMaker:
    """Makes rows by the file's own card; a file that was not made here has none."""
    kind = next((each.name for each in FORMATS.values() if each.is_at(path)), path.suffix[1:] or "unknown")
    try:
        card = read_artifact(path).card
        model, precision, source = card.model, str(card.precision), card.pruned_from
    except (ValueError, OSError):
        model, precision, source = path.stem, "unknown", ""
    return RowMaker(model, name_in(path, folder), kind, precision, runtime, device, source)
