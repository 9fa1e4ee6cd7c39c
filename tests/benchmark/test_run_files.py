"""Tables in a run folder: whole, missing and damaged; whose measurements are, and what of them stays."""

import tomllib
from pathlib import Path

import pytest

from pocketface.benchmark.measurement import Measurement, write_measurements
from pocketface.benchmark.run_files import check_measurements, named_values, read_mapping, with_rows_of_others


def test_a_table_is_read_and_a_missing_one_is_empty(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("[prune]\nsteps = 6\n")
    assert read_mapping(tmp_path / "recipe.toml", tomllib.loads) == {"prune": {"steps": 6}}
    assert read_mapping(tmp_path / "manifest.json") == {}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{", r"manifest\.json is no JSON: "),
        ("[" * 100_000, r"manifest\.json is no JSON: "),
        ("[]", r"manifest\.json holds no table"),
        ("\udcff", r"manifest\.json is no JSON: "),
    ],
)
def test_a_damaged_table_is_one_sentence(tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / "manifest.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=error):
        read_mapping(tmp_path / "manifest.json")


def test_lists_of_tables_are_numbered_and_other_lists_stay_whole() -> None:
    table = {"versions": {"torch": "2.13"}, "inputs": [{"path": "w"}, {"path": "x"}], "threads": [1, 2]}
    assert dict(named_values(table, " ")) == {
        "versions torch": "2.13",
        "inputs 1 path": "w",
        "inputs 2 path": "x",
        "threads": "[1, 2]",
    }


def row(artifact: str, metric: str = "latency_ms_p50", runtime: str = "litert", value: float = 5.0) -> Measurement:
    return Measurement("net", artifact, "tflite", "fp32", runtime, "a device", metric, value, "ms")


@pytest.mark.parametrize(
    ("rows", "holder"),
    [
        ([row("a.tflite"), row("a.tflite", runtime="adb runner")], "benchmark"),
        ([row("")], "prune"),
        ([row("a.tflite", runtime="adb runner")], "phone"),
    ],
)
def test_measurements_are_replaced_by_their_own_stage_alone(
    tmp_path: Path, rows: list[Measurement], holder: str
) -> None:
    write_measurements(rows, tmp_path / "measurements.json")
    for by in {"benchmark", "prune", "run"} - {holder, "benchmark" if holder == "prune" else ""}:
        with pytest.raises(
            ValueError, match=f"holds the measurements of `pocketface {holder}`, which `pocketface {by}`"
        ):
            check_measurements(tmp_path, by)
    check_measurements(tmp_path, holder)
    (tmp_path / "recipe.toml").touch()
    (tmp_path / "manifest.json").touch()
    check_measurements(tmp_path, "run")
    with pytest.raises(ValueError, match="holds the measurements of `pocketface run`"):
        check_measurements(tmp_path, "benchmark")


@pytest.mark.parametrize("text", [None, "", "[]", "{"])
def test_what_holds_no_measurements_is_nobody_s(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "measurements.json").write_text(text)
    check_measurements(tmp_path, "benchmark")


def test_a_phone_s_rows_stay_while_the_file_is_as_large(tmp_path: Path) -> None:
    small, large = row("a.tflite", "size_bytes", value=10), row("a.tflite", "size_bytes", value=11)
    phone = row("a.tflite", runtime="adb runner")
    write_measurements([small, row("a.tflite"), phone], tmp_path / "measurements.json")
    assert with_rows_of_others([small], tmp_path) == [small, phone]
    assert with_rows_of_others([large], tmp_path) == [large]
    assert with_rows_of_others([small], tmp_path / "new") == [small]


def test_how_much_faster_pruning_made_a_network_stays(tmp_path: Path) -> None:
    ratio, of_prune, new = row("", "latency_ratio"), row(""), row("a.tflite")
    write_measurements([of_prune, ratio], tmp_path / "measurements.json")
    check_measurements(tmp_path, "benchmark")
    for _ in range(2):
        both = with_rows_of_others([new], tmp_path)
        assert both == [of_prune, ratio, new]
        write_measurements(both, tmp_path / "measurements.json")
    with pytest.raises(ValueError, match="measurements of `pocketface benchmark`, which `pocketface prune` would"):
        check_measurements(tmp_path, "prune")
