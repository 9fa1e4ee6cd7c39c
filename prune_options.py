"""The options of `pocketface prune`, which makes a smaller network."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Option

from .command_line import Criterion, NetworkOptions, Track, check_named, check_out, recipe_of
from .command_output import CommandResult, is_first_process, say
from .network_results import JudgingOptions, network_result
from .training_options import SIGNALS, Epochs, Seed, save_trained


@dataclass(frozen=True)
class PruneOptions:
    """The options of the fields of `PruneRecipe` that most people set."""

    criterion: Criterion = None
    schedule: Annotated[
        str | None, Option(help="When to cut and recover: iterative, epoch or one-shot.", show_default="iterative")
    ] = None
    by: Annotated[
        str | None,
        Option(
            help="What --remove and --target count: parameters, macs, filters, bytes, milliseconds, instructions, "
            "score.",
            show_default="parameters",
        ),
    ] = None
    remove: Annotated[float | None, Option(help="Share to remove, 0 to 1.", show_default="0.3")] = None
    target: Annotated[float | None, Option(help="Amount to keep, instead of --remove.")] = None
    steps: Annotated[int | None, Option(help="Number of cuts, with recovery between them.", show_default="6")] = None
    signal: Annotated[str | None, Option(help=SIGNALS, show_default="distillation")] = None
    epochs: Epochs = None
    control: Annotated[bool, Option("--control", help="Train as long but cut nothing, for comparison.")] = False
    seed: Seed = 0
    track: Track = None

    def prune(
        self,
        embedder: str,
        faces: Sequence[str],
        settings: Sequence[str] | None,
        network: NetworkOptions,
        judging: JudgingOptions,
        out: Path,
    ) -> CommandResult | None:
        """Prunes, times and verifies the network, and writes `out`; gives None in all processes but the first."""
        check_named(embedder)
        from .benchmark.measurement import write_measurements
        from .benchmark.speed.speedup import speedup
        from .chain import prune_by_measurements
        from .inputs import open_faces
        from .models.checkpoint import open_embedder
        from .prune.recipe import PruneRecipe
        from .tracking import TRACKED, Tracking

        check_out(out, "prune")
        fields = {name: value for name, value in vars(self).items() if name != "track"}
        recipe = recipe_of(PruneRecipe, settings, **fields)
        tracking = Tracking.checked(self.track, out / TRACKED, "pocketface")
        source = open_embedder(embedder, **network.keywords())
        verified = judging.judge(source.contract)
        train = open_faces(list(faces), source.contract)
        with tracking.run(f"{source.name}, {out.name}", recipe.model_dump(mode="json"), say) as run:
            smaller = prune_by_measurements(source, train, recipe, run.progress, out / "unfinished")
        if not is_first_process():
            return None
        folder = save_trained(smaller, out)
        speed = speedup(source, smaller, say)
        write_measurements(speed.rows, out / "measurements.json")
        return network_result("prune", dataclasses.replace(verified(source, smaller), speed=speed), folder)
