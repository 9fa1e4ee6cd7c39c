"""Every way to int8 TFLite, of a hybrid and of two MobileFaceNets: size, time, accuracy on LFW and on profiles.

    python evidence/int8_ways.py --faces FOLDER --weights FOLDER [--out runs/int8-ways] [--only NETWORK]

Run it from the repository root; it takes a quarter of an hour for a network and resumes after a kill. The folders are
described in examples/lfw_relu6.toml; the weights of EdgeFace XXS, a hybrid of convolutions and attention, are
`edgeface_xxs.safetensors` in the second. Writes evidence/int8_ways.jsonl.

Ranges come from 200 faces of `train112/lfw`. Pairs: all 6,000 of LFW, and 25 frontal with profile pairs of each of the
141 people of `train112/cfp` beside as many of two people, in ten folds of people. Each file is compared with the
PyTorch network pair by pair (metric `accuracy_difference`), timed in turns with the others (`latency_ratio`, to the
fp32 file), and its ARM64 instructions are counted where the emulator is installed. Files that drift are written all
the same, to be measured.
"""

import argparse
import csv
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rows import write_rows

from pocketface.benchmark.cost_meters import phone_cost
from pocketface.benchmark.measurement import read_measurements
from pocketface.benchmark.recipe import BenchmarkRecipe
from pocketface.benchmark.runner import Subject, benchmark
from pocketface.export.artifact import Artifact
from pocketface.export.calibration import PartedFaces, choose_calibration_faces, parted
from pocketface.export.exporter import export
from pocketface.export.recipe import ExportRecipe
from pocketface.faces.contract import ARCFACE
from pocketface.faces.pairs import read_pairs
from pocketface.faces.shards import read_faces
from pocketface.inputs import open_source
from pocketface.models.checkpoint import save_once
from pocketface.models.embedder import Embedder
from pocketface.models.factories import load_embedder
from pocketface.run_recipe import Roots, read_recipe

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
NETWORKS = ("edgeface", "prelu", "relu6")
TARGETS = ("tflite-fp32", "tflite-w8", "tflite-w8-dynamic", "tflite-w8a8", "tflite-int8")
EACH = 25  # genuine pairs of a person


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/int8-ways"))
    parser.add_argument("--only", choices=NETWORKS, help="one of the networks [all]")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    write_profiles(options.faces / "train112" / "cfp", options.out / "cfp.csv")
    for name in [options.only] if options.only else NETWORKS:
        measured(opened(name, options.faces, options.weights), options.faces, options.out)
    rows = [row for path in sorted(options.out.glob("*/*/measurements.json")) for row in read_measurements(path)]
    write_rows(rows, HERE / "int8_ways.jsonl")


@contextmanager
def hybrid(faces: Path, weights: Path, count: int) -> Iterator[tuple[Artifact, PartedFaces, Path]]:
    """Gives EdgeFace XXS as an fp32 ONNX file, faces of `train112/lfw` that set ranges and that judge, and a folder."""
    embedder = opened("edgeface", faces, weights)
    crops = read_faces(faces / "train112" / "lfw", 112, 112).faces
    with tempfile.TemporaryDirectory() as temporary:
        base = export(embedder, crops, ExportRecipe(targets=("onnx",)), Path(temporary))[0].artifact
        assert base is not None
        sample = embedder.contract.preprocess(choose_calibration_faces(crops, count, 0))
        yield base, parted(sample, base.path), Path(temporary)


def opened(name: str, faces: Path, weights: Path) -> Embedder:
    """Gives the network with its trained weights."""
    if name == "edgeface":
        place = f"{HERE / 'edgeface.py'}:edgeface"
        return load_embedder(place, weights / "edgeface_xxs.safetensors", contract=ARCFACE, name="edgeface-xxs")
    return open_source(Roots(EXAMPLES, faces, weights).resolve(read_recipe(EXAMPLES / f"lfw_{name}.toml")))


def measured(embedder: Embedder, faces: Path, out: Path) -> None:
    """Exports one network, and measures every file on both kinds of pairs: OUT/NETWORK/PAIRS/measurements.json."""
    fit = read_faces(faces / "train112" / "lfw", 112, 112)
    place = save_once(embedder, out / embedder.name / "checkpoint", embedder.architecture)
    recipe = ExportRecipe(targets=TARGETS, allow_drift=True)
    made = export(embedder, fit.faces, recipe, out / embedder.name / "artifacts", say, int8_cost=phone_cost)
    for name, table, images in (
        ("lfw", faces / "lfw112" / "pairs.txt", faces / "lfw112"),
        ("cfp", out / "cfp.csv", faces / "train112" / "cfp"),
    ):
        pairs = read_pairs(table, images, 112, 112)
        brief = {"arm64": (), "rounds": 1, "minimum_runs": 5, "minimum_seconds": 0.0}  # a file is timed once
        settings = {} if name == "lfw" else brief
        benchmark(
            [Subject(embedder, place, made)], pairs, BenchmarkRecipe(**settings), out / embedder.name / name, say, name
        )


def write_profiles(images: Path, table: Path) -> None:
    """Writes pairs of a frontal and a profile image, of one person and of two in the same fold."""
    random = np.random.default_rng(0)
    people = [person.name for person in sorted(images.iterdir()) if person.is_dir()]
    fold = {person: place % 10 for place, person in enumerate(random.permutation(people))}
    shots = {
        person: [sorted(path.name for path in (images / person).glob(f"{kind}*")) for kind in ("frontal", "profile")]
        for person in people
    }
    rows = []
    for person in people:
        others = [other for other in people if other != person and fold[other] == fold[person]]
        frontal, profile = shots[person]
        for left, right in random.choice([(a, b) for a in frontal for b in profile], EACH, replace=False):
            other = random.choice(others)
            rows.append((f"{person}/{left}", f"{person}/{right}", 1, fold[person], person, person))
            stranger = random.choice(shots[other][1])
            rows.append((f"{person}/{left}", f"{other}/{stranger}", 0, fold[person], person, other))
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("left", "right", "same", "fold", "left_person", "right_person"))
        writer.writerows(rows)


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
