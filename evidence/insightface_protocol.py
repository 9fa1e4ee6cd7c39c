"""InsightFace's verification protocol, written anew from its published description; imported by other scripts.

Ten folds in order: a threshold of the squared distance between unit vectors is chosen from a grid on nine folds and
judged on the tenth, and so is the true accept rate at a false accept rate. InsightFace's own code selects the nine
folds anew for each threshold; here they are selected once, which is in its favour when time is compared.
"""

from collections.abc import Iterator

import numpy as np

GRID = np.arange(0, 4, 0.01)
FINE_GRID = np.arange(0, 4, 0.001)


def folds(pairs: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The other nine folds and the tenth, as scikit-learn's KFold(10) cuts them: in order."""
    parts = np.array_split(np.arange(pairs), 10)
    for k in range(10):
        yield np.concatenate(parts[:k] + parts[k + 1 :]), parts[k]


def distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Squared distances of (P, D) unit vectors on the left and on the right, (P,)."""
    return np.square(left - right).sum(1)


def tenfold_accuracy(distance: np.ndarray, same: np.ndarray, grid: np.ndarray = GRID) -> np.ndarray:
    """The accuracy on each fold at the threshold that is best on the others; of equally good ones the lowest."""
    accuracies = []
    for train, test in folds(len(distance)):
        others, labels = distance[train], same[train]
        right = [_right(others < threshold, labels) for threshold in grid]
        best = grid[int(np.argmax(right))]
        accuracies.append(_right(distance[test] < best, same[test]) / len(test))
    return np.array(accuracies)


def tar_at_far(distance: np.ndarray, same: np.ndarray, far: float, grid: np.ndarray = FINE_GRID) -> tuple[float, float]:
    """Means over the folds: TAR and measured FAR, at the threshold interpolated to `far` on the others."""
    found = []
    for train, test in folds(len(distance)):
        others, labels = distance[train], same[train]
        impostors = np.sum(~labels)
        rates = [np.sum((others < threshold) & ~labels) / impostors for threshold in grid]
        threshold = np.interp(far, rates, grid) if max(rates) >= far else 0.0
        accepted, labels = distance[test] < threshold, same[test]
        found.append((np.sum(accepted & labels) / np.sum(labels), np.sum(accepted & ~labels) / np.sum(~labels)))
    tar, measured = np.mean(found, axis=0)
    return float(tar), float(measured)


def _right(accepted: np.ndarray, same: np.ndarray) -> int:
    true = np.sum(accepted & same)
    true_rejects = np.sum(~accepted & ~same)
    return int(true + true_rejects)
