"""One against many: who is it, and is it anybody that is known? Galleries made of the people in the pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...models.embedder import Embeddings, unit
from .intervals import Booleans, Estimate, Integers, resampling_units, share
from .resampling import resampled, with_intervals
from .roc import TarAtFar, rate_name, tar_at_far

FPIRS = (1e-1, 1e-2)
FEWEST_PEOPLE = 10  # enrolled; of fewer nothing is said
FEWEST_STRANGERS = 100  # probes of people who are not enrolled; of fewer FPIR 1e-2 is refused
NEVER = -2.0  # less similar than any two faces
CHUNK = 1024  # probes compared at a time


@dataclass(frozen=True, eq=False)
class Search:
    """Faces dealt into a gallery and what is looked up in it."""

    gallery: tuple[Integers, ...]  # the faces of each template
    enrolled: Integers  # (G,) whose template it is
    mated: Integers  # faces of people who are in the gallery, of other photos
    strangers: Integers  # faces of people who are not


@dataclass(frozen=True)
class IdentificationRates:
    """Shares between 0 and 1, each with its 95 % interval."""

    rank1: Estimate  # of mated probes: the most similar template is the right one; thresholds play no part
    tpir: Mapping[float, TarAtFar]  # by FPIR: of mated probes the right one is first, and above the threshold
    people: int  # enrolled
    mated: int
    strangers: int


def search_of(identities: Integers, images: int = 1) -> Search:
    """Deals faces, in their order, into templates of the first `images` of a person, mated and non-mated probes.

    Whoever has more than `images` faces is enrolled, and the rest are mated probes; all faces of the others are
    non-mated ones. Where those are fewer than 100 faces, every second person who could be enrolled joins them.

    Args:
        identities: (M,) who each face is.
        images: Of a template.

    >>> search = search_of(np.array([7, 7, 7, 8, 8, 9]))
    >>> search.enrolled.tolist(), search.mated.tolist(), search.strangers.tolist()
    ([7], [1, 2], [5, 3, 4])
    """
    order = np.argsort(identities, kind="stable")
    faces = np.split(order, np.flatnonzero(np.diff(identities[order])) + 1)
    known = [rows for rows in faces if len(rows) > images]
    strange = [rows for rows in faces if len(rows) <= images]
    if sum(map(len, strange)) < FEWEST_STRANGERS:
        known, strange = known[::2], strange + known[1::2]
    none = [np.zeros(0, np.int64)]
    return Search(
        gallery=tuple(rows[:images] for rows in known),
        enrolled=np.array([identities[rows[0]] for rows in known], dtype=np.int64),
        mated=np.concatenate([rows[images:] for rows in known] or none),
        strangers=np.concatenate(strange or none),
    )


def identify(embeddings: Embeddings, identities: Integers, search: Search, seed: int = 0) -> IdentificationRates:
    """Looks every probe up in the gallery.

    The lowest threshold whose false positive identification rate is at most FPIR stands, as for TAR at FAR: the
    share of non-mated probes that find anybody. The intervals draw the probes' people; the gallery stays.

    Args:
        embeddings: (M, D) of unit length.
        identities: (M,) who each face is.
        search: See `search_of`.
        seed: Of the resamples.

    Sources: Grother, Ngan and Hanaoka, FRVT part 2: Identification, NISTIR 8271, 2019, sec. 3; ISO/IEC 19795-1.
    """
    gallery = unit(np.stack([embeddings[rows].mean(0) for rows in search.gallery]))
    probes = np.concatenate([search.mated, search.strangers])
    mated = np.arange(len(probes)) < len(search.mated)
    best, first = _looked_up(gallery, search.enrolled, embeddings[probes], identities[probes])
    units = resampling_units(len(probes), (identities[probes], identities[probes]))
    right = first & mated
    found = np.where(mated & ~first, NEVER, best)
    with np.errstate(invalid="ignore"):  # a resample that holds no mated probe counts for none
        shares = [weights @ right / (weights @ mated) for weights in units.weights(seed)]
    points: dict[float, TarAtFar] = {}
    fpirs = [fpir for fpir in FPIRS if len(search.strangers) * fpir >= 1]
    again = resampled(found, mated, right, units, fpirs, seed) if fpirs else {}
    among = units.among(mated)
    for fpir in FPIRS:
        if fpir in fpirs:
            points[fpir] = with_intervals(tar_at_far(found, mated, fpir), again, among)
            continue
        wants = f"FPIR {rate_name(fpir)} wants at least {1 / fpir:,.0f} probes of people who are not enrolled"
        refused = Estimate(None, reason=f"{wants}; there are {len(search.strangers):,}")
        points[fpir] = TarAtFar(fpir, refused, refused)
    rank1 = share(float(right.sum() / mated.sum()), np.concatenate(shares), among)
    return IdentificationRates(rank1, points, len(gallery), len(search.mated), len(search.strangers))


def _looked_up(
    gallery: Embeddings, enrolled: Integers, probes: Embeddings, whose: Integers
) -> tuple[NDArray[np.float64], Booleans]:
    """Gives the similarity of each probe's best template and whether that is its own; a draw is a miss."""
    best, first = np.empty(len(probes)), np.zeros(len(probes), np.bool_)
    for start in range(0, len(probes), CHUNK):
        part = slice(start, start + CHUNK)
        similarity = probes[part] @ gallery.T
        own = whose[part, None] == enrolled
        others = np.where(own, NEVER, similarity).max(1)
        best[part] = similarity.max(1)
        first[part] = np.where(own, similarity, NEVER).max(1) > others
    return best, first
