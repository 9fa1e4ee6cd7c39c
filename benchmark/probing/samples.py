"""The faces that contracts are tried on, and altered copies of them, with labels or without."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...faces.contract import Faces
from ...faces.pairs import Pairs
from ...faces.recutting import recut
from ...models.embedder import Embeddings, unit
from ..accuracy.intervals import Booleans, Integers
from ..accuracy.units import Units, independent_units
from ..findings.disturbances import displaced

MOST_FACES = 300  # two crops of each are embedded
FEWEST_FACES, FEWEST_PAIRS = 20, 20  # fewer tell contracts apart by luck only
PIXELS = 16  # a side, of the crops that pixels are compared at


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Pairs of crops, whether each is genuine, and what is independent among them."""

    left: Integers = field(repr=False)  # (P,) indices into crops
    right: Integers = field(repr=False)
    same: Booleans = field(repr=False)
    units: Units = field(repr=False)


@dataclass(frozen=True, eq=False)
class ProbeSample:
    """Faces, an altered copy of each, and who is on them; the first of them make pairs too.

    Each face is compared with its own copy and with that of every other. The copy is the mirror image, shifted by 4
    pixels of 112, turned by 8 degrees and 6 % larger or smaller, so that its pixels do not give it away. Labels add the
    copies of other photos of the same person to the genuine pairs. All other pairs are impostors, also where a list of
    pairs names a few: so many settle their mean and spread.
    """

    crops: Faces = field(repr=False)  # (2 N, H, W, 3): a face, its copy, the next face, ...
    people: Integers = field(repr=False)  # (N,)
    labelled: bool  # or everybody counts as somebody else

    def among_first(self, crops: int) -> Comparisons:
        """Gives the pairs of the first so many crops."""
        faces = crops // 2
        one, other = (index.ravel() for index in np.indices((faces, faces)))
        people = self.people[one], self.people[other]
        return Comparisons(2 * one, 2 * other + 1, people[0] == people[1], independent_units(len(one), people))

    def __str__(self) -> str:
        """Says what is compared."""
        faces, people = len(self.people), len(np.unique(self.people))
        who = f"{faces} faces of {people} people" if self.labelled else f"{faces} faces without labels"
        return f"{who}, each against a mirrored and moved copy of itself and of every other"


def labelled_sample(pairs: Pairs, most: int = MOST_FACES, seed: int = 0) -> ProbeSample:
    """Draws genuine pairs with up to `most` faces.

    Raises:
        ValueError: There are fewer than 20 genuine pairs.
    """
    genuine = np.random.default_rng(seed).permutation(np.flatnonzero(pairs.same))
    if len(genuine) < FEWEST_PAIRS:
        raise ValueError(
            f"{len(genuine)} genuine pairs tell no contracts apart; {FEWEST_PAIRS} are the fewest that are tried on, "
            "some hundred do well"
        )
    faces = np.stack([pairs.left[genuine], pairs.right[genuine]], axis=1).ravel()
    first = np.sort(np.unique(faces, return_index=True)[1])
    drawn = faces[first][:most]
    people = pairs.identities if (pairs.identities >= 0).all() else _linked(pairs)
    return sample_of(pairs.faces[drawn], people[drawn], labelled=True)


def unlabelled_sample(faces: Faces) -> ProbeSample:
    """Takes (N, H, W, 3) crops; were two of them of a person, they would be impostors under every contract alike.

    Raises:
        ValueError: There are fewer than 20 faces.
    """
    if len(faces) < FEWEST_FACES:
        raise ValueError(f"{len(faces)} faces tell no contracts apart; {FEWEST_FACES} are the fewest, 300 do well")
    return sample_of(faces, np.arange(len(faces)), labelled=False)


def sample_of(faces: Faces, people: Integers, labelled: bool) -> ProbeSample:
    """Gives (N, H, W, 3) faces, who is on them, and their altered copies."""
    copies = displaced(faces[:, :, ::-1], np.random.default_rng(0), shift=4, turn=8, scale=0.06)
    return ProbeSample(np.stack([faces, copies], axis=1).reshape(-1, *faces.shape[1:]), people, labelled)


def _linked(pairs: Pairs) -> Integers:
    """Numbers the people on the faces of pairs that do not say who they are: those whom genuine pairs link are one."""
    from scipy.sparse import coo_matrix  # slow to import
    from scipy.sparse.csgraph import connected_components

    count, genuine = len(pairs.faces), pairs.same
    ends = pairs.left[genuine], pairs.right[genuine]
    links = coo_matrix((np.ones(len(ends[0]), np.int8), ends), shape=(count, count))
    return np.asarray(connected_components(links, directed=False)[1], np.int64)


def pixel_embeddings(crops: Faces) -> Embeddings:
    """Embeds (M, H, W, 3) crops by their own pixels, grey, 16 a side: what any network must surpass."""
    small = recut(crops, PIXELS, PIXELS).astype(np.float32).mean(axis=3).reshape(len(crops), -1)
    return unit(small - small.mean(axis=1, keepdims=True))
