"""Stage 3 on a folder of faces without labels: every file is compared with the first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..faces.contract import Stated
from ..faces.several_folders import read_all_faces
from ..models.embedder import Embeddings, unit
from .accuracy.label_free import jitter_consistency
from .embedding import embed_all
from .findings.disturbances import jittered
from .findings.unlabelled import FAR, drawn_faces, overlap_row, transported_row
from .measurement import NAME, Measurement, RowMaker, write_measurements
from .recipe import BenchmarkRecipe
from .run_files import check_measurements, with_rows_of_others
from .size import size_rows
from .subjects import candidates_in, embedding_job, row_maker
from .timing import latencies


def compare_unlabelled(
    paths: Iterable[Path],
    faces: Path | Sequence[Path],
    recipe: BenchmarkRecipe,
    folder: Path,
    progress: Callable[[str], None] = lambda line: None,
    threshold: float | None = None,
    contract: Stated | None = None,
    factory: str | None = None,
    output: str = "",
) -> list[Measurement]:
    """Measures files on a folder of faces without labels; the first file is the source that others are held against.

    Args:
        paths: Files, checkpoints, or folders that hold some.
        faces: Folder of crops, or several; who is on them is not asked. 1,500 of them are drawn where there are more.
        recipe: Of the latencies.
        folder: Where `measurements.json` goes.
        progress: Told one line per file.
        threshold: What the source is used with; None: what its own certificate says for FAR 1e-3, if it has one.
        contract: What to feed files that do not say.
        factory: What built a foreign checkpoint.
        output: The name of the embedding of files with several outputs.

    Raises:
        ValueError: No faces or files, or files that want different inputs.
    """
    check_measurements(folder, "benchmark")
    candidates = candidates_in(paths, contract, factory, output)
    for candidate in candidates:
        for note in candidate.artifact.notes:
            progress(str(note))
    source_contract = candidates[0].artifact.card.contract
    places = [faces] if isinstance(faces, Path) else faces
    labelled = read_all_faces(places, source_contract.height, source_contract.width)
    chosen = drawn_faces(len(labelled))
    crops = labelled.faces[chosen]
    crops = np.concatenate([crops, jittered(crops)])
    jobs = [embedding_job(candidate, f"unlabelled {labelled.sha256}") for candidate in candidates]
    embedded = embed_all(jobs, crops, folder / "embeddings", progress)
    source = embedded[0]
    if isinstance(source, str):
        raise ValueError(f"nothing to hold the files against: {source}")
    source_threshold = _known(candidates[0].artifact.card.certificate, threshold)
    model = candidates[0].artifact.card.model
    rows: list[Measurement] = []
    for number, (candidate, raw) in enumerate(zip(candidates, embedded, strict=True)):
        row = row_maker(candidate.artifact, folder)
        rows += size_rows(candidate.artifact.path, row)
        rows += [row.value(metric, value) for metric, value in candidate.costs]
        if isinstance(raw, str):
            rows.append(row.missing("jitter_consistency", raw))
            continue
        rows += _compared(unit(source), unit(raw), source_threshold, model, row, itself=number == 0)
    rows += latencies(candidates, recipe, folder, progress)
    rows = with_rows_of_others(rows, folder)
    write_measurements(rows, folder / NAME)
    return rows


def _known(certificate: Any, threshold: float | None) -> float | str:
    """Gives the source's threshold, or why there is none."""
    if threshold is not None:
        return threshold
    if certificate is None:
        return "the source has no certificate of its threshold; give the one it is used with"
    try:
        return float(certificate.threshold(FAR))
    except ValueError as error:
        return str(error)


def _compared(
    source: Embeddings, embeddings: Embeddings, source_threshold: float | str, model: str, row: RowMaker, itself: bool
) -> list[Measurement]:
    (before, before_jittered), (faces, again) = np.split(source, 2), np.split(embeddings, 2)
    consistency = jitter_consistency(faces, again)
    row, of_source = row.under(to=model), jitter_consistency(before, before_jittered)
    rows = [row.value("jitter_consistency", consistency, len(faces), source=of_source)]
    if itself:
        return rows
    if before.shape == faces.shape:
        cosine = np.einsum("md,md->m", before, faces, dtype=np.float64)
        drift = {"mean": cosine.mean(), "min": cosine.min(), "p01": np.quantile(cosine, 0.01)}
        rows += [row.value(f"embedding_cosine_{name}", float(value), len(cosine)) for name, value in drift.items()]
    else:
        reason = f"{model} gives {before.shape[1]} numbers per face, this file {faces.shape[1]}"
        rows.append(row.missing("embedding_cosine_mean", reason))
    return [*rows, overlap_row(before, faces, row), transported_row(before, faces, source_threshold, row)]
