"""RUN/verification.npz: the similarity that every file of a run gave every pair, for later comparisons."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...files import written_whole
from .intervals import Booleans, Floats, Integers

if TYPE_CHECKING:
    from ...faces.pairs import Pairs

NAME = "verification.npz"
SIMILARITY = "similarity/"
EXACT_UP_TO = 1_000_000  # pairs; above, similarities are kept as float32: 7 digits decide as 16 do, in half the space
MOST_PAIRS = 1_000_000_000
HEADER = 4096  # bytes that a .npy may spend on saying what it holds


@dataclass(frozen=True, eq=False)
class Record:
    """The pairs without their faces, and the similarities that each file gave them."""

    same: Booleans = field(repr=False)  # (P,)
    fold: Integers = field(repr=False)  # (P,)
    left: Integers = field(repr=False)  # (P,) who is on the left crop; -1 where that is not known
    right: Integers = field(repr=False)  # (P,)
    sha256: str  # of the pairs, as `Pairs.sha256`
    similarity: Mapping[str, Floats] = field(repr=False)  # (P,) cosines by what rows call the artifact

    @property
    def people(self) -> tuple[Integers, Integers] | None:
        """Who is on the left and on the right; None where anybody is not known."""
        all_known = bool((self.left >= 0).all() and (self.right >= 0).all())
        return (self.left, self.right) if all_known else None


def compact(similarity: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Gives similarities as they are kept: float64, and float32 where there are more than a million pairs."""
    return similarity.astype(np.float32 if len(similarity) > EXACT_UP_TO else np.float64)


def write_record(path: Path, pairs: Pairs, similarity: Mapping[str, NDArray[np.floating[Any]]]) -> None:
    """Writes a compressed .npz, whole or not at all.

    Args:
        path: Of the file.
        pairs: What was verified.
        similarity: (P,) cosines of each file, by what rows call it.

    Raises:
        ValueError: A file has not one similarity per pair.
    """
    for name, values in similarity.items():
        if values.shape != pairs.same.shape:
            raise ValueError(f"{name} has similarities of shape {values.shape} for {len(pairs.same)} pairs")
    arrays: dict[str, Any] = {
        "same": pairs.same.astype(np.bool_),
        "fold": pairs.fold.astype(np.int64),
        "left": pairs.identities[pairs.left].astype(np.int64),
        "right": pairs.identities[pairs.right].astype(np.int64),
        "sha256": np.array(pairs.sha256),
        **{SIMILARITY + name: compact(values) for name, values in similarity.items()},
    }
    with written_whole(path) as beside, beside.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def read_record(path: Path) -> Record:
    """Reads what `write_record` wrote; similarities as float64.

    Raises:
        ValueError: The file is damaged, or no such record.
        FileNotFoundError: There is none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
        if sizes.get("same", 0) > MOST_PAIRS:
            raise ValueError(f"more than {MOST_PAIRS:,} pairs")
        with np.load(path, allow_pickle=False) as arrays:
            same = arrays["same"]
            # what is unpacked is bounded by the number of pairs, however well a foreign file was packed
            heavy = [name for name, size in sizes.items() if size > HEADER + 8 * max(same.size, 128)]
            if heavy:
                raise ValueError(f"{heavy[0]} is larger than {same.size} pairs can be")
            contents = {name: arrays[name] for name in arrays.files}
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError, RuntimeError) as error:
        raise ValueError(f"{path} is no record of a verification: {error}") from None
    _check(path, contents)
    similarity = {
        name.removeprefix(SIMILARITY): values.astype(np.float64)
        for name, values in contents.items()
        if name.startswith(SIMILARITY)
    }
    return Record(same, contents["fold"], contents["left"], contents["right"], str(contents["sha256"]), similarity)


def _check(path: Path, contents: Mapping[str, NDArray[Any]]) -> None:
    """Refuses arrays of other shapes and types than `write_record` writes."""
    pairs = contents["same"].shape
    types = {"same": "b", "fold": "i", "left": "i", "right": "i", "sha256": "U"}
    types |= {name: "f" for name in contents if name.startswith(SIMILARITY)}
    for name, kind in types.items():
        if name not in contents:
            raise ValueError(f"{path} is no record of a verification: it holds no {name!r}")
        shape, dtype = contents[name].shape, contents[name].dtype
        if dtype.kind != kind or shape != (() if name == "sha256" else pairs) or len(pairs) != 1:
            raise ValueError(f"{path} is no record of a verification: {name!r} is {dtype} of shape {shape}")
        if kind == "f" and not np.isfinite(contents[name]).all():
            raise ValueError(f"{path} is no record of a verification: {name!r} holds numbers that are not finite")
