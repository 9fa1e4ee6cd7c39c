"""The rows of emulated cores: instructions of one inference, and the kernels that they point to.

A count is exact, and always the same. How well it predicts time is described in `emulated`. Counts
are kept in the run folder by file, core and emulator, so that a run that was killed goes on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...export.formats import FORMATS, uncertified_sha256
from ...faces.pairs import Pairs
from ...files import Memo
from ...steps import ProgressStep
from ..machine import lent_cores
from ..measurement import Measurement, RowMaker
from ..recipe import BenchmarkRecipe
from ..subjects import Candidate, row_maker
from .cores import emulated_runtime
from .emulated import Profile, profile
from .emulator import Emulator, setup
from .sample import sample_rows

USUAL = ("a53", "a55", "a76")  # counted where nothing else is asked and the emulator is installed
KERNELS = {  # the class of instructions that does the arithmetic of a kernel (see counter.c), and how it is called
    "smmla": "int8 by smmla",
    "sdot": "int8 by sdot",
    "smlal": "int8 by smlal",
    "smull": "integers by smull",
    "fmla32": "fp32 by fmla",
    "fmla16": "fp16 by fmla",
}
LEAST = 0.05  # of the instructions: below, a class is a step of other kernels
KEPT = {"litert": "arm64.json", "onnxruntime": "arm64-onnxruntime.json"}


def arm64_rows(
    candidates: Sequence[Candidate],
    embedded: Sequence[NDArray[np.float32] | str],
    pairs: Pairs,
    recipe: BenchmarkRecipe,
    folder: Path,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Measurement]:
    """Runs every file of the recipe's emulated runtimes on its emulated cores.

    Args:
        candidates: The files of a run; those of other formats are passed over.
        embedded: Per file (M, D) what it makes of the pairs' faces on this machine, of any length; or why nothing.
        pairs: What the faces are.
        recipe: `arm64` names the cores, `arm64_runtimes` the runtimes, `arm64_pairs` says how many pairs are embedded
            on each.
        folder: The run folder; counts and embeddings taken earlier of the same files are kept.
        progress: Gets one line per file, and one where there is no emulator.

    Returns:
        Per file and core the instructions, the share of each class and the sample's rows (see `sample_rows`); rows
        with the reason where a file cannot be run. Without an emulator: such rows for cores that the recipe names.
    """
    core_names = tuple(dict.fromkeys(USUAL if recipe.arm64 is None else recipe.arm64))
    every = list(zip(candidates, embedded, strict=True)) if core_names else []
    rows: list[Measurement] = []
    for runtime in dict.fromkeys(recipe.arm64_runtimes):
        files = [(one, raw) for one, raw in every if FORMATS[one.artifact.format].runtime == runtime]
        if files:
            rows += _rows_in(runtime, files, core_names, pairs, recipe, folder, progress)
    return rows


def _rows_in(
    runtime: str,
    files: Sequence[tuple[Candidate, NDArray[np.float32] | str]],
    core_names: Sequence[str],
    pairs: Pairs,
    recipe: BenchmarkRecipe,
    folder: Path,
    progress: Callable[[str], None],
) -> list[Measurement]:
    try:
        emulator: Emulator | str = setup(progress, runtime)
    except ValueError as error:
        if recipe.arm64 is None:
            progress(f"no ARM64 instructions are counted: {error}")
            return []
        emulator = str(error)
    able = [candidate.artifact.path for candidate, raw in files if not isinstance(raw, str)]
    profiles = _profiles(able, core_names, runtime, emulator, folder / KEPT[runtime], progress)
    how = {"threads": 1, **({} if isinstance(emulator, str) else emulator.versions())}
    rows: list[Measurement] = []
    for candidate, raw in files:
        for core in core_names:
            row = row_maker(candidate.artifact, folder, emulated_runtime(core, runtime), "emulated")
            counted = row.under(**how)
            if isinstance(raw, str):  # what does not run here is not tried there
                rows += count_rows(raw, counted)
                continue
            rows += count_rows(profiles[candidate.artifact.path, core], counted)
            if recipe.arm64_pairs and isinstance(emulator, Emulator):
                rows += sample_rows(candidate, raw, core, pairs, recipe.arm64_pairs, folder, emulator, row, progress)
    return rows


def count_rows(result: Profile | str, row: RowMaker) -> list[Measurement]:
    """Gives the rows of one file on one core; `result` is what was counted, or why nothing was."""
    if isinstance(result, str):
        return [row.missing("arm64_instructions", result)]
    shares = [row.value("arm64_instruction_share", share, part=kind) for kind, share in result.mix.items()]
    return [row.value("arm64_instructions", result.instructions, kernels=kernels(result.mix)), *shares]


def kernels(mix: Mapping[str, float]) -> str:
    """Says what kind of kernels the runtime ran, by the arithmetic that makes up at least 5 % of the instructions.

    The library does not name its kernels; two fp32 kernels that both multiply by fmla differ in their counts only.

    >>> kernels({"sdot": 0.52, "vector_other": 0.3, "fmla32": 0.14, "smull": 0.04})
    'int8 by sdot, 52 % of the instructions; fp32 by fmla, 14 %'
    >>> kernels({"arithmetic": 0.6, "memory": 0.38, "sdot": 0.02})
    'plain: no class of multiplications makes 5 % of the instructions'
    """
    kinds = sorted((kind for kind in KERNELS if mix.get(kind, 0) >= LEAST), key=lambda kind: -mix[kind])
    if not kinds:
        return f"plain: no class of multiplications makes {100 * LEAST:.0f} % of the instructions"
    first, *others = (f"{KERNELS[kind]}, {100 * mix[kind]:.0f} %" for kind in kinds)
    return "; ".join([f"{first} of the instructions", *others])


def _profiles(
    paths: Sequence[Path],
    core_names: Sequence[str],
    runtime: str,
    emulator: Emulator | str,
    store: Path,
    progress: Callable[[str], None],
) -> dict[tuple[Path, str], Profile | str]:
    """Gives what every file executes on every core, or why it does not; as many at a time as there are cores."""
    tasks = [(path, core) for path in paths for core in core_names]
    if isinstance(emulator, str):
        return dict.fromkeys(tasks, emulator)
    memo, profiles = Memo(store, emulator.folder.name), dict[tuple[Path, str], Profile | str]()
    earlier = memo.read(_profiles_in, progress) or {}
    hashes = {path: uncertified_sha256(path) for path in paths}
    keys = {task: f"{hashes[task[0]]} {task[1]}" for task in tasks}
    with ThreadPoolExecutor(lent_cores()) as pool:
        counted = pool.map(lambda task: earlier.get(keys[task]) or _told(task[0], task[1], runtime), tasks)
        for task, result in zip(tasks, counted, strict=True):
            profiles[task] = result
            if isinstance(result, Profile) and earlier.get(keys[task]) != result:
                earlier[keys[task]] = result
                memo.write(profiles={key: dataclasses.asdict(one) for key, one in earlier.items()})
            if task[1] == core_names[-1]:
                line = _line(task[0], {core: profiles[task[0], core] for core in core_names})
                progress(ProgressStep(line, "emulating", len(profiles), len(tasks)))
    return profiles


def _told(path: Path, core: str, runtime: str) -> Profile | str:
    try:
        return profile(path, core, runtime)
    except ValueError as error:
        return str(error).replace(str(path.resolve()), path.name)


def _line(path: Path, result: Mapping[str, Profile | str]) -> str:
    counts = [
        f"{core} {one.instructions / 1e6:.1f}" if isinstance(one, Profile) else f"{core} none ({one})"
        for core, one in result.items()
    ]
    return f"{path.name}: million ARM64 instructions, emulated: {', '.join(counts)}"


def _profiles_in(results: Mapping[str, Any]) -> dict[str, Profile]:
    return {
        str(key): Profile(int(one["instructions"]), {kind: float(share) for kind, share in one["mix"].items()})
        for key, one in results["profiles"].items()
    }
