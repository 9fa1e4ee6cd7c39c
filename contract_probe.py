"""A probe by the names that users give: a network, and pairs or faces to try contracts on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .benchmark.probing.networks import open_network
from .benchmark.probing.prober import probe_network
from .benchmark.probing.result import ProbeResult
from .benchmark.probing.samples import MOST_FACES, ProbeSample, labelled_sample, unlabelled_sample
from .faces.contract import Faces, InputContract
from .faces.folders import read_images
from .faces.image_files import image_names, image_size
from .inputs import open_pairs

USUAL_SIZE = (112, 112)  # of the crops in files that hold them, and of rendered ones


def probe(
    network: str | Path,
    weights: Path | None = None,
    *,
    pairs: str | Path | None = None,
    images: Path | None = None,
    faces: Path | None = None,
    size: tuple[int, int] | None = None,
    output: str = "",
    factory: str | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> ProbeResult:
    """Finds the input contract that a network was trained with: channel order, mean, scale and size.

    The usual ones are tried on up to 300 faces, with labels or without; those that are clearly worse drop out early. A
    MobileFaceNet takes about a minute on one core.

    Args:
        network: A converted file, a checkpoint folder, a zoo name, or `path/to/file.py:factory`, whose code runs.
        weights: For a zoo name or a factory.
        pairs: Pairs with labels, as for `open_pairs`. Aligned crops of any size.
        images: The folder that the pairs name images of; None: where they lie.
        faces: Instead of pairs, a folder of aligned crops, one size, without labels.
        size: Height and width of the network's input; None: the file's own, or the usual ones are tried.
        output: The name of the embedding, where a file has several outputs.
        factory: The code of a checkpoint that is not of the zoo.
        progress: Told one line per round.

    Returns:
        The contract, how sure it is, and the options that state it.

    Raises:
        ValueError: There is no such network, or it embeds no face; there are too few pairs or faces, or both or
            neither are given.
    """
    if (pairs is None) == (faces is None):
        raise ValueError("contracts are tried on pairs or on a folder of faces: give --pairs or --faces, one of them")
    with tempfile.TemporaryDirectory() as folder:
        opened = open_network(str(network), weights, Path(folder), size, output, factory)
        sample = _sample_of_faces(faces) if faces is not None else _sample_of_pairs(str(pairs), images)
        return probe_network(opened, sample, progress)


def _sample_of_pairs(pairs: str, images: Path | None) -> ProbeSample:
    path = Path(pairs)
    where = images or (path if path.is_dir() else path.parent)
    kept_inside = pairs == "synthetic" or path.suffix in (".bin", ".tar")
    height, width = USUAL_SIZE if kept_inside else _size_in(where)
    return labelled_sample(open_pairs(pairs, images, InputContract(height, width)))


def _sample_of_faces(folder: Path) -> ProbeSample:
    height, width = _size_in(folder)
    return unlabelled_sample(_drawn(folder, height, width))


def _drawn(folder: Path, height: int, width: int, seed: int = 0) -> Faces:
    """Reads up to 300 crops below `folder`, of as many of the folders in it as there are."""
    names = image_names(folder)
    random = np.random.default_rng(seed)
    order: NDArray[np.int64] = random.permutation(len(names))
    taken: dict[str, int] = {}
    turns = []
    for number in order:
        inside = names[number].rpartition("/")[0]
        turns.append(taken.setdefault(inside, 0))
        taken[inside] += 1
    chosen = order[np.argsort(turns, kind="stable")][:MOST_FACES]
    return read_images([folder / names[number] for number in chosen], height, width)


def _size_in(folder: Path) -> tuple[int, int]:
    names = image_names(folder)
    if not names:
        raise ValueError(f"{folder} holds no image of a face")
    return image_size(folder / names[0])
