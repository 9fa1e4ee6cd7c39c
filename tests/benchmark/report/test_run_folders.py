"""Run folders, whole and damaged."""

import dataclasses
import json

import pytest

from pocketface.benchmark.report.page import write_report

from .conftest import ROWS, report, written_run


def test_runs_of_one_name_are_told_by_their_paths(tmp_path):
    first, second = written_run(tmp_path / "a" / "run"), written_run(tmp_path / "b" / "run")
    _, markdown = report(tmp_path, first, second)
    assert f"**{first}.**" in markdown and f"**{second}.**" in markdown


def test_missing_measurements_are_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"^.*/none has no measurements.json; `pocketface benchmark` writes one$"):
        write_report([tmp_path / "none"], tmp_path)
    assert list(tmp_path.iterdir()) == []


FINE = dataclasses.asdict(ROWS[0])


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("measurements.json", "{"),
        ("measurements.json", '{"a": 1}'),
        ("measurements.json", "[1]"),
        ("measurements.json", "[" * 100_000),
        ("measurements.json", json.dumps([{**FINE, "artifact": 5}])),
        ("measurements.json", json.dumps([{**FINE, "low": "9"}])),
        ("measurements.json", json.dumps([{**FINE, "conditions": []}])),
        ("manifest.json", "{"),
        ("manifest.json", "[]"),
        ("artifacts/exported.json", "[]"),
        ("verification.npz", "no zip"),
    ],
)
def test_foreign_and_damaged_files_are_one_sentence(tmp_path, file, text):
    run = written_run(tmp_path / "run")
    (run / "artifacts").mkdir()
    (run / file).write_text(text)
    with pytest.raises(ValueError, match=file):
        write_report([run], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_broken_manifest_is_one_sentence(tmp_path):
    run = written_run(tmp_path / "run")
    (run / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match=r"manifest\.json is no JSON"):
        write_report([run], tmp_path / "out")
