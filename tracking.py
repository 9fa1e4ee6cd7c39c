"""Training curves and results in the trackers of experiments that accelerate knows."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from .spelling import first_line, known_names
from .steps import Losses, LossLine, LossStep

TRACKED = "tracked"  # the folder, in that of the results, of what trackers keep
FORBIDDEN = re.compile(r'[<>:"/\\|?*]')  # in names of folders

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Tracker:
    """How a tracker is told where its data go and what a run is called."""

    package: str  # that must be installed
    run_name: str = ""  # its keyword for the name of a run; "": runs are folders
    variables: Mapping[str, str] = field(default_factory=dict)  # that it reads, of a folder {path}, or {uri}


TRACKERS: Mapping[str, Tracker] = {
    "tensorboard": Tracker("tensorboard"),
    # files, as many processes write at a time; MLflow 3 wants to be told that they are meant
    "mlflow": Tracker("mlflow", "run_name", {"MLFLOW_TRACKING_URI": "{uri}", "MLFLOW_ALLOW_FILE_STORE": "true"}),
    "wandb": Tracker("wandb", "name", {"WANDB_DIR": "{path}"}),
    "trackio": Tracker("trackio", "name", {"TRACKIO_DIR": "{path}"}),
}


@dataclass(frozen=True)
class Tracking:
    """Which trackers are told, and where they keep what they are told, unless their own variables say otherwise."""

    names: tuple[str, ...] = ()  # of `TRACKERS`
    folder: str = ""
    project: str = "pocketface"

    @classmethod
    def checked(cls, names: Sequence[str] | None, folder: Path, project: str) -> Tracking:
        """Gives the tracking by `names`, in `folder`.

        Raises:
            ValueError: A tracker is not known, or not installed.
        """
        for name in names or ():
            if name not in TRACKERS:
                raise ValueError(f"no tracker {name!r}; {known_names(name, TRACKERS)}")
            if importlib.util.find_spec(TRACKERS[name].package) is None:
                raise ValueError(f"the tracker {name} is not installed: pip install {TRACKERS[name].package}")
        return cls(tuple(dict.fromkeys(names or ())), str(folder.absolute()), project)

    @contextmanager
    def run(self, name: str, settings: Mapping[str, Any], progress: Progress) -> Iterator[TrackedRun]:
        """Lends a run in every tracker, begun when there is something to log; one that fails is told of and left alone.

        Args:
            name: Of the run.
            settings: What decides it, by name.
            progress: Of the work that is tracked; see `TrackedRun.progress`.
        """
        run = TrackedRun(self, name, settings, progress)
        try:
            yield run
        finally:
            run.end()


UNTRACKED = Tracking()


class TrackedRun:
    """One run in each tracker."""

    def __init__(self, tracking: Tracking, name: str, settings: Mapping[str, Any], progress: Progress) -> None:
        """Has told nobody yet."""
        self._tracking, self._name, self._settings, self._progress = tracking, name, settings, progress
        self._trackers: list[Any] = []
        self._begun = not tracking.names

    def _begin(self) -> None:
        from accelerate import Accelerator

        self._begun = True
        folder = Path(self._tracking.folder)
        plain = {key: value for key, value in self._settings.items() if isinstance(value, (bool, int, float, str))}
        for name in self._tracking.names:
            tracker = TRACKERS[name]
            place = folder / name
            for variable, value in tracker.variables.items():
                os.environ.setdefault(variable, value.format(path=place, uri=place.as_uri()))
            project = self._tracking.project
            if not tracker.run_name:  # a folder
                project = f"{project}/{FORBIDDEN.sub('-', self._name)}"
            keywords = {name: {tracker.run_name: self._name}} if tracker.run_name else {}
            try:
                place.mkdir(parents=True, exist_ok=True)
                accelerator = Accelerator(log_with=name, project_dir=place)
                accelerator.init_trackers(project, plain, keywords)
                self._trackers += accelerator.trackers
            except Exception as error:  # whatever a service throws must not end a training
                self._progress(f"{name} tracks nothing: {type(error).__name__}: {first_line(error)}")

    def progress(self, line: str) -> None:
        """Passes a line on, and logs the losses that come with it."""
        self._progress(line)
        if isinstance(line, (LossLine, LossStep)):
            self._log_losses(line.losses)

    def results(self, values: Mapping[str, float]) -> None:
        """Logs what was measured."""
        self._log(values, None)

    def end(self) -> None:
        """Ends the run."""
        for tracker in self._trackers:
            self._try(tracker, tracker.finish)
        self._trackers = []

    def _log_losses(self, losses: Losses) -> None:
        for batch, loss in enumerate(losses.values, losses.first):
            self._log({f"loss/phase {losses.phase}": loss}, batch)

    def _log(self, values: Mapping[str, float], step: int | None) -> None:
        if not self._begun:
            self._begin()
        for tracker in list(self._trackers):
            self._try(tracker, partial(tracker.log, dict(values), step=step))

    def _try(self, tracker: Any, work: Callable[[], Any]) -> None:
        try:
            work()
        except Exception as error:  # as above
            self._trackers = [each for each in self._trackers if each is not tracker]
            self._progress(f"{tracker.name} tracks no more: {type(error).__name__}: {first_line(error)}")
