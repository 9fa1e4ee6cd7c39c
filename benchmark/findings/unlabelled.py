"""What can be said of a file on faces of whom nobody said who they are: it is held against the source."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...faces.contract import InputContract
from ...faces.folders import read_folder
from ...models.embedder import Embeddings, unit
from ..accuracy.intervals import Estimate
from ..embedding import embed_all
from ..measurement import NAME, Measurement, RowMaker, write_measurements
from ..recipe import BenchmarkRecipe
from ..size import size_rows
from ..subjects import Seen, embedding_job, entries_in, row_maker
from ..timing import latencies
from .disturbances import jittered

NEIGHBOURS = 10
MOST_FACES = 1500  # looked at; their million pairs carry a FAR of 1e-4
FEWEST_ACCEPTED = 100  # pairs; fewer set no threshold
FAR = 1e-3
GROUPS = 10  # of faces, one left out at a time
STUDENT = 2.262  # 97.5 % of Student's t with 9 degrees of freedom lie below


def unlabelled_rows(seen: Seen, row: RowMaker) -> list[Measurement]:
    """Gives what a run can tell without its labels, but for the source's threshold: neighbours, transported threshold.

    Where pairs are labelled, `threshold_at_far_1e-3` is the truth that the transported threshold can be judged by.
    """
    if seen.source is None:
        return []
    chosen = _drawn(len(seen.embeddings))
    source, embeddings = seen.source.embeddings[chosen], seen.embeddings[chosen]
    point = seen.source.verification.tar.get(FAR)
    if point is None or point.threshold.value is None:
        known: float | str = "the source has no threshold at FAR 1e-3" if point is None else point.threshold.reason
    else:
        known = point.threshold.value
    row = row.under(to=seen.source.model)
    return [_overlap_row(source, embeddings, row), _transported_row(source, embeddings, known, row)]


def compare_unlabelled(
    paths: Iterable[Path],
    faces: Path,
    recipe: BenchmarkRecipe,
    folder: Path,
    progress: Callable[[str], None] = lambda line: None,
    threshold: float | None = None,
    contract: InputContract | None = None,
    factory: str | None = None,
) -> list[Measurement]:
    """Measures files on a folder of faces without labels; the first file is the source that others are held against.

    Args:
        paths: Files, checkpoints, or folders that hold some.
        faces: Folder of crops; who is on them is not asked. 1,500 of them are drawn where there are more.
        recipe: Of the latencies.
        folder: Where `measurements.json` goes.
        progress: Told one line per file.
        threshold: What the source is used with; None: what its own certificate says for FAR 1e-3, if it has one.
        contract: What to feed files that do not say.
        factory: What built a foreign checkpoint.

    Raises:
        ValueError: No faces or files, or files that want different inputs.
    """
    entries = entries_in(paths, contract, factory)
    wanted = entries[0].artifact.card.contract
    labelled = read_folder(faces, wanted.height, wanted.width)
    chosen = _drawn(len(labelled))
    crops = labelled.faces[chosen]
    crops = np.concatenate([crops, jittered(crops)])
    jobs = [embedding_job(entry, f"unlabelled {labelled.sha256}") for entry in entries]
    embedded = embed_all(jobs, crops, folder / "embeddings", progress)
    source = embedded[0]
    if isinstance(source, str):
        raise ValueError(f"nothing to hold the files against: {source}")
    known = _known(entries[0].artifact.card.certificate, threshold)
    model = entries[0].artifact.card.model
    rows: list[Measurement] = []
    for number, (entry, raw) in enumerate(zip(entries, embedded, strict=True)):
        row = row_maker(entry.artifact, folder)
        rows += size_rows(entry.artifact.path, row)
        rows += [row.value(metric, value) for metric, value in entry.costs]
        if isinstance(raw, str):
            rows.append(row.missing("jitter_consistency", raw))
            continue
        rows += _compared(unit(source), unit(raw), known, model, row, itself=number == 0)
    rows += latencies(entries, recipe, folder, progress)
    write_measurements(rows, folder / NAME)
    return rows


def neighbour_overlap(source: Embeddings, embeddings: Embeddings, neighbours: int = NEIGHBOURS) -> float:
    """Gives the share of each face's nearest faces by `source` (M, D) that are nearest by `embeddings` (M, E) too.

    1: who looks alike looks alike as before; chance gives `neighbours / (M - 1)`. It needs neither labels nor
    embeddings of one length, and sees what a cosine to the source does not: a file that turns all embeddings alike
    loses nothing.

    Raises:
        ValueError: There are no more faces than neighbours.
    """
    if len(source) <= neighbours or len(source) != len(embeddings):
        raise ValueError(f"{neighbours} neighbours want more faces than {len(source)}, and the same from both")
    near, now = _nearest(source, neighbours), _nearest(embeddings, neighbours)
    return float((near[:, :, None] == now[:, None, :]).any(axis=2).mean())


def jitter_consistency(embeddings: Embeddings, jittered: Embeddings) -> float:
    """Gives the mean cosine between (M, D) faces and the same faces cut a little differently, 1 at best.

    It is to be held against the source's: a file that embeds all faces alike has 1.
    """
    return float(np.einsum("md,md->m", embeddings, jittered, dtype=np.float64).mean())


@dataclass(frozen=True)
class Transported:
    """A threshold for another file."""

    threshold: Estimate
    accepted: int  # pairs that the source accepts at its own
    pairs: int = field(default=0)  # that were looked at


def transported_threshold(source: Embeddings, embeddings: Embeddings, threshold: float) -> Transported:
    """Gives the threshold at which `embeddings` (M, E) accept as many pairs as `source` (M, D) does at `threshold`.

    All pairs of the faces count, nearly all of which show two people in a folder of many. It assumes that both files
    accept as many genuine pairs: where genuine ones are many among the accepted (a folder of few people, a FAR far
    below 1e-3) and the file finds fewer of them than the source, the threshold comes out too low, its FAR too high.
    The interval tells how much it depends on the faces that were drawn (one tenth of them left out at a time), not
    whether the assumption holds.

    Source: equipercentile equating, Kolen and Brennan, Test Equating, Scaling, and Linking, 2014, ch. 2; Shao and Wu,
    A General Theory for Jackknife Variance Estimation, Annals of Statistics 1989 (interval).
    """
    left, right = np.triu_indices(len(source), 1)
    before, after = (np.asarray(of @ of.T)[left, right] for of in (source, embeddings))
    accepted = before >= threshold
    count = int(accepted.sum())
    if count < FEWEST_ACCEPTED:
        reason = f"the source accepts {count} of {len(before):,} pairs; {FEWEST_ACCEPTED} set a threshold"
        return Transported(Estimate(None, reason=reason), count, len(before))
    value = _largest(after, count)
    least = _largest(after, min(2 * count, len(after)))  # what lies below decides nothing, whoever is left out
    near = np.flatnonzero(accepted | (after >= least))
    one, other = left[near] % GROUPS, right[near] % GROUPS
    without = []
    for group in range(GROUPS):
        kept = near[(one != group) & (other != group)]
        without.append(_largest(after[kept], max(1, int(accepted[kept].sum()))))
    reach = STUDENT * float(np.sqrt((GROUPS - 1) * np.var(without)))
    return Transported(Estimate(value, value - reach, value + reach), count, len(before))


def _largest(values: NDArray[np.floating[Any]], count: int) -> float:
    return float(np.partition(values, len(values) - count)[len(values) - count])


def _nearest(embeddings: Embeddings, neighbours: int) -> NDArray[np.int64]:
    similarity = np.asarray(embeddings @ embeddings.T)
    np.fill_diagonal(similarity, -np.inf)
    return np.argpartition(similarity, -neighbours, axis=1)[:, -neighbours:]


def _drawn(faces: int) -> NDArray[np.int64]:
    if faces <= MOST_FACES:
        return np.arange(faces)
    return np.sort(np.random.default_rng(0).choice(faces, MOST_FACES, replace=False))


def _known(certificate: Any, threshold: float | None) -> float | str:
    """Gives the source's threshold, or why there is none."""
    if threshold is not None:
        return threshold
    if certificate is None:
        return "the source has no certificate of its threshold; give the one it is used with"
    try:
        return float(certificate.threshold(FAR))
    except ValueError as error:
        return str(error)


def _compared(
    source: Embeddings, embeddings: Embeddings, known: float | str, model: str, row: RowMaker, itself: bool
) -> list[Measurement]:
    (before, before_jittered), (faces, again) = np.split(source, 2), np.split(embeddings, 2)
    consistency = jitter_consistency(faces, again)
    row, of_source = row.under(to=model), jitter_consistency(before, before_jittered)
    rows = [row.value("jitter_consistency", consistency, len(faces), source=of_source)]
    if itself:
        return rows
    if before.shape == faces.shape:
        cosine = np.einsum("md,md->m", before, faces, dtype=np.float64)
        drift = {"mean": cosine.mean(), "min": cosine.min(), "p01": np.quantile(cosine, 0.01)}
        rows += [row.value(f"embedding_cosine_{name}", float(value), len(cosine)) for name, value in drift.items()]
    else:
        reason = f"{model} gives {before.shape[1]} numbers per face, this file {faces.shape[1]}"
        rows.append(row.missing("embedding_cosine_mean", reason))
    return [*rows, _overlap_row(before, faces, row), _transported_row(before, faces, known, row)]


def _overlap_row(source: Embeddings, embeddings: Embeddings, row: RowMaker) -> Measurement:
    if len(source) > NEIGHBOURS:
        overlap = Estimate(neighbour_overlap(source, embeddings))
    else:
        overlap = Estimate(None, reason=f"{len(source)} faces have no {NEIGHBOURS} neighbours")
    return row.estimate(f"neighbour_overlap_{NEIGHBOURS}", overlap, len(source))


def _transported_row(source: Embeddings, embeddings: Embeddings, known: float | str, row: RowMaker) -> Measurement:
    metric, row = "transported_threshold_1e-3", row.under(faces=len(source))
    if isinstance(known, str):
        return row.missing(metric, known)
    found = transported_threshold(source, embeddings, known)
    conditions = {"from": known, "accepted": found.accepted, "interval": "jackknife over tenths of the faces"}
    return row.estimate(metric, found.threshold, found.pairs, **conditions)
