"""What trackers are told: read back with TensorBoard's and MLflow's own readers, offline."""

from pathlib import Path

import pytest

from pocketface.steps import Losses, LossLine, LossStep, ProgressStep
from pocketface.tracking import TRACKERS, UNTRACKED, Tracking

STEP = LossStep.of(ProgressStep("batch 2", "training", 2, 3), Losses(1, 1, (0.5, 0.25)))
LAST = LossLine("phase 1: loss 0.5 -> 0.125", Losses(1, 3, (0.125,)))
SETTINGS = {"criterion": "l1", "epochs": 1.0, "target": None, "skip": ["fc"]}


def tracked(name: str, folder: Path) -> list[str]:
    """Tracks a training of three batches and a result; gives the lines that were shown."""
    lines: list[str] = []
    with Tracking.checked([name, name], folder, "a sweep").run("tiny, l1: recovery", SETTINGS, lines.append) as run:
        run.progress(STEP)
        run.progress("a line without numbers")
        run.progress(LAST)
        run.results({"tiny.tflite/size_bytes": 1000.0})
    return lines


def test_tensorboard_holds_every_batch_and_the_result(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra `track` is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert tracked("tensorboard", tmp_path) == [STEP, "a line without numbers", LAST]
    events = EventAccumulator(str(tmp_path / "tensorboard" / "a sweep" / "tiny, l1- recovery")).Reload()
    assert [(one.step, one.value) for one in events.Scalars("loss/phase 1")] == [(1, 0.5), (2, 0.25), (3, 0.125)]
    assert [one.value for one in events.Scalars("tiny.tflite/size_bytes")] == [1000.0]


def test_mlflow_holds_every_batch_the_result_and_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # so that both are as before afterwards
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")
    assert tracked("mlflow", tmp_path) == [STEP, "a line without numbers", LAST]
    client = mlflow.MlflowClient((tmp_path / "mlflow").as_uri())
    (experiment,) = client.search_experiments(filter_string="name = 'a sweep'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "tiny, l1: recovery" and run.data.params == {"criterion": "l1", "epochs": "1.0"}
    curve = client.get_metric_history(run.info.run_id, "loss/phase 1")
    assert [(one.step, one.value) for one in curve] == [(1, 0.5), (2, 0.25), (3, 0.125)]
    assert run.data.metrics["tiny.tflite/size_bytes"] == 1000.0


def test_without_trackers_lines_pass(tmp_path: Path) -> None:
    lines: list[str] = []
    with UNTRACKED.run("tiny", {}, lines.append) as run:
        run.progress(LAST)
        run.results({"a": 1.0})
    assert lines == [LAST]


def test_an_unknown_tracker_and_a_missing_one_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ValueError,
        match=r"no tracker 'tensorbord'; known: .*; did you mean 'tensorboard'",
    ):
        Tracking.checked(["tensorbord"], tmp_path, "p")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name, tracker in TRACKERS.items():
        with pytest.raises(ValueError, match=f"the tracker {name} is not installed: pip install {tracker.package}"):
            Tracking.checked([name], tmp_path, "p")


def test_a_run_that_logs_nothing_is_not_begun(tmp_path: Path) -> None:
    with Tracking(("tensorboard",), str(tmp_path / "tracked")).run("tiny", {}, print) as run:
        run.progress("a line without numbers")
    assert not (tmp_path / "tracked").exists()


def test_a_tracker_that_fails_is_told_and_the_work_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object, **named: object) -> None:
        raise ConnectionError("no network\nat all")

    monkeypatch.setattr("accelerate.Accelerator.init_trackers", refuse)
    lines: list[str] = []
    with Tracking(("wandb",), str(tmp_path)).run("tiny", {}, lines.append) as run:
        run.progress(LAST)
    assert lines == [LAST, "wandb tracks nothing: ConnectionError: no network"]
