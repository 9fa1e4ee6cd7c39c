"""Contracts tried on more and more faces; those that are clearly worse drop out on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...faces.contract import InputContract
from ...models.embedder import unit
from ..accuracy.intervals import Floats
from ..accuracy.roc import auc
from ..accuracy.separation import separation_difference, separation_of
from ..accuracy.verification import similarities
from .cuts import Cut
from .embedded import Opened, embed_under
from .result import TriedContract, TriedCut
from .samples import Comparisons, ProbeSample

ROUNDS = (80, 240)  # crops, and then all
SURE = 0.95  # that no contract is said to be worse than the best by luck


@dataclass(eq=False)
class _Runner:
    contract: InputContract
    rows: list[NDArray[np.float32]] = field(default_factory=list)
    reason: str = ""

    def similarity(self, pairs: Comparisons) -> Floats:
        return similarities(unit(np.concatenate(self.rows)), pairs.left, pairs.right)


def race(
    network: Opened,
    contracts: Sequence[InputContract],
    sample: ProbeSample,
    progress: Callable[[str], None] = lambda line: None,
) -> list[TriedContract]:
    """Tries each contract on the sample's crops.

    After each round those go whose separation is below the best one's for sure; the intervals hold for all of them
    together (Bonferroni).

    Args:
        network: What embeds.
        contracts: To try.
        sample: The crops and pairs.
        progress: Told one line per round.

    Returns:
        One for each contract, the best first; each with what it reached in the last round that it was in.

    Raises:
        ValueError: The network cannot be opened.
    """
    running = [_Runner(contract) for contract in contracts]
    level = 1 - (1 - SURE) / max(1, len(contracts) - 1)
    out: list[TriedContract] = []
    start = 0
    ends = [*(end for end in ROUNDS if end < len(sample.crops)), len(sample.crops)]
    for end in ends:
        crops = sample.crops[start:end]
        for runner, raw in zip(running, embed_under(network, [one.contract for one in running], crops), strict=True):
            if isinstance(raw, str):
                runner.reason = raw
            else:
                runner.rows.append(raw)
        out += [TriedContract(one.contract, crops=start, reason=one.reason) for one in running if one.reason]
        judged = _judged([one for one in running if not one.reason], sample.among_first(end), end, level)
        kept = [each for each in judged if _may_be_best(each)]
        if end != ends[-1]:
            out += [each for each in judged if each not in kept]
            contracts_kept = [each.contract for each in kept]
            running = [one for one in running if one.contract in contracts_kept]
        else:
            out += judged
        start = end
        progress(f"{end} of {len(sample.crops)} crops: {len(kept)} of {len(contracts)} contracts may be right")
        if not kept:
            break
    return sorted(out, key=lambda each: (-each.crops, -_worth(each)))


def race_cuts(network: Opened, contract: InputContract, cuts: Sequence[Cut]) -> list[TriedCut]:
    """Tries ways to cut the same faces under one contract, on as many crops as the second round has.

    Args:
        network: What embeds.
        contract: That was found.
        cuts: The usual one first. It is the best where no other separates better for sure.

    Returns:
        One for each cut, the best first; by how much each separates less than it.

    Raises:
        ValueError: The network cannot be opened, or embeds no face.
    """
    level = 1 - (1 - SURE) / max(1, len(cuts) - 1)
    separations = []
    for cut in cuts:
        (raw,) = embed_under(network, [contract], cut.sample.crops[: ROUNDS[-1]])
        if isinstance(raw, str):
            raise ValueError(raw)
        pairs = cut.sample.among_first(len(raw))
        separations.append(separation_of(similarities(unit(raw), pairs.left, pairs.right), pairs.same))
    highest = max(separations, key=lambda each: each.value)
    lead = separation_difference(highest, separations[0], pairs.units, level)
    best = highest if (lead.low or 0.0) > 0 else separations[0]
    tried = [
        TriedCut(
            cut.name,
            cut.template,
            separation.value,
            None if separation is best else separation_difference(best, separation, pairs.units, level),
        )
        for cut, separation in zip(cuts, separations, strict=True)
    ]
    return sorted(tried, key=lambda each: (each.behind is not None, -each.separation))


def _judged(runners: Sequence[_Runner], pairs: Comparisons, crops: int, level: float) -> list[TriedContract]:
    similarity = [one.similarity(pairs) for one in runners]
    separations = [separation_of(values, pairs.same) for values in similarity]
    if not separations:
        return []
    best = max(separations, key=lambda each: each.value)
    return [
        TriedContract(
            one.contract,
            separation.value,
            auc(values, pairs.same),
            None if separation is best else separation_difference(best, separation, pairs.units, level),
            crops,
        )
        for one, values, separation in zip(runners, similarity, separations, strict=True)
    ]


def _may_be_best(tried: TriedContract) -> bool:
    return tried.behind is None or (tried.behind.low or 0.0) <= 0


def _worth(tried: TriedContract) -> float:
    return -np.inf if tried.separation is None else tried.separation
