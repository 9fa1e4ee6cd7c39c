"""What pruning costs besides training, on MobileFaceNet with ReLU6 and one thread.

    python evidence/prune_cost.py [--repeats 9]

Run it from the repository root; it needs no files and takes about three minutes. Writes evidence/prune_cost.jsonl.

Three questions: how much slower is a training step while `taylor` observes it, how long does a cut take, and how long
does a loop of scoring and cutting take beside the same loop written with Torch-Pruning's own pruner? What is compared
takes turns. The weights are fresh, which does not matter to time.
"""

import argparse
import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
import torch_pruning as tp
from rows import write_rows
from torch import Tensor, nn

from pocketface.benchmark.machine import device_name
from pocketface.benchmark.measurement import Measurement
from pocketface.models.embedder import Embedder
from pocketface.models.zoo import create
from pocketface.prune.channels.groups import cut_channels, find_groups
from pocketface.prune.channels.selection import select
from pocketface.prune.channels.sizes import Size, Sizes, size_of
from pocketface.prune.criteria.importance import channel_scorer

HERE = Path(__file__).parent
BATCH, ROUNDS, SHARE = 32, 6, 0.05  # of the filters there were at first go in each round


class Clock:
    """Adds up seconds by what they were spent on."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    embedder = create("mobilefacenet", activation="relu6")
    faces = torch.randn(BATCH, 3, 112, 112).contiguous(memory_format=torch.channels_last)
    rows = [*steps(embedder, faces, repeats), *cuts(embedder, faces, repeats), *loops(embedder, faces, repeats)]
    for line in rows:
        print(f"{line.metric:24} {line.value:10.3f} {line.unit:3} {line.conditions}")
    write_rows(rows, HERE / "prune_cost.jsonl")


def steps(embedder: Embedder, faces: Tensor, repeats: int) -> list[Measurement]:
    """Times a training step with and without `taylor` watching."""
    backbone = copy.deepcopy(embedder.backbone)
    groups = find_groups(backbone, embedder.example())
    optimiser = torch.optim.AdamW(backbone.parameters(), 1e-3)

    def step(observe: Callable[[], None]) -> float:
        started = time.perf_counter()
        learn(backbone, faces)
        observe()
        optimiser.step()
        optimiser.zero_grad()
        return time.perf_counter() - started

    alone, observed = [], []
    for _ in range(repeats + 1):  # the first of each warms up
        alone.append(step(lambda: None))
        with channel_scorer(backbone, groups, "taylor") as scorer:
            observed.append(step(scorer.observe))
    ratios = [slow / fast for slow, fast in zip(observed[1:], alone[1:], strict=True)]
    return [
        row("training_step_ms", 1e3 * median(alone[1:]), "ms", repeats, criterion="none", batch=BATCH),
        row("training_step_ms", 1e3 * median(observed[1:]), "ms", repeats, criterion="taylor", batch=BATCH),
        row("training_step_ratio", median(ratios), "1", repeats, criterion="taylor", batch=BATCH, aim="at most 1.20"),
    ]


def cuts(embedder: Embedder, faces: Tensor, repeats: int) -> list[Measurement]:
    """Times one cut by a twentieth of the filters, part by part."""
    times: dict[str, list[float]] = {}
    for _ in range(repeats + 1):
        clock = Clock()
        ours(embedder.clone(), faces, 1, clock)
        for what, seconds in clock.seconds.items():
            times.setdefault(what, []).append(1e3 * seconds)
    both = [select + cut for select, cut in zip(times["select"], times["cut"], strict=True)]
    parts = [row(f"{what}_ms", median(times[what][1:]), "ms", repeats) for what in ("find_groups", "select", "cut")]
    return [*parts, row("select_and_cut_ms", median(both[1:]), "ms", repeats, aim="less than 100")]


def loops(embedder: Embedder, faces: Tensor, repeats: int) -> list[Measurement]:
    """Times six rounds of scoring a mini-batch and cutting, by us and by Torch-Pruning.

    We find the groups anew in each round and prove them by cutting, Torch-Pruning traces once. The two remove other
    channels, so that later gradients cost differently.
    """
    times: dict[str, list[Clock]] = {"pocketface": [], "torch-pruning": []}
    left: dict[str, Size] = {}
    for _ in range(max(3, repeats // 3) + 1):
        for tool, loop in (("pocketface", ours), ("torch-pruning", theirs)):
            clock, student = Clock(), embedder.clone()
            loop(student, faces, ROUNDS, clock)
            times[tool].append(clock)
            left[tool] = size_of(student)
    rows, cutting = [], {}
    for tool, clocks in times.items():
        whole = [1e3 * sum(clock.seconds.values()) for clock in clocks[1:]]
        tracing = [1e3 * clock.seconds["find_groups"] for clock in clocks[1:]]
        learning = [1e3 * clock.seconds["learn"] for clock in clocks[1:]]
        cutting[tool] = [all_ - trace - learn for all_, trace, learn in zip(whole, tracing, learning, strict=True)]
        conditions = {"tool": tool, "rounds": ROUNDS, "parameters": left[tool].parameters, "macs": left[tool].macs}
        parts = {"": whole, "_find_groups": tracing, "_gradients": learning, "_score_select_cut": cutting[tool]}
        for part, spent in parts.items():
            rows.append(row(f"prune_loop{part}_ms", median(spent), "ms", len(spent), **conditions))
    ratios = [own / other for own, other in zip(cutting["pocketface"], cutting["torch-pruning"], strict=True)]
    rows.append(row("prune_loop_score_select_cut_ratio", median(ratios), "1", len(ratios), of="pocketface"))
    return rows


def ours(student: Embedder, faces: Tensor, rounds: int, clock: Clock) -> None:
    """Prunes as `pocketface prune` does between its trainings."""
    backbone, before = student.backbone, size_of(student).filters
    for number in range(1, rounds + 1):
        with clock("find_groups"):
            groups = find_groups(backbone, student.example())
        with channel_scorer(backbone, groups, "taylor") as scorer:
            with clock("learn"):
                learn(backbone, faces)
            with clock("score"):
                scorer.observe()
                scores = scorer.scores()
        with clock("select"):
            sizes, floors = Sizes(student, groups), {group.name: 8 for group in groups}
            target = (1 - SHARE * number) * before
            gone = select(groups, scores, sizes, by="filters", target=target, floors=floors, cost="filters")
        with clock("cut"):
            cut_channels(backbone, groups, gone)
        backbone.zero_grad()


def theirs(student: Embedder, faces: Tensor, rounds: int, clock: Clock) -> None:
    """Prunes with Torch-Pruning's pruner and its own Taylor importance, ranked over all layers as well."""
    backbone = student.backbone
    embedding = [layer for layer in backbone.modules() if isinstance(layer, nn.Conv2d)][-1]
    with clock("find_groups"):
        pruner = tp.pruner.BasePruner(
            backbone,
            student.example(),
            tp.importance.TaylorImportance(),
            global_pruning=True,
            pruning_ratio=SHARE * rounds,
            iterative_steps=rounds,
            ignored_layers=[embedding],
            round_to=8,
        )
    for _ in range(rounds):
        with clock("learn"):
            learn(backbone, faces)
        with clock("score, select and cut"):
            pruner.step()
        backbone.zero_grad()


def learn(backbone: nn.Module, faces: Tensor) -> None:
    """Gives every weight a gradient, of any loss."""
    backbone.to(memory_format=torch.channels_last)  # a cut may lay weights out anew
    directions = F.normalize(backbone.train()(faces), dim=1)
    (1 - directions[:, 0]).mean().backward()


def row(metric: str, value: float, unit: str, n: int, **conditions: object) -> Measurement:
    conditions = {
        "threads": 1,
        "statistic": "median",
        "torch": torch.__version__,
        "torch_pruning": version("torch-pruning"),
        **conditions,
    }
    file = ("mobilefacenet-relu6", "", "pytorch", "fp32", "torch", device_name())
    return Measurement(*file, metric, value, unit, n=n, conditions=conditions)


if __name__ == "__main__":
    main()
