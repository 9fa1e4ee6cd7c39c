"""Two runs side by side: which file is which, what shuts the gate, and damaged folders."""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pocketface.__main__ import main
from pocketface.benchmark.compare import Comparison, GateLimits, compare, write_comparison
from pocketface.benchmark.measurement import Measurement

from .conftest import NAME, accuracy, latency, lost, row


def test_a_renamed_file_is_found_where_it_is_the_only_one_of_its_kind(compared: Callable[..., Comparison]) -> None:
    after = [row("size_bytes", 10, artifact="x/other.tflite", model="other")]
    found = compared([row("size_bytes", 10)], after, verified=False)
    assert list(found.files) == ["net.tflite -> other.tflite in litert"]


def test_files_of_another_share_pruned_are_found_by_the_rest_of_their_names(
    compared: Callable[..., Comparison],
) -> None:
    def run(pruned: str) -> list[Measurement]:
        return [
            row("size_bytes", 10, model=model, artifact=f"artifacts/{model}/{model}{ending}", precision="w8a8")
            for model in ("net", pruned)
            for ending in (".w8a8.tflite", ".w8a8-skip.tflite")
        ]

    assert list(compared(run("net-pruned-0.7M"), run("net-pruned-0.6M"), verified=False).files) == [
        "net.w8a8.tflite in litert",
        "net.w8a8-skip.tflite in litert",
        "net-pruned-0.7M.w8a8.tflite -> net-pruned-0.6M.w8a8.tflite in litert",
        "net-pruned-0.7M.w8a8-skip.tflite -> net-pruned-0.6M.w8a8-skip.tflite in litert",
    ]


def test_one_of_two_of_a_kind_is_not_guessed(compared: Callable[..., Comparison]) -> None:
    onnx = accuracy(0.99, artifact="net.onnx", format="onnx", runtime="onnxruntime")
    two = [row("size_bytes", 10, artifact="b.tflite", model="b"), row("size_bytes", 9, artifact="c.tflite", model="c")]
    found = compared([row("size_bytes", 10), onnx], [*two, onnx])
    assert list(found.files) == ["net.onnx in onnxruntime"]
    assert (list(found.missing), found.added) == ([NAME], ["b.tflite in litert", "c.tflite in litert"])
    assert f"only in a: {NAME}" in found.sentences()
    assert found.failures == [f"{NAME}: could not be judged: b has no such file"] and found.unjudged
    allowed = compared([row("size_bytes", 10), onnx], [*two, onnx], allow_unjudged=True)
    assert (allowed.failures, allowed.unjudged) == ([], False)


def test_a_file_that_could_not_be_made_shuts_the_gate(compared: Callable[..., Comparison]) -> None:
    onnx = accuracy(0.99, artifact="net.onnx", format="onnx", runtime="onnxruntime")
    found = compared([row("size_bytes", 10), onnx], [lost("export", "no such operator", artifact="", runtime=""), onnx])
    assert found.failures == [f"{NAME}: not made any more: no such operator"]


def test_what_was_different_around_the_files_is_told(tmp_path: Path, compared: Callable[..., Comparison]) -> None:
    def versions(version: str) -> list[Measurement]:
        return [row("size_bytes", 10, conditions={"runtime_version": version})]

    compared(versions("2.1"), versions("2.2"))
    for name, torch, steps in (("a", "2.12", 6), ("b", "2.13", 8)):
        manifest = {"command": name, "versions": {"torch": torch, "numpy": "2.4"}, "inputs": {"pairs": {"sha256": "1"}}}
        (tmp_path / name / "manifest.json").write_text(json.dumps(manifest))
        (tmp_path / name / "recipe.toml").write_text(f"[prune]\nsteps = {steps}\n")
    assert compare(tmp_path / "a", tmp_path / "b", GateLimits()).environment == [
        "litert: 2.1 -> 2.2",
        "versions.torch: 2.12 -> 2.13",
        "recipe.prune.steps: 6 -> 8",
    ]


FINE = dataclasses.asdict(row("size_bytes", 10))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("measurements.json", "{"),
        ("measurements.json", "{}x"),
        ("measurements.json", '{"a": 1}'),
        ("measurements.json", "[1]"),
        ("measurements.json", "[" * 100_000),
        ("measurements.json", json.dumps([{**FINE, "conditions": []}])),
        ("measurements.json", json.dumps([{**FINE, "artifact": 5}])),
        ("measurements.json", json.dumps([{**FINE, "low": "9"}])),
        ("measurements.json", json.dumps([{**FINE, "high": float("nan")}])),
        ("measurements.json", json.dumps([{**FINE, "n": "9"}])),
        ("manifest.json", "[]"),
        ("manifest.json", "{"),
        ("recipe.toml", "= 1"),
        ("verification.npz", "no zip"),
    ],
)
def test_foreign_and_damaged_files_are_one_sentence(
    tmp_path: Path, compared: Callable[..., Comparison], file: str, text: str
) -> None:
    compared([row("size_bytes", 10)], [row("size_bytes", 10)])
    (tmp_path / "b" / file).write_text(text)
    with pytest.raises(ValueError, match=file):
        compare(tmp_path / "a", tmp_path / "b", GateLimits())


def test_runs_without_measurements_or_without_a_common_file_are_refused(
    tmp_path: Path, compared: Callable[..., Comparison]
) -> None:
    with pytest.raises(ValueError, match="have no file in common"):
        compared([row("size_bytes", 10)], [row("size_bytes", 10, format="onnx", runtime="onnxruntime")])
    with pytest.raises(ValueError, match=r"no measurements.json in .*nowhere"):
        compare(tmp_path / "nowhere", tmp_path / "a", GateLimits())


def test_markdown_holds_every_change_and_names_are_no_markup(
    tmp_path: Path, compared: Callable[..., Comparison]
) -> None:
    strange = dict(artifact="a|b<img>.tflite")
    found = compared([row("size_bytes", 10, **strange)], [row("size_bytes", 12, **strange)])
    write_comparison(found, tmp_path / "found.md")
    lines = (tmp_path / "found.md").read_text().splitlines()
    cells = r"| a\|b&lt;img>.tflite in litert | size | 0.010 kB | 0.012 kB | worse | 20 % more |"
    assert cells in lines
    assert r"- **shuts the gate**: a\|b&lt;img>.tflite in litert: size, 20 % more" in lines


@pytest.mark.parametrize(
    ("after", "options", "code", "printed"),
    [
        (10.0, ["--gate"], 0, "gate: open"),
        (20.0, [], 0, "slower: +100 %"),
        (20.0, ["--gate"], 1, "gate: shut"),
        (20.0, ["--gate", "--max-slower", "1.5"], 0, "gate: open"),
        (20.0, ["--gate", "--max-slower", "-1"], 2, ""),
        (20.0, ["--gate", "--margin", "0"], 2, ""),
    ],
)
def test_the_gate_is_an_exit_code(
    tmp_path: Path,
    compared: Callable[..., Comparison],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    after: float,
    options: list[str],
    code: int,
    printed: str,
) -> None:
    compared([latency(10, 0.01)], [latency(after, 0.01)])
    monkeypatch.setattr(sys, "argv", ["pocketface", "compare", str(tmp_path / "a"), str(tmp_path / "b"), *options])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == code
    assert printed in capsys.readouterr().out


def test_the_gate_is_shut_where_neither_run_verified_a_file(compared: Callable[..., Comparison]) -> None:
    onnx = accuracy(0.99, artifact="net.onnx", format="onnx", runtime="onnxruntime")
    rows = [row("size_bytes", 10), onnx]
    found = compared(rows, rows)
    assert found.failures == ["net.tflite: accuracy could not be judged: neither run verified this file"]
    assert found.unjudged and "verified in neither run: net.tflite" in found.sentences()
    allowed = compared(rows, rows, allow_unjudged=True)
    assert (allowed.failures, allowed.unjudged) == ([], False)


def test_a_file_that_is_verified_in_one_runtime_needs_no_accuracy_in_others(
    compared: Callable[..., Comparison],
) -> None:
    rows = [accuracy(0.99), latency(10, 0.01, runtime="adb LiteRT", device="Phone")]
    assert compared(rows, rows).failures == []


def test_what_cannot_be_judged_shuts_the_gate_until_it_is_allowed(
    tmp_path: Path,
    compared: Callable[..., Comparison],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    compared([latency(10, 0.01)], [latency(10, 0.01, device="Phone")])
    command = ["pocketface", "compare", str(tmp_path / "a"), str(tmp_path / "b"), "--gate"]
    said = f"gate: {NAME}: median latency on 1 thread, timed on other devices: CPU, then Phone\n"
    for options, code, gate in (
        ([], 1, f"{said}gate: shut; --allow-unjudged opens it for what could not be judged\n"),
        (["--allow-unjudged"], 0, "gate: open\n"),
    ):
        monkeypatch.setattr(sys, "argv", [*command, *options])
        with pytest.raises(SystemExit) as exit_:
            main()
        assert exit_.value.code == code
        assert capsys.readouterr().out.endswith(gate)


def test_the_table_leaves_out_files_without_the_numbers_that_differ(compared: Callable[..., Comparison]) -> None:
    counted = row("arm64_instructions", 10, runtime="litert-arm64-a76", device="emulated")
    found = compared([row("size_bytes", 1000), counted], [row("size_bytes", 900), counted])
    titles, lines = found.table()
    assert titles == ["file", "size"] and lines == [[NAME, "-10 % better"]]
