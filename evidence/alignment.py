"""What mistakes in aligning cost: the cosine of the embedding of a wrongly cut crop to that of the right one.

    python evidence/alignment.py --photos FOLDER --detector yunet.onnx --weights FOLDER

Run it from the repository root; it takes a minute or two on one core. FOLDER of photos: any that are not aligned; the
rows are of 60 originals of LFW, 250x250 pixels, so nothing is reduced by two or more and averaging is not tried. The
weights are those of evidence/probe.py. Landmarks by YuNet. The nose's base, which some detectors give, is emulated: a
quarter of the way from the tip to the middle of the mouth. Writes evidence/alignment.jsonl.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rows import write_rows

from pocketface.benchmark.measurement import Measurement
from pocketface.export.app.alignment_mistakes import wrong_cuts
from pocketface.export.app.golden import Golden, aligned
from pocketface.faces.alignment import central_face, read_photo, similarity_transform, warp, yunet
from pocketface.faces.contract import ARCFACE, IMAGENET, InputContract
from pocketface.models.checkpoint import open_embedder

HERE = Path(__file__).parent
PUBLISHED = HERE.parent / "examples" / "published_mobilefacenets.py"
NETWORKS = {  # name -> factory, weights, contract
    "mobilefacenet-relu6": (f"{PUBLISHED}:foamliu", "mobilefacenet_relu6.safetensors", IMAGENET),
    "mobilefacenet-prelu": (
        f"{PUBLISHED}:insightface_y1",
        "mobilefacenet_prelu.safetensors",
        InputContract(scale=(1 / 128,) * 3),
    ),
    "edgeface-xxs": (f"{HERE / 'edgeface.py'}:edgeface", "edgeface_xxs.safetensors", ARCFACE),
}
FOUR = [0, 1, 3, 4]  # the landmarks without the nose


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--detector", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    options = parser.parse_args()
    found = list(faces(options.photos, options.detector))
    cuts = [list(all_cuts(*face)) for face in found]
    rows = []
    for network, (factory, weights, contract) in NETWORKS.items():
        embedder = open_embedder(factory, options.weights / weights, contract=contract)
        right = embedder.embed(np.stack([aligned(photo, points, ARCFACE) for photo, points, _ in found]))
        for name in dict.fromkeys(name for of_face in cuts for name, _ in of_face):
            crops = [(i, crop) for i, of_face in enumerate(cuts) for each, crop in of_face if each == name]
            wrong = embedder.embed(np.stack([crop for _, crop in crops]))
            cosines = (wrong * right[[i for i, _ in crops]]).sum(1)
            conditions = {"cut": name, "lowest_tenth": float(np.quantile(cosines, 0.1))}
            row = (network, network, "", "", "", "", "alignment_cosine", float(np.median(cosines)), "1")
            rows.append(Measurement(*row, n=len(cosines), conditions=conditions))
            print(f"{network}: {name}: {rows[-1].value:.4f}, {conditions['lowest_tenth']:.4f}", flush=True)
    write_rows(rows, HERE / "alignment.jsonl")


def faces(photos: Path, detector: Path) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]]]:
    """Gives each photo, its face's five landmarks and its box."""
    detect = yunet(detector)
    for path in sorted(photos.glob("*.jpg")):
        photo = read_photo(path)
        if len(found := detect(photo)):
            face = found[central_face(found, *photo.shape[:2])]
            yield photo, face[4:14].reshape(5, 2), face[:4]


def all_cuts(
    photo: NDArray[np.uint8], points: NDArray[np.float64], box: NDArray[np.float64]
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Gives what is not quite the rule, then the mistakes."""
    template, side = ARCFACE.landmarks, ARCFACE.height
    right = similarity_transform(points, template)
    yield "OpenCV's warpAffine", np.asarray(cv2.warpAffine(photo, right, (side, side)))
    yield "four points, no nose", warp(photo, similarity_transform(points[FOUR], template[FOUR]), side, side)
    base = points.copy()
    base[2] += (points[3:].mean(0) - points[2]) / 4
    yield "nose's base for its tip", warp(photo, similarity_transform(base, template), side, side)
    yield from wrong_cuts(Golden("", aligned(photo, points, ARCFACE), photo, points), ARCFACE)
    left, top, width, height = box
    scale = np.array([[side / width, 0, -left * side / width], [0, side / height, -top * side / height]])
    yield "unaligned", warp(photo, scale, side, side)


if __name__ == "__main__":
    main()
