"""Whether the runtimes that may run a file agree on what it gives: the usual one is the judge."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ...export.session import unit_embeddings
from ...faces.contract import InputContract
from ...models.embedder import Embeddings
from ..measurement import Measurement, RowMaker
from ..subjects import Seen, row_maker
from .latency import Job, in_fresh_process
from .runtimes import Runtime, runtimes_for, usual
from .stopwatch import answer, opened_by

FACES = 16


def runtime_difference(seen: Seen, row: RowMaker) -> list[Measurement]:
    """Gives a row `runtime_difference` for each further runtime that the recipe names and that works here.

    It is the largest difference between two numbers of the unit embeddings of 16 faces, one from this runtime and one
    from the usual one, in which the file was verified. A runtime that fails has a row with the reason.
    """
    artifact = seen.entry.artifact
    judge = usual(artifact.format)
    found = [runtime for runtime in runtimes_for(artifact.format, seen.recipe.runtimes) if not runtime.missing]
    others = [runtime for runtime in found if runtime != judge]
    judged = _embedded(seen, judge) if others else ""  # seen.embeddings may be sums of a face and its mirror image
    return [_compared(seen, runtime, judged) for runtime in others]


def _compared(seen: Seen, runtime: Runtime, judged: Embeddings | str) -> Measurement:
    row = row_maker(seen.entry.artifact, seen.folder, runtime.name).under(
        against=usual(seen.entry.artifact.format).name
    )
    theirs = _embedded(seen, runtime)
    if isinstance(judged, str) or isinstance(theirs, str):
        return row.missing("runtime_difference", judged if isinstance(judged, str) else str(theirs))
    return row.value("runtime_difference", float(np.abs(theirs - judged).max()), len(theirs))


def _embedded(seen: Seen, runtime: Runtime) -> Embeddings | str:
    """Gives (16, D) of unit length, or the reason why there are none."""
    artifact = seen.entry.artifact
    with TemporaryDirectory() as folder:
        crops = Path(folder, "crops.npy")
        np.save(crops, np.asarray(seen.pairs.faces[:FACES]))
        asked = {"opener": runtime.opener, "contract": artifact.card.contract.to_dict(), "crops": str(crops)}
        job = Job(artifact.path, factory=seen.entry.factory, opener=runtime.opener)
        try:
            return np.array(in_fresh_process(job, __name__, asked)["embeddings"], np.float32)
        except RuntimeError as error:
            return str(error)


def _main(request: dict[str, Any]) -> dict[str, Any]:
    factory = () if request["factory"] is None else (request["factory"],)
    session = opened_by(request["opener"])(Path(request["path"]), 1, *factory)
    faces = np.load(request["crops"], allow_pickle=False)
    return {"embeddings": unit_embeddings(session, InputContract.from_dict(request["contract"]), faces).tolist()}


if __name__ == "__main__":
    answer(_main, sys.argv[1])
