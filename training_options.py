"""The options of `pocketface recover`, which trains a network, and what it shares with `pocketface prune`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from .command_line import NetworkOptions, Track, check_named, check_out, recipe_of
from .command_output import CommandResult, is_first_process, say
from .network_results import JudgingOptions, network_result

if TYPE_CHECKING:
    from .models.embedder import Embedder

SIGNALS = "What the network learns from: distillation (needs no labels), softmax, arcface or cosface."
Epochs = Annotated[float | None, Option(help="Length of the last training, in epochs.", show_default="10")]
Seed = Annotated[int, Option(help="Seed of everything drawn at random.")]


@dataclass(frozen=True)
class RecoverOptions:
    """What a network learns from, where it starts, and for how long."""

    teacher: Annotated[Path | None, Option(help="Checkpoint folder to learn from, instead of labels.")] = None
    start: Annotated[
        Path | None, Option(help="Weights to start from, e.g. ImageNet's; used where their shapes fit.")
    ] = None
    signal: Annotated[str | None, Option(help=SIGNALS, show_default="distillation with a teacher, arcface without")] = (
        None
    )
    epochs: Epochs = None
    seed: Seed = 0
    track: Track = None

    def recover(
        self,
        student: str,
        faces: Sequence[str],
        settings: Sequence[str] | None,
        network: NetworkOptions,
        judging: JudgingOptions,
        out: Path,
    ) -> CommandResult | None:
        """Trains and verifies the network, and writes `out`; gives None in all processes but the first."""
        check_named(student)
        from .inputs import open_faces
        from .models.checkpoint import load_checkpoint, open_embedder
        from .models.warm_start import warm_start
        from .prune.recipe import TrainingRecipe
        from .prune.training.trainer import recover
        from .tracking import TRACKED, Tracking

        check_out(out)
        usual = "distillation" if self.teacher is not None else "arcface"
        signal = self.signal or usual
        recipe = recipe_of(TrainingRecipe, settings, signal=signal, epochs=self.epochs, seed=self.seed)
        tracking = Tracking.checked(self.track, out / TRACKED, "pocketface")
        learner = open_embedder(student, **network.keywords())
        verified = judging.judge(learner.contract)
        if self.start is not None:
            learner, left = warm_start(learner, self.start)
            rest = f"{', '.join(left[:3]) or 'none'}{' …' if len(left) > 3 else ''}"
            say(f"{self.start.name}: all tensors used but {rest}")
        train = open_faces(list(faces), learner.contract)
        code = student if ":" in student else None  # the teacher's too, where that is foreign
        teaching = load_checkpoint(self.teacher, code) if self.teacher is not None else None
        with tracking.run(f"{learner.name}, {out.name}", recipe.model_dump(mode="json"), say) as run:
            trained = recover(learner, train, recipe, teaching, run.progress, out / "unfinished")
        if not is_first_process():
            return None
        return network_result("recover", verified(learner, trained), save_trained(trained, out))


def save_trained(embedder: Embedder, out: Path) -> Path:
    """Writes `out`/checkpoint, and removes the state that an unfinished training left beside it."""
    from .models.checkpoint import save_checkpoint
    from .prune.training.resumption import forget_training

    folder = save_checkpoint(embedder, out / "checkpoint")
    forget_training(out / "unfinished")
    return folder
