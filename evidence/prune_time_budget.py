"""Pruned to a latency, or to the MACs that give the same latency: which keeps more accuracy? On LFW.

    python evidence/prune_time_budget.py --faces FOLDER --weights FOLDER [--out runs/prune-time-budget]

Run it from the repository root; it takes about half an hour on two idle cores and resumes after a kill. The folders
are described in examples/lfw_relu6.toml. Writes evidence/prune_time_budget.jsonl.

First the table of layer costs is checked: how well does it predict the latency of whole pruned networks (metrics
`predicted_ms`, `fastest_ms`, `prediction_error`)? Then a published MobileFaceNet is cut to each of `SHARES` of its
latency in LiteRT, and to the MACs at which LiteRT measures the same latency, with scores divided by MACs or, as is
usual for that budget, half by parameters. All recover for `EPOCHS` and are verified before and after. The last rows
of a share compare the budget of time with each of the other two, pair by pair and face by face.
"""

import argparse
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from rows import write_rows
from torch import Tensor

from pocketface.benchmark.accuracy.intervals import Estimate
from pocketface.benchmark.accuracy.shares import accuracy_difference
from pocketface.benchmark.accuracy.verification import Verification, verify
from pocketface.benchmark.findings.error_rates import verification_rows
from pocketface.benchmark.machine import device_name
from pocketface.benchmark.measurement import Measurement, RowMaker
from pocketface.benchmark.speed.layer_measuring import layer_costs, tflite_of
from pocketface.benchmark.speed.meters import stopwatch_meter
from pocketface.inputs import open_faces, open_pairs, open_source
from pocketface.models.checkpoint import load_checkpoint, save_checkpoint
from pocketface.models.embedder import Embedder, Embeddings
from pocketface.prune.channels.groups import Group, cut_channels, find_groups
from pocketface.prune.channels.selection import cost_of, select
from pocketface.prune.channels.sizes import Sizes, size_of
from pocketface.prune.criteria.importance import importance
from pocketface.prune.pruner import checked_floors, cuttable_groups, prune
from pocketface.prune.recipe import Budget, PruneRecipe
from pocketface.prune.training.recovery import lay_out
from pocketface.run_recipe import Roots, RunRecipe, read_recipe

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "examples" / "lfw_relu6.toml"
SHARES = (0.75, 0.55)  # of the unpruned network's latency
EPOCHS = 2.0
CHECKS: tuple[tuple[str, Budget, float], ...] = (  # criterion, budget, share left: cuts that the table should predict
    ("l1", "parameters", 0.7),
    ("l1", "macs", 0.5),
    ("random", "macs", 0.7),
    ("random", "macs", 0.4),
    ("random", "milliseconds", 0.7),
    ("gauss-newton", "parameters", 0.5),
    ("gauss-newton", "milliseconds", 0.5),
)
ALIKE = 0.01  # latencies that differ by less are the same
TRIES = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/prune-time-budget"))
    options = parser.parse_args()
    roots = Roots(EXAMPLE.parent, options.faces, options.weights)
    bench = Bench(roots.resolve(read_recipe(EXAMPLE)), options.out)
    rows = bench.predictions()
    for share in SHARES:
        rows += bench.compared(share)
    write_rows(rows, HERE / "prune_time_budget.jsonl")


Verified = tuple[Verification, np.ndarray]
"""The verification, and the cosine of each face to that of the unpruned network."""


class Bench:
    """The source, its faces, and what its layers cost."""

    def __init__(self, recipe: RunRecipe, out: Path) -> None:
        self.out = out
        self.source = open_source(recipe)
        self.train = open_faces(recipe.train, self.source.contract)
        self.pairs = open_pairs(recipe.pairs, recipe.images, self.source.contract)
        self.table = layer_costs(self.source, stopwatch_meter())
        self.whole_ms = size_of(self.source, self.table).measured
        self._unpruned: Embeddings | None = None

    @cache  # noqa: B019, one bench is made
    def scores(self, criterion: str) -> tuple[dict[str, int], list[Group], dict[str, Tensor]]:
        """Gives floors, groups and scores as `prune` has them at its first cut."""
        recipe = self.recipe("macs", 1e12, criterion)
        found = find_groups(self.source.backbone, self.source.example())
        floors = checked_floors(self.source, found, recipe, None, None)
        groups = cuttable_groups(self.source, floors)
        return floors, groups, importance(criterion, self.source, groups, self.train, recipe.images, recipe.seed)

    def predictions(self) -> list[Measurement]:
        """Compares predicted with measured latencies of whole networks, all measured in turns."""
        nets = {"unpruned": self.source}
        for criterion, by, share in CHECKS:
            nets[f"{criterion}, {by} {share}"] = Scored(self, self.recipe(by, 1.0, criterion)).without(share)
        rows = []
        for (name, net), fastest in zip(nets.items(), fastest_of(list(nets.values())), strict=True):
            size = size_of(net, self.table)
            print(f"{name}: {size.measured:.3f} ms predicted, {fastest:.3f} measured", flush=True)
            about = {"cut": name, "parameters": size.parameters, "macs": size.macs, "threads": 1}
            rows += [
                self.row("predicted_ms", size.measured, "ms", about),
                self.row("fastest_ms", fastest, "ms", about),
                self.row("prediction_error", size.measured / fastest - 1, "1", about),
            ]
        return rows

    def compared(self, share: float) -> list[Measurement]:
        """Prunes by time and by MACs to one latency, and says how much accuracy each keeps."""
        by_time = self.recipe("milliseconds", share * self.whole_ms)
        timed = Scored(self, by_time).without(share)
        recipes = {"milliseconds": by_time}
        for cost in ("macs", "balanced"):
            scored = Scored(self, self.recipe("macs", 1.0).model_copy(update={"cost": cost}))
            target = share_of_same_latency(timed, scored, share * self.whole_ms) * scored.sizes.before.macs
            recipes[f"macs, cost {cost}"] = scored.recipe.model_copy(update={"target": target})
        rows = []
        for recovered in (False, True):
            nets, epochs = {}, {"epochs": EPOCHS if recovered else 0.0}
            for budget, recipe in recipes.items():
                name = f"{share} of {budget}{', recovered' if recovered else ''}".replace(", ", "-").replace(" ", "-")
                nets[budget] = self.made(name, recipe.model_copy(update=epochs))
            verified = {budget: self.verified(net) for budget, net in nets.items()}
            for (budget, net), fastest in zip(nets.items(), fastest_of(list(nets.values())), strict=True):
                about = self.about(net, budget, share, recovered) | {"fastest_ms": round(fastest, 4)}
                verification, cosines = verified[budget]
                row = RowMaker(self.source.name, "", "pytorch", "fp32", "torch", device_name()).under(**about)
                rows += verification_rows(verification, row)
                rows.append(self.row("embedding_cosine_mean", float(cosines.mean()), "1", about))
            for budget in list(recipes)[1:]:
                about = {"share": share, "recovered": recovered, "of": "milliseconds", "to": budget}
                rows += self.differences(verified["milliseconds"], verified[budget], about)
        return rows

    def recipe(self, by: Budget, target: float, criterion: str = "gauss-newton") -> PruneRecipe:
        """Gives a recipe of one cut."""
        return PruneRecipe.model_validate(dict(by=by, target=target, criterion=criterion, steps=1, epochs=EPOCHS))

    def made(self, name: str, recipe: PruneRecipe) -> Embedder:
        """Prunes, or loads what an earlier try pruned."""
        folder, part = self.out / name, self.out / f"{name}.part"
        if not (folder / "embedder.json").is_file():
            print(name, flush=True)
            save_checkpoint(prune(self.source, self.train, recipe, say, part, self.table), folder)
            shutil.rmtree(part, ignore_errors=True)
        return load_checkpoint(folder, self.source.architecture)

    def verified(self, net: Embedder) -> Verified:
        """Verifies on LFW, and gives the cosine of each face to that of the unpruned network."""
        if self._unpruned is None:
            self._unpruned = self.source.embed(self.pairs.faces, batch=16)
        lay_out(net, torch.channels_last)
        embeddings = net.embed(self.pairs.faces, batch=16)
        return verify(embeddings, self.pairs, self.pairs.identities), (embeddings * self._unpruned).sum(1)

    def about(self, net: Embedder, budget: str, share: float, recovered: bool) -> dict[str, object]:
        size = size_of(net, self.table)
        return {
            "budget": budget,
            "share": share,
            "recovered": recovered,
            "epochs": net.ancestry[-1]["recipe"]["epochs"],
            "parameters": size.parameters,
            "macs": size.macs,
            "predicted_ms": round(size.measured, 4),
        }

    def differences(self, by_time: Verified, by_macs: Verified, about: dict[str, object]) -> list[Measurement]:
        """Compares the network pruned by time with one pruned by MACs."""
        (of_time, cosines_of_time), (of_macs, cosines_of_macs) = by_time, by_macs
        identities = self.pairs.identities
        known = (identities[self.pairs.left], identities[self.pairs.right]) if identities.min() >= 0 else None
        nearer = cosines_of_time - cosines_of_macs
        reach = 1.96 * float(nearer.std(ddof=1)) / len(nearer) ** 0.5
        mean = float(nearer.mean())
        found = {
            "accuracy_difference": accuracy_difference(of_macs.correct, of_time.correct, known),
            "embedding_cosine_difference": Estimate(mean, mean - reach, mean + reach),
        }
        rows = []
        for metric, estimate in found.items():
            says = conclusion(estimate)
            span = f"{estimate.value:+.4f} [{estimate.low:+.4f}, {estimate.high:+.4f}]"
            print(f"{about}: {metric} {span}: {says}", flush=True)
            bounds = dict(low=estimate.low, high=estimate.high)
            rows.append(self.row(metric, estimate.value, "1", about | {"says": says}, **bounds))
        return rows

    def row(
        self, metric: str, value: float | None, unit: str, about: Mapping[str, object], **others: object
    ) -> Measurement:
        conditions = {**about, **others.pop("conditions", {})}
        runtime = ("tflite", "fp32", "litert") if metric.endswith("_ms") else ("pytorch", "fp32", "torch")
        name, device = self.source.name, device_name()
        return Measurement(name, "", *runtime, device, metric, value, unit, conditions=conditions, **others)


class Scored:
    """The source with its channels scored as a recipe says: cut to any target without scoring again."""

    def __init__(self, bench: Bench, recipe: PruneRecipe) -> None:
        self.recipe, self.source = recipe, bench.source
        self.floors, self.groups, self.scores = bench.scores(recipe.criterion)
        self.sizes = Sizes(bench.source, self.groups, bench.table)

    def gone(self, share: float) -> dict[str, Tensor]:
        """Selects channels so that `share` of the budget is left."""
        by, target = self.recipe.by, share * self.sizes.before.of(self.recipe.by)
        settings = dict(by=by, target=target, floors=self.floors, cost=cost_of(self.recipe))
        return select(self.groups, self.scores, self.sizes, **settings, round_to=self.recipe.round_to)

    def without(self, share: float) -> Embedder:
        """Gives the network with `share` of the budget left; batch norms are as they were."""
        smaller = self.source.clone()
        cut_channels(smaller.backbone, self.groups, self.gone(share))
        return smaller

    def predicted_ms(self, share: float) -> float:
        gone = self.gone(share)
        return self.sizes.without({name: len(channels) for name, channels in gone.items()}).measured

    def share_for(self, milliseconds: float) -> float:
        """Gives the largest share of the budget that is predicted to take no longer."""
        low, high = 0.3, 1.0
        for _ in range(20):
            middle = (low + high) / 2
            low, high = (middle, high) if self.predicted_ms(middle) <= milliseconds else (low, middle)
        return low


def share_of_same_latency(timed: Embedder, scored: Scored, goal: float) -> float:
    """Gives the share of the budget to leave so that LiteRT measures the latency of `timed`.

    Args:
        timed: Pruned by time.
        scored: To be pruned by another budget.
        goal: The latency of `timed` in ms, as the table predicts it.
    """
    tried: dict[float, float] = {}
    for _ in range(TRIES):
        share = scored.share_for(goal)
        wanted, found = fastest_of([timed, scored.without(share)])
        print(f"by time {wanted:.3f} ms, with {share:.3f} of the MACs {found:.3f} ms", flush=True)
        tried[share] = abs(found / wanted - 1)
        if tried[share] < ALIKE:
            break
        goal *= wanted / found
    return min(tried, key=lambda share: tried[share])


def fastest_of(nets: list[Embedder]) -> list[float]:
    """Gives the fastest run of each network in LiteRT, one thread, in ms; all take turns."""
    with TemporaryDirectory() as folder:
        paths = [tflite_of(net, Path(folder, str(number))) for number, net in enumerate(nets)]
        meter = stopwatch_meter()
        return np.min([meter.measure(paths) for _ in range(5)], axis=0).tolist()


def conclusion(estimate: Estimate) -> str:
    """Says what a paired difference, time minus MACs, shows."""
    assert estimate.low is not None and estimate.high is not None
    if estimate.low > 0:
        return "the budget of time keeps more"
    return "the budget of MACs keeps more" if estimate.high < 0 else "cannot tell which keeps more"


def say(line: str) -> None:
    print(f"  {line}", flush=True)


if __name__ == "__main__":
    main()
