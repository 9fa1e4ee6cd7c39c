"""How often 95 % intervals contain the truth, in simulated data whose truth is known; imported by other scripts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from pocketface.benchmark.accuracy.intervals import wilson
from pocketface.benchmark.accuracy.paired import paired_differences
from pocketface.benchmark.accuracy.verification import tenfold_accuracy, verify_similarities
from pocketface.benchmark.measurement import Measurement
from pocketface.faces.pairs import deal_folds

# A genuine pair's similarity is normal about MEAN, an impostor pair's about 0, both of spread 1, whatever the design:
# so the EER is norm.cdf(-MEAN / 2), and the TAR at a FAR is norm.sf(norm.isf(FAR) - MEAN). A second file sees the same
# pairs a little worse.
MEAN, WORSE, FAR = 3.0, 2.9, 1e-2
ALIKE = 0.8  # correlation of what two files make of a pair
SHARED = 0.3  # of a pair's variance: that of its people, where they recur


@dataclass(frozen=True)
class Design:
    """Which pairs there are, and who is in them."""

    left: np.ndarray  # (P,) people
    right: np.ndarray
    people: int


def independent(random: np.random.Generator) -> Design:
    """1,000 pairs, nobody in two of them."""
    left = np.arange(1000)
    return Design(left, np.where(left % 2 == 0, left, left + 1000), 2000)


def groups(random: np.random.Generator) -> Design:
    """100 groups of 3 people, 5 genuine and 5 impostor pairs among them, drawn at random: 1,000 pairs."""
    first = np.repeat(np.arange(100) * 3, 10)
    left = random.integers(3, size=1000)
    other = (left + random.integers(1, 3, size=1000)) % 3
    return Design(first + left, first + np.where(np.arange(1000) % 2 == 0, left, other), 300)


def at_random(random: np.random.Generator) -> Design:
    """1,000 pairs of 670 people drawn at random, which connects most of them."""
    left = random.integers(670, size=1000)
    other = (left + random.integers(1, 670, size=1000)) % 670
    return Design(left, np.where(np.arange(1000) % 2 == 0, left, other), 670)


def all_with_all(random: np.random.Generator) -> Design:
    """30 people of 3 photos each, all compared with all: 90 genuine and 3,915 impostor pairs."""
    left, right = np.triu_indices(90, 1)
    return Design(left // 3, right // 3, 30)


DESIGNS: dict[str, tuple[Callable[[np.random.Generator], Design], bool, str]] = {
    "pairs independent": (independent, False, "pairs are resampled"),
    "people recur in groups": (groups, True, "groups of people are resampled"),
    "people recur at random": (at_random, True, "people are resampled"),
    "people recur, all with all": (all_with_all, True, "people are resampled"),
    "people recur in groups, ignored": (groups, False, "pairs are resampled as if they were independent"),
    "people recur, all with all, ignored": (all_with_all, False, "pairs are resampled as if they were independent"),
}


def coverage(sets: int, row: Callable[..., Measurement]) -> Iterator[Measurement]:
    """Gives the share of intervals that contain the truth, for each design and statistic."""
    for number, (name, (design, known, resampled)) in enumerate(DESIGNS.items()):
        outcomes = [simulated(design, known, np.random.default_rng((number, turn)), turn) for turn in range(sets)]
        print(f"simulated {sets} times: {name}", flush=True)
        expected = np.mean([accuracies for _, accuracies, _ in outcomes], axis=0)
        truths = {
            "accuracy": expected[0],
            "eer": norm.cdf(-MEAN / 2),
            "tar_at_far_1e-2": norm.sf(norm.isf(FAR) - MEAN),
            "accuracy_difference": expected[1] - expected[0],
            "tar_at_far_1e-2_difference": norm.sf(norm.isf(FAR) - WORSE) - norm.sf(norm.isf(FAR) - MEAN),
        }
        for metric, truth in truths.items():
            low, high = np.array([intervals[metric] for intervals, _, _ in outcomes]).T
            held = float(np.mean((low <= truth) & (truth <= high)))
            least, most = wilson(held, sets)
            conditions = {
                "nominal": 0.95,
                "design": (design.__doc__ or "").strip(),
                "interval": resampled,
                "pairs": outcomes[0][2],
                "truth": float(truth),
                "mean_width": float(np.mean(high - low)),
                "below": float(np.mean(truth < low)),
                "above": float(np.mean(truth > high)),
            }
            fields = dict(value=held, low=least, high=most, n=sets, conditions=conditions)
            yield row(model=f"simulation: {name}", metric=f"coverage_{metric}", **fields)


def simulated(
    design: Callable[[np.random.Generator], Design], known: bool, random: np.random.Generator, seed: int
) -> tuple[dict[str, tuple[float, float]], tuple[float, float], int]:
    """One data set: the intervals, what the chosen thresholds of both files are truly worth, and how many pairs."""
    pairs = design(random)
    same = pairs.left == pairs.right
    fold = deal_folds(same)
    people = (pairs.left, pairs.right) if known else None
    mine, other = scores(pairs, same, random)
    verification = verify_similarities(mine, same, fold, people, (FAR,), seed)
    worse = verify_similarities(other, same, fold, people, (FAR,), seed)
    estimates = {
        "accuracy": verification.accuracy,
        "eer": verification.eer,
        "tar_at_far_1e-2": verification.tar[FAR].tar,
        **{pair.metric: pair.difference for pair in paired_differences(worse, verification, same, people)},
    }
    intervals = {metric: (estimate.low, estimate.high) for metric, estimate in estimates.items()}
    worths = (worth(mine, same, fold, MEAN), worth(other, same, fold, WORSE))
    return intervals, worths, len(same)


def scores(pairs: Design, same: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What two files make of the pairs: normal, of spread 1, correlated; people who recur bring their own part along.

    How alike a person's own photos look is one part of him, how much he looks like others another.
    """
    drawn = np.sqrt(SHARED) * random.standard_normal((2, pairs.people))
    of_people = np.where(same, drawn[0][pairs.left], (drawn[1][pairs.left] + drawn[1][pairs.right]) / np.sqrt(2))
    both = random.standard_normal(len(same))
    own = np.sqrt(ALIKE) * both + np.sqrt(1 - ALIKE) * random.standard_normal((2, len(same)))
    noise = of_people + np.sqrt(1 - SHARED) * own
    return np.where(same, MEAN, 0) + noise[0], np.where(same, WORSE, 0) + noise[1]


def worth(similarity: np.ndarray, same: np.ndarray, fold: np.ndarray, mean: float) -> float:
    """How often the thresholds of the folds are right about new pairs, with the same share of genuine ones."""
    _, thresholds = tenfold_accuracy(similarity, same, fold)
    genuine = np.mean(same)
    return float(np.mean(genuine * norm.cdf(mean - thresholds) + (1 - genuine) * norm.cdf(thresholds)))
