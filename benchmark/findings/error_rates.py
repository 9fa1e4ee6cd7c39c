"""The rows of a verification (accuracy, EER, AUC, TAR and threshold at each FAR) and of an identification."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..accuracy.identification import FEWEST_PEOPLE, identify, search_of
from ..accuracy.roc import rate_name
from ..accuracy.verification import Verification
from ..measurement import Measurement, RowMaker

if TYPE_CHECKING:
    from ..subjects import VerifiedFile

PROTOCOL = "cosine; each fold judged by the threshold that is best on the other folds"


def verification_rows(
    verification: Verification, row: RowMaker, certified: bool = False, flip: bool = False
) -> list[Measurement]:
    """Gives the rows of a verification.

    Args:
        verification: Of one file.
        row: Makes its rows.
        certified: The thresholds stand in the file itself.
        flip: Embeddings of mirror images were added.
    """
    row = row.under(
        protocol=PROTOCOL,
        flip=flip,
        crops=verification.crops,
        pairs_sha256=verification.sha256,
        interval=f"bootstrap of {verification.resampled}",
    )
    pairs = verification.pairs
    rows = [
        row.estimate("verification_accuracy", verification.accuracy, pairs),
        row.value("verification_accuracy_fold_sd", verification.accuracy_spread, pairs),
        row.estimate("eer", verification.eer, pairs),
        row.estimate("auc", verification.auc, pairs),
    ]
    where = "in the file's own metadata" if certified else None
    for far, point in verification.tar.items():
        known = {"measured_far": point.measured_far}
        rows.append(row.estimate(f"tar_at_far_{rate_name(far)}", point.tar, pairs, **known))
        rows.append(
            row.estimate(f"threshold_at_far_{rate_name(far)}", point.threshold, pairs, **known, certified=where)
        )
    return rows


def identification_rows(file: VerifiedFile, row: RowMaker) -> list[Measurement]:
    """Gives `rank1` and `tpir_at_fpir_...` where the pairs say who everybody is and enough people have two faces."""
    identities = file.pairs.identities
    search = search_of(identities)
    if (identities < 0).any() or len(search.gallery) < FEWEST_PEOPLE:
        return []
    found = identify(file.embeddings, identities, search)
    row = row.under(
        protocol="gallery: the first image of each person; probes: the others, and people who are not enrolled",
        enrolled=found.people,
        mated_probes=found.mated,
        non_mated_probes=found.strangers,
        interval="bootstrap of the probes' people",
    )
    rows = [row.estimate("rank1", found.rank1, found.mated)]
    for fpir, at in found.tpir.items():
        conditions = {"measured_fpir": at.measured_far, "threshold": at.threshold.value}
        rows.append(
            row.estimate(f"tpir_at_fpir_{rate_name(fpir)}", at.tar, found.mated + found.strangers, **conditions)
        )
    return rows
