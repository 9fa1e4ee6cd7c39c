"""What the cuts took is learnt back: the pruned student imitates the unpruned teacher, without labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..faces.contract import Faces
from ..models.embedder import Embedder, Embeddings
from .recipe import PruneRecipe

WARM_UP = 20  # batches
LAST_RATE = 0.01  # share of the learning rate that the cosine ends at
CHUNK = 64  # faces that are augmented at once


@dataclass(frozen=True)
class Lessons:
    """Crops, as photos and phones vary them, and what the teacher says of each."""

    crops: Faces  # (variants * N, H, W, 3); the first N are the faces themselves
    embeddings: Embeddings  # (variants * N, D)
    faces: int  # N


@dataclass
class Progress:
    """Where a recovery stands: with the network's weights all that a killed one needs to go on."""

    batch: int
    optimiser: torch.optim.AdamW
    losses: list[float]  # 1 - cosine, a batch each


def varied(faces: Faces, variants: int, seed: int) -> Faces:
    """Gives `variants` crops of each face: (variants * N, H, W, 3), the first N unchanged; same seed, same crops."""
    crops = np.empty((variants * len(faces), *faces.shape[1:]), np.uint8)
    crops[: len(faces)] = faces
    for start in range(len(faces), len(crops), CHUNK):
        stop = min(start + CHUNK, len(crops))
        generator = torch.Generator().manual_seed(seed * 1_000_003 + start)
        others = faces[torch.randint(len(faces), (stop - start,), generator=generator).numpy()]
        crops[start:stop] = augment(faces[np.arange(start, stop) % len(faces)], others, generator)
    return crops


def augment(faces: Faces, others: Faces, generator: torch.Generator) -> Faces:
    """Varies crops as alignment, cameras and light do.

    Each is flipped (half of them), turned up to 6 degrees, scaled by 8 %, shifted by 4 pixels of 112, and changed in
    contrast, brightness and colour. Then at most one of: blur (15 %), noise (10 %), an even mix with one of `others`
    (10 %), a grey square (7 %), no colour (4 %).

    Args:
        faces: (N, H, W, 3) uint8.
        others: (N, H, W, 3), other people to mix in.
        generator: Of everything random.

    Returns:
        (N, H, W, 3) uint8.
    """
    n, height, width, _ = faces.shape

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(n, *shape, generator=generator)

    x = _moved(torch.from_numpy(faces).permute(0, 3, 1, 2).float(), uniform)
    x = (x - 128) * uniform(0.7, 1.25, 1, 1, 1) + 128 + uniform(-30, 30, 1, 1, 1)
    x = x * uniform(0.92, 1.08, 3, 1, 1)
    what, strength, corner = uniform(0, 1), uniform(0, 1), uniform(0, 1, 2)
    noise = torch.randn(x.shape, generator=generator)
    for i, (share, amount) in enumerate(zip(what.tolist(), strength.tolist(), strict=True)):
        if share < 0.15:
            x[i] = _blurred(x[i], 0.5 + 1.1 * amount)
        elif share < 0.25:
            x[i] += (2 + 10 * amount) * noise[i]
        elif share < 0.35:
            x[i] = (x[i] + torch.from_numpy(others[i]).permute(2, 0, 1)) / 2
        elif share < 0.42:
            side_y, side_x = height * 2 // 7, width * 2 // 7
            top, left = int(corner[i, 0] * (height - side_y)), int(corner[i, 1] * (width - side_x))
            x[i, :, top : top + side_y, left : left + side_x] = 255 * amount
        elif share < 0.46:
            x[i] = x[i].mean(0, keepdim=True)
    return x.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def _moved(x: Tensor, uniform: Callable[..., Tensor]) -> Tensor:
    """Flips, turns, scales and shifts (N, 3, H, W); what comes in from outside is mirrored for half, black for half."""
    flip = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    angle = uniform(-6, 6) * (math.pi / 180) * (uniform(0, 1) < 0.7)
    zoom = uniform(-0.08, 0.08).exp()
    cosine, sine, shift = zoom * angle.cos(), zoom * angle.sin(), uniform(-8 / 112, 8 / 112, 2)
    theta = torch.stack(
        [torch.stack([cosine * flip, -sine, shift[:, 0]], 1), torch.stack([sine * flip, cosine, shift[:, 1]], 1)], 1
    )
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    mirrored = uniform(0, 1) < 0.5
    moved = torch.empty_like(x)
    for mask, padding in ((mirrored, "reflection"), (~mirrored, "zeros")):
        if mask.any():
            moved[mask] = F.grid_sample(x[mask], grid[mask], padding_mode=padding, align_corners=False)
    return moved


def _blurred(image: Tensor, sigma: float) -> Tensor:
    reach = min(max(1, round(3 * sigma)), min(image.shape[1:]) - 1)
    line = torch.exp(-torch.arange(-reach, reach + 1).square() / (2 * sigma**2))
    line = (line / line.sum()).expand(3, 1, 1, -1)
    padded = F.pad(image[None], (reach,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, line, groups=3), line.transpose(2, 3), groups=3)[0]


def teach(teacher: Embedder, crops: Faces) -> Embeddings:
    """Asks `teacher` once what it says of each crop; recovery then needs it no more."""
    teacher = teacher.clone()
    lay_out(teacher, torch.channels_last)
    return teacher.embed(crops, batch=16)  # larger batches spend their time fetching memory from the system


def lay_out(embedder: Embedder, memory_format: torch.memory_format) -> None:
    """Lays the weights out in memory, in place; with channels last a CPU trains 1.5 times as fast."""
    embedder.backbone.to(memory_format=memory_format)  # type: ignore[call-overload]  # torch's stubs forget it


def start(student: Embedder, recipe: PruneRecipe) -> Progress:
    """Begins a recovery: a fresh optimiser, no batch seen."""
    parameters = student.backbone.parameters()
    return Progress(0, torch.optim.AdamW(parameters, recipe.learning_rate, weight_decay=0.0), [])


def recover(
    student: Embedder, lessons: Lessons, recipe: PruneRecipe, epochs: float, stream: int, progress: Progress
) -> Iterator[Progress]:
    """Trains `student` in place until its embeddings point where the teacher's do.

    The loss is 1 - cosine, on the same crop for both. AdamW, a short warm-up, then one cosine down. An epoch is as
    many crops as there are faces. What a batch holds depends only on the recipe's seed, `stream` and its number, so
    that a recovery resumed from its progress ends with the same weights.

    Args:
        student: Its backbone is trained; it ends in eval mode.
        lessons: From the teacher.
        recipe: Batch size, learning rate, seed.
        epochs: How long; 0 leaves the student as it is.
        stream: Which recovery this is: each has its own order of crops.
        progress: From `start`, or as it was saved.

    Yields:
        The progress after every batch.
    """
    backbone = student.backbone
    device = next(backbone.parameters()).device
    size = min(recipe.batch_size, len(lessons.crops))
    batches = math.ceil(epochs * lessons.faces / size) if epochs > 0 else 0
    lay_out(student, torch.channels_last)
    backbone.train()
    order = _Order(len(lessons.crops), size, (recipe.seed, stream))
    while progress.batch < batches:
        chosen = order[progress.batch]
        inputs = torch.from_numpy(student.contract.preprocess(lessons.crops[chosen])).to(device)
        expected = torch.from_numpy(lessons.embeddings[chosen]).to(device)
        for part in progress.optimiser.param_groups:
            part["lr"] = recipe.learning_rate * _rate(progress.batch, batches)
        progress.optimiser.zero_grad()
        with torch.random.fork_rng(devices=[]):  # dropout draws from torch's own generator, which is given back
            torch.manual_seed(recipe.seed * 1_000_003 + progress.batch)
            found = F.normalize(backbone(inputs.contiguous(memory_format=torch.channels_last)), dim=1)
            loss = (1 - (found * expected).sum(1)).mean()
            loss.backward()  # type: ignore[no-untyped-call]
        progress.optimiser.step()
        progress.batch += 1
        progress.losses.append(float(loss.detach()))
        yield progress
    backbone.eval()


class _Order:
    """Which crops a batch holds: all of them once, then all again in another order."""

    def __init__(self, crops: int, size: int, seed: tuple[int, int]) -> None:
        self._crops, self._size, self._seed = crops, size, seed
        self._round, self._order = -1, np.empty(0, np.int64)

    def __getitem__(self, batch: int) -> NDArray[np.int64]:
        in_round = self._crops // self._size
        if batch // in_round != self._round:
            self._round = batch // in_round
            self._order = np.random.default_rng((*self._seed, self._round)).permutation(self._crops)
        place = batch % in_round * self._size
        return self._order[place : place + self._size]


def _rate(batch: int, batches: int) -> float:
    cosine = 0.5 * (1 + math.cos(math.pi * batch / batches))
    return min(1.0, (batch + 1) / WARM_UP) * max(LAST_RATE, cosine)
