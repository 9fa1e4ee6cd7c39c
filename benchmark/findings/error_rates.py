"""The rows of a verification (accuracy, EER, AUC, TAR and threshold at each FAR) and of an identification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...export.certificate import why_unfit
from ..accuracy.all_pairs import AllPairs
from ..accuracy.identification import FEWEST_PEOPLE, identify, search_of
from ..accuracy.intervals import Estimate
from ..accuracy.roc import TarAtFar, rate_name
from ..accuracy.verification import Verification
from ..measurement import Measurement, RowMaker

if TYPE_CHECKING:
    from ..subjects import VerifiedFile

PROTOCOL = "cosine; each fold judged by the threshold that is best on the other folds"


def verification_rows(
    verification: Verification,
    row: RowMaker,
    certified: bool = False,
    flip: bool = False,
    impostor: int | None = None,
) -> list[Measurement]:
    """Gives the rows of a verification.

    Args:
        verification: Of one file.
        row: Makes its rows.
        certified: The thresholds stand in the file itself.
        flip: Embeddings of mirror images were added.
        impostor: How many impostor pairs there are; of too few no threshold is given. None: every threshold is.
    """
    row = row.under(
        protocol=PROTOCOL,
        flip=flip,
        crops=verification.crops,
        pairs_sha256=verification.sha256,
        interval=f"closed form, {verification.units}",
    )
    pairs = verification.pairs
    rows = [
        row.estimate("verification_accuracy", verification.accuracy, pairs),
        row.value("verification_accuracy_fold_sd", verification.accuracy_spread, pairs),
        row.estimate("eer", verification.eer, pairs),
        row.estimate("auc", verification.auc, pairs),
    ]
    return rows + _rate_rows(verification.tar, row, certified, impostor, pairs)


def low_far_rows(found: AllPairs, row: RowMaker, certified: bool = False) -> list[Measurement]:
    """Gives the rows of the TARs and thresholds that every pair of the faces set, see `all_pairs`.

    Args:
        found: Of one file.
        row: Makes its rows.
        certified: The thresholds stand in the file itself.
    """
    row = row.under(
        protocol="cosine; every pair of the faces",
        genuine_pairs=found.genuine,
        impostor_pairs=found.impostor,
        people=found.people,
        sample_of_people=found.sample or None,
        interval="jackknife over twentieths of the people",
    )
    return _rate_rows(found.points, row, certified, found.impostor, found.pairs)


def _rate_rows(
    points: Mapping[float, TarAtFar], row: RowMaker, certified: bool, impostor: int | None, pairs: int
) -> list[Measurement]:
    where, rows = "in the file's own metadata" if certified else None, []
    for far, point in points.items():
        measured_far = {"measured_far": point.measured_far}
        unfit = "" if impostor is None or point.threshold.value is None else why_unfit(far, impostor)
        threshold = Estimate(None, reason=unfit) if unfit else point.threshold
        rows.append(row.estimate(f"tar_at_far_{rate_name(far)}", point.tar, pairs, **measured_far))
        rows.append(
            row.estimate(
                f"threshold_at_far_{rate_name(far)}",
                threshold,
                pairs,
                **measured_far,
                certified=None if unfit else where,
            )
        )
    return rows


def identification_rows(file: VerifiedFile, row: RowMaker) -> list[Measurement]:
    """Gives `rank1` and `tpir_at_fpir_...`; the reason where it is not known who is on the faces, or few people are."""
    identities = file.pairs.identities
    if (identities < 0).any():
        return [row.missing("rank1", "the pairs do not say who is on every image, so that nobody can be looked up")]
    search = search_of(identities)
    if len(search.gallery) < FEWEST_PEOPLE:
        few = f"{len(search.gallery)} people can be enrolled; 1:N wants at least {FEWEST_PEOPLE} who have two images"
        return [row.missing("rank1", few)]
    rates = identify(file.embeddings, identities, search)
    row = row.under(
        protocol="gallery: the first image of each person; probes: the others, and people who are not enrolled",
        enrolled=rates.people,
        mated_probes=rates.mated,
        non_mated_probes=rates.strangers,
        interval="closed form, the probes' people",
    )
    rows = [row.estimate("rank1", rates.rank1, rates.mated)]
    for fpir, at in rates.tpir.items():
        conditions = {"measured_fpir": at.measured_far, "threshold": at.threshold.value}
        rows.append(
            row.estimate(f"tpir_at_fpir_{rate_name(fpir)}", at.tar, rates.mated + rates.strangers, **conditions)
        )
    return rows
