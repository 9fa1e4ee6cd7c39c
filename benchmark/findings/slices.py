"""Accuracy by slice: on dark, blurred or flat pairs, and on the groups of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...faces.attributes import Attribute, read_attributes
from ...faces.pairs import Pairs
from ...faces.quality import measure
from ..accuracy.intervals import Booleans, Floats, Integers
from ..accuracy.shares import change_of, share_of
from ..accuracy.units import Units, independent_units
from ..accuracy.verification import people_of
from ..measurement import Measurement, RowMaker

if TYPE_CHECKING:
    from ..subjects import VerifiedFile

FEWEST = 100  # pairs in a slice; fewer say nothing
MOST_PAIRS = 200_000  # that are cut; of more, so many are drawn
LEVEL = 0.95
FAR = 1e-3  # the operating point whose errors are told per slice
THIRDS: Mapping[str, tuple[str, str, str]] = {  # names of rising thirds, by measure
    "brightness": ("darkest third", "middle third", "brightest third"),
    "contrast": ("flattest third", "middle third", "third with most contrast"),
    "sharpness": ("most blurred third", "middle third", "sharpest third"),
}


@dataclass(frozen=True, eq=False)
class Slice:
    """Some of the pairs, and what they have in common."""

    name: str  # "brightness: darkest third"
    pairs: Integers = field(repr=False)  # (n,) which
    units: Units = field(repr=False)  # of these


@dataclass(frozen=True, eq=False)
class Slices:
    """All slices with 100 pairs or more, and the columns of the table that give none."""

    found: tuple[Slice, ...]
    empty: tuple[str, ...]


def slice_rows(file: VerifiedFile, row: RowMaker) -> list[Measurement]:
    """Gives accuracy per slice, and how much more often than the source a file is right there, pair by pair.

    Each pair keeps the verdict that it has among all pairs: no threshold is chosen for a slice, as no app could. A
    slice is called damaged where the interval of the difference lies below 0 even at the level that Bonferroni's rule
    asks of so many slices: of files without any loss one in twenty or fewer then has a slice called damaged. Thresholds
    are held as they were found; the luck in finding them is in no slice's interval.

    Source: Dunn, Multiple Comparisons Among Means, JASA 1961 (Bonferroni's rule).
    """
    slices = slices_of(file.pairs, file.recipe.attributes)
    rows = []
    for part in slices.found:
        interval = f"closed form, {part.units.count} independent units"
        of_part = row.under(part=part.name, thresholds="of all pairs", interval=interval, **_balance(file, part))
        right = file.verification.correct[part.pairs]
        rows.append(of_part.estimate("slice_accuracy", share_of(right, part.units), len(right)))
        if file.source is None:
            continue
        before = file.source.verification.correct[part.pairs]
        strict = change_of(before, right, part.units, 1 - (1 - LEVEL) / len(slices.found))
        told = {
            "to": file.source.model,
            "slices": len(slices.found),
            "adjusted": [strict.low, strict.high],
            "damaged": strict.high is not None and strict.high < 0,
        }
        change = change_of(before, right, part.units)
        rows.append(of_part.estimate("slice_accuracy_difference", change, len(right), **told))
    for column in slices.empty:
        reason = f"no group of {column!r} has both faces of {FEWEST} pairs"
        rows.append(row.missing("slice_accuracy", reason, part=column))
    return rows


@lru_cache(maxsize=1)  # every file of a run is asked about the same pairs
def slices_of(pairs: Pairs, attributes: Path | None = None) -> Slices:
    """Cuts `pairs` in slices: thirds by each measure of a crop, and the groups of each column of a table.

    By a measure a pair counts as its worse face: the darker, flatter, more blurred one. By a column it is in a group
    if both faces are, and "mixed" if they are in two. Of more than 200,000 pairs, about as many are drawn.

    Args:
        pairs: What to cut.
        attributes: The table, see `read_attributes`.

    Raises:
        ValueError: As `read_attributes`.
    """
    units = independent_units(len(pairs), people_of(pairs.identities, pairs))
    columns = [] if attributes is None else read_attributes(attributes, pairs.names)
    cut: list[tuple[str, Booleans]] = []
    for name, values in measure(pairs.faces).items():
        cut += _thirds(name, np.minimum(values[pairs.left], values[pairs.right]))
    empty = []
    for column in columns:
        groups = list(_groups(column, pairs))
        cut += groups
        if all(chosen.sum() < FEWEST for _, chosen in groups):
            empty.append(column.name)
    drawn = np.random.default_rng(0).random(len(pairs)) * len(pairs) < MOST_PAIRS
    cut = [(name, chosen & drawn) for name, chosen in cut]
    found = (Slice(name, np.flatnonzero(chosen), units.of(chosen)) for name, chosen in cut if chosen.sum() >= FEWEST)
    return Slices(tuple(found), tuple(empty))


def _thirds(name: str, worse: Floats) -> Iterator[tuple[str, Booleans]]:
    """Cuts by rising value; equal values stay together."""
    low, high = np.quantile(worse, (1 / 3, 2 / 3))
    third = (worse >= low).astype(int) + (worse >= high)
    for number, called in enumerate(THIRDS[name]):
        yield f"{name}: {called}", third == number


def _groups(column: Attribute, pairs: Pairs) -> Iterator[tuple[str, Booleans]]:
    left, right = column.group[pairs.left], column.group[pairs.right]
    for number, called in enumerate(column.groups):
        yield f"{column.name}: {called}", (left == number) & (right == number)
    yield f"{column.name}: mixed", (left != right) & (left >= 0) & (right >= 0)


def _balance(file: VerifiedFile, part: Slice) -> dict[str, Any]:
    """Gives how many pairs are genuine, and the errors at the threshold that all pairs set for FAR 1e-3."""
    same = file.pairs.same[part.pairs]
    genuine, impostors = int(same.sum()), int((~same).sum())
    told: dict[str, Any] = {"genuine": genuine, "impostors": impostors}
    point = file.verification.tar.get(FAR)
    if point is None or point.threshold.value is None:
        return told
    accepted = file.verification.similarity[part.pairs] >= point.threshold.value
    if genuine >= FEWEST:
        told["frr_at_far_1e-3"] = float((~accepted[same]).mean())
    if impostors * FAR >= 1:
        told["far_at_far_1e-3"] = float(accepted[~same].mean())
    return told
