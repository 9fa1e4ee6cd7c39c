"""The threshold certificate: the similarity from which two faces count as one person, and how it was measured."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

FEWEST_IMPOSTORS = 30
"""A threshold is set by the impostor pairs that it accepts: with 30, its FAR is right within a third (95 %)."""

RENDERED = "synthetic"
"""What pairs of rendered faces are called; their thresholds are not those of people."""

UNSET = "not set: measure on photos of your users"


def why_unfit(far: float, impostor: int, pairs_name: str = "") -> str:
    """Says why no threshold can be had at `far` from so many impostor pairs; "" where one can.

    >>> why_unfit(1e-2, 3000), why_unfit(1e-3, 3000)
    ('', 'FAR 0.001 wants at least 30,000 impostor pairs, of which it accepts 30; there are 3,000')
    """
    if pairs_name == RENDERED:
        return f"FAR {far:g} was measured on rendered faces, not people"
    if impostor * far >= FEWEST_IMPOSTORS * (1 - 1e-9):
        return ""
    fewest = math.ceil(FEWEST_IMPOSTORS / far * (1 - 1e-9))
    return (
        f"FAR {far:g} wants at least {fewest:,} impostor pairs, of which it accepts {FEWEST_IMPOSTORS}; "
        f"there are {impostor:,}"
    )


@dataclass(frozen=True)
class Point:
    """A threshold for one false accept rate with 95 % intervals; where there are too few pairs for it, the reason."""

    far: float  # asked for, e.g. 1e-3
    threshold: float | None = None  # at or above it two faces count as the same person
    threshold_low: float | None = None
    threshold_high: float | None = None
    tar: float | None = None  # share of the genuine pairs that are accepted there
    tar_low: float | None = None
    tar_high: float | None = None
    measured_far: float | None = None  # at the threshold; at most `far`
    reason: str = ""

    def __post_init__(self) -> None:
        """Refuses values that no measurement can give."""
        shares = (self.tar, self.tar_low, self.tar_high, self.measured_far)
        cosines = (self.threshold, self.threshold_low, self.threshold_high)
        if not _within(0, self.far, 1) or self.far in (0, 1):
            raise ValueError(f"FAR {self.far!r} is no rate of false accepts; give one between 0 and 1")
        if not all(value is None or _within(0, value, 1) for value in shares):
            raise ValueError(f"a share at FAR {self.far:g} lies outside 0 to 1")
        if not all(value is None or _within(-1.001, value, 1.001) for value in cosines):
            raise ValueError(f"a threshold at FAR {self.far:g} is no cosine")
        if (self.threshold is None) != bool(self.reason):
            raise ValueError(f"at FAR {self.far:g} there must be either a threshold or a reason for none")

    def if_fit(self, impostor: int, pairs_name: str) -> Point:
        """Gives the point, or the reason in its place if its threshold must not be used; see `why_unfit`."""
        unfit = why_unfit(self.far, impostor, pairs_name)
        return Point(self.far, reason=unfit) if unfit else self


@dataclass(frozen=True)
class Certificate:
    """Thresholds of one file, which hold for no other, and what they were measured on."""

    points: tuple[Point, ...]  # by rising FAR
    pairs: int
    genuine: int
    impostor: int
    identities: int | None  # people in the pairs; None: not known
    pairs_name: str  # "pairs.txt", or RENDERED
    pairs_sha256: str  # of crops, pairs and verdicts
    runtime: str  # what embedded: "litert 2.3.0"
    interval: str = ""  # "95 %, closed form, 6000 pairs"
    similarity: Literal["cosine"] = "cosine"
    template_scale: float | None = None  # the component that 127 stands for in an int8 template; None: not known

    def __post_init__(self) -> None:
        """Refuses a similarity other than the cosine, which every reader of a certificate assumes."""
        if self.similarity != "cosine":
            raise ValueError(f"no similarity {self.similarity!r}; known: cosine")
        if not self.points or len(self.points) > 32:
            raise ValueError(f"a certificate has 1 to 32 thresholds, not {len(self.points)}")
        if self.template_scale is not None and not (_within(0, self.template_scale, 1) and self.template_scale):
            raise ValueError(
                f"the scale of int8 templates is {self.template_scale!r}; it lies above 0 and at most at 1"
            )

    def threshold(self, far: float) -> float:
        """Gives the cosine at or above which two faces are accepted.

        Raises:
            ValueError: The certificate has no threshold for that false accept rate.
        """
        point = next((point for point in self.points if math.isclose(point.far, far)), None)
        if point is None:
            raise ValueError(f"no threshold at FAR {far:g}; known: {', '.join(f'{p.far:g}' for p in self.points)}")
        if point.threshold is None:
            raise ValueError(f"no threshold at FAR {far:g}: {point.reason}")
        return point.threshold

    def sentence(self) -> str:
        """Gives the thresholds as a person reads them."""
        where = f"({self.pairs:,} pairs of {self.pairs_name}, by {self.runtime})"
        scale = self.template_scale
        stored = "" if scale is None else f" An int8 template holds round(127 * number / {scale:g}) of the embedding."
        if all(point.threshold is None for point in self.points):
            return f"The threshold is {UNSET}. {'; '.join(point.reason for point in self.points)} {where}.{stored}"
        parts = [
            f"{point.threshold:.4f} at FAR {point.far:g}" if point.threshold is not None else point.reason
            for point in self.points
        ]
        return (
            f"Two faces are one person where the cosine of their embeddings is at least the threshold: "
            f"{'; '.join(parts)} {where}.{stored}"
        )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Certificate:
        """Reads what `dataclasses.asdict` gave; a threshold that must not be used is read as the reason for none.

        Raises:
            ValueError: A key or a value that no certificate has.
        """
        try:
            points = tuple(Point(**point) for point in values["points"])
            certificate = cls(**{**values, "points": points})
            counts = (certificate.pairs, certificate.genuine, certificate.impostor, certificate.identities or 0)
            words = (certificate.pairs_name, certificate.pairs_sha256, certificate.runtime, certificate.interval)
            whole = all(isinstance(count, int) and count >= 0 for count in counts)
            if not whole or not all(isinstance(word, str) for word in words):
                raise TypeError("a count or a name is of another kind")
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"the threshold certificate cannot be read: {error}") from error
        points = tuple(point.if_fit(certificate.impostor, certificate.pairs_name) for point in points)
        return dataclasses.replace(certificate, points=points)

    def to_dict(self) -> dict[str, Any]:
        """Gives plain values, as they are written into files."""
        return dataclasses.asdict(self)


def _within(least: float, value: Any, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
