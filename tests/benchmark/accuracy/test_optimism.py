"""What the choice of a threshold adds to the uncertainty of an accuracy: by hand, and against simulated truth."""

import numpy as np
import pytest

from pocketface.benchmark.accuracy.optimism import Optimism, optimism_of, variance_of_change
from pocketface.benchmark.accuracy.verification import tenfold_accuracy

SIMILARITY = np.array([0.9, 0.8, 0.6, 0.4, 0.3, 0.1])
SAME = np.array([True, True, False, True, False, False])


def test_the_gap_to_the_best_threshold_by_hand() -> None:
    # Accepted down to 0.8: five of six right, down to 0.4 as well; down to 0.9, 0.6 and 0.3 four are.
    found = optimism_of(SIMILARITY, SAME, 4 / 6)
    assert found.gap == pytest.approx(1 / 6)
    assert (found.high, found.low) == (0.9, 0.3)
    assert found.variance == pytest.approx(0.4 / 36)
    assert found.holds(SIMILARITY).tolist() == [True, True, True, True, True, False]


def test_folds_that_choose_the_best_threshold_have_no_optimism() -> None:
    found = optimism_of(SIMILARITY, SAME, 5 / 6)
    assert (found.gap, found.variance) == (0.0, 0.0)
    assert (found.high, found.low) == (0.8, 0.4)


def test_what_two_files_have_in_common_cancels() -> None:
    one = Optimism(0.02, 0.3, 0.5)
    similarity = np.linspace(0, 1, 101)
    assert variance_of_change(one, one, similarity, similarity) == pytest.approx(0.0)
    apart = variance_of_change(one, one, similarity, similarity[::-1] * 0.2)  # no pair lies between both
    assert apart == pytest.approx(2 * 0.4 * 0.02**2)


@pytest.mark.parametrize("pairs", [200, 1000])
def test_it_is_what_accuracies_by_folds_scatter_more_than_verdicts(pairs: int) -> None:
    random = np.random.default_rng(pairs)
    same = np.arange(pairs) % 2 == 0
    fold = np.arange(pairs) * 10 // pairs
    accuracies, told = [], []
    for _ in range(800):
        similarity = random.normal(np.where(same, 3.0, 0.0))
        accuracies.append(float(tenfold_accuracy(similarity, same, fold)[0].mean()))
        told.append(optimism_of(similarity, same, accuracies[-1]).variance)
    accuracy = np.array(accuracies)
    binomial = float(np.mean(accuracy * (1 - accuracy))) / pairs
    assert binomial < float(accuracy.var())
    assert binomial + float(np.mean(told)) == pytest.approx(float(accuracy.var()), rel=0.15)
