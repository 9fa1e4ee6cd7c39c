"""The faces that contracts are tried on: pairs with labels, or faces and altered copies of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...faces.contract import Faces
from ...faces.pairs import Pairs
from ...faces.recutting import recut
from ...models.embedder import Embeddings, unit
from ..accuracy.intervals import Booleans, Integers
from ..accuracy.units import Units, independent_units
from ..accuracy.verification import people_of
from ..findings.disturbances import displaced

MOST_FACES = 300  # without labels; two crops of each are embedded
MOST_PAIRS = 400  # with labels, half of them genuine
FEWEST_FACES, FEWEST_PAIRS = 20, 20  # fewer of either kind tell contracts apart by luck only
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
    """Crops, and the pairs among them, so ordered that the first crops alone make pairs too."""

    crops: Faces = field(repr=False)  # (M, H, W, 3)
    left: Integers = field(repr=False)  # (P,)
    right: Integers = field(repr=False)
    same: Booleans = field(repr=False)
    people: tuple[Integers, Integers] | None = field(repr=False)  # on the left and right, if they are known
    labelled: bool  # whether a genuine pair is two photos of a person, or a crop and its altered copy

    def among_first(self, crops: int) -> Comparisons:
        """Gives the pairs of the first so many crops."""
        within = np.maximum(self.left, self.right) < crops
        people = None if self.people is None else (self.people[0][within], self.people[1][within])
        units = independent_units(int(within.sum()), people)
        return Comparisons(self.left[within], self.right[within], self.same[within], units)

    def __str__(self) -> str:
        """Says what was compared."""
        if self.labelled:
            return f"{len(self.same)} pairs, {int(self.same.sum())} of them genuine"
        faces = int(self.same.sum())
        return f"{faces} faces without labels, each against a mirrored and moved copy of itself and of the others"


def labelled_sample(pairs: Pairs, most: int = MOST_PAIRS, seed: int = 0) -> ProbeSample:
    """Draws up to `most` pairs, as many genuine as impostor ones.

    Raises:
        ValueError: There are fewer than 20 of either kind.
    """
    random = np.random.default_rng(seed)
    kinds = [random.permutation(np.flatnonzero(kind)) for kind in (pairs.same, ~pairs.same)]
    count = min(most // 2, *map(len, kinds))
    if count < FEWEST_PAIRS:
        genuine, impostor = map(len, kinds)
        raise ValueError(
            f"{genuine} genuine and {impostor} impostor pairs tell no contracts apart; {FEWEST_PAIRS} of each are the "
            "fewest that are tried on, some hundred do well"
        )
    chosen = np.stack([kind[:count] for kind in kinds], axis=1).ravel()  # one of each kind in turn
    used, places = np.unique(np.stack([pairs.left[chosen], pairs.right[chosen]]), return_inverse=True)
    left, right = places.reshape(2, -1)
    first = np.full(len(used), len(chosen))  # the pair in which a face first occurs
    np.minimum.at(first, left, np.arange(len(chosen)))
    np.minimum.at(first, right, np.arange(len(chosen)))
    order = np.argsort(first, kind="stable")
    place = np.empty(len(used), np.int64)
    place[order] = np.arange(len(used))
    people = people_of(pairs.identities, pairs)
    known = None if people is None else (people[0][chosen], people[1][chosen])
    return ProbeSample(pairs.faces[used[order]], place[left], place[right], pairs.same[chosen], known, labelled=True)


def unlabelled_sample(faces: Faces, seed: int = 0) -> ProbeSample:
    """Pairs each of (N, H, W, 3) crops with an altered copy of itself and of every other.

    The copy is the mirror image, shifted by 4 pixels of 112, turned by 8 degrees and 6 % larger or smaller, so that it
    cannot be found by its pixels. Were there two photos of a person among the crops, a few impostors would be genuine,
    under every contract alike.

    Raises:
        ValueError: There are fewer than 20 faces.
    """
    if len(faces) < FEWEST_FACES:
        raise ValueError(f"{len(faces)} faces tell no contracts apart; {FEWEST_FACES} are the fewest, 300 do well")
    copies = displaced(faces[:, :, ::-1], np.random.default_rng(seed), shift=4, turn=8, scale=0.06)
    crops = np.stack([faces, copies], axis=1).reshape(-1, *faces.shape[1:])  # a face, its copy, the next face, ...
    one, other = (index.ravel() for index in np.indices((len(faces), len(faces))))
    return ProbeSample(crops, 2 * one, 2 * other + 1, one == other, (one, other), labelled=False)


def pixel_embeddings(crops: Faces) -> Embeddings:
    """Embeds (M, H, W, 3) crops by their own pixels, grey, 16 a side: what any network must surpass."""
    small = recut(crops, PIXELS, PIXELS).astype(np.float32).mean(axis=3).reshape(len(crops), -1)
    return unit(small - small.mean(axis=1, keepdims=True))
