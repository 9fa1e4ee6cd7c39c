"""The fastest int8 file that keeps a bound: each way to int8 is made, judged by its loss, and timed beside fp32."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..artifact import Artifact, ConversionError, Note
from .litert import LiteRTSession

if TYPE_CHECKING:
    from ...models.embedder import Embeddings

ROUNDS = 30  # the least of so many runs, taken in turns, is the time of a file
EQUAL = 0.05  # files within this share of the fastest are as fast; the nearest to the source is taken


@dataclass(frozen=True)
class Trial:
    """One way to int8: the file, how near it is to the source, and how fast beside fp32."""

    artifact: Artifact
    cosine: float  # mean of the judged faces
    time: float  # of fp32's, one thread of this machine

    def __str__(self) -> str:
        """The line of it in the trade-off."""
        size = self.artifact.path.stat().st_size / 1e6
        return f"cosine {self.cosine:.4f}, {self.time:.2f} of fp32's time here, {size:.2f} MB"


def fastest_int8(
    fp32: Path,
    ways: Mapping[str, Callable[[], Artifact]],
    last: tuple[str, Callable[[], Artifact]],
    judged: NDArray[np.float32],
    exact: Embeddings,
    least_cosine: float,
    progress: Callable[[str], None] = lambda line: None,
) -> Artifact:
    """Makes a file in each way, and gives the fastest of those that keep the bound.

    Times are CPU seconds of LiteRT with one thread on this machine, the least of many runs in turns: a phone's order
    may be another, and files within 5 % count as equally fast.

    Args:
        fp32: The float file that times are compared with.
        ways: By name; each makes a file at a place of its own. One that raises `ConversionError` takes no part.
        last: A slow search that ends between static int8 and float: made only if the fastest way misses the bound.
        judged: (M, 3, H, W) preprocessed faces that set no range.
        exact: (M, D) the source's unit embeddings of them.
        least_cosine: What the mean cosine on them must reach.
        progress: Told a line for each way.

    Returns:
        The file, with the trade-off in its notes.

    Raises:
        ConversionError: No way comes that near; says how near each comes.
    """
    from ...models.embedder import unit

    told: dict[str, str] = {}
    trials: dict[str, Trial] = {}

    def tried(name: str, make: Callable[[], Artifact]) -> None:
        try:
            artifact = make()
            session = LiteRTSession(artifact.path)
            cosine = float((unit(session.run(judged)) * exact).sum(axis=1).mean())
            trials[name] = Trial(artifact, cosine, _time_beside(fp32, session, judged[:1]))
            told[name] = f"{name}: {trials[name]}"
        except ConversionError as error:
            told[name] = f"{name}: {error}"
        progress(told[name])

    for name, make in ways.items():
        tried(name, make)
    if trials and min(trials.values(), key=lambda trial: trial.time).cosine < least_cosine:
        tried(*last)
    near = {name: trial for name, trial in trials.items() if trial.cosine >= least_cosine}
    if not near:
        raise ConversionError(f"no way to int8 keeps a cosine of {least_cosine}: {'; '.join(told.values())}")
    bound = (1 + EQUAL) * min(trial.time for trial in near.values())
    name = max((name for name in near if near[name].time <= bound), key=lambda name: near[name].cosine)
    artifact = near[name].artifact
    return replace(artifact, notes=(*artifact.notes, *_notes(name, told, least_cosine, len(judged))))


def _time_beside(fp32: Path, session: LiteRTSession, face: NDArray[np.float32]) -> float:
    """Gives the CPU time of one face as a share of that of `fp32`."""
    sessions = (LiteRTSession(fp32), session)
    least = [np.inf, np.inf]
    for turn in range(ROUNDS + 1):
        for place, each in enumerate(sessions):
            begun = time.thread_time()
            each.run(face)
            if turn:  # the first packs the weights
                least[place] = min(least[place], time.thread_time() - begun)
    return float(least[1] / least[0])


def _notes(name: str, told: Mapping[str, str], least_cosine: float, faces: int) -> Iterator[Note]:
    yield Note("precision", f"{name} is the fastest way to int8 with a cosine of {least_cosine} on {faces} faces")
    yield from (Note("precision", line) for line in told.values())
