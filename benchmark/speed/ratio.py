"""How many times faster one file is than another, with an interval, from rounds in which they took turns."""

from __future__ import annotations

import math
import statistics

from ..accuracy.intervals import Estimate
from ..measurement import Measurement, RowMaker
from .stopwatch import Latency

METHOD = "Student's t of the rounds' log ratios"


def latency_ratio(reference: Latency, other: Latency) -> Estimate:
    """Gives how many times faster the other file is: the reference's time by its own, 2 where it takes half as long.

    Every round gives one ratio of medians. Runs in one process resemble each other more than those of two processes
    (memory layout, clock), so the spread of rounds, not of runs, shows how certain the ratio is; both files are timed
    in each round, so what slows a round down cancels. The interval is Student's for the mean of the logarithms: with
    two rounds 12.7 standard errors to each side, with five 2.8. A bootstrap of so few rounds would be far too narrow.
    Only undisturbed rounds count; if there are none, all do, and a reason says not to trust the ratio. One round has
    no interval.

    Source: Kalibera & Jones, Rigorous Benchmarking in Reasonable Time, ISMM 2013, sec. 6 to 9 (repetition at the
    highest level, intervals of ratios); logarithms instead of Fieller's interval, because rounds are paired here.
    """
    if reference.reason or other.reason:
        return Estimate(None, reason=reference.reason or other.reason)
    clean = sorted({*reference.clean} & {*other.clean})
    reason = "" if clean else reference.disturbed or other.disturbed or "disturbed: no round left both files alone"
    rounds = clean or range(min(len(reference.rounds_ms), len(other.rounds_ms)))
    medians = [(statistics.median(reference.rounds_ms[i]), statistics.median(other.rounds_ms[i])) for i in rounds]
    logarithms = [math.log(before / after) for before, after in medians]
    centre = statistics.fmean(logarithms)
    if len(logarithms) < 2:
        return Estimate(math.exp(centre), reason=reason)
    from scipy.stats import t

    student = float(t.ppf(0.975, len(logarithms) - 1))
    reach = student * statistics.stdev(logarithms) / math.sqrt(len(logarithms))
    return Estimate(math.exp(centre), math.exp(centre - reach), math.exp(centre + reach), reason)


def ratio_row(reference: Latency, other: Latency, against: str, row: RowMaker) -> Measurement:
    """Gives the row `latency_ratio` of `other` against the file that rows call `against`."""
    ratio = latency_ratio(reference, other)
    rounds = len({*reference.clean} & {*other.clean})
    threads = other.conditions.get("threads")
    return row.estimate("latency_ratio", ratio, rounds, against=against, threads=threads, interval=METHOD)
