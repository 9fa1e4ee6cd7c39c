"""Finds out what a network must be fed, where nobody says: the contract by which it tells people apart best."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from ...faces.contract import InputContract
from ...faces.usual_contracts import USUAL, alike, distinct
from ..accuracy.separation import separation_of
from ..accuracy.verification import similarities
from .cuts import Cut
from .embedded import embed_under
from .networks import ProbedNetwork, Size
from .race import race, race_cuts
from .result import Outcome, ProbeResult, TriedContract, TriedCut, is_common
from .samples import ProbeSample, pixel_embeddings

BEYOND_PIXELS = 1.5  # times the separation by pixels that a trained network reaches at least


def probe_network(
    network: ProbedNetwork,
    cuts: Sequence[Cut],
    progress: Callable[[str], None] = lambda line: None,
    photos: bool = False,
    shows_eyes: bool = True,
) -> ProbeResult:
    """Tries the usual contracts on a sample of faces.

    A network tells people apart best by the contract that it was trained with: the separation of genuine pairs from
    impostors is compared pair by pair. Channel order, mean and scale first, at one size; then sizes, where the network
    takes several; then other ways to cut the faces.

    Args:
        network: See `open_network`.
        cuts: The faces, as they are usually cut first, and in other ways.
        progress: Told one line per round.
        photos: Whether they were cut out of photos, for the result.
        shows_eyes: Whether crops that were given have eyes where the usual template has them, for the result.

    Returns:
        The contract, how sure it is, and what else was tried.

    Raises:
        ValueError: The network cannot be opened, or embeds no face of any size.
    """
    if network.picture and network.own is not None:  # its description says all, whatever it is fed
        return ProbeResult(network.name, "stated", network.own, (), (), (), (), network.own, "nothing", None)
    sample = cuts[0].sample
    progress(str(sample))
    sizes = _fitting(network, sample)
    size = sample.crops.shape[1:3] if sample.crops.shape[1:3] in sizes else sizes[0]
    tried = race(network.opened, _contracts(network, size), sample, progress)
    pixels = _pixels(sample)
    last = [each for each in tried if each.behind is None and each.separation is not None]
    best = next((each for each in last if each.crops == len(sample.crops)), None)
    if best is None or best.separation is None or best.separation < BEYOND_PIXELS * pixels:
        unsure = ProbeResult(network.name, "unsure", None, (), (), tuple(tried), (), network.own, str(sample), pixels)
        return dataclasses.replace(unsure, photos=photos, shows_eyes=shows_eyes)
    at_sizes = _at_sizes(network, best.contract, sizes, sample, progress)
    if at_sizes and at_sizes[0].contract != best.contract:
        tried = [at_sizes[0], *tried]
        best = at_sizes[0]
    ties = [each for each in tried if each is not best and _ties(each, sample)]
    chosen = _likelier(best, ties)
    ties = [each for each in [best, *ties] if each is not chosen]
    outcome: Outcome = "tie" if ties else "found"
    tried_cuts: list[TriedCut] = []
    if len(cuts) > 1:
        progress(f"{len(cuts)} ways to cut the faces, by the best contract")
        tried_cuts = race_cuts(network.opened, chosen.contract, cuts)
    same = tuple(
        each
        for each in _usual(network, (chosen.contract.height, chosen.contract.width))
        if each != chosen.contract and alike(each, chosen.contract)
    )
    return ProbeResult(
        network.name,
        outcome,
        _cut_by(tried_cuts, chosen.contract),
        same,
        tuple(ties),
        tuple(tried),
        tuple(at_sizes),
        network.own,
        str(sample),
        pixels,
        tuple(tried_cuts),
        photos,
        shows_eyes,
    )


def _cut_by(cuts: Sequence[TriedCut], contract: InputContract) -> InputContract:
    return dataclasses.replace(contract, template=cuts[0].template) if cuts and cuts[0].template else contract


def _usual(network: ProbedNetwork, size: Size) -> list[InputContract]:
    ways = [each for each in USUAL if not network.prepares or each.name == "pixel"]
    gray = network.orders == ("gray",)
    ways = [each for each in ways if not gray or len(set(each.mean)) == 1]
    return [each.contract(order, *size) for each in ways for order in network.orders]


def _contracts(network: ProbedNetwork, size: Size) -> list[InputContract]:
    """Gives what to try at a size: what the network says of itself first, which stands for what is like it."""
    own = [] if network.own is None else [dataclasses.replace(network.own, height=size[0], width=size[1])]
    return distinct([*own, *_usual(network, size)])


def _fitting(network: ProbedNetwork, sample: ProbeSample) -> list[Size]:
    """Gives the sizes at which the network embeds a face to as few numbers as it does at any.

    A network without a pooling at its end gives more numbers for a larger face than for that it was made for.
    """
    if len(network.sizes) == 1:
        return list(network.sizes)
    contracts = [USUAL[0].contract(network.orders[0], *size) for size in network.sizes]
    raws = embed_under(network.opened, contracts, sample.crops[:1])
    lengths = {size: raw.shape[1] for size, raw in zip(network.sizes, raws, strict=True) if not isinstance(raw, str)}
    if not lengths:
        raise ValueError(next(raw for raw in raws if isinstance(raw, str)))
    return [size for size, length in lengths.items() if length == min(lengths.values())]


def _at_sizes(
    network: ProbedNetwork,
    best: InputContract,
    sizes: Sequence[Size],
    sample: ProbeSample,
    progress: Callable[[str], None],
) -> list[TriedContract]:
    if len(sizes) < 2:
        return []
    progress(f"sizes {', '.join(f'{height}x{width}' for height, width in sizes)}, by the best of them")
    contracts = [dataclasses.replace(best, height=height, width=width) for height, width in sizes]
    return race(network.opened, contracts, sample, progress)


def _ties(tried: TriedContract, sample: ProbeSample) -> bool:
    """Tells whether a contract was in the last round and may be the best."""
    return tried.crops == len(sample.crops) and tried.behind is not None and (tried.behind.low or 0.0) <= 0


def _likelier(best: TriedContract, ties: Sequence[TriedContract]) -> TriedContract:
    """Gives the best of those that cannot be told apart; one that networks are usually fed by, if there is one."""
    return next((each for each in [best, *ties] if is_common(each.contract)), best)


def _pixels(sample: ProbeSample) -> float:
    pairs = sample.among_first(len(sample.crops))
    similarity = similarities(pixel_embeddings(sample.crops), pairs.left, pairs.right)
    return separation_of(similarity, pairs.same).value
