"""The training loop that recovers what cuts cost: towards a teacher's embeddings, or from labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...freed_memory import keep_freed_memory
from ...models.batch_norm import synchronised
from ...models.embedder import Embedder
from ..recipe import TrainingRecipe
from .augmentation import Crops
from .batches import BatchMaker, Order, batches_of, made_ahead
from .fading_activations import fading
from .fake_quantisation import FakeQuantised
from .losses import Signal

WARM_UP = 20  # batches
LAST_RATE = 0.01  # share of the learning rate at the end of the cosine


@dataclass
class Progress:
    """How far a recovery is; with the network's weights this is all that is needed to resume it."""

    batch: int
    optimiser: torch.optim.AdamW
    losses: list[float] = field(default_factory=list)  # one per batch
    batches: int = 0  # that there will be; 0 until it begins


def start_recovery(student: Embedder, signal: Signal, recipe: TrainingRecipe) -> Progress:
    """Gives the progress of a recovery that has not begun: a fresh optimiser, no batch."""
    parameters = [*student.backbone.parameters(), *signal.parameters()]
    return Progress(0, torch.optim.AdamW(parameters, recipe.learning_rate, weight_decay=0.0))


def learn(
    student: Embedder,
    signal: Signal,
    crops: Crops,
    recipe: TrainingRecipe,
    epochs: float,
    stream: int,
    progress: Progress,
    observe: Callable[[], None] = lambda: None,
) -> Generator[Progress, None, None]:
    """Trains `student` in place by `signal`.

    AdamW with a short warm-up and one cosine decay. An epoch is as many crops as there are faces. The contents of a
    batch depend only on the recipe's seed, `stream` and its number, so that a recovery resumed from its progress ends
    with the same weights. Under `accelerate launch` (Hugging Face) every process takes its part of a batch that is as
    many times larger, batch norms see all of it, and mixed precision is as set in the launcher.

    Args:
        student: Its backbone is trained; it ends in eval mode.
        signal: Gives the loss; its own parameters are trained too.
        crops: The training data.
        recipe: Batch size per process, learning rate, seed.
        epochs: How long; 0 leaves the student as it is.
        stream: The number of this recovery: each has its own order of crops.
        progress: From `start_recovery`, or as it was saved.
        observe: Called after each backward, before the weights change.

    Yields:
        The progress after every batch.

    Raises:
        ValueError: The loss is not finite.
    """
    from accelerate import Accelerator

    keep_freed_memory()
    accelerator = Accelerator(gradient_accumulation_steps=recipe.accumulate)
    shares = accelerator.num_processes * recipe.accumulate
    size = min(recipe.batch_size, max(1, len(crops) // shares))
    batches = progress.batches = batches_of(epochs, len(crops.faces), size * shares)
    if progress.batch >= batches:
        return
    backbone = student.backbone.to(accelerator.device)
    lay_out(student, student.memory_format)
    signal.to(accelerator.device)
    _move(progress.optimiser, accelerator.device)
    order = Order(len(crops), size * shares, (recipe.seed, stream))
    parts = range(progress.batch * recipe.accumulate, batches * recipe.accumulate)  # of a batch: one for each backward

    def own_numbers(part: int) -> NDArray[np.int64]:
        if part not in parts:
            return np.empty(0, np.int64)
        batch, turn = divmod(part, recipe.accumulate)
        place = (turn * accelerator.num_processes + accelerator.process_index) * size
        return order[batch][place : place + size]

    made = made_ahead(BatchMaker(crops, student, signal, own_numbers), parts)
    with synchronised(backbone), fading(backbone, recipe) as set_fading, closing(made):
        computed = FakeQuantised(student) if recipe.precision == "w8a8" else backbone
        network, optimiser = accelerator.prepare(computed, progress.optimiser)
        while progress.batch < batches:
            backbone.train()
            set_fading(progress.batch / batches)
            for part in progress.optimiser.param_groups:
                part["lr"] = recipe.learning_rate * _rate(progress.batch, batches)
            total = 0.0
            for turn in range(recipe.accumulate):
                batch = next(made)
                targets = batch.targets.to(accelerator.device)
                if accelerator.num_processes > 1:
                    chosen = torch.from_numpy(batch.chosen).to(accelerator.device)
                    signal.share(accelerator.gather(chosen).cpu().numpy(), accelerator.gather(targets))
                with accelerator.accumulate(network), torch.random.fork_rng(devices=[]):
                    # Dropout draws from torch's global generator, which is restored.
                    torch.manual_seed(recipe.seed * 1_000_003 + progress.batch * shares + turn)
                    loss = signal.loss(network(batch.inputs.to(accelerator.device)).float(), targets)
                    accelerator.backward(loss)
                    observe()
                    if accelerator.sync_gradients:  # those of the network are averaged by accelerate
                        for parameter in signal.parameters():
                            parameter.grad = accelerator.reduce(parameter.grad, "mean")
                    optimiser.step()
                    optimiser.zero_grad()
                total += float(accelerator.reduce(loss.detach(), "mean")) / recipe.accumulate
            if not math.isfinite(total):
                raise ValueError(
                    f"the loss is {total} after {progress.batch} batches; a lower learning rate than "
                    f"{recipe.learning_rate:g} would do"
                )
            progress.batch += 1
            progress.losses.append(total)
            yield progress
        accelerator.unwrap_model(network, keep_fp32_wrapper=False)
        accelerator.free_memory()
    backbone.eval()


def lay_out(embedder: Embedder, memory_format: torch.memory_format) -> None:
    """Sets the memory format of the weights, in place; see `Embedder.memory_format`."""
    embedder.backbone.to(memory_format=memory_format)  # type: ignore[call-overload]  # torch's stubs forget it


def _move(optimiser: torch.optim.Optimizer, device: torch.device) -> None:
    """Moves the moments to the weights' device; the optimiser's counters stay where torch keeps them."""
    state: dict[Any, Any] = optimiser.state
    for weight, moments in state.items():
        state[weight] = {key: value.to(device) if value.ndim else value for key, value in moments.items()}


def _rate(batch: int, batches: int) -> float:
    cosine = 0.5 * (1 + math.cos(math.pi * batch / batches))
    return min(1.0, (batch + 1) / WARM_UP) * max(LAST_RATE, cosine)
