"""A probe by the names that users give: a network, and pairs or faces to try contracts on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .benchmark.probing.cuts import FoundFace, are_crops, cuts_of_crops, cuts_of_photos, found_faces
from .benchmark.probing.networks import open_network
from .benchmark.probing.prober import probe_network
from .benchmark.probing.result import ProbeResult
from .benchmark.probing.samples import MOST_FACES, ProbeSample, labelled_sample, unlabelled_sample
from .export.calibration import shows_eyes
from .faces.alignment import read_photo, yunet
from .faces.contract import InputContract
from .faces.folders import read_images
from .faces.image_files import image_names, image_size
from .faces.recutting import recut
from .inputs import open_pairs

USUAL_SIZE = (112, 112)  # of the crops in files that hold them, and of rendered ones


def probe(
    network: str | Path,
    weights: Path | None = None,
    *,
    pairs: str | Path | None = None,
    images: Path | None = None,
    faces: Path | None = None,
    detector: Path | None = None,
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
        faces: Instead of pairs, a folder of aligned crops, one size, without labels; with a detector of photos.
        detector: A YuNet file. With it aligned crops are told from photos, whose faces are cut in several ways:
            aligned, looser, tighter, not aligned.
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
        found: list[FoundFace] = []
        if detector is not None:
            labelled = None if faces is not None else _sample_of_pairs(str(pairs), images)
            found = _found(faces, labelled, detector)
            crops = are_crops(found)
            aligned = sum(face.is_aligned for face in found)
            kind = "aligned crops" if crops else "photos"
            progress(f"{aligned} of {len(found)} faces lie where the usual template has them: these are {kind}")
            if not crops:
                cuts = cuts_of_photos(found, labelled is not None, max(opened.sizes[0]))
                return probe_network(opened, cuts, progress, photos=True)
        sample = _sample_of_faces(faces) if faces is not None else _sample_of_pairs(str(pairs), images)
        eyes = bool(found) or _shows_eyes(sample)
        return probe_network(opened, cuts_of_crops(sample, eyes), progress, shows_eyes=eyes)


def _found(faces: Path | None, labelled: ProbeSample | None, detector: Path) -> list[FoundFace]:
    """Looks for faces in the pictures of a folder, or of pairs, which are read at one size."""
    detect = yunet(detector)
    if labelled is not None:
        return found_faces(labelled.crops[::2], labelled.people.tolist(), detect)
    assert faces is not None
    paths = _drawn_paths(faces)
    return found_faces((read_photo(path) for path in paths), range(len(paths)), detect)


def _shows_eyes(sample: ProbeSample) -> bool:
    """Tells whether the mean of the faces and their mirror images has eyes where those of aligned crops are."""
    crops = recut(sample.crops[::2], *USUAL_SIZE)
    return shows_eyes(np.concatenate([crops, crops[:, :, ::-1]]), InputContract(*USUAL_SIZE))


def _sample_of_pairs(pairs: str, images: Path | None) -> ProbeSample:
    path = Path(pairs)
    where = images or (path if path.is_dir() else path.parent)
    kept_inside = pairs == "synthetic" or path.suffix in (".bin", ".tar")
    height, width = USUAL_SIZE if kept_inside else _size_in(where)
    return labelled_sample(open_pairs(pairs, images, InputContract(height, width)))


def _sample_of_faces(folder: Path) -> ProbeSample:
    paths = _drawn_paths(folder)
    sizes = dict.fromkeys(image_size(path) for path in paths)
    if len(sizes) > 1:
        several = " and ".join(f"{height}x{width}" for height, width in list(sizes)[:2])
        raise ValueError(
            f"{folder} holds pictures of several sizes ({several}), so these are no aligned crops: with "
            "--detector FILE they are tried aligned and not aligned, or align them first (pocketface align)"
        )
    return unlabelled_sample(read_images(paths, *next(iter(sizes))))


def _drawn_paths(folder: Path, seed: int = 0) -> list[Path]:
    """Draws up to 300 pictures below `folder`, of as many of the folders in it as there are."""
    names = image_names(folder)
    if not names:
        raise ValueError(f"{folder} holds no image of a face")
    random = np.random.default_rng(seed)
    order: NDArray[np.int64] = random.permutation(len(names))
    taken: dict[str, int] = {}
    turns = []
    for number in order:
        inside = names[number].rpartition("/")[0]
        turns.append(taken.setdefault(inside, 0))
        taken[inside] += 1
    chosen = order[np.argsort(turns, kind="stable")][:MOST_FACES]
    return [folder / names[number] for number in chosen]


def _size_in(folder: Path) -> tuple[int, int]:
    names = image_names(folder)
    if not names:
        raise ValueError(f"{folder} holds no image of a face")
    return image_size(folder / names[0])
