"""Several sweeps and runs on one page: joined where they compare, refused in a sentence where they do not."""

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pocketface.__main__ import app
from pocketface.benchmark.measurement import Measurement, write_measurements
from pocketface.benchmark.report.sweep_data import read_swept, write_swept
from pocketface.benchmark.report.sweep_folders import write_folders_report
from pocketface.benchmark.report.swept import SweptLayer, SweptPoint, SweptSource, lines_of


def rows(model: str, artifact: str, format: str, accuracy: float, pairs: str, source: str = "") -> list[Measurement]:
    file = (model, artifact, format, "fp32", "litert" if format == "tflite" else "torch", "a CPU")
    accuracies = {"conditions": {"pairs_sha256": pairs}, "source": source}
    found = [
        Measurement(*file, "size_bytes", 4000, "bytes", source=source),
        Measurement(*file, "parameters", 1000, "1", source=source),
        Measurement(*file, "verification_accuracy", accuracy, "1", accuracy - 0.01, accuracy + 0.01, 600, **accuracies),
    ]
    if source:
        lost = accuracy - 0.99
        found.append(
            Measurement(*file, "accuracy_difference", lost, "1", lost - 0.001, lost + 0.001, 600, **accuracies)
        )
    return found


def swept(folder: Path, share: float, pairs: str = "0123456789", name: str = "net", accuracy: float = 0.99) -> Path:
    """A folder of a sweep of one source and one smaller network."""
    (whole,) = lines_of(rows(name, "source", "pytorch", accuracy, pairs), [], "cells/source")
    smaller = f"{name}-l1-less{100 * share:g}"
    made = rows(smaller, "recovered", "pytorch", 0.98, pairs, name)
    made += rows(smaller, f"{smaller}.tflite", "tflite", 0.98, pairs, name)
    network, tflite = lines_of(made, [], "cells/files")
    sizes = {"filters": (100, 50), "parameters": (1000, 500), "macs": (5000, 2500)}
    level, layers = f"{100 * share:g} % of parameters", (SweptLayer("stem", 100, 50),)
    point = SweptPoint(smaller, "l1", level, {"seed": "1"}, sizes, layers, None, network, (tflite,), "cells/files")
    source = SweptPoint(name, "", "source", {}, {}, (), None, whole, (), "cells/source")
    folder.mkdir()
    write_swept([SweptSource(name, source, (point,))], {"pairs": "pairs.txt"}, folder)
    return folder


def run(folder: Path, pairs: str = "0123456789") -> Path:
    """A run folder of the same source and another smaller network."""
    folder.mkdir()
    made = rows("net", "artifacts/net.tflite", "tflite", 0.99, pairs)
    made += rows("small", "artifacts/small.tflite", "tflite", 0.97, pairs, "net")
    write_measurements(made, folder / "measurements.json")
    return folder


def test_a_sweep_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = swept(tmp_path / "a", 0.2)
    sources, inputs = read_swept(folder)
    write_swept(sources, inputs, tmp_path)
    assert (tmp_path / "swept.json").read_bytes() == (folder / "swept.json").read_bytes()
    assert sources[0].points[0].removed("filters") == 0.5 and inputs == {"pairs": "pairs.txt"}


def test_two_sweeps_of_one_network_share_its_chart(tmp_path: Path) -> None:
    folders = [swept(tmp_path / "a", 0.2), swept(tmp_path / "b", 0.4)]
    page, text = write_folders_report(folders, tmp_path / "out")
    assert (page, text) == (tmp_path / "out" / "report.html", tmp_path / "out" / "report.md")
    assert page.read_text().count("Accuracy against what was removed") == 1
    table = list(csv.DictReader((tmp_path / "out" / "report.csv").open()))
    assert [(row["series"], row["level"]) for row in table if row["stage"] == "after recovery"] == [
        ("a: l1", "20 % of parameters"),
        ("b: l1", "40 % of parameters"),
    ]
    assert "a: pairs" in page.read_text() and not (tmp_path / "a" / "report.html").exists()


def test_another_network_of_the_same_name_has_a_chart_of_its_own(tmp_path: Path) -> None:
    folders = [swept(tmp_path / "a", 0.2), swept(tmp_path / "b", 0.4, accuracy=0.985)]
    page, _ = write_folders_report(folders, tmp_path / "out")
    assert page.read_text().count("Accuracy against what was removed") == 2


def test_a_run_stands_beside_a_sweep(tmp_path: Path) -> None:
    write_folders_report([swept(tmp_path / "a", 0.2), run(tmp_path / "b")], tmp_path / "out")
    table = list(csv.DictReader((tmp_path / "out" / "report.csv").open()))
    files = [(row["series"], Path(row["file"]).name) for row in table if row["stage"] == "file"]
    assert files == [("a: l1", "net-l1-less20.tflite"), ("", "net.tflite"), ("b", "small.tflite")]


@pytest.mark.parametrize("other", ["sweep", "run"])
def test_other_pairs_are_refused_in_a_sentence(tmp_path: Path, other: str) -> None:
    b = tmp_path / "b"
    b = swept(b, 0.4, "9876543210") if other == "sweep" else run(b, "9876543210")
    told = r"^a and b were verified on different pairs \(01234567 and 98765432\), so their accuracies do not compare"
    with pytest.raises(ValueError, match=told):
        write_folders_report([swept(tmp_path / "a", 0.2), b], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["{", "[]", '{"version": 2}', '{"version": 1, "sources": [{}], "inputs": {}}'])
def test_a_damaged_sweep_is_one_sentence(tmp_path: Path, damage: str) -> None:
    (swept(tmp_path / "a", 0.2) / "swept.json").write_text(damage)
    with pytest.raises(ValueError, match=r"holds no sweep .*; the sweep's command, given again, writes it anew"):
        read_swept(tmp_path / "a")


def test_the_command_line_takes_sweeps(tmp_path: Path) -> None:
    folder = swept(tmp_path / "a", 0.2)
    result = CliRunner().invoke(app, ["report", str(folder), "--max-mb", "1"])
    assert result.exit_code == 0, (result.output, result.exception)
    assert result.output.splitlines()[-1] == f"report: {folder / 'report.html'}"
    assert "at most 1 MB" in (folder / "report.md").read_text()
    assert json.loads((folder / "swept.json").read_text())["version"] == 1


def test_a_sweep_from_before_is_told_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "sweep.html").write_text("")
    with pytest.raises(ValueError, match=r"has sweep.html and no swept.json; the sweep's command, given again"):
        write_folders_report([tmp_path], tmp_path / "out")
