"""The fastest int8 file that keeps a bound: each way to int8 is made, judged by its loss, and compared with fp32."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..artifact import Artifact, ConversionError, Note
from ..calibration import PartedFaces
from .litert import LiteRTSession, mean_cosine

ROUNDS = 30  # the least of so many runs, taken in turns, is the time of a file
EQUAL = 0.05  # files within this share of the fastest are as fast; the nearest to the source is taken


@dataclass(frozen=True)
class FileCost:
    """What one inference of a file costs beside that of the fp32 file, and what it is counted in."""

    unit: str  # "CPU time on this machine"
    share: Callable[[Path, Path], float]  # of the fp32 file, of another .tflite file: the latter's share of the former


@dataclass(frozen=True)
class WayToInt8:
    """One way to int8: makes the file, and a slower search for one nearer to the source, if there is any."""

    make: Callable[[], Artifact]
    nearer: Callable[[], Artifact] | None = None


@dataclass(frozen=True)
class Trial:
    """One way to int8: the file, how near it is to the source, and how fast beside fp32."""

    artifact: Artifact
    cosine: float  # mean of the judged faces
    cost: float  # a share of fp32's

    def __str__(self) -> str:
        """The line of it in the trade-off."""
        size = self.artifact.path.stat().st_size / 1e6
        return f"cosine {self.cosine:.4f}, {self.cost:.2f} of fp32's cost, {size:.2f} MB"


def fastest_int8(
    fp32: Path,
    ways: Mapping[str, WayToInt8],
    faces: PartedFaces,
    least_cosine: float,
    cost: FileCost,
    progress: Callable[[str], None] = lambda line: None,
) -> Artifact:
    """Makes a file in each way, and gives the fastest of those that keep the bound.

    Files within 5 % count as equally fast.

    Args:
        fp32: The float file that costs are compared with.
        ways: By name; each makes files at places of its own. What raises `ConversionError` takes no part. The slower
            search is made where the way misses the bound but is faster than all that keep it.
        faces: Those that set no range judge the files.
        least_cosine: What the mean cosine on them must reach.
        cost: Which file is the faster one. A phone may order them otherwise than this machine: a PReLU MobileFaceNet
            with `w8a8` can be slower than fp32 on x86 and has half its instructions on ARM64.
        progress: Told a line for each way.

    Returns:
        The file, with the trade-off in its notes.

    Raises:
        ConversionError: No way comes that near; says how near each comes.
    """
    told: dict[str, str] = {}
    trials: dict[str, Trial] = {}

    def tried(name: str, make: Callable[[], Artifact]) -> None:
        try:
            artifact = make()
            cosine = mean_cosine(LiteRTSession(artifact.path), faces.judged, faces.exact)
            trials[name] = Trial(artifact, cosine, cost.share(fp32, artifact.path))
            told[name] = f"{name}: {trials[name]}"
        except ValueError as error:  # it cannot be made, or not be run where costs are counted
            told[name] = f"{name}: {error}"
        progress(told[name])

    def near() -> dict[str, Trial]:
        return {name: trial for name, trial in trials.items() if trial.cosine >= least_cosine}

    for name, way in ways.items():
        tried(name, way.make)
    for name, trial in sorted(trials.items(), key=lambda item: item[1].cost):
        search = ways[name].nearer
        if trial.cosine < least_cosine and search and all(trial.cost < other.cost for other in near().values()):
            tried(f"{name}-mixed", search)
    if not (kept := near()):
        raise ConversionError(f"no way to int8 keeps a cosine of {least_cosine}: {'; '.join(told.values())}")
    limit = (1 + EQUAL) * min(trial.cost for trial in kept.values())
    name = max((name for name in kept if kept[name].cost <= limit), key=lambda name: kept[name].cosine)
    artifact = kept[name].artifact
    return replace(artifact, notes=(*artifact.notes, *_notes(name, told, least_cosine, len(faces.judged), cost)))


def time_here() -> FileCost:
    """Compares CPU time of LiteRT, one thread of this machine: the least of many runs in turns."""
    return FileCost("CPU time on this machine", _time_beside)


def _time_beside(fp32: Path, path: Path) -> float:
    sessions = (LiteRTSession(fp32), LiteRTSession(path))
    sides = [side or 1 for side in sessions[0].ports.sides]
    face = np.random.default_rng(0).standard_normal((1, *sides), np.float32)
    least = [np.inf, np.inf]
    for turn in range(ROUNDS + 1):
        for place, each in enumerate(sessions):
            begun = time.thread_time()
            each.run(face)
            if turn:  # the first packs the weights
                least[place] = min(least[place], time.thread_time() - begun)
    return float(least[1] / least[0])


def _notes(name: str, told: Mapping[str, str], least_cosine: float, faces: int, cost: FileCost) -> Iterator[Note]:
    text = f"{name} is the fastest way to int8 with a cosine of {least_cosine} on {faces} faces, by {cost.unit}"
    yield Note("precision", text)
    yield from (Note("precision", line) for line in told.values())
