"""The conditions of the measurements."""

from pocketface.benchmark.report.conditions import conditions_of

from .conftest import DEVICE, WHOLE, report, row, written_run


def test_conditions_that_are_alike_are_told_once_with_the_runtimes_versions():
    rows = [
        row(WHOLE, "eer", 0.01, n=6000, flip=False, runtime_version="2.3", samples=[1, 2]),
        row(WHOLE, "eer", 0.01, n=6000, flip=False, runtime="torch", runtime_version="2.9"),
    ]
    assert conditions_of(rows) == [("Verification", "litert 2.3, torch 2.9", DEVICE, "flip: False; n: 6000")]


def test_emulated_runtime_is_said_to_be_emulated(tmp_path):
    for text in report(tmp_path, written_run(tmp_path / "run")):
        assert "Rows of runtime coreml-evaluator are emulated" in text
