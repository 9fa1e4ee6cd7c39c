"""Names an app's mistake: compares its vector for a golden face with those that each known mistake gives."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...faces.contract import InputContract
from ...models.embedder import unit
from ..artifact import Artifact
from ..formats import open_session
from ..session import Session
from ..trial import try_in_child
from .alignment_mistakes import wrong_cuts
from .golden import Golden, least_cosine
from .preprocessing_mistakes import Box, Pixels, Values, Way, boxes, ways

MISTAKES = {
    "unaligned": "the face is cut out upright, not aligned by its five landmarks to the template",
    "two-eyes": "the crop is cut by the two eyes alone, not by all five landmarks",
    "swapped": "the landmarks' left and right are exchanged: left is the viewer's, not the person's",
    "half-pixel": "the crop lies half a pixel aside: whole numbers are the centres of pixels, not their corners",
    "template": "the landmarks are brought onto another template",
    "crop-size": "the template belongs to a crop of another size: its points are not scaled with the crop",
    "unaveraged": "the photo is reduced to the crop without averaging its pixels, as OpenCV's warpAffine does",
    "mirrored": "the picture is mirrored",
    "bgr": "red and blue are exchanged (BGR for RGB, or RGB where the file needs BGR)",
    "128": "pixels are divided by 128 instead of 127.5, or the reverse",
    "no-mean": "the mean is not subtracted",
    "0..1": "pixels are scaled to 0..1 (divided by 255 and nothing else)",
    "nhwc": "channels-last input is fed as channels first (NHWC as NCHW), or the reverse",
    "not-normalised": "the vector is not divided by its length",
    "other-weights": "the vector comes from other weights, another face, or a mistake that is not among the known",
}

SAME = 1e-4  # distance of unit vectors that were computed from the same numbers, on any CPU
NEAR = 0.15  # no rounding moves a vector farther, not even that of an int8 file
CROPPED = 0.9  # largest distance of the nearest box that was tried from the one that an app cut
CLEARER = 0.7  # largest share of the distance to all that is aligned
LENGTH = 0.01  # how far from 1 the length of a normalised vector may be, after half precision
LARGEST_VECTOR = 1 << 20  # bytes of a file or text of numbers

Verdict = Literal["right", "mistake", "cannot tell", "other weights"]


@dataclass(frozen=True)
class Score:
    """How near the vector is to the one that the file gives when these mistakes are made."""

    mistakes: tuple[str, ...]
    cosine: float
    distance: float  # of unit vectors, 0 to 2


@dataclass(frozen=True)
class Diagnosis:
    """What an app does wrong, and how sure that is."""

    verdict: Verdict
    mistakes: tuple[str, ...]  # that were certainly made; keys of `MISTAKES`
    open: tuple[str, ...]  # that may have been made: the vector does not tell
    sure: bool  # False: the nearest of what was tried, but not equal to the last digits
    length: float  # of the vector
    scores: tuple[Score, ...]  # nearest first, one per set of mistakes; none where the sizes differ

    @property
    def margin(self) -> float:
        """How much the cosine falls to the next set of mistakes that is not left open."""
        named = set(self.mistakes)
        others = [s for s in self.scores[1:] if not set(s.mistakes) ^ named <= set(self.open) | {"not-normalised"}]
        return self.scores[0].cosine - others[0].cosine if self.scores and others else 0.0

    def lines(self) -> list[str]:
        """Gives the verdict, the vector's length, and how near the nearest sets of mistakes come, for the terminal."""
        verdict = f"{self.verdict}: {self}" if self.verdict in ("mistake", "other weights") else str(self)
        near = [f"  {score.cosine:9.6f}  {_name(score.mistakes)}" for score in self.scores[:8]]
        return [verdict, f"length {self.length:.4f}", *near]

    def __str__(self) -> str:
        """Gives the verdict in a sentence or two."""
        mistakes = "; ".join(MISTAKES[mistake] for mistake in self.mistakes)
        how = "" if self.sure else " (the nearest of what was tried, not the same to the last digit)"
        nearest = self.scores[0] if self.scores else None
        near = f"; cosine {nearest.cosine:.6f}, {self.margin:.6f} above the next" if nearest else ""
        if self.verdict == "right":
            return f"right{how}{near}"
        if self.verdict == "other weights":
            closest = (
                f": nearest is {_name(nearest.mistakes)} with a cosine of {nearest.cosine:.4f}"
                if nearest
                else (": it has another number of values than the file gives")
            )
            return f"{mistakes}{closest}"
        if self.verdict == "mistake":
            return f"{mistakes}{how}{near}"
        doubt = "; ".join(MISTAKES[mistake] for mistake in self.open)
        known = f"certain: {mistakes}. " if mistakes else ""
        return f"{known}cannot tell whether {doubt}: the difference is within the file's own rounding{near}"


def diagnose(artifact: Artifact, golden: Golden, vector: NDArray[np.floating[Any]]) -> Diagnosis:
    """Compares `vector` with the file's own embeddings of the golden face, fed correctly and with each mistake.

    Every mistake and every pair of mistakes is tried; those in aligning, of a face whose photo is known. A vector
    within 1e-4 of a result has just those mistakes. Otherwise every result within the file's own rounding of it, or
    less than twice as far as the nearest, is possible: mistakes that all of them share are certain, the others are
    left open. An app that does not align may have cut any box; if nothing else fits, the nearest box is searched for.

    Args:
        artifact: The file that the app runs.
        golden: The face that the app was given.
        vector: (D,) what the app got.

    Raises:
        ValueError: The vector is empty, not finite or zero, or the file cannot be run.
    """
    values = np.asarray(vector, np.float64).reshape(-1)
    if not values.size or not np.isfinite(values).all() or not values.any():
        raise ValueError(f"the vector of {values.size} numbers is empty, zero or not finite: no embedding")
    length = float(np.linalg.norm(values))
    try_in_child(artifact.path, artifact.card.contract, artifact.output)
    target = _Target(open_session(artifact.path, output=artifact.output), values / length)
    tried = ways(artifact.card.contract)
    crops: tuple[tuple[tuple[str, ...], Pixels], ...] = ((), golden.crop), (("mirrored",), golden.crop[:, ::-1])
    if target.size(tried[0].feed(golden.crop)) != values.size:
        return Diagnosis("other weights", ("other-weights",), (), True, length, ())
    for first, crop in crops:
        for way in tried:
            if len(first + way.mistakes) <= 2:
                target.score(first + way.mistakes, way.feed(crop))
    noise = math.sqrt(2 * (1 - least_cosine(artifact)))
    if target.scores()[0].distance > noise:
        for name, crop in wrong_cuts(golden, artifact.card.contract):
            for way in tried:
                if len(way.mistakes) < 2:
                    target.score((name, *way.mistakes), way.feed(crop))
    if target.scores()[0].distance > max(noise, NEAR):
        _seek(target, tried, *boxes(golden, artifact.card.contract), golden, artifact.card.contract)
    scores = target.scores()
    if not _fits(scores, noise):
        return Diagnosis("other weights", ("other-weights",), (), True, length, scores)
    certain, doubtful = _shared(_possible(scores, noise))
    if not artifact.card.normalised and abs(length - 1) > LENGTH:
        certain = (*certain, "not-normalised")
    certain = tuple(mistake for mistake in MISTAKES if mistake in certain)
    verdict: Verdict = "cannot tell" if doubtful else "mistake" if certain else "right"
    return Diagnosis(verdict, certain, doubtful, scores[0].distance <= max(SAME, noise), length, scores)


def read_vector(text: str) -> NDArray[np.float64]:
    """Reads a vector: the path of a .npy or text file, or the numbers themselves, as JSON or with commas or spaces.

    Raises:
        ValueError: There are no numbers in it.
    """
    content, path = text.encode(), Path(text)
    if os.path.isfile(text):  # unlike Path.is_file, it accepts text that is too long for a name
        if path.stat().st_size > LARGEST_VECTOR:
            raise ValueError(f"{path.name} has {path.stat().st_size} bytes; a vector has at most {LARGEST_VECTOR}")
        content = path.read_bytes()
    try:
        if content[:6] == b"\x93NUMPY":
            return np.asarray(_load_npy(content), np.float64).reshape(-1)
        words = content.decode("utf-8").strip()
        numbers = json.loads(words) if words[:1] == "[" else words.replace(",", " ").replace(";", " ").split()
        return np.array(numbers, np.float64).reshape(-1)
    except (ValueError, TypeError, OverflowError, MemoryError, RecursionError) as error:
        raise ValueError(f"no vector in {text[:60]!r}: a .npy file, a JSON list or numbers are one") from error


def _load_npy(content: bytes) -> NDArray[Any]:
    try:
        return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))
    except Exception as error:  # NumPy parses the header as Python: SyntaxError, TokenError and others
        raise ValueError("the .npy file is damaged") from error


class _Target:
    """An app's vector, and how near each set of mistakes comes to it."""

    def __init__(self, session: Session, vector: NDArray[np.float64]) -> None:
        self._session, self._vector = session, vector
        self._best: dict[tuple[str, ...], Score] = {}

    def size(self, values: Values) -> int:
        return int(self._session.run(values[None]).shape[1])

    def score(self, mistakes: tuple[str, ...], values: Values) -> float:
        """Gives the distance of unit vectors when the network is fed `values`; keeps the least of each set."""
        embedding = unit(self._session.run(values[None]))[0].astype(np.float64)
        distance = float(np.linalg.norm(embedding - self._vector))
        if mistakes not in self._best or distance < self._best[mistakes].distance:
            self._best[mistakes] = Score(mistakes, float(embedding @ self._vector), distance)
        return distance

    def scores(self) -> tuple[Score, ...]:
        return tuple(sorted(self._best.values(), key=lambda score: (score.distance, len(score.mistakes))))


def _seek(
    target: _Target,
    tried: Sequence[Way],
    picture: Pixels,
    candidates: Sequence[Box],
    golden: Golden,
    contract: InputContract,
) -> None:
    """Scores upright boxes of `picture`: all `candidates`, the best with other mistakes too, then nearer ones."""

    def distance(way: Way, box: Box) -> float:
        return target.score(("unaligned", *way.mistakes), way.feed(box.cut(picture, contract)))

    right, *wrong = [way for way in tried if len(way.mistakes) < 2 and "128" not in way.mistakes]  # that is too fine
    ranked = sorted((distance(right, box), number) for number, box in enumerate(candidates))
    nearest = [candidates[number] for _, number in ranked[:3]]
    starts = [(distance(way, box), number, way, box) for number, way in enumerate(wrong) for box in nearest]
    starts = [(far, 0, right, candidates[number]) for far, number in ranked[:3]] + sorted(starts, key=lambda s: s[:2])[
        :1
    ]
    for far, _, way, box in starts:
        step = 0.12
        while step > 0.01:
            near = min(
                (distance(way, other), i, other) for i, other in enumerate(box.neighbours(step, golden.photo is None))
            )
            if near[0] < far:
                far, box = near[0], near[2]
            else:
                step /= 2


def _fits(scores: tuple[Score, ...], noise: float) -> bool:
    """Says whether the nearest can be right; a vector as near to a wrong box as to no box is of other weights."""
    nearest = scores[0]
    if "unaligned" not in nearest.mistakes:
        return nearest.distance <= max(noise, NEAR)
    aligned = min(score.distance for score in scores if "unaligned" not in score.mistakes)
    return nearest.distance <= min(CROPPED, CLEARER * aligned)


def _possible(scores: tuple[Score, ...], noise: float) -> list[Score]:
    nearest = scores[0]
    if nearest.distance <= SAME:
        return [score for score in scores if score.distance <= SAME]
    if "unaligned" in nearest.mistakes and nearest.distance > noise:
        cut = [score for score in scores if "unaligned" in score.mistakes]
        return [score for score in cut if score.distance <= 1.3 * nearest.distance]  # the box is known roughly
    return [score for score in scores if score.distance <= max(noise, 2 * nearest.distance)]


def _shared(possible: list[Score]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Gives the mistakes that all of them share, and those that only some have."""
    sets = [set(score.mistakes) for score in possible]
    certain, some = set.intersection(*sets), set.union(*sets)
    return tuple(certain), tuple(mistake for mistake in MISTAKES if mistake in some - certain)


def _name(mistakes: tuple[str, ...]) -> str:
    return " + ".join(mistakes) or "right"
