"""How often 95 % intervals contain the truth, in simulated data whose truth is known.

    python evidence/interval_coverage.py [--sets 1000]

Run it from the repository root; it takes about a quarter of an hour on one core. Writes
evidence/interval_coverage.jsonl: metrics `coverage_...`, the share of data sets whose interval contains the truth; low
and high are the Monte Carlo error.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from rows import write_rows
from scipy.stats import norm

from pocketface.benchmark.accuracy.intervals import wilson
from pocketface.benchmark.accuracy.paired import paired_differences
from pocketface.benchmark.accuracy.verification import tenfold_accuracy, verify_similarities
from pocketface.benchmark.machine import device_name
from pocketface.benchmark.measurement import Measurement
from pocketface.faces.pairs import deal_folds

# A genuine pair's similarity is normal about MEAN, an impostor pair's about 0, both of spread 1, whatever the design:
# so the EER is norm.cdf(-MEAN / 2), and the TAR at a FAR is norm.sf(norm.isf(FAR) - MEAN). A second file sees the same
# pairs a little worse.
MEAN, WORSE, FARS = 3.0, 2.9, (1e-1, 1e-2)
ALIKE = 0.8  # correlation of what two files make of a pair
SHARED = 0.3  # of a pair's variance: that of its people, where they recur
SMALL = 16  # all are divided by it, so that they are cosines
SIZES = (200, 600, 6000)  # pairs


ROW = partial(
    Measurement, artifact="", format="", precision="", runtime="numpy", device=device_name(), unit="1", valid=True
)


@dataclass(frozen=True)
class Design:
    """Which pairs there are, and who is in them."""

    left: np.ndarray  # (P,) people
    right: np.ndarray
    people: int


def independent(pairs: int, random: np.random.Generator) -> Design:
    """Nobody is in two pairs; half of the pairs are genuine."""
    left = np.arange(pairs)
    return Design(left, np.where(left % 2 == 0, left, left + pairs), 2 * pairs)


def groups(pairs: int, random: np.random.Generator) -> Design:
    """Groups of 3 people, 5 genuine and 5 impostor pairs among them, drawn at random."""
    first = np.repeat(np.arange(pairs // 10) * 3, 10)
    left = random.integers(3, size=pairs)
    other = (left + random.integers(1, 3, size=pairs)) % 3
    return Design(first + left, first + np.where(np.arange(pairs) % 2 == 0, left, other), 3 * (pairs // 10))


def all_with_all(pairs: int, random: np.random.Generator) -> Design:
    """People of 3 photos each, all compared with all: 7 people make 210 pairs, 12 make 630, 37 make 6,105."""
    people = {200: 7, 600: 12, 6000: 37}[pairs]
    left, right = np.triu_indices(3 * people, 1)
    return Design(left // 3, right // 3, people)


DESIGNS: dict[str, tuple[Callable[[int, np.random.Generator], Design], bool]] = {
    "pairs independent": (independent, True),
    "people recur in groups": (groups, True),
    "people recur, all with all": (all_with_all, True),
    "people recur in groups, ignored": (groups, False),
    "people recur, all with all, ignored": (all_with_all, False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=1000, help="simulated data sets of each kind")
    write_rows(coverage(parser.parse_args().sets), Path(__file__).with_suffix(".jsonl"))


def coverage(sets: int) -> Iterator[Measurement]:
    """Gives the share of intervals that contain the truth, by design, pairs, folds and statistic."""
    for number, ((name, (design, known)), pairs) in enumerate(product(DESIGNS.items(), SIZES)):
        for folds in (10, 2) if known else (10,):
            randoms = (np.random.default_rng((number, turn)) for turn in range(sets))
            outcomes = [simulated(design, known, pairs, folds, random) for random in randoms]
            print(f"simulated {sets} times: {name}, {pairs} pairs, {folds} folds", flush=True)
            expected = np.mean([accuracies for _, accuracies, _ in outcomes], axis=0)
            truths = {"accuracy": expected[0], "accuracy_difference": expected[1] - expected[0]}
            if folds == 10:  # the others know nothing of folds
                truths |= {"eer": norm.cdf(-MEAN / 2)}
                for far in FARS:
                    tars = [norm.sf(norm.isf(far) - mean) for mean in (MEAN, WORSE)]
                    tar = f"tar_at_far_{far:.0e}".replace("e-0", "e-")
                    truths |= {tar: tars[0], f"{tar}_difference": tars[1] - tars[0]}
            for metric, truth in truths.items():
                low, high = np.array([intervals[metric] for intervals, _, _ in outcomes]).T
                held = float(np.mean((low <= truth) & (truth <= high)))
                least, most = wilson(held, sets)
                conditions = {
                    "nominal": 0.95,
                    "design": (design.__doc__ or "").strip(),
                    "units": outcomes[0][2],
                    "folds": folds,
                    "pairs": pairs,
                    "truth": float(truth),
                    "mean_width": float(np.mean(high - low)),
                    "below": float(np.mean(truth < low)),
                    "above": float(np.mean(truth > high)),
                }
                fields = dict(value=held, low=least, high=most, n=sets, conditions=conditions)
                yield ROW(model=f"simulation: {name}", metric=f"coverage_{metric}", **fields)


def simulated(
    design: Callable[[int, np.random.Generator], Design],
    known: bool,
    count: int,
    folds: int,
    random: np.random.Generator,
) -> tuple[dict[str, tuple[float, float]], tuple[float, float], str]:
    """One data set: the intervals, what the chosen thresholds of both files are truly worth, and the units."""
    pairs = design(count, random)
    same = pairs.left == pairs.right
    fold = deal_folds(same) * folds // 10
    people = (pairs.left, pairs.right) if known else None
    mine, other = scores(pairs, same, random)
    verification = verify_similarities(mine, same, fold, people, FARS)
    worse = verify_similarities(other, same, fold, people, FARS)
    estimates = {
        "accuracy": verification.accuracy,
        "eer": verification.eer,
        **{f"tar_at_far_{far:.0e}".replace("e-0", "e-"): point.tar for far, point in verification.tar.items()},
        **{pair.metric: pair.difference for pair in paired_differences(worse, verification, same, people)},
    }
    intervals = {metric: (estimate.low, estimate.high) for metric, estimate in estimates.items()}
    worths = (worth(mine, same, fold, MEAN), worth(other, same, fold, WORSE))
    return intervals, worths, verification.units


def scores(pairs: Design, same: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What two files make of the pairs: normal, of spread 1, correlated; people who recur bring their own part along.

    How alike a person's own photos look is one part of him, how much he looks like others another.
    """
    drawn = np.sqrt(SHARED) * random.standard_normal((2, pairs.people))
    of_people = np.where(same, drawn[0][pairs.left], (drawn[1][pairs.left] + drawn[1][pairs.right]) / np.sqrt(2))
    both = random.standard_normal(len(same))
    own = np.sqrt(ALIKE) * both + np.sqrt(1 - ALIKE) * random.standard_normal((2, len(same)))
    noise = of_people + np.sqrt(1 - SHARED) * own
    return (np.where(same, MEAN, 0) + noise[0]) / SMALL, (np.where(same, WORSE, 0) + noise[1]) / SMALL


def worth(similarity: np.ndarray, same: np.ndarray, fold: np.ndarray, mean: float) -> float:
    """How often the thresholds of the folds are right about new pairs, with the same share of genuine ones."""
    _, thresholds = tenfold_accuracy(similarity, same, fold)
    genuine = np.mean(same)
    at = SMALL * thresholds
    return float(np.mean(genuine * norm.cdf(mean - at) + (1 - genuine) * norm.cdf(at)))


if __name__ == "__main__":
    main()
