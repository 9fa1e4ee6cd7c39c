"""`pocketface phone`: lists, measures, and keeps the rows of others."""

import sys
from pathlib import Path

import pytest

from pocketface.__main__ import main
from pocketface.benchmark.adb.measuring import files_in
from pocketface.benchmark.measurement import Measurement, read_measurements, write_measurements

from .conftest import script
from .loopback import Loopback
from .test_measuring import TIMES, on

QUICK = ("--set", "rounds=2", "--set", "rest_seconds=0", "--set", "cool_down_seconds=0", "--set", "minimum_runs=4")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch):
    def one(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["pocketface", "phone", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    return one


def test_alone_it_lists_the_phones(call, device: Loopback, capsys: pytest.CaptureFixture[str]) -> None:
    assert call() == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{device.serial}: Loop Back 1 (Host), Android 15, serial hash ")
    assert line.endswith("; 2 x 1.70 GHz, 2 x 2.40 GHz, 1 x 2.90 GHz; fp16 dotprod")
    device.silent = True
    device.cut()
    assert call() == 0
    assert capsys.readouterr().out == f"{device.serial} is offline; plug it in again, or restart `adb`\n"


def test_without_a_phone_it_says_so_in_one_sentence(call, server: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert call() == 2
    assert capsys.readouterr().err == (
        "pocketface: adb finds no device; connect one and allow USB debugging in its developer options\n"
    )


def test_rows_go_into_a_run_folder_beside_those_of_others(
    call, device: Loopback, files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tool = script(tmp_path, f"echo 'Operator-wise nothing' >profile.csv\n{TIMES}")
    other = Measurement("net16", "net16.tflite", "tflite", "fp32", "litert", "a laptop", "latency_ms_p50", 1.0, "ms")
    write_measurements([other], tmp_path / "measurements.json")
    arguments = (*files, "--benchmark-model", tool, "--cores", "c", *QUICK, "--out", tmp_path)

    assert call(*arguments) == 2  # this tool's profile holds no operators
    assert "2 of 10 rows do not count; the first: the profile holds no operators" in capsys.readouterr().err
    rows = read_measurements(tmp_path / "measurements.json")
    assert rows[0] == other
    assert {row.runtime for row in rows[1:]} == {"adb benchmark_model"}
    assert {row.conditions["cores"] for row in rows[1:]} == {"c"}  # cores 2 and 3

    device.fault = on("taskset", "vanish", times=2)
    assert call(*arguments) == 2
    again = read_measurements(tmp_path / "measurements.json")
    assert again[0] == other
    assert {row.artifact for row in again if row.valid and row.runtime == "adb benchmark_model"} == set()
    assert len({row.reason for row in again if not row.valid}) == 2  # of one round, and of none


def test_of_a_run_folder_the_artifacts_are_measured(tmp_path: Path) -> None:
    for name in ("artifacts/net/b.tflite", "artifacts/a.tflite", "artifacts/a.onnx", "handoff/models/a.tflite"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = files_in([tmp_path, tmp_path / "artifacts/a.onnx"])
    assert [path.name for path in found] == ["a.tflite", "b.tflite", "a.onnx"]


def test_a_folder_without_files_for_a_phone(call, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path) == 2
    assert f"no .tflite file in {tmp_path}; `pocketface export` makes some" in capsys.readouterr().err
