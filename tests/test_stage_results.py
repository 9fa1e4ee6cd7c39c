"""What export, compare and sweep end with: tables that fit 80 columns, and the same facts for programs."""

import json
from pathlib import Path

import pytest

from pocketface.benchmark.changes import Change
from pocketface.benchmark.compare import Comparison
from pocketface.export.artifact import Artifact, Card, Note
from pocketface.export.exporter import Exported
from pocketface.export.parity import Parity
from pocketface.faces.contract import ARCFACE
from pocketface.stage_results import comparison_result, export_result, sweep_result

NAME = "mobilefacenet-with-a-name-that-is-long"


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def exported(folder: Path, target: str, precision: str, size: int, cosine: float, *notes: Note) -> Exported:
    path = folder / f"{NAME}.{target}"
    path.write_bytes(bytes(size))
    card = Card(NAME, ARCFACE, 128, precision)  # type: ignore[arg-type]
    return Exported(
        target, Artifact(path, target.partition("-")[0], card, notes=notes), Parity(0.01, cosine, cosine, 8), 1
    )


def test_an_export_ends_with_a_line_for_each_file(tmp_path: Path) -> None:
    made = [
        exported(tmp_path, "onnx", "fp32", 1_140_000, 1.0),
        exported(tmp_path, "tflite-w8a8", "w8a8", 440_000, 0.997, Note("partitions", "2 XNNPACK partitions", 2)),
        Exported("tflite-w8", None, None, 0.1, "no kernel takes it"),
    ]
    found = export_result("net.onnx", NAME, made, Path("out/artifacts"))
    assert found.lines == [
        "file          format  precision    MB    cosine     least   XNNPACK",
        NAME,
        ".onnx         onnx    fp32       1.14  1.000000  1.000000         –",
        ".tflite-w8a8  tflite  w8a8       0.44    0.9970    0.9970   2 parts",
        "tflite-w8     tflite  w8            –         –         –  not made",
        "",
        "2 of 3 files of mobilefacenet-with-a-name-that-is-long in out/artifacts; cosine:",
        "mean and least to the source's embeddings of 8 faces. Nothing was timed, and no",
        "accuracy was judged; next: pocketface benchmark out/artifacts --pairs PAIRS",
    ]
    again = export_result(
        str(tmp_path), NAME, made, Path("out/artifacts")
    ).lines  # of a checkpoint, which is measured too
    assert f"next: pocketface benchmark {tmp_path} out/artifacts --pairs PAIRS" in " ".join(again)
    assert found.failure == "1 of 3 targets failed; the first: no kernel takes it"
    facts = {each["target"]: each for each in json.loads(json.dumps(found.facts))["files"]}
    assert facts["tflite-w8a8"] == {
        **{"target": "tflite-w8a8", "file": f"{NAME}.tflite-w8a8", "format": "tflite", "precision": "w8a8"},
        **{"size_bytes": 440_000, "cosine_mean": 0.997, "cosine_min": 0.997, "largest_difference": 0.01, "faces": 8},
        **{"xnnpack_partitions": 2, "notes": ["partitions"], "made": True},
    }
    assert not facts["tflite-w8"]["made"] and facts["tflite-w8"]["size_bytes"] is None


def comparison(*changes: Change) -> Comparison:
    name = "net-with-a-rather-long-name-pruned.w8a8.tflite in litert"
    return Comparison("a", "b", {name: changes}, {}, [], [])


LARGER = Change("size_bytes", "1.00 MB", "2.00 MB", "worse", "100 % more", True, "+100 %")


def test_a_comparison_has_a_block_for_each_file_of_what_differs() -> None:
    same = Change("arena_bytes", "1.00 MB", "1.00 MB", "equal", "the same")
    noise = Change("latency_ms_p50@1", "1.00 ms", "1.02 ms", "cannot tell", "no more than noise", short="+2 %")
    found = comparison_result(comparison(LARGER, same, noise), gate=True, written=None)
    assert found.lines[:5] == [
        "file                           before    after  change  verdict",
        "net-with-a-rather-long-name-pruned.w8a8.tflite in litert",
        "  size                        1.00 MB  2.00 MB  +100 %  worse",
        "  median latency on 1 thread  1.00 ms  1.02 ms    +2 %  cannot tell",
        "",
    ]
    assert found.lines[-1] == "gate: shut" and found.code == 1
    assert found.facts["gate"] == "shut"
    assert found.facts["files"][0]["changes"][0] == {
        **{"metric": "size_bytes", "before": "1.00 MB", "after": "2.00 MB", "verdict": "worse", "fails": True}
    }


def test_without_a_gate_nothing_is_shut() -> None:
    found = comparison_result(comparison(LARGER), gate=False, written=Path("all.md"))
    assert (found.code, found.facts["gate"], found.lines[-1]) == (0, None, "all.md")


def test_a_sweep_ends_with_a_line_for_each_network(tmp_path: Path) -> None:
    accuracy = {"value": 0.981, "low": 0.97, "high": 0.99, "n": 6000, "valid": True}
    difference = {"value": -0.004, "low": -0.006, "high": -0.001, "n": 6000, "valid": True}
    numbers = {"parameters": 700_000, "macs": 120_000_000, "verification_accuracy": accuracy}
    none = dict.fromkeys((*numbers, "accuracy_difference"))
    facts = {
        "networks": [
            {"network": "net-30", **numbers, "accuracy_difference": difference},
            {"network": "net-90", **none},
        ],
        "ship": [{"run": "net", "for": "Any phone", "artifact": "cells/1/net.tflite"}],
    }
    (tmp_path / "sweep.json").write_text(json.dumps(facts))
    assert sweep_result(tmp_path / "sweep.html").lines == [
        "network  parameters   MACs  accuracy %  points",
        "net-30        700 k  120 M        98.1   -0.40",
        "net-90            –      –           –       –",
        "",
        "Any phone (net): ship cells/1/net.tflite",
        f"report: {tmp_path / 'sweep.html'}",
    ]
