"""A sample of the pairs verified on an emulated core, and compared with this machine's runtime on the same faces.

To embed a face takes an emulator up to some seconds, so thousands of pairs are out of reach. A sample tells what is
asked here all the same: whether the phone's kernels compute what was verified on all pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...export.formats import FORMATS, uncertified_sha256
from ...export.session import raw_embeddings
from ...faces.pairs import Pairs
from ...files import written_whole
from ...models.embedder import unit
from ..accuracy.shares import accuracy_difference, share_of
from ..accuracy.units import independent_units
from ..accuracy.verification import similarities, tenfold_accuracy
from ..embedding import EmbeddingJob, kept_embeddings
from ..measurement import Measurement, RowMaker
from ..subjects import Candidate
from .emulated import EmulatedSession
from .emulator import Emulator

TOGETHER = 100  # faces, after which what was made is kept


def sample_pairs(same: NDArray[np.bool_], fold: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Chooses pairs: as many genuine as impostor, evenly spread over the folds and within each.

    Args:
        same: (P,) whether a pair is genuine.
        fold: (P,) the fold of each.
        count: Pairs to choose, even; there are fewer if one kind has less than half as many.

    Returns:
        Indices of pairs, ascending; always the same ones.

    >>> sample_pairs(np.array([True, True, True, True, False, False]), np.array([0, 0, 1, 1, 0, 1]), 4).tolist()
    [0, 2, 4, 5]
    """
    half = min(count // 2, int(same.sum()), int((~same).sum()))
    chosen = []
    for kind in (same, ~same):
        places = np.flatnonzero(kind)
        by_fold = places[np.argsort(fold[places], kind="stable")]
        chosen.append(by_fold[np.arange(half) * len(by_fold) // max(half, 1)])
    return np.sort(np.concatenate(chosen))


def sample_rows(
    candidate: Candidate,
    raw: NDArray[np.float32],
    core: str,
    pairs: Pairs,
    count: int,
    folder: Path,
    emulator: Emulator,
    row: RowMaker,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Measurement]:
    """Embeds the faces of a sample of the pairs on an emulated core, and compares.

    A pair of the sample is decided by the threshold that this machine's embeddings of all pairs outside its fold
    give. So nothing is chosen by the sample, and the two runtimes are judged alike.

    Args:
        candidate: A file of an emulated runtime.
        raw: (M, D) what it makes of the pairs' faces on this machine, of any length.
        core: A name of `CORES`.
        pairs: All of them.
        count: How many to embed.
        folder: The run folder; embeddings are kept in its `embeddings`.
        emulator: Decides, with file, core and sample, whether embeddings that lie there are still true.
        row: Makes a row of this file on this core.
        progress: Gets one line per hundred faces.

    Returns:
        `verification_accuracy` of the sample; `emulated_accuracy_difference` to this machine's decisions on the same
        pairs; `emulated_largest_difference` of any number of two embeddings of unit length, and
        `emulated_cosine_min`, of the sample's faces. Or one row with the reason.
    """
    chosen = sample_pairs(pairs.same, pairs.fold, count)
    faces = np.unique([pairs.left[chosen], pairs.right[chosen]])
    try:
        embeddings = _embedded(candidate, core, pairs, faces, folder, emulator, progress)
        if embeddings.shape != (len(faces), raw.shape[1]):
            raise ValueError(f"an emulated {core} gives {embeddings.shape} numbers for {len(faces)} faces")
    except ValueError as error:
        reason = str(error).replace(str(candidate.artifact.path.resolve()), candidate.artifact.path.name)
        return [row.missing("verification_accuracy", reason)]
    native, emulated = unit(raw), unit(embeddings)
    similarity = similarities(native, pairs.left, pairs.right)
    thresholds = tenfold_accuracy(similarity, pairs.same, pairs.fold)[1]
    threshold, same = thresholds[np.unique(pairs.fold, return_inverse=True)[1]][chosen], pairs.same[chosen]
    left, right = (np.searchsorted(faces, side[chosen]) for side in (pairs.left, pairs.right))
    correct = (similarities(emulated, left, right) >= threshold) == same
    natively = (similarity[chosen] >= threshold) == same

    people = (pairs.identities[pairs.left[chosen]], pairs.identities[pairs.right[chosen]])
    identities = people if min(side.min() for side in people) >= 0 else None
    units = independent_units(len(chosen), identities)
    accuracy = share_of(correct, units)
    difference = accuracy_difference(natively, correct, identities)
    cosine = _cosines(embeddings, raw[faces])
    row = row.under(sample_pairs=len(pairs))
    protocol = (
        f"cosine; {len(chosen)} of {len(pairs)} pairs, each judged by the threshold that is best for "
        "this machine's runtime on all pairs of the other folds"
    )
    verified = row.under(
        protocol=protocol, flip=False, pairs_sha256=pairs.sha256, interval=f"closed form, {units.name}"
    )
    against = row.under(against=f"{FORMATS[candidate.artifact.format].runtime} on this machine")
    largest = float(np.abs(emulated - native[faces]).max())
    flipped = int((correct != natively).sum())
    return [
        verified.estimate("verification_accuracy", accuracy, len(chosen)),
        against.estimate("emulated_accuracy_difference", difference, len(chosen), flipped=flipped),
        against.value("emulated_largest_difference", largest, len(faces)),
        against.value("emulated_cosine_min", float(cosine.min()), len(faces)),
    ]


def _cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Gives the cosine of each row: of equal rows 1 but for the rounding of float64, which float32 would hide."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    length = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(1) / np.maximum(length, 1e-300))


def _embedded(
    candidate: Candidate,
    core: str,
    pairs: Pairs,
    faces: NDArray[np.int64],
    folder: Path,
    emulator: Emulator,
    progress: Callable[[str], None],
) -> NDArray[np.float32]:
    """Gives (len(faces), D) embeddings of any length; those of an earlier run are read."""
    path, contract = candidate.artifact.path, candidate.artifact.card.contract
    decides = f"{uncertified_sha256(path)}|{contract}|{pairs.sha256}|{core}|{emulator.folder.name}"
    session: EmulatedSession | None = None
    parts = []
    for start in range(0, len(faces), TOGETHER):
        part = faces[start : start + TOGETHER]
        file = folder / "embeddings" / EmbeddingJob(path, contract, f"{decides}|{part.tolist()}").name
        embeddings = kept_embeddings(file, len(part), progress)
        if embeddings is None:
            session = session or EmulatedSession(path, core, FORMATS[candidate.artifact.format].runtime)
            embeddings = raw_embeddings(session, contract, pairs.faces[part], TOGETHER)
            with written_whole(file) as beside, beside.open("wb") as stream:
                np.save(stream, embeddings)
            progress(f"{path.name}: {start + len(part)} of {len(faces)} faces embedded on an emulated {core}")
        parts.append(embeddings)
    return np.concatenate(parts)
