"""A published MobileFaceNet pruned by five criteria to four sizes, on the 6,000 pairs of LFW.

    python evidence/prune_lfw.py --faces FOLDER --weights FOLDER [--out runs/prune-lfw] [--only CRITERION]

Run it from the repository root; it takes about two hours on one core and resumes after a kill; `--only` lets two
processes share the work. The folders are described in examples/lfw_relu6.toml. Writes evidence/prune_lfw.jsonl.

For each criterion one network is cut step by step; at each size it is verified before and after recovery from the
unpruned network, for `EPOCHS`. Then the default criterion is given more time, starting again from the unpruned network
(`LONG`). Every row is compared with the unpruned network pair by pair (metric `accuracy_difference`).
"""

import argparse
import dataclasses
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from rows import write_rows

from pocketface.benchmark.accuracy.shares import accuracy_difference
from pocketface.benchmark.accuracy.verification import Verification, verify
from pocketface.benchmark.findings.error_rates import verification_rows
from pocketface.benchmark.machine import device_name
from pocketface.benchmark.measurement import Measurement, RowMaker, read_measurements, write_measurements
from pocketface.faces.folders import LabelledFaces
from pocketface.faces.pairs import Pairs
from pocketface.inputs import open_faces, open_pairs, open_source
from pocketface.models.checkpoint import load_checkpoint, save_checkpoint
from pocketface.models.embedder import Embedder
from pocketface.prune.channels.sizes import size_of
from pocketface.prune.pruner import prune
from pocketface.prune.recipe import PruneRecipe, TrainingRecipe
from pocketface.prune.training.recovery import lay_out
from pocketface.prune.training.trainer import recover
from pocketface.run_recipe import Roots, RunRecipe, read_recipe

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "examples" / "lfw_relu6.toml"
CRITERIA = ("gauss-newton", "taylor", "feature-map", "l1", "random")
SIZES = (850_000, 700_000, 500_000, 400_000)  # parameters
EPOCHS = 1.5  # after each size
LONG = {  # cut in six steps, then one long cosine; 475,000 parameters are 1.9 MB in fp32
    "long-700000": PruneRecipe(target=700_000, steps=6, epochs=14.0, cost="balanced"),
    "long-475000": PruneRecipe(target=475_000, steps=6, epochs=40.0, cost="balanced"),
    "long-475000-by-parameters": PruneRecipe(target=475_000, steps=6, epochs=40.0, cost="parameters"),  # keeps MACs
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/prune-lfw"))
    parser.add_argument("--only", action="append", help="a criterion, or a name of `LONG`; may be repeated [all]")
    options = parser.parse_args()
    roots = Roots(EXAMPLE.parent, options.faces, options.weights)
    recipe = roots.resolve(read_recipe(EXAMPLE))
    bench = Bench(recipe, options.out)
    bench.measure(bench.source, {"criterion": "none", "recovered": False}, "unpruned")
    for job in options.only or [*CRITERIA, *LONG]:
        if job in LONG:
            long_recovery(bench, job)
        else:
            walk_down(bench, job)
    rows = [row for path in sorted(options.out.glob("*.json")) for row in read_measurements(path)]
    write_rows(rows, HERE / "prune_lfw.jsonl")


def walk_down(bench: "Bench", criterion: str) -> None:
    """Cuts one network to each size in turn, and recovers it from the unpruned one."""
    current = bench.source
    for target in SIZES:
        recipe = PruneRecipe.model_validate(dict(criterion=criterion, target=target, steps=1, epochs=0))
        name, conditions = f"{criterion}-{target}", {"criterion": criterion, "schedule": "stepwise"}
        cut = bench.make(f"{name}-before", lambda part: prune(current, bench.train, recipe, say, part))  # noqa: B023
        bench.measure(cut, conditions | {"recovered": False}, f"{name}-before")
        learn = TrainingRecipe(epochs=EPOCHS)
        current = bench.make(f"{name}-after", lambda part: recover(cut, bench.train, learn, bench.source, say, part))  # noqa: B023
        bench.measure(current, conditions | {"recovered": True, "epochs": EPOCHS}, f"{name}-after")


def long_recovery(bench: "Bench", name: str) -> None:
    """Cuts in six steps and recovers for long."""
    recipe = LONG[name]
    made = bench.make(name, lambda part: prune(bench.source, bench.train, recipe, say, part))
    conditions = {"criterion": recipe.criterion, "schedule": "long", "cost": recipe.cost, "epochs": recipe.epochs}
    bench.measure(made, conditions | {"recovered": True}, name)


def say(line: str) -> None:
    print(f"  {line}", flush=True)


class Bench:
    """The source, the faces, and the networks made from them so far."""

    def __init__(self, recipe: RunRecipe, out: Path) -> None:
        self.out = out
        self.source: Embedder = open_source(recipe)
        self.factory = self.source.architecture
        self.train: LabelledFaces = open_faces(recipe.train, self.source.contract)
        self.pairs: Pairs = open_pairs(recipe.pairs, recipe.images, self.source.contract)
        self.unpruned: Verification | None = None

    def make(self, name: str, how: Callable[[Path], Embedder]) -> Embedder:
        """Prunes or recovers, or loads what an earlier try made."""
        folder, part = self.out / name, self.out / f"{name}.part"
        if not (folder / "embedder.json").is_file():
            print(name, flush=True)
            started, teacher = time.time(), self.out / f"teacher-{EPOCHS}.safetensors"
            part.mkdir(parents=True, exist_ok=True)
            if teacher.is_file():  # one teacher, the same crops: it need not be asked each time
                shutil.copyfile(teacher, part / "teacher.safetensors")
            made = how(part)
            entry = dict(made.ancestry[-1]) | {"seconds": round(time.time() - started, 1)}
            save_checkpoint(dataclasses.replace(made, ancestry=(*made.ancestry[:-1], entry)), folder)
            if not teacher.is_file() and name.endswith("-after"):
                shutil.copyfile(part / "teacher.safetensors", teacher)
            shutil.rmtree(part)
        return load_checkpoint(folder, self.factory)

    def measure(self, embedder: Embedder, conditions: dict[str, object], name: str) -> None:
        """Verifies on LFW, and compares with the unpruned network."""
        path = self.out / f"{name}.json"
        if path.is_file() and self.unpruned is not None:
            return
        lay_out(embedder, torch.channels_last)
        verification = verify(embedder.embed(self.pairs.faces, batch=16), self.pairs, self.pairs.identities)
        self.unpruned = self.unpruned or verification
        rows = list(self._rows(embedder, verification, conditions))
        write_measurements(rows, path)
        best = verification.accuracy
        print(f"{name}: {best.value:.4f} [{best.low:.4f}, {best.high:.4f}]", flush=True)

    def _rows(
        self, embedder: Embedder, verification: Verification, conditions: dict[str, object]
    ) -> Iterator[Measurement]:
        size = size_of(embedder)
        entry = embedder.ancestry[-1]
        conditions = conditions | {"parameters": size.parameters, "macs": size.macs}
        if "seconds" in entry:
            conditions |= {"prune_s": entry["seconds"], "batches": sum(phase["batches"] for phase in entry["phases"])}

        row = RowMaker(self.source.name, "", "pytorch", "fp32", "torch", device_name()).under(**conditions)
        yield from verification_rows(verification, row)
        assert self.unpruned is not None
        identities = self.pairs.identities
        known = (identities[self.pairs.left], identities[self.pairs.right])
        lost = accuracy_difference(
            self.unpruned.correct, verification.correct, known if identities.min() >= 0 else None
        )
        yield row.estimate("accuracy_difference", lost, len(known[0]))
        points = row.value("accuracy_difference", round(-100 * lost.value, 3))
        yield dataclasses.replace(points, metric="accuracy_points_lost", unit="points")
        yield row.value("macs", size.macs)
        yield row.value("parameters", size.parameters)


if __name__ == "__main__":
    main()
