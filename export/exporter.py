"""Stage 2: an embedder in, files for phones out, each checked against it."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..faces.contract import Faces
from ..faces.folders import FaceSource
from ..files import DAMAGE, Memo, checked_name, full_disk, made_again, remove_own
from ..models.embedder import Embedder, Embeddings
from ..steps import ProgressStep
from .artifact import Artifact, Card, ConversionError, Note
from .calibration import choose_calibration_faces, lint
from .coreml.package import MANIFEST
from .formats import open_session, read_artifact, uncertified_sha256
from .parity import Parity, check_parity, measure_parity
from .provenance import fusion_sentences, provenance_sentences
from .recipe import ExportRecipe
from .reference import embed_source
from .session import unit_embeddings
from .targets import TARGETS, ExportJob, Source, source_sha256, with_bases
from .tflite.fastest_int8 import FileCost, time_here
from .trial import vouch_for

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
    int8_cost: Callable[[], FileCost] = time_here,
) -> list[Exported]:
    """Writes `source` in every format that `recipe` names, each checked against it.

    A target that fails is reported, not raised: the other files are still made. A file that was made before
    from the same source, faces and recipe, by the same versions of its tools, is kept.

    Args:
        source: The embedder, or a foreign ONNX file.
        faces: (N, H, W, 3) uint8 RGB aligned crops, for parity and int8 ranges; never the verification pairs.
        recipe: What to make.
        folder: Where to.
        progress: Receives what looks wrong with the faces, and a line per target.
        tested: (M, H, W, 3) crops of the verification pairs, if there are any: `faces` must not share photos with them.
        int8_cost: What `tflite-int8` chooses the fastest file by; called once where that target is made. The command
            line passes `pocketface.benchmark.cost_meters.phone_cost`.

    Returns:
        One entry per target, in the recipe's order, bases first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contract = source.contract
    for line in fusion_sentences(source.ancestry) if isinstance(source, Embedder) else ():
        progress(f"{source.name}: {line}")
    sample = choose_calibration_faces(faces, recipe.calibration_faces, recipe.seed)
    if any(TARGETS[target].calibrated for target in recipe.targets):
        for line in lint(sample, contract, tested):
            progress(line)
    probe = sample[: recipe.parity_faces]
    reference = embed_source(source, probe)
    card = Card(
        source.name,
        contract,
        reference.embeddings.shape[1],
        normalised=reference.normalised,
        rewrites=reference.rewrites,
        licence=source.licence,
        source_sha256=source_sha256(source),
        pruned_from=source.pruned_from if isinstance(source, Embedder) else "",
        ancestry=provenance_sentences(source.ancestry),
    )
    job = ExportJob(source, card, contract.preprocess(sample), recipe, lambda line: progress(f"  {line}"), int8_cost)
    memo = Memo(folder / RECORD, _key(card, recipe, sample))
    recorded = memo.read(lambda record: dict(record["targets"]), progress) or {}
    results: dict[str, Exported] = {}
    targets = with_bases(recipe.targets)
    for number, target in enumerate(targets, 1):
        kept = _kept(recorded.get(target), target, folder, progress)
        results[target] = kept or _make(target, job, results, recipe, probe, reference.embeddings, folder)
        line, *notes = _lines(results[target], kept is not None)
        progress(ProgressStep(line, f"exporting {source.name}", number, len(targets)))
        for note in notes:
            progress(note)
        memo.write(targets={name: _entry(result) for name, result in results.items()})
    return list(results.values())


def _make(
    target: str,
    job: ExportJob,
    results: Mapping[str, Exported],
    recipe: ExportRecipe,
    probe: Faces,
    reference: Embeddings,
    folder: Path,
) -> Exported:
    started = time.perf_counter()
    base = TARGETS[target].make.base
    files = {name: result.artifact for name, result in results.items() if result.artifact is not None}
    path = folder / (job.card.model + TARGETS[target].suffix)
    try:
        if base is not None and base not in files:
            raise ConversionError(f"{target} is made from {base}, which failed: {results[base].reason}")
        artifact = TARGETS[target].make(job, files, path)
        parity = measure_parity(unit_embeddings(open_session(artifact.path), job.card.contract, probe), reference)
        vouch_for(artifact.path)
        artifact = check_parity(artifact, parity, recipe)
    except ConversionError as error:
        if full := full_disk(error):  # which says nothing of the target
            raise full from error
        remove_own(path, MANIFEST)
        return Exported(target, None, None, time.perf_counter() - started, str(error))
    return Exported(target, artifact, parity, time.perf_counter() - started)


def _key(card: Card, recipe: ExportRecipe, sample: Faces) -> str:
    settings = recipe.model_dump_json(exclude={"targets"})
    return hashlib.sha256(card.to_json().encode() + settings.encode() + sample.tobytes()).hexdigest()


def _entry(result: Exported) -> dict[str, Any]:
    artifact = result.artifact
    return {
        "file": artifact.path.name if artifact else None,
        "sha256": uncertified_sha256(artifact.path) if artifact else None,
        "parity": dataclasses.asdict(result.parity) if result.parity else None,
        "seconds": round(result.seconds, 3),
        "notes": [dataclasses.asdict(note) for note in artifact.notes] if artifact else [],
        "reason": result.reason,
    }


def _kept(
    entry: Mapping[str, Any] | None, target: str, folder: Path, progress: Callable[[str], None]
) -> Exported | None:
    if not entry:
        return None
    try:
        if not entry["file"]:
            return None
        path = folder / checked_name(entry["file"], "file")
        if not path.exists():
            return None
        if uncertified_sha256(path) != entry["sha256"]:
            raise ValueError(f"{path.name} is not the file that was made")
        notes = tuple(map(Note.from_plain, entry["notes"]))
        numbers = {key: float(value) for key, value in entry["parity"].items() if key != "faces"}
        parity = Parity(**numbers, faces=int(entry["parity"]["faces"]))
        artifact, seconds = read_artifact(path), float(entry["seconds"])
    except DAMAGE as error:
        progress(made_again(f"{target} of {folder}", error))
        return None
    bare = artifact.card.but(certificate=None)  # files that are made from it have thresholds of their own
    if not bare.tools_are_installed():
        return None
    return Exported(target, dataclasses.replace(artifact, card=bare, notes=notes), parity, seconds)


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
