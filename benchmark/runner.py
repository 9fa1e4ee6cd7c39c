"""Stage 3: files in, measurements out; every number is measured on the file that ships."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..export.app.int8_template import template_scale
from ..export.exporter import Exported
from ..export.targets import TARGETS, Source
from ..faces.attributes import read_attributes
from ..faces.contract import InputContract, Stated
from ..faces.pairs import Pairs
from ..models.embedder import Embedder, Embeddings, unit
from .accuracy.all_pairs import AllPairs, compare_all
from .accuracy.record import NAME as RECORD
from .accuracy.record import compact, write_record
from .accuracy.verification import FARS, Verification, usual_fars, verify
from .arm64.emulated_rows import arm64_rows
from .embedding import embed_all, flip_summed
from .findings.certification import certificate_of, certify
from .findings.differences import differences
from .findings.error_rates import identification_rows, low_far_rows, verification_rows
from .findings.layer_damage import layer_rows
from .findings.robustness import robustness_rows
from .findings.slices import slice_rows
from .findings.stored_templates import stored_template_rows
from .findings.templates import read_templates, template_rows
from .findings.transfer import template_compatibility, threshold_transfer
from .findings.unlabelled import unlabelled_rows
from .measurement import FED_AS_TRAINED, NAME, NOT_PEOPLE, Measurement, RowMaker, write_measurements
from .recipe import BenchmarkRecipe
from .run_files import check_measurements, with_rows_of_others
from .runtimes import usual_runtime
from .size import size_rows
from .speed.agreement import runtime_difference
from .subjects import (
    Candidate,
    Part,
    Subject,
    VerifiedFile,
    candidates_in,
    candidates_of,
    embedding_job,
    name_in,
    row_maker,
)
from .timing import latencies

__all__ = ["PARTS", "Subject", "benchmark", "benchmark_files"]


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

    Returns:
        The rows of `measurements.json`; what could not be measured is a row with its reason.
    """
    candidates = [candidate for subject in subjects for candidate in candidates_of(subject)]
    rows = [row for subject in subjects for row in _export_rows(subject, folder)]
    rows += _measure(candidates, pairs, recipe, folder, progress, pairs_name)
    rows += layer_rows(subjects, pairs.faces, folder, progress) if recipe.layers else []
    rows = with_rows_of_others(rows, folder)
    write_measurements(rows, folder / NAME)
    return rows


def benchmark_files(
    paths: Iterable[Path],
    read_pairs: Callable[[InputContract], Pairs],
    recipe: BenchmarkRecipe,
    folder: Path,
    progress: Callable[[str], None] = lambda line: None,
    contract: Stated | None = None,
    factory: str | None = None,
    pairs_name: str | None = None,
    output: str = "",
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
        output: The name of the embedding of files with several outputs.

    Returns:
        See `benchmark`.

    Raises:
        ValueError: A file is not there or of no known format, they want different inputs, or none embeds a face.
    """
    if recipe.layers:
        raise ValueError(
            "layers are held against the network of a run; for a file there is pocketface trace SOURCE FILE"
        )
    check_measurements(folder, "benchmark")
    candidates = candidates_in(paths, contract, factory, output)
    for candidate in candidates:
        for note in candidate.artifact.notes:
            progress(str(note))
    folder.mkdir(parents=True, exist_ok=True)
    pairs = read_pairs(candidates[0].artifact.card.contract)
    rows = _measure(candidates, pairs, recipe, folder, progress, pairs_name)
    rows = with_rows_of_others(rows, folder)
    write_measurements(rows, folder / NAME)
    return rows


def _measure(
    candidates: Sequence[Candidate],
    pairs: Pairs,
    recipe: BenchmarkRecipe,
    folder: Path,
    progress: Callable[[str], None],
    pairs_name: str | None,
) -> list[Measurement]:
    if recipe.templates is not None:  # what is wrong with a table is said before the faces are embedded
        read_templates(recipe.templates, pairs.names)
    if recipe.attributes is not None:
        read_attributes(recipe.attributes, pairs.names)
    jobs = [embedding_job(candidate, pairs.sha256) for candidate in candidates]
    embedded = embed_all(jobs, pairs.faces, folder / "embeddings", progress)
    if isinstance(embedded[0], str) and all(isinstance(raw, str) for raw in embedded):
        raise ValueError(embedded[0])  # nothing is left to measure
    fars = tuple(dict.fromkeys((*(FARS if pairs.whole else usual_fars(pairs.same)), *recipe.fars)))
    judged = flip_summed(jobs, embedded, pairs.faces, folder / "embeddings", progress) if recipe.flip else embedded
    rows: list[Measurement] = []
    source: VerifiedFile | None = None
    similarity: dict[str, NDArray[np.floating[Any]]] = {}
    for candidate, raw in zip(candidates, judged, strict=True):
        row = row_maker(candidate.artifact, folder)
        on_faces = row.under(faces_kind="rendered") if pairs.rendered else row
        on_faces = on_faces.under(sample_of_pairs=pairs.sample) if pairs.sample else on_faces
        verification = None if isinstance(raw, str) else verify(unit(raw), pairs, pairs.identities, fars)
        # A certificate is for who embeds a face once.
        every = compare_all(unit(raw), pairs.identities, fars) if pairs.whole and not isinstance(raw, str) else None
        certified = False
        if verification is not None and not isinstance(raw, str) and not recipe.flip:
            certified = _certify(candidate, verification, pairs, pairs_name, every, template_scale(unit(raw)))
        rows += size_rows(candidate.artifact.path, row)  # after the certificate, which is part of what ships
        rows += [row.value(metric, value) for metric, value in candidate.costs]
        if isinstance(raw, str) or verification is None:
            rows.append(on_faces.missing("verification_accuracy", str(raw)))
            continue
        rows += _drift(unit(raw), judged[0], candidates[0].artifact.card.model, on_faces)
        by_these = verification
        if every is not None:  # its points stand for those of the pairs that are listed
            rest = {far: point for far, point in verification.tar.items() if far not in every.points}
            by_these = replace(verification, tar=rest)
            rows += low_far_rows(every, row.under(flip=recipe.flip, pairs_sha256=pairs.sha256), certified)
        rows += verification_rows(by_these, on_faces, certified, recipe.flip, int((~pairs.same).sum()))
        name = name_in(candidate.artifact.path, folder)
        similarity[name] = compact(verification.similarity)
        file = VerifiedFile(candidate, name, unit(raw), verification, pairs, recipe, folder, source)
        rows += [found for part in PARTS for found in part(file, on_faces.under(flip=recipe.flip))]
        if candidate is candidates[0]:
            source = file
        on = f" ({NOT_PEOPLE})" if pairs.rendered else ""
        progress(f"{candidate.artifact.path.name}: accuracy {100 * (verification.accuracy.value or 0):.2f} %{on}")
        if (verification.accuracy.low or 0.0) <= 0.5:
            progress(f"{candidate.artifact.path.name}: that is chance: {FED_AS_TRAINED}")
    write_record(folder / RECORD, pairs, similarity)
    timed = [one for one, raw in zip(candidates, embedded, strict=True) if not isinstance(raw, str)]
    rows += latencies(timed, recipe, folder, progress)  # what embeds no face would be timed doing nothing, or crash
    return rows + arm64_rows(candidates, embedded, pairs, recipe, folder, progress)


PARTS: tuple[Part, ...] = (
    differences,
    threshold_transfer,
    template_compatibility,
    identification_rows,
    template_rows,
    stored_template_rows,
    slice_rows,
    robustness_rows,
    unlabelled_rows,
    runtime_difference,
)
"""What is found out about every file besides its accuracy; each gives rows."""


def _certify(
    candidate: Candidate,
    verification: Verification,
    pairs: Pairs,
    name: str | None,
    every: AllPairs | None,
    scale: float | None,
) -> bool:
    if name is None:
        return False
    runtime = usual_runtime(candidate.artifact.format)
    version = f"{runtime.name} {runtime.version}"
    return certify(candidate.artifact, certificate_of(verification, pairs, name, version, every, scale))


def _export_rows(subject: Subject, folder: Path) -> list[Measurement]:
    """Gives the parity that the export saw, and a row with the reason for each target that failed."""
    rows: list[Measurement] = []
    for result in subject.exported:
        if result.artifact is None or result.parity is None:
            rows.append(_failure(subject.embedder, result))
            continue
        row, parity = row_maker(result.artifact, folder).under(to=subject.embedder.name), result.parity
        rows += [
            row.value("largest_difference", parity.largest_difference, parity.faces),
            row.value("parity_cosine_min", parity.cosine_min, parity.faces),
            row.value("parity_cosine_mean", parity.cosine_mean, parity.faces),
        ]
    return rows


def _failure(embedder: Source, result: Exported) -> Measurement:
    target = TARGETS[result.target]
    before = embedder.pruned_from if isinstance(embedder, Embedder) else ""
    row = RowMaker(embedder.name, "", target.format, target.precision, runtime="", device="", source=before)
    return row.missing("export", f"{result.target}: {result.reason}")


def _drift(
    embeddings: Embeddings, reference: NDArray[np.float32] | str, source: str, row: RowMaker
) -> list[Measurement]:
    """Compares with the source embedder: the one that entered the run, unpruned."""
    row = row.under(to=source)
    if isinstance(reference, str) or reference.shape != embeddings.shape:
        reason = reference if isinstance(reference, str) else f"{source} gives {reference.shape[1]} numbers per face"
        return [row.missing("embedding_cosine_mean", reason)]
    cosine = (embeddings.astype(np.float64) * unit(reference)).sum(1)
    return [
        row.value("embedding_cosine_mean", float(cosine.mean()), len(cosine)),
        row.value("embedding_cosine_min", float(cosine.min()), len(cosine)),
    ]
