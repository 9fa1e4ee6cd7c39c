"""What embeddings of faces without labels tell of two files: neighbours, steadiness under jitter, equal thresholds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...models.embedder import Embeddings
from .intervals import Estimate

NEIGHBOURS = 10
FEWEST_ACCEPTED = 100  # pairs; fewer set no threshold
GROUPS = 10  # of faces, one left out at a time
STUDENT = 2.262  # 97.5 % of Student's t with 9 degrees of freedom lie below


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
class TransportedThreshold:
    """A threshold for another file."""

    threshold: Estimate
    accepted: int  # pairs that the source accepts at its own
    pairs: int = field(default=0)  # that were looked at


def transported_threshold(source: Embeddings, embeddings: Embeddings, threshold: float) -> TransportedThreshold:
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
        return TransportedThreshold(Estimate(None, reason=reason), count, len(before))
    value = _largest(after, count)
    least = _largest(after, min(2 * count, len(after)))  # what lies below decides nothing, whoever is left out
    near = np.flatnonzero(accepted | (after >= least))
    one, other = left[near] % GROUPS, right[near] % GROUPS
    without = []
    for group in range(GROUPS):
        kept = near[(one != group) & (other != group)]
        without.append(_largest(after[kept], max(1, int(accepted[kept].sum()))))
    reach = STUDENT * float(np.sqrt((GROUPS - 1) * np.var(without)))
    return TransportedThreshold(Estimate(value, value - reach, value + reach), count, len(before))


def _largest(values: NDArray[np.floating[Any]], count: int) -> float:
    return float(np.partition(values, len(values) - count)[len(values) - count])


def _nearest(embeddings: Embeddings, neighbours: int) -> NDArray[np.int64]:
    similarity = np.asarray(embeddings @ embeddings.T)
    np.fill_diagonal(similarity, -np.inf)
    return np.argpartition(similarity, -neighbours, axis=1)[:, -neighbours:]
