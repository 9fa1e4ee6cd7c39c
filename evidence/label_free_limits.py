"""How much accuracy files lose that drift from their source: what the limits of label-free mode are chosen from.

    python evidence/label_free_limits.py --faces FOLDER --weights FOLDER [--out runs/label-free-limits] [--only NETWORK]

Run it from the repository root; it takes about twenty minutes on one core and resumes after a kill. The folders are
described in examples/lfw_relu6.toml; `extra112/` lies in the first. Writes evidence/label_free_limits.jsonl.

No pair of LFW is looked at: limits that were chosen on the pairs which they are later judged on would flatter
themselves. 250 people of `extra112` with six crops each, drawn by seed, are in no training set here: 3,750 genuine
pairs, as many impostor pairs, and every pair of the 1,500 crops for the TAR at FAR 1e-3. Int8 ranges and recovery take
faces of `train112`.

Two published MobileFaceNets are each exported to int8 files, with ranges from photos and from rendered faces
(`...-rendered`); rounded to 6, 5 and 4 bits a weight, per output channel (`weights-w4`); and cut without training
(`cut-5%`). Rows of each: mean cosine to the source, overlap of the ten nearest faces, accuracy, TAR at FAR 1e-3 of
every pair, and what both lose; conditions count the decisions that went wrong and those that were put right.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rows import write_rows

from pocketface.benchmark.accuracy.all_pairs import compare_all
from pocketface.benchmark.accuracy.label_free import neighbour_overlap
from pocketface.benchmark.accuracy.verification import similarities, tenfold_accuracy
from pocketface.benchmark.measurement import Measurement, RowMaker, read_measurements, write_measurements
from pocketface.export.exporter import export
from pocketface.export.formats import open_session
from pocketface.export.recipe import ExportRecipe
from pocketface.export.session import unit_embeddings
from pocketface.faces.drawn_pairs import cross_pairs
from pocketface.faces.folders import LabelledFaces
from pocketface.faces.pairs import Pairs
from pocketface.faces.shards import read_faces
from pocketface.inputs import open_faces, open_source
from pocketface.models.embedder import Embedder, Embeddings
from pocketface.prune.pruner import prune
from pocketface.prune.recipe import PruneRecipe
from pocketface.run_recipe import SYNTHETIC, Roots, read_recipe

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
NETWORKS = ("lfw_prelu", "lfw_relu6")
PEOPLE, SHOTS = 250, 6
TARGETS = ("tflite-w8", "tflite-w8a8", "onnx-w8a8")
RENDERED = ("tflite-w8a8",)
BITS = (6, 5, 4)
CUT = (0.02, 0.05, 0.1)  # shares of the parameters
FAR = 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/label-free-limits"))
    parser.add_argument("--only", choices=NETWORKS, help="one of the networks [both]")
    options = parser.parse_args()
    pairs = cross_pairs(drawn(read_faces(options.faces / "extra112", 112, 112)))
    say(pairs.sample)
    for name in [options.only] if options.only else NETWORKS:
        recipe = Roots(EXAMPLES, options.faces, options.weights).resolve(read_recipe(EXAMPLES / f"{name}.toml"))
        source = open_source(recipe)
        measured(source, open_faces(recipe.train, source.contract), pairs, options.out / name)
    rows = [row for path in sorted(options.out.glob("*/evidence.json")) for row in read_measurements(path)]
    write_rows(rows, HERE / "label_free_limits.jsonl")


def drawn(faces: LabelledFaces) -> LabelledFaces:
    """Gives six crops of each of 250 people."""
    counts = np.bincount(faces.labels)
    known = [label for label, name in enumerate(faces.names) if name != "unlabelled" and counts[label] >= SHOTS]
    random = np.random.default_rng(0)
    people = random.choice(known, PEOPLE, replace=False)
    rows = [random.choice(np.flatnonzero(faces.labels == person), SHOTS, replace=False) for person in people]
    names = tuple(faces.names[person] for person in people)
    return LabelledFaces(faces.faces[np.concatenate(rows)], np.repeat(np.arange(PEOPLE), SHOTS), names, "")


def measured(source: Embedder, train: LabelledFaces, pairs: Pairs, out: Path) -> None:
    """Embeds the crops with every variant of `source`, and compares each with it: OUT/evidence.json."""
    reference = kept(out / "source.npy", lambda: source.embed(pairs.faces))
    before, tar_before = judged(reference, pairs)
    rows: list[Measurement] = []
    for name, embed in variants(source, train, pairs, out):
        embeddings = kept(out / f"{name}.npy", embed)
        after, tar_after = judged(embeddings, pairs)
        row = RowMaker(source.name, name, name, "", "", "").under(faces="extra112", to=source.name)
        cosine = float(np.einsum("md,md->m", reference, embeddings, dtype=np.float64).mean())
        lost, won = int((before & ~after).sum()), int((after & ~before).sum())
        rows += [
            row.value("embedding_cosine_mean", cosine, len(embeddings)),
            row.value("neighbour_overlap_10", neighbour_overlap(reference, embeddings), len(embeddings)),
            row.value("verification_accuracy", float(after.mean()), len(pairs)),
            row.value("accuracy_difference", (won - lost) / len(pairs), len(pairs), wrong_now=lost, right_now=won),
            row.value("tar_at_far_1e-3", tar_after, len(pairs)),
            row.value("tar_at_far_1e-3_difference", tar_after - tar_before, len(pairs)),
        ]
        said = ", ".join(f"{each.metric} {each.value:.4f}" for each in rows[-6:])
        say(f"{source.name} {name}: {said}")
        write_measurements(rows, out / "evidence.json")


def judged(embeddings: Embeddings, pairs: Pairs) -> tuple[NDArray[np.bool_], float]:
    """Gives whether each pair is decided right by the threshold of the other folds, and the TAR of every pair."""
    similarity = similarities(embeddings, pairs.left, pairs.right)
    _, thresholds = tenfold_accuracy(similarity, pairs.same, pairs.fold)
    tar = compare_all(embeddings, pairs.identities, (FAR,)).points[FAR].tar.value
    assert tar is not None
    return (similarity >= thresholds[pairs.fold]) == pairs.same, tar


def variants(
    source: Embedder, train: LabelledFaces, pairs: Pairs, out: Path
) -> Iterator[tuple[str, Callable[[], Embeddings]]]:
    """Gives the name of each variant and what embeds the crops of `pairs` with it."""
    for calibration, targets in ((train, TARGETS), (None, RENDERED)):
        ending = "" if calibration is not None else "-rendered"
        for target in targets:
            yield target + ending, partial(of_file, source, calibration, target, pairs, out / f"artifacts{ending}")
    for bits in BITS:
        yield f"weights-w{bits}", partial(lambda bits: rounded(source, bits).embed(pairs.faces), bits)
    for share in CUT:
        recipe = PruneRecipe(remove=share, schedule="one-shot", epochs=0, images=64)
        yield f"cut-{100 * share:g}%", partial(lambda cut: prune(source, train, cut, say).embed(pairs.faces), recipe)


def rounded(source: Embedder, bits: int) -> Embedder:
    """Gives the network with its weights rounded to so many bits, symmetric, one scale for each output channel."""
    copy, most = source.clone(), 2 ** (bits - 1) - 1
    with torch.no_grad():
        for weight in copy.backbone.parameters():
            if weight.dim() > 1:
                scale = weight.flatten(1).abs().amax(1).clamp_min(1e-12).reshape(-1, *[1] * (weight.dim() - 1)) / most
                weight.copy_((weight / scale).round() * scale)
    return copy


def of_file(source: Embedder, calibration: LabelledFaces | None, target: str, pairs: Pairs, folder: Path) -> Embeddings:
    """Exports one file, and embeds with it."""
    faces = open_faces(SYNTHETIC, source.contract, 50) if calibration is None else calibration
    (*_, made) = export(source, faces.faces, ExportRecipe(targets=(target,), allow_drift=True), folder, say)
    assert made.artifact is not None, made.reason
    return unit_embeddings(open_session(made.artifact.path), source.contract, pairs.faces)


def kept(path: Path, embed: Callable[[], Embeddings]) -> Embeddings:
    """Gives embeddings that an earlier try kept, or makes them."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, embed())
    return np.load(path)


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
