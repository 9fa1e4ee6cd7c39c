"""Stage 3: files in, measurements out; each number is taken on the file that ships."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ..export.artifact import Artifact, Card, Precision
from ..export.cards import fingerprint
from ..export.exporter import Exported
from ..export.session import SUFFIXES, format_of, read_artifact
from ..faces.contract import InputContract
from ..faces.pairs import Pairs
from ..models.checkpoint import load_checkpoint
from ..models.complexity import macs, parameters
from ..models.embedder import Embedder, Embeddings, unit
from ..models.files import written_whole
from .accuracy.verification import Verification, difference, verify
from .accuracy.verification import measurements as verification_rows
from .certification import certificate_of, certify
from .embedding import Job as EmbeddingJob
from .embedding import embed_all
from .measurement import Measurement, write_measurements
from .recipe import BenchmarkRecipe
from .size import measurements as size_rows
from .speed.latency import Job, device_name, measure_all
from .speed.latency import measurements as latency_rows

NO_MAC = (
    "latency is not measured off a Mac: the evaluator that checks the numbers is no phone runtime; "
    "on a Mac run mac/measure.py of the hand-off, or open the file in Xcode (Performance tab)"
)

RUNTIMES = {
    "pytorch": "torch",
    "onnx": "onnxruntime",
    "ort": "onnxruntime",
    "tflite": "litert",
    "coreml": "coreml-evaluator",
    "executorch": "executorch",
}
PACKAGES = {
    "pytorch": "torch",
    "onnx": "onnxruntime",
    "ort": "onnxruntime",
    "tflite": "ai-edge-litert",
    "coreml": "coremltools",
    "executorch": "executorch",
}


@dataclass(frozen=True)
class Subject:
    """One embedder of a run: its checkpoint, and what was made of it."""

    embedder: Embedder
    checkpoint: Path
    exported: Sequence[Exported]


@dataclass(frozen=True)
class Entry:
    """One file to measure."""

    artifact: Artifact
    factory: str | None = None  # the code of a checkpoint that is not of the zoo
    costs: tuple[tuple[str, int], ...] = ()  # metric, value: what is known of the network itself


def benchmark(
    subjects: Sequence[Subject],
    pairs: Pairs,
    recipe: BenchmarkRecipe,
    folder: Path,
    progress: Callable[[str], None] = lambda line: None,
    pairs_name: str | None = None,
) -> list[Measurement]:
    """Measures every checkpoint and file of a run and writes `measurements.json`.

    Args:
        subjects: The first is the source: every file is compared with it too.
        pairs: To verify on.
        recipe: Threads, runs and seconds.
        folder: The run folder; embeddings and latencies taken earlier of the same files are kept.
        progress: Told one line per step.
        pairs_name: What the pairs are called in the certificate that each file gets; None: no file gets one.
    """
    entries = [entry for subject in subjects for entry in _entries(subject)]
    source = subjects[0].embedder
    rows = [row for subject in subjects for row in _export_rows(subject, folder)]
    rows += _measure(entries, pairs, recipe, folder, progress, source.name, pairs_name)
    write_measurements(rows, folder / "measurements.json")
    return rows


def benchmark_files(
    paths: Iterable[Path],
    read_pairs: Callable[[InputContract], Pairs],
    recipe: BenchmarkRecipe,
    folder: Path,
    progress: Callable[[str], None] = lambda line: None,
    contract: InputContract | None = None,
    factory: str | None = None,
    pairs_name: str | None = None,
) -> list[Measurement]:
    """Measures files that lie anywhere; the first is what the others' embeddings are compared with.

    Args:
        paths: Files, checkpoints, or folders that hold some.
        read_pairs: Gives the pairs at the size of a contract.
        recipe: See `benchmark`.
        folder: Where `measurements.json` goes.
        progress: See `benchmark`.
        contract: What to feed files that do not say.
        factory: What built a foreign checkpoint.
        pairs_name: See `benchmark`.

    Raises:
        ValueError: A file is not there or of no known format, or they want different inputs.
    """
    entries = [_entry(path, contract, factory) for path in _found(paths)]
    contracts = {(entry.artifact.card.contract.height, entry.artifact.card.contract.width) for entry in entries}
    if len(contracts) != 1:
        raise ValueError(f"these files want faces of {len(contracts)} sizes; measure each size by itself")
    folder.mkdir(parents=True, exist_ok=True)
    pairs = read_pairs(entries[0].artifact.card.contract)
    rows = _measure(entries, pairs, recipe, folder, progress, entries[0].artifact.card.model, pairs_name)
    write_measurements(rows, folder / "measurements.json")
    return rows


def _measure(
    entries: Sequence[Entry],
    pairs: Pairs,
    recipe: BenchmarkRecipe,
    folder: Path,
    progress: Callable[[str], None],
    source: str,
    pairs_name: str | None,
) -> list[Measurement]:
    jobs = [_embedding_job(entry, pairs) for entry in entries]
    embedded = embed_all(jobs, pairs.faces, folder / "embeddings", progress)
    first: Verification | None = None
    rows: list[Measurement] = []
    for entry, raw in zip(entries, embedded, strict=True):
        row = _row(entry.artifact, folder)
        verification = None if isinstance(raw, str) else verify(unit(raw), pairs, pairs.identities)
        certified = verification is not None and _certify(entry, verification, pairs, pairs_name)
        rows += size_rows(entry.artifact.path, row)  # after the certificate, which is part of what ships
        rows += [row(metric=metric, value=value, unit="1") for metric, value in entry.costs]
        if isinstance(raw, str) or verification is None:
            rows.append(row(metric="verification_accuracy", value=None, unit="1", valid=False, reason=raw))
            continue
        rows += _drift(unit(raw), embedded[0], source, row)
        rows += verification_rows(verification, row, certified)
        if entry is entries[0]:
            first = verification
        elif first is not None:
            rows.append(difference(verification, first, pairs, partial(_compared, row, source)))
        progress(f"{entry.artifact.path.name}: accuracy {100 * (verification.accuracy.value or 0):.2f} %")
    return rows + _latencies(entries, recipe, folder, progress)


def _certify(entry: Entry, verification: Verification, pairs: Pairs, name: str | None) -> bool:
    if name is None:
        return False
    kind = entry.artifact.format
    runtime = f"{RUNTIMES[kind]} {importlib.metadata.version(PACKAGES[kind])}"
    return certify(entry.artifact, certificate_of(verification, pairs, name, runtime))


def _row(artifact: Artifact, folder: Path) -> Callable[..., Measurement]:
    path = artifact.path
    name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
    version = importlib.metadata.version(PACKAGES[artifact.format])
    return partial(
        _with_version,
        version,
        model=artifact.card.model,
        artifact=name,
        format=artifact.format,
        precision=artifact.card.precision,
        runtime=RUNTIMES[artifact.format],
        device=device_name(),
    )


def _compared(row: Callable[..., Measurement], source: str, conditions: Any, **fields: Any) -> Measurement:
    return row(conditions={"to": source, **conditions}, **fields)


def _with_version(version: str, conditions: Any = None, **fields: Any) -> Measurement:
    return Measurement(conditions={"runtime_version": version, **(conditions or {})}, **fields)


def _entries(subject: Subject) -> list[Entry]:
    embedder = subject.embedder
    card = Card(embedder.name, embedder.contract, embedder.embedding_size, licence=embedder.licence)
    factory = embedder.architecture if ":" in embedder.architecture else None
    costs = _costs(embedder)
    made = [result.artifact for result in subject.exported if result.artifact is not None]
    return [
        Entry(Artifact(subject.checkpoint, "pytorch", card, None), factory, costs),
        *(Entry(artifact, None, costs) for artifact in made),
    ]


def _entry(path: Path, contract: InputContract | None, factory: str | None) -> Entry:
    if format_of(path) != "pytorch":
        return Entry(read_artifact(path, contract))
    embedder = load_checkpoint(path, factory)
    card = Card(embedder.name, embedder.contract, embedder.embedding_size, licence=embedder.licence)
    return Entry(Artifact(path, "pytorch", card, None), factory, _costs(embedder))


def _costs(embedder: Embedder) -> tuple[tuple[str, int], ...]:
    return (("parameters", parameters(embedder.backbone)), ("macs", macs(embedder)))


def _found(paths: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if not path.is_dir() or path.suffix in SUFFIXES or (path / "embedder.json").is_file():
            found.append(path)
            continue
        inside = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES or file.name == "embedder.json")
        found += [file.parent if file.name == "embedder.json" else file for file in inside]
    if not found:
        raise ValueError(f"no file to measure; what is measured ends in {', '.join(SUFFIXES)} or is a checkpoint")
    return found


def _export_rows(subject: Subject, folder: Path) -> list[Measurement]:
    """Gives the parity that the export saw, and a row with the reason for each target that failed."""
    rows: list[Measurement] = []
    for result in subject.exported:
        if result.artifact is None or result.parity is None:
            rows.append(_failure(subject.embedder.name, result))
            continue
        row = partial(_row(result.artifact, folder), n=result.parity.faces, conditions={"to": subject.embedder.name})
        rows += [
            row(metric="largest_difference", value=result.parity.largest_difference, unit="1"),
            row(metric="parity_cosine_min", value=result.parity.cosine_min, unit="1"),
            row(metric="parity_cosine_mean", value=result.parity.cosine_mean, unit="1"),
        ]
    return rows


def _failure(model: str, result: Exported) -> Measurement:
    kind, *words = result.target.split("-")
    return Measurement(
        model,
        artifact="",
        format=kind,
        precision=next((word for word in words if word in get_args(Precision)), "fp32"),
        runtime="",
        device="",
        metric="export",
        value=None,
        unit="1",
        valid=False,
        reason=f"{result.target}: {result.reason}",
    )


def _drift(
    embeddings: Embeddings, reference: NDArray[np.float32] | str, source: str, row: Callable[..., Measurement]
) -> list[Measurement]:
    """Compares with the source embedder: the one that entered the run, unpruned."""
    row = partial(row, conditions={"to": source}, unit="1")
    if isinstance(reference, str) or reference.shape != embeddings.shape:
        reason = reference if isinstance(reference, str) else f"{source} gives {reference.shape[1]} numbers per face"
        return [row(metric="embedding_cosine_mean", value=None, valid=False, reason=reason)]
    cosine = (embeddings.astype(np.float64) * unit(reference)).sum(1)
    return [
        row(metric="embedding_cosine_mean", value=float(cosine.mean()), n=len(cosine)),
        row(metric="embedding_cosine_min", value=float(cosine.min()), n=len(cosine)),
    ]


def _embedding_job(entry: Entry, pairs: Pairs) -> EmbeddingJob:
    artifact = entry.artifact
    version = importlib.metadata.version(PACKAGES[artifact.format])
    decides = (fingerprint(artifact.path), pairs.sha256, RUNTIMES[artifact.format], version, artifact.card.contract)
    return EmbeddingJob(artifact.path, artifact.card.contract, "|".join(map(str, decides)), entry.factory)


def _latencies(
    entries: Sequence[Entry], recipe: BenchmarkRecipe, folder: Path, progress: Callable[[str], None]
) -> list[Measurement]:
    """Times every file that has a runtime here, all in turns; Core ML files get a row that says how to time them."""
    timed = [entry for entry in entries if entry.artifact.format != "coreml"]
    jobs = [(entry, _job(entry, threads)) for entry in timed for threads in recipe.threads]
    hashes = [fingerprint(job.path) + repr(job) for _, job in jobs]
    key = hashlib.sha256((recipe.model_dump_json() + device_name() + "".join(hashes)).encode()).hexdigest()
    path = folder / "latency.json"
    rows = _kept_rows(path, key)
    if rows is None:
        taken = measure_all(
            [job for _, job in jobs],
            recipe.rounds,
            recipe.minimum_runs,
            recipe.minimum_seconds,
            progress=progress,
        )
        rows = [
            row
            for (entry, _), latency in zip(jobs, taken, strict=True)
            for row in latency_rows(latency, _row(entry.artifact, folder))
        ]
        with written_whole(path) as beside:
            text = {"key": key, "rows": [dataclasses.asdict(row) for row in rows]}
            beside.write_text(json.dumps(text, indent=1), encoding="utf-8")
    absent = [_row(entry.artifact, folder) for entry in entries if entry.artifact.format == "coreml"]
    return rows + [
        row(
            metric="latency_ms_p50",
            value=None,
            unit="ms",
            valid=False,
            reason=NO_MAC,
            conditions={"threads": threads},
        )
        for row in absent
        for threads in recipe.threads
    ]


def _job(entry: Entry, threads: int) -> Job:
    contract = entry.artifact.card.contract
    return Job(entry.artifact.path, threads, (1, 3, contract.height, contract.width), entry.factory)


def _kept_rows(path: Path, key: str) -> list[Measurement] | None:
    """Gives the latencies that an earlier try took of the very same files."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return [Measurement(**row) for row in kept["rows"]] if kept["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # there is none, or none that can be trusted: take them again
