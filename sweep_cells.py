"""The cells of a sweep on disk: what each kind of work does, with the stages, and when it counts as done.

STORE/KIND-KEY/   cell.json: its key, seconds, and the size of each file; beside it what was made: source/, cut/ or
                  recovered/ (checkpoints), artifacts/ and measurements.json
STORE/teachers/   what the source makes of the crops that networks learn from, once for all of them
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from .benchmark.embedding import EmbeddingJob
from .benchmark.measurement import NAME as ROWS
from .benchmark.measurement import Measurement, read_measurements, write_measurements
from .benchmark.processes import answer
from .benchmark.runner import benchmark
from .benchmark.subjects import Subject, candidates_in, candidates_of, embedding_job
from .benchmark.timing import latencies
from .chain import prune_by_measurements
from .export.exporter import RECORD as EXPORTED
from .export.exporter import export
from .faces.contract import InputContract
from .faces.folders import LabelledFaces
from .faces.pairs import Pairs
from .files import Memo, sweep_parts
from .held_folders import FolderInUse, hold_folder
from .inputs import open_faces, open_pairs, open_source
from .models.checkpoint import load_checkpoint, save_checkpoint
from .models.embedder import Embedder
from .prune.channels.groups import find_groups
from .prune.channels.sizes import size_of
from .prune.pruner import checked_floors
from .prune.training.resumption import TEACHER, forget_training
from .prune.training.trainer import recover
from .run_recipe import RunRecipe, validated, with_ranges_for
from .sweep_archive import RECORD, CellArchive
from .sweep_plan import Kind, SweepCell, cut_recipe, recovery_recipe
from .tracking import UNTRACKED, Tracking

TEACHERS = "teachers"
NETWORKS: dict[Kind, str] = {"source": "source", "cut": "cut", "recovery": "recovered"}
"""The folder of the checkpoint in a cell that keeps a network."""
UNFINISHED, ARTIFACTS, EMBEDDINGS = "unfinished", "artifacts", "embeddings"
WAIT = 1.0  # seconds between two looks at a cell that another process makes

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Done:
    """What a finished cell says of itself."""

    seconds: float  # of the try that finished it
    work: float  # see `SweepCell.work`
    bytes: int
    machine: str = ""  # that finished it, by its name in the network


@dataclass(frozen=True)
class Job:
    """A cell to be made, in a store of cells."""

    cell: SweepCell
    store: Path
    tracking: Tracking = UNTRACKED
    archive: CellArchive | None = None  # keeps finished cells too

    @property
    def folder(self) -> Path:
        """Where it is made."""
        return self.store / self.cell.folder

    def request(self) -> dict[str, Any]:
        """Gives the job as values that JSON can hold."""
        cell = {field.name: getattr(self.cell, field.name) for field in dataclasses.fields(SweepCell)}
        recipe = self.cell.recipe.model_dump(mode="json", exclude_none=True)
        cell |= {"needs": dict(self.cell.needs), "recipe": recipe}
        archive = self.archive.url if self.archive else ""
        told = dataclasses.asdict(self.tracking)
        return {**cell, "store": str(self.store.absolute()), "tracking": told, "archive": archive}

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Job:
        """Gives the job of a request."""
        values = {field.name: request[field.name] for field in dataclasses.fields(SweepCell)}
        cell = SweepCell(**{**values, "recipe": validated(RunRecipe, request["recipe"])})
        told, archive = request["tracking"], request["archive"]
        tracking = Tracking(**{**told, "names": tuple(told["names"])})
        return cls(cell, Path(request["store"]), tracking, CellArchive(archive) if archive else None)

    def done(self) -> Done | None:
        """Gives what the finished cell says of itself, from the archive where it is not in the store; None: not made.

        Raises:
            ValueError: The archive cannot be read.
        """
        done = finished(self.cell, self.store)
        if done is None and self.archive and self.archive.fetch(self.cell.folder, self.store):
            done = finished(self.cell, self.store)
        return done

    def keep(self) -> None:
        """Puts the finished cell into the archive, if there is one that does not have it.

        Raises:
            ValueError: The archive cannot be written.
        """
        if self.archive and not self.archive.has(self.cell.folder):
            self.archive.keep(self.cell.folder, self.store)

    def network(self, part: str) -> Embedder:
        """Reads the network of a cell that this one needs."""
        return load_checkpoint(self.place_of(part), _factory(self.cell.recipe))

    def place_of(self, part: str) -> Path:
        """Gives the checkpoint of a cell that this one needs."""
        name = self.cell.needs[part]
        kind: Any = name.partition("-")[0]
        return self.store / name / NETWORKS[kind]

    def train(self, contract: InputContract) -> LabelledFaces:
        """Reads the faces to recover and calibrate on."""
        return faces_of(self.cell.recipe, contract)

    def pairs(self, contract: InputContract) -> Pairs:
        """Reads the pairs to verify on."""
        return pairs_of(self.cell.recipe, contract)


def faces_of(recipe: RunRecipe, contract: InputContract) -> LabelledFaces:
    """Reads the faces of a recipe; the latest are kept in memory."""
    return _faces(json.dumps(recipe.train), contract)


def pairs_of(recipe: RunRecipe, contract: InputContract) -> Pairs:
    """Reads the pairs of a recipe; the latest are kept in memory."""
    return _pairs(recipe.pairs, recipe.images, contract)


def finished(cell: SweepCell, store: Path) -> Done | None:
    """Gives what a cell says of itself; None where it is not made, or one of its files is not as large as it was."""
    folder = store / cell.folder
    return Memo(folder / RECORD, cell.key).read(lambda record: _done(record, folder))


def make(job: Job, progress: Progress) -> Done:
    """Makes a cell unless it is made, and waits where another process makes it.

    Args:
        job: What it needs is made.
        progress: Gets a line now and then.

    Raises:
        ValueError: It cannot be made, as where less can be cut than it asks for, or it cannot be kept in the archive.
    """
    while True:
        if (done := job.done()) is not None:
            job.keep()
            return done
        try:
            with hold_folder(job.folder):
                if finished(job.cell, job.store) is None:  # it may have been made meanwhile
                    _make(job, progress)
        except FolderInUse:
            time.sleep(WAIT)


def _make(job: Job, progress: Progress) -> None:
    started = time.monotonic()
    sweep_parts(job.folder)
    for need in set(job.cell.needs.values()):
        if job.archive and not (job.store / need / RECORD).is_file():
            job.archive.fetch(need, job.store)
    settings = {} if job.cell.recipe.prune is None else job.cell.recipe.prune.model_dump(mode="json")
    with job.tracking.run(job.cell.label, settings, progress) as run:
        MAKERS[job.cell.kind](job, run.progress)
        if (job.folder / ROWS).is_file():
            run.results(numbers_of(read_measurements(job.folder / ROWS)))
    files = {path.relative_to(job.folder).as_posix(): path.stat().st_size for path in _files_in(job.folder)}
    seconds = round(time.monotonic() - started, 3)
    told = {"kind": job.cell.kind, "label": job.cell.label, "machine": platform.node()}
    Memo(job.folder / RECORD, job.cell.key).write(**told, seconds=seconds, work=job.cell.work, files=files)


def numbers_of(rows: Iterable[Measurement]) -> dict[str, float]:
    """Gives the valid values of rows by file and metric: "tiny.tflite/size_bytes"."""
    valid = [row for row in rows if row.valid and row.value is not None]
    return {f"{Path(row.artifact).name or row.model}/{row.metric}": float(row.value or 0.0) for row in valid}


def _keep_source(job: Job, progress: Progress) -> None:
    save_checkpoint(open_source(job.cell.recipe), job.folder / NETWORKS["source"])


def _cut(job: Job, progress: Progress) -> None:
    """Prunes without recovery, from the source or from what was cut less."""
    source, goes_on = job.network("source"), "shallower" in job.cell.needs
    prune = job.cell.recipe.prune
    assert prune is not None
    recipe, start, floors = cut_recipe(prune, goes_on), source, None
    if goes_on:  # shares are shares of the source
        start = job.network("shallower")
        floors = checked_floors(source, find_groups(source.backbone, source.example()), recipe, None, None)
        recipe = recipe.model_copy(update={"target": recipe.remaining(size_of(source).of(recipe.by))})
    train = job.train(source.contract)
    epochs = recipe.epochs_before + recipe.epochs_between
    with _teacher(job, source, train, epochs):
        unfinished = job.folder / UNFINISHED
        smaller = prune_by_measurements(start, train, recipe, progress, unfinished, source, floors)
        save_checkpoint(smaller, job.folder / NETWORKS["cut"])


def _recover(job: Job, progress: Progress) -> None:
    """Trains what was cut, as far as the recipe says."""
    source, prune = job.network("source"), job.cell.recipe.prune
    assert prune is not None
    recipe, train = recovery_recipe(prune), job.train(source.contract)
    teacher = source if recipe.signal == "distillation" else None
    with _teacher(job, source, train, recipe.epochs):
        trained = recover(job.network("cut"), train, recipe, teacher, progress, job.folder / UNFINISHED)
        save_checkpoint(trained, job.folder / NETWORKS["recovery"])


def _measure(job: Job, progress: Progress) -> None:
    """Exports the network, and measures it before and after recovery and each of its files, all but the latency."""
    source, name = job.network("source"), job.cell.name
    train, pairs = job.train(source.contract), job.pairs(source.contract)
    recipe = with_ranges_for(job.cell.recipe.export, job.cell.recipe.train)
    parts = dict.fromkeys(part for part in ("source", "cut", "recovered") if part in job.cell.needs)
    places = {part: job.place_of(part) for part in parts}
    if places.get("cut") == places.get("recovered"):
        places.pop("cut", None)
    subjects = []
    for part, place in places.items():
        embedder = dataclasses.replace(job.network(part), licence=job.cell.recipe.licence)
        is_last = part == list(places)[-1]
        if part != "source" or is_last:
            embedder = dataclasses.replace(embedder, name=name)
        made = export(embedder, train.faces, recipe, job.folder / ARTIFACTS, progress, pairs.faces) if is_last else []
        subjects.append(Subject(embedder, place, made))
    _lend_embeddings(job, embedding_job(candidates_of(subjects[0])[0], pairs.sha256))
    benchmark(subjects, pairs, job.cell.recipe.benchmark.model_copy(update={"threads": ()}), job.folder, progress)
    if "source_files" in job.cell.needs:  # those of the source serve the others
        shutil.rmtree(job.folder / EMBEDDINGS, ignore_errors=True)


def _time(job: Job, progress: Progress) -> None:
    """Takes the latency of each file of a network."""
    folder = job.store / job.cell.needs["files"]
    is_empty = all(path.name == EXPORTED for path in (folder / ARTIFACTS).iterdir())  # every target failed
    candidates = [] if is_empty else candidates_in([folder / ARTIFACTS], None, None)
    rows = latencies(candidates, job.cell.recipe.benchmark, job.folder, progress) if candidates else []
    write_measurements(rows, job.folder / ROWS)


MAKERS: Mapping[Kind, Callable[[Job, Progress], None]] = {
    "source": _keep_source,
    "cut": _cut,
    "recovery": _recover,
    "files": _measure,
    "timing": _time,
}


@contextlib.contextmanager
def _teacher(job: Job, teacher: Embedder, train: LabelledFaces, epochs: float) -> Any:
    """Lends a training what the teacher made of the same crops in an earlier one, and keeps it for later ones."""
    prune = job.cell.recipe.prune
    assert prune is not None
    decides = [teacher.sha256, train.sha256, prune.variants, epochs, prune.seed]
    kept = job.store / TEACHERS / f"{hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:32]}.safetensors"
    own = job.folder / UNFINISHED / TEACHER
    _link(kept, own)
    yield
    if own.is_file():
        _link(own, kept)
    forget_training(job.folder / UNFINISHED)


def _lend_embeddings(job: Job, source: EmbeddingJob) -> None:
    """Puts the source's embeddings of the pairs, which its own cell keeps, where this cell's benchmark looks."""
    if name := job.cell.needs.get("source_files"):
        _link(job.store / name / EMBEDDINGS / source.name, job.folder / EMBEDDINGS / source.name)


def _link(there: Path, here: Path) -> None:
    """Gives a file a second name, or copies it where the file system has no such names."""
    if not there.is_file() or here.exists():
        return
    here.parent.mkdir(parents=True, exist_ok=True)
    beside = here.with_name(f".{here.name}.{os.getpid()}.part")
    beside.unlink(missing_ok=True)
    try:
        os.link(there, beside)
    except OSError:
        shutil.copyfile(there, beside)
    os.replace(beside, here)


def _done(record: Mapping[str, Any], folder: Path) -> Done | None:
    sizes = {str(name): int(size) for name, size in record["files"].items()}
    if any(not (folder / name).is_file() or (folder / name).stat().st_size != size for name, size in sizes.items()):
        return None
    machine = str(record.get("machine", ""))
    return Done(float(record["seconds"]), float(record["work"]), sum(sizes.values()), machine)


def _files_in(folder: Path) -> list[Path]:
    hidden = [path for path in folder.rglob("*") if path.is_file() and path.name != RECORD]
    return [path for path in hidden if not path.name.startswith(".")]


def _factory(recipe: RunRecipe) -> str | None:
    return recipe.embedder if ":" in recipe.embedder else None


@lru_cache(maxsize=1)
def _faces(places: str, contract: InputContract) -> LabelledFaces:
    return open_faces(json.loads(places), contract)


@lru_cache(maxsize=1)
def _pairs(what: str, images: Path | None, contract: InputContract) -> Pairs:
    return open_pairs(what, images, contract)


def _main(request: dict[str, Any]) -> dict[str, Any]:
    return dataclasses.asdict(make(Job.of(request), lambda line: None))


if __name__ == "__main__":
    answer(_main)
