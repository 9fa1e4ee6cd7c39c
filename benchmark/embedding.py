"""Embeds faces with the files themselves, each in a process of its own, as many at a time as there are cores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..export.formats import OPENER
from ..faces.contract import Faces, InputContract
from ..files import made_again, written_whole
from ..lazy import opener_of
from ..steps import ProgressStep
from .machine import lent_cores
from .processes import answer, ask

CROPS = "crops.npy"  # the faces, while they are embedded


@dataclass(frozen=True)
class EmbeddingJob:
    """A file to embed with, and what decides its embeddings."""

    path: Path
    contract: InputContract
    identity: str  # hashes and versions: embeddings of the same identity are not computed again
    factory: str | None = None  # the code of a checkpoint that is not of the zoo
    opener: str = OPENER  # module:function(path, threads[, factory][, output]) -> a session
    output: str = ""  # the name of the embedding, where the file has several outputs

    @property
    def name(self) -> str:
        """Of the file that keeps the embeddings."""
        return hashlib.sha256(self.identity.encode()).hexdigest()[:32] + ".npy"


def embed_all(
    jobs: Sequence[EmbeddingJob], faces: Faces, folder: Path, progress: Callable[[str], None] = lambda line: None
) -> list[NDArray[np.float32] | str]:
    """Embeds `faces` with every file.

    Args:
        jobs: The files.
        faces: (N, H, W, 3) uint8 RGB crops.
        folder: Keeps embeddings, so that a run that was killed goes on; made if need be.
        progress: Told one line, and one per file.

    Returns:
        Per file (N, D) float32 of whatever length the file gives, or the reason why there are none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CROPS).unlink(missing_ok=True)  # of a process that was killed
    results: dict[str, NDArray[np.float32] | str] = {}
    for job in jobs:
        stored = kept_embeddings(folder / job.name, len(faces), progress)
        results |= {} if stored is None else {job.name: stored}
    missing = [job for job in jobs if job.name not in results]
    if missing:
        with _on_disk(faces, folder) as crops, ThreadPoolExecutor(min(lent_cores(), len(missing))) as pool:
            progress(ProgressStep(f"embedding {len(faces):,} faces with each file", "embedding", 0, len(missing)))
            reasons = pool.map(lambda job: _embed(job, crops, folder), missing)
            for number, (job, reason) in enumerate(zip(missing, reasons, strict=True), 1):
                line = reason or f"embedded {len(faces):,} faces with {job.path.name}"
                progress(ProgressStep(line, "embedding", number, len(missing)))
                results[job.name] = reason or np.load(folder / job.name, allow_pickle=False)
    return [results[job.name] for job in jobs]


def kept_embeddings(
    path: Path, faces: int, progress: Callable[[str], None] = lambda line: None
) -> NDArray[np.float32] | None:
    """Reads embeddings that an earlier try kept.

    Args:
        path: A .npy file.
        faces: How many were embedded.
        progress: Told of a damaged file.

    Returns:
        (faces, D) float32; None where there is no such file, or a damaged one: then they are to be made again.
    """
    try:
        embeddings = np.load(path, allow_pickle=False)
        if embeddings.ndim == 2 and len(embeddings) == faces and embeddings.dtype == np.float32:
            return np.asarray(embeddings)
        damage: Exception = ValueError(f"{embeddings.dtype} of shape {embeddings.shape} for {faces:,} faces")
    except FileNotFoundError:
        return None
    except Exception as error:  # NumPy parses the header as Python: SyntaxError, TokenError and others
        damage = error
    progress(made_again(str(path), damage))
    return None


def flip_summed(
    jobs: Sequence[EmbeddingJob],
    embedded: Sequence[NDArray[np.float32] | str],
    faces: Faces,
    folder: Path,
    progress: Callable[[str], None] = lambda line: None,
) -> list[NDArray[np.float32] | str]:
    """Adds to what `embed_all` gave the embeddings of the faces' mirror images, kept in files of their own.

    Raw embeddings are added, before any is scaled to unit length. An app that does the same takes twice as long.

    Source: the evaluation of Deng et al., ArcFace, CVPR 2019 (InsightFace's code).
    """
    mirrored = [replace(job, identity=f"{job.identity}|mirrored") for job in jobs]
    sums: list[NDArray[np.float32] | str] = []
    for one, other in zip(embedded, embed_all(mirrored, faces[:, :, ::-1], folder, progress), strict=True):
        if isinstance(one, str) or isinstance(other, str):
            sums.append(one if isinstance(one, str) else other)
        else:
            sums.append(np.asarray(one / 2 + other / 2, dtype=np.float32))  # halves cannot overflow
    return sums


@contextmanager
def _on_disk(faces: Faces, folder: Path) -> Iterator[Path]:
    """Lends the crops to other processes as a file that they map into memory."""
    path = folder / CROPS
    try:
        with written_whole(path) as beside, beside.open("wb") as stream:
            np.save(stream, faces)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _embed(job: EmbeddingJob, crops: Path, folder: Path) -> str:
    """Runs one process; gives its reason if it failed."""
    request = {
        "path": str(job.path.absolute()),
        "contract": job.contract.to_dict(),
        "factory": job.factory,
        "opener": job.opener,
        "output": job.output,
        "crops": str(crops.absolute()),
        "out": str((folder / job.name).absolute()),
    }
    try:
        ask("pocketface.benchmark.embedding", request, job.path.name, "run")
    except RuntimeError as error:
        return str(error)
    return ""


def _main(request: dict[str, Any]) -> dict[str, Any]:
    from ..bounds import limit_memory, limited_time
    from ..export.session import raw_embeddings

    contract = InputContract.from_dict(request["contract"])
    faces = np.load(request["crops"], mmap_mode="r", allow_pickle=False)
    path = Path(request["path"])
    limit_memory(path, more=4 * faces.nbytes)
    with limited_time():
        session = opener_of(request["opener"], request["factory"], request["output"])(path, 1)
        raw_embeddings(session, contract, faces[:1])
    embeddings = raw_embeddings(session, contract, faces)
    with written_whole(Path(request["out"])) as beside, beside.open("wb") as stream:
        np.save(stream, embeddings)
    return {"faces": len(embeddings)}


if __name__ == "__main__":
    answer(_main)
