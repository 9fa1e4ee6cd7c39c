"""The rows of a verification: accuracy, EER, AUC, and TAR and threshold at each FAR."""

from __future__ import annotations

from ..accuracy.roc import power
from ..accuracy.verification import Verification
from ..measurement import Measurement, RowMaker

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
        rows.append(row.estimate(f"tar_at_far_{power(far)}", point.tar, pairs, **known))
        rows.append(row.estimate(f"threshold_at_far_{power(far)}", point.threshold, pairs, **known, certified=where))
    return rows
