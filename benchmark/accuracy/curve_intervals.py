"""The 95 % intervals of EER, AUC and of TAR and threshold at a FAR, in closed form, also where people recur."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from .intervals import Booleans, Estimate, Floats
from .roc import TarAtFar, auc, eer, tar_at_far
from .shares import share_of, share_with
from .units import Units

FEWEST_ACCEPTED = 10  # impostors that tell how far accepted ones depend on each other
TAIL = 20  # one in so many impostors makes the tail beyond the most similar one


def eer_with_interval(similarity: Floats, same: Booleans, units: Units) -> Estimate:
    """Gives the EER of (P,) similarities.

    At the threshold where FAR meets FRR, chance moves both: the EER by w times the change of FRR and 1 - w times that
    of FAR, w being the slope of FAR over the sum of both slopes. Slopes are measured over the thresholds among which
    the data cannot tell.

    Source: Bolle, Ratha and Pankanti, Error analysis of pattern recognition systems, CVIU 2004, sec. 3 (the problem);
    the derivative of an implicit function.
    """
    value, values = eer(similarity, same), np.sort(similarity)
    of_genuine, of_impostor = np.sort(similarity[same]), np.sort(similarity[~same])
    genuine, impostor = len(of_genuine), len(of_impostor)

    def rates(place: int) -> tuple[float, float]:
        """FAR and FRR where pairs as similar as `values[place]` are accepted."""
        rejected = [int(np.searchsorted(of, values[place])) for of in (of_impostor, of_genuine)]
        return 1 - rejected[0] / impostor, rejected[1] / genuine

    def crossing(gap: float) -> int:
        """The first place where FAR less FRR is no more than `gap`."""
        where = bisect_left(range(len(values)), True, key=lambda place: rates(place)[0] - rates(place)[1] <= gap)
        return min(where, len(values) - 1)

    meet = crossing(0.0)
    far, frr = rates(meet)
    accepted = similarity >= values[meet]
    rejected = np.where(same, ~accepted - frr, 0.0) / genuine
    admitted = np.where(same, 0.0, accepted - far) / impostor
    rate = max(value, 0.5 / min(genuine, impostor))
    apart = np.sqrt(max(units.variance(admitted - rejected), rate * (1 - rate) * (1 / genuine + 1 / impostor)))
    reach = units.quantile() * float(apart)
    first, last = min(crossing(reach), max(meet - 1, 0)), max(crossing(-reach), min(meet + 1, len(values) - 1))
    up, down = np.abs(np.subtract(rates(first), rates(last)))
    weight = float(up / (up + down)) if up + down else 0.5
    trials = 1 / (weight**2 / genuine + (1 - weight) ** 2 / impostor)
    fewest = min(units.of(same).count, units.of(~same).count, trials)
    variance = max(units.variance(weight * rejected + (1 - weight) * admitted), value * (1 - value) / trials)
    return share_with(value, variance, fewest, units.quantile())


def auc_with_interval(similarity: Floats, same: Booleans, units: Units) -> Estimate:
    """Gives the AUC of (P,) similarities.

    Source: DeLong, DeLong and Clarke-Pearson, Comparing the areas under correlated ROC curves, Biometrics 1988
    (placements); shared people by `Units.variance`.
    """
    value = auc(similarity, same)
    placements = np.empty(len(same))
    for kind, sign in ((same, 1.0), (~same, -1.0)):
        others, own = np.sort(similarity[~kind]), similarity[kind]
        below = (np.searchsorted(others, own) + np.searchsorted(others, own, side="right")) / (2 * len(others))
        placements[kind] = sign * (below - below.mean()) / len(own)
    fewest = min(units.of(same).count, units.of(~same).count)
    return share_with(value, units.variance(placements), fewest, units.quantile())


def tar_with_interval(similarity: Floats, same: Booleans, far: float, units: Units) -> TarAtFar:
    """Gives TAR and threshold at a FAR, see `roc.tar_at_far`, with the intervals of both.

    The impostors bound the threshold (`threshold_bounds`). The genuine pairs bound the TAR at a threshold, by Wilson's
    interval for what they are worth; what TAR becomes at the bounds of the threshold is added to it as the square root
    of the sum of squares.

    Source: Zou and Donner, Construction of confidence limits about effect measures, Statistics in Medicine 2008
    (MOVER).
    """
    point = tar_at_far(similarity, same, far)
    if point.tar.value is None or point.threshold.value is None:
        return point
    tar, threshold, genuine = point.tar.value, point.threshold.value, similarity[same]
    low, high = threshold_bounds(similarity[~same], far, units.of(~same))
    low, high = min(low, threshold), max(high, threshold)
    held = share_of(genuine >= threshold, units.of(same))
    assert held.low is not None and held.high is not None
    least, most = float(np.mean(genuine >= high)), float(np.mean(genuine >= low))
    interval = (
        max(0.0, tar - float(np.hypot(tar - held.low, tar - least))),
        min(1.0, tar + float(np.hypot(held.high - tar, most - tar))),
    )
    return TarAtFar(far, Estimate(tar, *interval), Estimate(threshold, low, high), point.measured_far)


def threshold_bounds(impostor: Floats, far: float, units: Units) -> tuple[float, float]:
    """Gives between which thresholds the true one of a FAR lies, with 95 % confidence, whatever the distribution.

    They are cosines of (n,) impostor pairs by rank: that of rank k has a true FAR of the distribution
    Beta(k, n - k + 1), n being what the pairs are worth; ranks between two pairs are joined by a line. Beyond the most
    similar impostor the tail is exponential with the mean excess of the most similar twentieth, which errs on the high
    side for what falls faster, as cosines do.

    Sources: Hutson, Calculating nonparametric confidence intervals for quantiles using fractional order statistics,
    Journal of Applied Statistics 1999; Breiman, Stone and Kooperberg, Robust confidence bounds for extreme upper
    quantiles, JSCS 1990 (exponential tail).
    """
    from scipy.optimize import brentq  # slow to import
    from scipy.special import betainc, ndtr

    falling = np.sort(impostor)[::-1]
    pairs, worth = len(falling), impostors_worth(impostor, far, units)
    tail = 1 - float(ndtr(units.quantile()))

    def rank(chance: float) -> float:
        """The rank whose true FAR is at most `far` with this chance."""
        least, most = 1e-12, worth
        if betainc(most, worth - most + 1, far) > chance:
            return most
        return float(brentq(lambda k: betainc(k, worth - k + 1, far) - chance, least, most))

    scale = (pairs + 1) / (worth + 1)
    return _at_rank(falling, rank(tail) * scale), _at_rank(falling, rank(1 - tail) * scale)


def impostors_worth(impostor: Floats, far: float, units: Units) -> float:
    """Gives how many independent impostor pairs would leave the FAR at a threshold as uncertain, at most n.

    Where fewer than ten are accepted at `far`, the threshold that accepts ten tells how far they depend.
    """
    return units.worth(accepted_near(impostor, far).astype(np.float64))


def accepted_near(impostor: Floats, far: float) -> Booleans:
    """Gives which of (n,) impostor pairs are accepted at a FAR, or the ten most similar where fewer are."""
    pairs = len(impostor)
    most = min(max(int(pairs * far * (1 + 1e-9)), FEWEST_ACCEPTED), max(pairs // 2, 1))
    return np.asarray(impostor >= np.partition(impostor, pairs - most)[pairs - most])


def tars_with_intervals(
    similarity: Floats, same: Booleans, fars: Sequence[float], units: Units
) -> dict[float, TarAtFar]:
    """Gives `tar_with_interval` for each FAR."""
    return {far: tar_with_interval(similarity, same, far, units) for far in fars}


def _at_rank(falling: Floats, rank: float) -> float:
    """Gives the similarity at a rank that need not be whole, 1 the most similar; beyond it, by the tail."""
    if rank >= 1:
        return float(np.interp(rank - 1, np.arange(len(falling)), falling))
    tail = min(max(FEWEST_ACCEPTED, len(falling) // TAIL), len(falling) - 1)
    excess = float(falling[:tail].mean() - falling[tail])
    beyond = float(falling[0]) + excess * float(np.log(1 / rank))
    return min(beyond, max(1.0, float(falling[0])))  # no cosine is larger
