"""What a probe found: the contract that a network was trained with, how sure that is, and the options to give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...faces.contract import USUAL_TEMPLATE, InputContract
from ...faces.usual_contracts import preprocessing_of
from ..accuracy.intervals import Estimate

Outcome = Literal["found", "tie", "unsure", "stated"]
"""One contract is better than all others; several are as good; none is good; the file leaves nothing open."""

GIVE_PHOTOS = "give photos, with --faces PHOTOS --detector FILE"
NO_EYES = (
    "these pictures show no eyes where aligned crops have them, so they are photos or cut in another way: with "
    "--detector FILE aligned and unaligned crops of them are tried"
)

ORDERS = {"rgb": "RGB", "bgr": "BGR", "gray": "grey"}


@dataclass(frozen=True)
class TriedContract:
    """One contract, and how well the network told faces apart by it."""

    contract: InputContract
    separation: float | None = None  # of genuine pairs from impostors, see `Separation`
    auc: float | None = None
    behind: Estimate | None = None  # by how much the best separates more; None of the best itself
    crops: int = 0  # that were embedded, before it was clear that it is not the best
    reason: str = ""  # why it could not be tried

    def row(self) -> tuple[str, ...]:
        """Gives the cells of a table: contract, separation, AUC, by how much it is behind, crops."""
        behind = "" if self.behind is None else _interval(self.behind)
        separation = "" if self.separation is None else f"{self.separation:.2f}"
        share = "" if self.auc is None else f"{100 * self.auc:.2f} %"
        return contract_title(self.contract), separation, share, behind, str(self.crops)


@dataclass(frozen=True)
class TriedCut:
    """One way to cut the faces, and how well the network told them apart so."""

    name: str
    template: str  # by which `pocketface align` cuts so; "" where none does
    separation: float
    behind: Estimate | None  # by how much the best separates more; None of the best itself

    def row(self) -> tuple[str, str, str]:
        """Gives the cells of a table, see `TITLES_OF_CUTS`."""
        return self.name, f"{self.separation:.2f}", "" if self.behind is None else _interval(self.behind)


TITLES = ("contract", "separation", "AUC", "behind the best", "crops")
TITLES_OF_CUTS = ("crops", "separation", "behind the best")


@dataclass(frozen=True)
class ProbeResult:
    """What a probe of one network found."""

    network: str
    outcome: Outcome
    contract: InputContract | None  # the best, or the likelier of several; None where none is good
    alike: tuple[InputContract, ...]  # usual ones that give the network nearly the same numbers
    ties: tuple[TriedContract, ...]  # others that cannot be told from it
    tried: tuple[TriedContract, ...]  # all, the best first
    sizes: tuple[TriedContract, ...]  # other sizes by the best preprocessing
    own: InputContract | None  # what the file, the checkpoint or the zoo says
    sample: str  # what was compared
    pixels: float | None  # the separation by the crops' own pixels
    cuts: tuple[TriedCut, ...] = ()  # ways to cut the faces, the best first; none where no contract was found
    photos: bool = False  # whether the faces were cut out of photos here; or they were given as crops
    shows_eyes: bool = True  # whether crops that were given have eyes where the usual template has them

    @property
    def options(self) -> str:
        """The options that state the contract, for a command line; "" where there is none."""
        return "" if self.contract is None else contract_options(self.contract)

    def sentences(self) -> list[str]:
        """Says what was found, for people: a sentence each."""
        unfit = [each for each in self.tried if each.separation is None]
        left_out = [f"{len(unfit)} contracts do not fit its input; of the first: {unfit[0].reason}"] if unfit else []
        no_eyes = [] if self.shows_eyes else [NO_EYES]
        if self.contract is None:
            return [*left_out, _unsure(self), *no_eyes]
        said = [*left_out, _found(self)]
        if self.alike:
            same = " and ".join(contract_title(each) for each in self.alike)
            said.append(f"nearly the same numbers, and as good: {same}")
        if self.own is not None and self.outcome != "stated":
            said.append(_own(self, self.own))
        if self.outcome == "stated":
            return said
        return [*said, *no_eyes, *([_cut_sentence(self)] if self.cuts else []), f"options: {self.options}"]

    def to_dict(self) -> dict[str, Any]:
        """Gives plain values, for JSON."""
        return {
            "network": self.network,
            "outcome": self.outcome,
            "contract": None if self.contract is None else self.contract.to_dict(),
            "options": self.options,
            "alike": [each.to_dict() for each in self.alike],
            "ties": [each.contract.to_dict() for each in self.ties],
            "own": None if self.own is None else self.own.to_dict(),
            "sample": self.sample,
            "separation_of_pixels": self.pixels,
            "tried": [_plain(each) for each in self.tried],
            "sizes": [_plain(each) for each in self.sizes],
            "cuts": [
                {
                    "name": each.name,
                    "template": each.template,
                    "separation": each.separation,
                    "behind": _ends(each.behind),
                }
                for each in self.cuts
            ],
            "photos": self.photos,
            "shows_eyes": self.shows_eyes,
        }


def contract_title(contract: InputContract) -> str:
    """Names a contract: "(pixel - 127.5) / 128, BGR, 112x112".

    >>> contract_title(InputContract())
    '(pixel - 127.5) / 127.5, RGB, 112x112'
    """
    usual = preprocessing_of(contract)
    if usual is not None:
        name = usual.name
    else:
        mean, scale = (_numbers(three) for three in (contract.mean, contract.scale))
        name = f"(pixel - {mean}) * {scale}"
    return f"{name}, {ORDERS[contract.channel_order]}, {contract.height}x{contract.width}"


def contract_options(contract: InputContract) -> str:
    """Gives the options of a command line that state a contract.

    >>> contract_options(InputContract(112, 96, "bgr", (127.5,) * 3, (1 / 128,) * 3))
    '--mean 127.5 --scale 0.0078125 --channel-order bgr --size 112x96'
    """
    words = [f"--mean {_numbers(contract.mean)}", f"--scale {_numbers(contract.scale)}"]
    if contract.channel_order != "rgb":
        words.append(f"--channel-order {contract.channel_order}")
    if (contract.height, contract.width) != (112, 112):
        words.append(f"--size {contract.height}x{contract.width}")
    if contract.template != USUAL_TEMPLATE:
        words.append(f"--template {contract.template}")
    return " ".join(words)


def is_common(contract: InputContract) -> bool:
    """Tells whether published networks are fed so, as far as this is known."""
    usual = preprocessing_of(contract)
    return usual is None or usual.common


def _numbers(three: Sequence[float]) -> str:
    """One number where all are alike, else three with commas; as few digits as give the same contract."""
    return ",".join(f"{number:.9g}" for number in ([three[0]] if len(set(three)) == 1 else three))


def _found(result: ProbeResult) -> str:
    assert result.contract is not None
    title = contract_title(result.contract)
    if result.outcome == "stated":
        size = f"{result.contract.height}x{result.contract.width}"
        return f"{result.network} takes pictures of {size} pixels and prepares them itself; nothing is open"
    found = f"{result.network} was trained with {title}"
    if result.ties:
        tied = " or ".join(contract_title(each.contract) for each in result.ties)
        if any(is_common(each.contract) for each in result.ties):
            return (
                f"not sure: {result.network} separates these faces best with {title}, but no better beyond doubt than "
                f"with {tied}; more faces tell, 300 do well"
            )
        return f"{found}; these faces cannot tell it from {tied}, which is less likely"
    behind = [(each.behind.value, each) for each in result.tried if each.behind is not None]
    if not behind:
        return f"{found}: no other contract fits its input"
    nearest = min(behind, key=lambda pair: pair[0] or 0.0)[1]
    assert nearest.behind is not None
    next_best = contract_title(nearest.contract)
    return f"{found}: the next best, {next_best}, separates faces by {_interval(nearest.behind)} spreads less"


def _unsure(result: ProbeResult) -> str:
    known = [each for each in result.tried if each.separation is not None]
    if not known:
        return f"not sure: no usual contract fits the input of {result.network}"
    best = known[0]
    return (
        f"not sure: {result.network} tells these faces apart by no usual contract much better than their own pixels do "
        f"(separation {best.separation:.2f} at best, by {contract_title(best.contract)}; pixels {result.pixels:.2f}); "
        "is it trained, are these faces, and are they aligned?"
    )


def _own(result: ProbeResult, own: InputContract) -> str:
    if own in (result.contract, *result.alike):
        return "its own description says the same"
    fits = own in [each.contract for each in result.ties]
    return f"its own description says {contract_title(own)}, which {'fits too' if fits else 'these faces refute'}"


def _cut_sentence(result: ProbeResult) -> str:
    """Says by which crops the network tells people apart best, what follows, and what could not be tried."""
    best, *others = result.cuts
    nearest = min(others, key=lambda each: each.behind.value if each.behind and each.behind.value else 0.0)
    assert nearest.behind is not None
    lead = f"the next best, {nearest.name}, separates faces by {_interval(nearest.behind)} spreads less"
    if best.template == USUAL_TEMPLATE:
        if result.photos:
            return f"crops: aligned by the usual template ({lead})"
        return (
            f"crops: as given, not tighter ({lead}); whether it was trained on looser crops, or on faces that are not "
            f"aligned, aligned crops cannot tell: {GIVE_PHOTOS}"
        )
    said = f"crops: {best.name} ({lead})"
    if best.template:
        return f"{said}; cut them by pocketface align --template {best.template}"
    return f"{said}; it was not trained on aligned faces, and pocketface align cuts no such crops"


def _interval(behind: Estimate) -> str:
    """Gives "0.204 (0.103 to 0.305)"."""
    return f"{behind.value:.3f} ({behind.low:.3f} to {behind.high:.3f})"


def _ends(behind: Estimate | None) -> list[float | None] | None:
    return None if behind is None else [behind.value, behind.low, behind.high]


def _plain(tried: TriedContract) -> dict[str, Any]:
    return {
        "contract": tried.contract.to_dict(),
        "separation": tried.separation,
        "auc": tried.auc,
        "behind": _ends(tried.behind),
        "crops": tried.crops,
        "reason": tried.reason,
    }
