"""Stage 2: an embedder in, files for phones out, each checked against it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..faces.contract import Faces
from ..faces.folders import FaceSource
from ..files import sha256_of, written_whole
from ..models.embedder import Embedder, Embeddings
from .artifact import Artifact, Card, ConversionError
from .calibration import choose, lint
from .cards import fingerprint
from .parity import Parity, check, compare
from .provenance import sentences
from .recipe import ExportRecipe
from .reference import reference_of
from .session import embed, open_session, read_artifact
from .targets import TARGETS, Job, Source, with_bases

TOOLS = ("torch", "onnx", "onnxscript", "onnxsim", "onnxruntime", "ai-edge-litert", "ai-edge-quantizer", "coremltools")
RECORD = "exported.json"


@dataclass(frozen=True)
class Exported:
    """One target: the file and how near it is to its source, or why there is none."""

    target: str
    artifact: Artifact | None
    parity: Parity | None
    seconds: float
    reason: str = ""


def export(
    source: Source,
    faces: FaceSource,
    recipe: ExportRecipe,
    folder: Path,
    progress: Callable[[str], None] = lambda line: None,
    tested: Faces | None = None,
) -> list[Exported]:
    """Writes `source` in every format that `recipe` names, each checked against it.

    A target that fails is reported, not raised: the other files are still made. What is there already from
    the same source, faces, recipe and tools is kept.

    Args:
        source: The embedder, or a foreign ONNX file.
        faces: (N, H, W, 3) uint8 RGB aligned crops, for parity and int8 ranges; never the verification pairs.
        recipe: What to make.
        folder: Where to.
        progress: Told what looks wrong with the faces, and one line per target.
        tested: (M, H, W, 3) crops of the verification pairs, if there are any: `faces` must not share photos with them.

    Returns:
        One entry per target, in the recipe's order, bases first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contract = source.contract
    sample = choose(faces, recipe.calibration_faces, recipe.seed)
    if any("w8" in target for target in recipe.targets):
        for line in lint(sample, contract, tested):
            progress(line)
    probe = sample[: recipe.parity_faces]
    reference = reference_of(source, probe)
    card = Card(
        source.name,
        contract,
        reference.embeddings.shape[1],
        normalised=reference.normalised,
        rewrites=reference.rewrites,
        licence=source.licence,
        source_sha256=source.sha256 if isinstance(source, Embedder) else sha256_of(source.path),
        pruned_from=source.pruned_from if isinstance(source, Embedder) else "",
        ancestry=sentences(source.ancestry) if isinstance(source, Embedder) else (),
    ).with_tools(*TOOLS)
    job = Job(source, card, contract.preprocess(sample), recipe, lambda line: progress(f"  {line}"))
    key = _key(card, recipe, sample)
    done = {} if not (record := _read(folder)) or record["key"] != key else record["targets"]
    results: dict[str, Exported] = {}
    for target in with_bases(recipe.targets):
        kept = _kept(done.get(target), target, folder)
        results[target] = kept or _make(target, job, results, recipe, probe, reference.embeddings, folder)
        for line in _lines(results[target], kept is not None):
            progress(line)
        _write(folder, key, results)
    return list(results.values())


def _make(
    target: str,
    job: Job,
    results: Mapping[str, Exported],
    recipe: ExportRecipe,
    probe: Faces,
    reference: Embeddings,
    folder: Path,
) -> Exported:
    started = time.perf_counter()
    made_from = TARGETS[target].base
    base = results[made_from].artifact if made_from else None
    path = folder / (job.card.model + TARGETS[target].suffix)
    try:
        if made_from and base is None:
            raise ConversionError(f"{target} is made from {made_from}, which failed: {results[made_from].reason}")
        artifact = TARGETS[target].make(job, base, path)
        parity = compare(embed(open_session(artifact.path), job.card.contract, probe), reference)
        check(artifact, parity, recipe)
    except ConversionError as error:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        return Exported(target, None, None, time.perf_counter() - started, str(error))
    return Exported(target, artifact, parity, time.perf_counter() - started)


def _key(card: Card, recipe: ExportRecipe, sample: Faces) -> str:
    settings = recipe.model_dump_json(exclude={"targets"})
    return hashlib.sha256(card.to_json().encode() + settings.encode() + sample.tobytes()).hexdigest()


def _read(folder: Path) -> dict[str, Any] | None:
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return record if isinstance(record, dict) and {"key", "targets"} <= set(record) else None
    except (OSError, json.JSONDecodeError):
        return None  # nothing made yet, or nothing that can be trusted: make it again


def _write(folder: Path, key: str, results: Mapping[str, Exported]) -> None:
    targets = {
        name: {
            "file": result.artifact.path.name if result.artifact else None,
            "sha256": fingerprint(result.artifact.path) if result.artifact else None,
            "parity": dataclasses.asdict(result.parity) if result.parity else None,
            "seconds": round(result.seconds, 3),
            "notes": result.artifact.notes if result.artifact else (),
            "reason": result.reason,
        }
        for name, result in results.items()
    }
    with written_whole(folder / RECORD) as beside:
        beside.write_text(json.dumps({"key": key, "targets": targets}, indent=1) + "\n", encoding="utf-8")


def _kept(entry: Mapping[str, Any] | None, target: str, folder: Path) -> Exported | None:
    if not entry or not entry["file"]:
        return None
    path = folder / entry["file"]
    if not path.exists() or not _is(path, entry["sha256"]):
        return None
    artifact = read_artifact(path)
    bare = artifact.card.but(certificate=None)  # what is made from it has thresholds of its own
    artifact = dataclasses.replace(artifact, card=bare, notes=tuple(entry["notes"]))
    return Exported(target, artifact, Parity(**entry["parity"]), entry["seconds"])


def _is(path: Path, expected: str) -> bool:
    try:
        return fingerprint(path) == expected
    except ValueError:
        return False  # damaged since


def _lines(result: Exported, kept: bool) -> Iterator[str]:
    if result.artifact is None or result.parity is None:
        yield f"{result.target}: {result.reason}"
        return
    how = "kept" if kept else f"{result.seconds:.1f} s"
    yield (
        f"{result.artifact.path.name}: cosine to the source {result.parity.cosine_mean:.5f}, "
        f"largest difference {result.parity.largest_difference:.1e} ({how})"
    )
    yield from (f"  {note}" for note in result.artifact.notes)
