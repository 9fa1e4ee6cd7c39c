"""Whether other runtimes give the same embeddings of a file as its format's usual one."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ...export.session import unit_embeddings
from ...faces.contract import InputContract
from ...lazy import opener_of
from ...models.embedder import Embeddings
from ..measurement import Measurement, RowMaker
from ..processes import answer, ask
from ..runtimes import Runtime, runtimes_for, usual_runtime
from ..subjects import VerifiedFile, row_maker
from .latency import TIMEOUT

FACES = 16


def runtime_difference(file: VerifiedFile, row: RowMaker) -> list[Measurement]:
    """Gives a row `runtime_difference` for each further runtime that the recipe names and that works here.

    It is the largest difference between any number of the unit embeddings of 16 faces in this runtime and in the usual
    one, in which the file was verified. A runtime that fails has a row with the reason.
    """
    artifact = file.candidate.artifact
    judge = usual_runtime(artifact.format)
    available = [runtime for runtime in runtimes_for(artifact.format, file.recipe.runtimes) if not runtime.missing]
    others = [runtime for runtime in available if runtime != judge]
    judged = _embedded(file, judge) if others else ""  # seen.embeddings may be sums of a face and its mirror image
    return [_compared(file, runtime, judged) for runtime in others]


def _compared(file: VerifiedFile, runtime: Runtime, judged: Embeddings | str) -> Measurement:
    row = row_maker(file.candidate.artifact, file.folder, runtime.name).under(
        against=usual_runtime(file.candidate.artifact.format).name
    )
    theirs = _embedded(file, runtime)
    if isinstance(judged, str) or isinstance(theirs, str):
        return row.missing("runtime_difference", judged if isinstance(judged, str) else str(theirs))
    return row.value("runtime_difference", float(np.abs(theirs - judged).max()), len(theirs))


def _embedded(file: VerifiedFile, runtime: Runtime) -> Embeddings | str:
    """Gives (16, D) of unit length, or the reason why there are none."""
    artifact = file.candidate.artifact
    with TemporaryDirectory() as folder:
        crops = Path(folder, "crops.npy")
        np.save(crops, np.asarray(file.pairs.faces[:FACES]))
        request = {
            "path": str(artifact.path.absolute()),
            "factory": file.candidate.factory,
            "opener": runtime.opener,
            "output": artifact.output,
            "contract": artifact.card.contract.to_dict(),
            "crops": str(crops),
        }
        name = f"{artifact.path.name} in {runtime.name}"
        try:
            return np.array(ask(__name__, request, name, "run", timeout=TIMEOUT)["embeddings"], np.float32)
        except RuntimeError as error:
            return str(error)


def _main(request: dict[str, Any]) -> dict[str, Any]:
    session = opener_of(request["opener"], request["factory"], request["output"])(Path(request["path"]), 1)
    faces = np.load(request["crops"], allow_pickle=False)
    return {"embeddings": unit_embeddings(session, InputContract.from_dict(request["contract"]), faces).tolist()}


if __name__ == "__main__":
    answer(_main)
