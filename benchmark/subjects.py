"""The files of a run that are measured, and the verified embeddings of one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..export.artifact import Artifact, Card
from ..export.exporter import Exported
from ..export.formats import CHECKPOINT, FORMATS, find_files, format_of, read_artifact, suffixes, uncertified_sha256
from ..export.targets import ForeignOnnx, Source
from ..faces.contract import Stated
from ..faces.pairs import Pairs
from ..models.checkpoint import load_checkpoint
from ..models.complexity import macs, parameters
from ..models.embedder import Embedder, Embeddings
from .accuracy.verification import Verification
from .embedding import EmbeddingJob
from .machine import device_name
from .measurement import Measurement, RowMaker
from .recipe import BenchmarkRecipe
from .runtimes import runtimes_of, usual_runtime


@dataclass(frozen=True)
class Subject:
    """One embedder of a run: its checkpoint or its own ONNX file, and the files that were exported from it."""

    embedder: Source
    checkpoint: Path
    exported: Sequence[Exported]


@dataclass(frozen=True)
class Candidate:
    """One file to measure."""

    artifact: Artifact
    factory: str | None = None  # the code of a checkpoint that is not of the zoo
    costs: tuple[tuple[str, int], ...] = ()  # metric, value: what is known of the network itself


@dataclass(frozen=True, eq=False)
class VerifiedFile:
    """One file's embeddings of the pairs' faces, their verification, and the source that it is compared with."""

    candidate: Candidate
    name: str  # in the rows: the path below the run folder
    embeddings: Embeddings = field(repr=False)  # (M, D) of unit length, one per face of `pairs`
    verification: Verification
    pairs: Pairs = field(repr=False)
    recipe: BenchmarkRecipe
    folder: Path  # the run folder
    source: VerifiedFile | None  # the first file of the run, unpruned and in PyTorch as a rule; None: this is it

    @property
    def model(self) -> str:
        """The embedder's name."""
        return self.candidate.artifact.card.model


Part = Callable[[VerifiedFile, RowMaker], list[Measurement]]
"""One thing to find out about each file, from its embeddings of the pairs' faces."""


def row_maker(artifact: Artifact, folder: Path, runtime: str | None = None, device: str | None = None) -> RowMaker:
    """Gives the maker of a file's rows: in its format's usual runtime and on this machine by default."""
    own = usual_runtime(artifact.format)
    known = next((one for one in runtimes_of(artifact.format) if one.name == runtime), own)
    return RowMaker(
        model=artifact.card.model,
        artifact=name_in(artifact.path, folder),
        format=artifact.format,
        precision=artifact.card.precision,
        runtime=own.name if runtime is None else runtime,
        device=device_name() if device is None else device,
        source=artifact.card.pruned_from,
        conditions={"runtime_version": known.version},
    )


def name_in(path: Path, folder: Path) -> str:
    """Gives what rows call a file: its path below the run folder, or its name where it lies elsewhere."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name


def embedding_job(candidate: Candidate, faces: str) -> EmbeddingJob:
    """Gives the job of embedding crops whose hash is `faces` with a file."""
    artifact, runtime = candidate.artifact, usual_runtime(candidate.artifact.format)
    decides: list[object] = [uncertified_sha256(artifact.path), faces, runtime.name, runtime.version]
    decides += [artifact.card.contract, *filter(None, [artifact.output])]
    identity = "|".join(map(str, decides))
    contract, factory = artifact.card.contract, candidate.factory
    return EmbeddingJob(artifact.path, contract, identity, factory, runtime.opener, artifact.output)


def candidates_of(subject: Subject) -> list[Candidate]:
    """Gives the checkpoint, or the ONNX file itself, and every file that was exported from it."""
    embedder = subject.embedder
    artifacts = [result.artifact for result in subject.exported if result.artifact is not None]
    if isinstance(embedder, ForeignOnnx):
        return [Candidate(read_artifact(embedder.path, embedder.contract)), *map(Candidate, artifacts)]
    factory = embedder.architecture if ":" in embedder.architecture else None
    costs = _costs(embedder)
    return [
        Candidate(_checkpoint(subject.checkpoint, embedder), factory, costs),
        *(Candidate(artifact, None, costs) for artifact in artifacts),
    ]


def candidates_in(
    paths: Iterable[Path], contract: Stated | None, factory: str | None, output: str = ""
) -> list[Candidate]:
    """Gives files anywhere on this machine; of a folder, every file in it.

    Args:
        paths: Files, checkpoints, or folders that hold some.
        contract: What to feed files that do not say.
        factory: What built a foreign checkpoint.
        output: The name of the embedding of files with several outputs.

    Raises:
        ValueError: There is none, or one of no known format, or they want faces of different sizes.
    """
    found = find_files(paths, FORMATS.values())
    if not found:
        raise ValueError(f"no file to measure; what is measured ends in {suffixes()} or is a checkpoint")
    candidates = [_entry(path, contract, factory, output) for path in found]
    contracts = {
        (candidate.artifact.card.contract.height, candidate.artifact.card.contract.width) for candidate in candidates
    }
    if len(contracts) != 1:
        raise ValueError(f"these files want faces of {len(contracts)} sizes; measure each size by itself")
    return candidates


def _entry(path: Path, contract: Stated | None, factory: str | None, output: str) -> Candidate:
    if format_of(path).name != CHECKPOINT:
        return Candidate(read_artifact(path, contract, output))
    embedder = load_checkpoint(path, factory)
    return Candidate(_checkpoint(path, embedder), factory, _costs(embedder))


def _checkpoint(folder: Path, embedder: Embedder) -> Artifact:
    card = Card(
        embedder.name,
        embedder.contract,
        embedder.embedding_size,
        licence=embedder.licence,
        pruned_from=embedder.pruned_from,
    )
    return Artifact(folder, CHECKPOINT, card, None)


def _costs(embedder: Embedder) -> tuple[tuple[str, int], ...]:
    return (("parameters", parameters(embedder.backbone)), ("macs", macs(embedder)))
