"""The threshold certificate of a file, made from its verification and written into its metadata."""

from __future__ import annotations

from ...export.artifact import Artifact
from ...export.certificate import Certificate, Point
from ...export.formats import FORMATS, read_card, write_card
from ...faces.pairs import Pairs
from ..accuracy.all_pairs import AllPairs
from ..accuracy.roc import TarAtFar
from ..accuracy.verification import Verification


def certificate_of(
    verification: Verification,
    pairs: Pairs,
    name: str,
    runtime: str,
    every: AllPairs | None = None,
    template_scale: float | None = None,
) -> Certificate:
    """Gives the thresholds that `verification` found, and what they were found on.

    Args:
        verification: Of one file's embeddings.
        pairs: What it was verified on.
        name: Of the pairs, without a folder: "pairs.txt", or `RENDERED`.
        runtime: What embedded, and its version.
        every: What every pair of the faces says of low FARs, which then stands for what `pairs` say.
        template_scale: Of the embeddings, for int8 templates.
    """
    impostor, genuine = int((~pairs.same).sum()), int(pairs.same.sum())
    points = {far: _point(point).if_fit(impostor, name) for far, point in verification.tar.items()}
    if every is not None:
        impostor, genuine = every.impostor, every.genuine
        points |= {far: _point(point).if_fit(impostor, name) for far, point in every.points.items()}
    all_known = bool((pairs.identities >= 0).all())
    return Certificate(
        points=tuple(points[far] for far in sorted(points)),
        pairs=genuine + impostor,
        genuine=genuine,
        impostor=impostor,
        identities=len(set(pairs.identities.tolist())) if all_known else None,
        pairs_name=name,
        pairs_sha256=verification.sha256,
        runtime=runtime,
        interval=f"95 %, closed form, {verification.units}",
        template_scale=template_scale,
    )


def certify(artifact: Artifact, certificate: Certificate) -> bool:
    """Writes `certificate` into the file.

    Returns:
        Whether thresholds stand in the file now: not where its format or its maker left no card to write them on, nor
        where the certificate has reasons only.
    """
    card = read_card(artifact.path) if FORMATS[artifact.format].write_card else None
    if card is None:
        return False
    write_card(artifact.path, card.but(certificate=certificate))
    return any(point.threshold is not None for point in certificate.points)


def _point(found: TarAtFar) -> Point:
    if found.threshold.value is None:
        return Point(found.far, reason=found.threshold.reason)
    threshold, tar = found.threshold, found.tar
    return Point(
        found.far, threshold.value, threshold.low, threshold.high, tar.value, tar.low, tar.high, found.measured_far
    )
