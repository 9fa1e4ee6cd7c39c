"""Identification, one against many: rank 1 and TPIR at FPIR, with galleries made of the people in the pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...models.embedder import Embeddings, unit
from .curve_intervals import tar_with_interval
from .intervals import Booleans, Estimate, Integers
from .roc import TarAtFar, rate_name
from .shares import share_of
from .units import independent_units

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
    enrollable = [rows for rows in faces if len(rows) > images]
    strange = [rows for rows in faces if len(rows) <= images]
    if sum(map(len, strange)) < FEWEST_STRANGERS:
        enrollable, strange = enrollable[::2], strange + enrollable[1::2]
    none = [np.zeros(0, np.int64)]
    return Search(
        gallery=tuple(rows[:images] for rows in enrollable),
        enrolled=np.array([identities[rows[0]] for rows in enrollable], dtype=np.int64),
        mated=np.concatenate([rows[images:] for rows in enrollable] or none),
        strangers=np.concatenate(strange or none),
    )


def identify(embeddings: Embeddings, identities: Integers, search: Search) -> IdentificationRates:
    """Looks every probe up in the gallery.

    The lowest threshold whose false positive identification rate is at most FPIR stands, as for TAR at FAR: the
    share of non-mated probes that find anybody. In the intervals the probes'
    people are independent; the gallery is taken as given.

    Args:
        embeddings: (M, D) of unit length.
        identities: (M,) who each face is.
        search: See `search_of`.

    Sources: Grother, Ngan and Hanaoka, FRVT part 2: Identification, NISTIR 8271, 2019, sec. 3; ISO/IEC 19795-1.
    """
    gallery = unit(np.stack([embeddings[rows].mean(0) for rows in search.gallery]))
    probes = np.concatenate([search.mated, search.strangers])
    mated = np.arange(len(probes)) < len(search.mated)
    best, first = _looked_up(gallery, search.enrolled, embeddings[probes], identities[probes])
    units = independent_units(len(probes), (identities[probes], identities[probes]))
    right = first & mated
    similarity = np.where(mated & ~first, NEVER, best)
    points: dict[float, TarAtFar] = {}
    for fpir in FPIRS:
        if len(search.strangers) * fpir >= 1:
            points[fpir] = tar_with_interval(similarity, mated, fpir, units)
            continue
        wants = f"FPIR {rate_name(fpir)} wants at least {1 / fpir:,.0f} probes of people who are not enrolled"
        refused = Estimate(None, reason=f"{wants}; there are {len(search.strangers):,}")
        points[fpir] = TarAtFar(fpir, refused, refused)
    rank1 = share_of(right[mated], units.of(mated))
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
