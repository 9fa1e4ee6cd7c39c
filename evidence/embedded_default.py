"""Trains the embedder that pocketface ships, on faces that pocketface renders; no photo is involved.

    python evidence/embedded_default.py [--identities 500] [--shots 14] [--epochs 12] [--out runs/embedded-default]

Run it from the repository root; it needs nothing else and takes about a quarter of an hour on two cores with the
defaults. Writes a checkpoint; `--out models/embedded-default` replaces the one that is shipped.
"""

import argparse
import dataclasses
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from pocketface.benchmark.accuracy.roc import eer
from pocketface.benchmark.accuracy.verification import similarities
from pocketface.faces.drawn_pairs import synthetic_pairs
from pocketface.faces.rendering.synthetic import synthetic_faces
from pocketface.inputs import FIRST_TEST_IDENTITY
from pocketface.models.checkpoint import save_checkpoint
from pocketface.models.zoo import create

OPTIONS = {"width": 0.5, "activation": "relu6"}
SCALE, MARGIN = 24.0, 0.25  # of CosFace (Wang et al., CVPR 2018)
LEARNING_RATE = 6e-3
FIRST_IDENTITY = 10_000  # apart from the identities that runs recover, calibrate and verify on


def render(identities: int, shots: int) -> tuple[np.ndarray, np.ndarray]:
    chunk = 25
    starts = range(FIRST_IDENTITY, FIRST_IDENTITY + identities, chunk)
    with ProcessPoolExecutor() as pool:
        parts = list(pool.map(partial(_render, chunk, shots), starts))
    return np.concatenate([faces for faces, _ in parts]), np.concatenate([labels for _, labels in parts])


def _render(identities: int, shots: int, first: int) -> tuple[np.ndarray, np.ndarray]:
    return synthetic_faces(identities, shots, first=first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--identities", type=int, default=500)
    parser.add_argument("--shots", type=int, default=14)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--out", type=Path, default=Path("runs/embedded-default"))
    options = parser.parse_args()

    started = time.time()
    faces, labels = render(options.identities, options.shots)
    labels = labels - FIRST_IDENTITY
    print(f"{len(faces):,} faces rendered in {time.time() - started:.0f} s", flush=True)

    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    embedder = create("mobilefacenet", **OPTIONS)
    backbone = embedder.backbone.to(memory_format=torch.channels_last)
    centres = torch.nn.Parameter(torch.randn(options.identities, embedder.embedding_size) * 0.1)
    optimiser = torch.optim.AdamW([*backbone.parameters(), centres], LEARNING_RATE, weight_decay=1e-4)
    batch, done = 64, 0
    steps = options.epochs * (len(faces) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    for epoch in range(options.epochs):
        backbone.train()
        order, losses = generator.permutation(len(faces)), []
        for start in range(0, len(order) - batch + 1, batch):
            chosen = order[start : start + batch]
            crops = faces[chosen].copy()
            mirrored = generator.random(batch) < 0.5
            crops[mirrored] = crops[mirrored, :, ::-1]
            inputs = torch.from_numpy(embedder.contract.preprocess(crops)).to(memory_format=torch.channels_last)
            cosine = F.normalize(backbone(inputs)) @ F.normalize(centres).T
            same = torch.from_numpy(labels[chosen])
            margin = MARGIN * min(1.0, 4 * done / steps)  # a margin from the first step keeps a small net from starting
            loss = F.cross_entropy(SCALE * (cosine - margin * F.one_hot(same, options.identities)), same)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            done += 1
            losses.append(float(loss.detach()))
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.3f}, {time.time() - started:.0f} s", flush=True)

    pairs = synthetic_pairs(200, 4, 1, embedder.contract.height, FIRST_TEST_IDENTITY + 10_000)
    embeddings = embedder.embed(pairs.faces)
    rate = eer(similarities(embeddings, pairs.left, pairs.right), pairs.same)
    print(f"EER on {len(pairs):,} pairs of identities never seen: {100 * rate:.2f} %")
    recipe = {"identities": options.identities, "shots": options.shots, "epochs": options.epochs}
    source = {
        "stage": "source",
        "architecture": "mobilefacenet",
        "faces": "rendered by pocketface",
        "recipe": recipe,
    }
    embedder = dataclasses.replace(
        embedder, name="mobilefacenet-half-synthetic", licence="Apache-2.0", ancestry=(source,)
    )
    save_checkpoint(embedder, options.out)


if __name__ == "__main__":
    main()
