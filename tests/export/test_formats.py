"""A format is one record and one writer (`toy_format.py`): every stage takes it, and names it by its record."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pocketface.benchmark.measurement import Measurement
from pocketface.benchmark.recipe import BenchmarkRecipe
from pocketface.benchmark.report.page import write_report
from pocketface.benchmark.runner import benchmark_files
from pocketface.export.app.handoff import handoff
from pocketface.export.exporter import export
from pocketface.export.formats import FORMATS, Format, find_files, format_of, read_card, uncertified_sha256, write_card
from pocketface.export.recipe import ExportRecipe
from pocketface.export.targets import TARGETS
from pocketface.faces.contract import InputContract
from pocketface.faces.drawn_pairs import synthetic_pairs
from pocketface.files import sha256_of
from pocketface.models.embedder import Embedder

HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)  # where the format is

from toy_format import RECORD, WRITER  # noqa: E402


@pytest.fixture(autouse=True)
def the_two_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, "toy", RECORD)
    monkeypatch.setitem(TARGETS, "toy", WRITER)
    monkeypatch.setenv("PYTHONPATH", HERE, prepend=os.pathsep)  # files run in processes of their own


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with one .onnx and one .toy file of a small network."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    embedder = Embedder("tiny", backbone.eval(), InputContract(32, 32), "none.py:tiny", licence="MIT")
    faces = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    made = export(embedder, faces, ExportRecipe(targets=("toy",)), tmp_path / "artifacts")
    assert [(result.target, result.reason) for result in made] == [("onnx", ""), ("toy", "")]
    assert made[1].parity is not None and made[1].parity.largest_difference <= 1e-5
    return tmp_path


def measured(run: Path) -> dict[str, Measurement]:
    """What the benchmark found out about the .toy file, by metric."""
    files, pairs = [run / "artifacts" / "tiny.onnx", run / "artifacts" / "tiny.toy"], synthetic_pairs(20, 2, 0, 32, 0)
    recipe = BenchmarkRecipe(threads=(1,), minimum_runs=5, minimum_seconds=0, rounds=1)
    rows = benchmark_files(files, lambda contract: pairs, recipe, run, pairs_name="synthetic")
    return {row.metric: row for row in rows if row.format == "toy"}


def test_it_is_measured_certified_reported_and_handed_off(run: Path) -> None:
    before = sha256_of(run / "artifacts" / "tiny.toy")
    rows = measured(run)
    assert {row.runtime for row in rows.values()} == {"toy-runtime"}
    for metric in ("size_bytes", "weights_bytes", "verification_accuracy", "embedding_cosine_min", "latency_ms_p50"):
        assert rows[metric].value is not None, rows[metric].reason
    assert rows["embedding_cosine_min"].value == pytest.approx(1, abs=1e-5)

    card = read_card(run / "artifacts" / "tiny.toy")
    assert card is not None and card.certificate is not None
    assert card.certificate.runtime.startswith("toy-runtime ")
    assert uncertified_sha256(run / "artifacts" / "tiny.toy") == before

    _, markdown = write_report([run], run)
    assert "tiny.toy" in markdown.read_text(encoding="utf-8") and "1 Toy" in markdown.read_text(encoding="utf-8")

    index = json.loads((handoff([run], run / "handoff") / "golden.json").read_text(encoding="utf-8"))
    (toy,) = [entry for entry in index["artifacts"] if entry["format"] == "toy"]
    assert toy["file"] == "models/tiny.toy" and toy["least_cosine"] == 0.99999
    assert toy["runtime"].startswith("toy-runtime ")


def test_a_format_without_a_suffix_is_known_by_what_lies_in_it(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "embedder.json").write_text("{}")
    (tmp_path / "net.toy").write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"")
    assert format_of(tmp_path / "checkpoint").name == "pytorch" and format_of(tmp_path / "net.toy") is RECORD
    assert find_files([tmp_path], FORMATS.values()) == [tmp_path / "checkpoint", tmp_path / "net.toy"]
    with pytest.raises(ValueError, match=r"notes\.txt is no checkpoint and ends in none of \.tflite, .*, \.toy"):
        format_of(tmp_path / "notes.txt")


def test_a_file_of_no_card_has_none_to_replace(run: Path) -> None:
    card = read_card(run / "artifacts" / "tiny.toy")
    assert card is not None
    (run / "checkpoint").mkdir()
    (run / "checkpoint" / "embedder.json").write_text("{}")
    with pytest.raises(ValueError, match="checkpoint carries no card to replace"):
        write_card(run / "checkpoint", card)


@pytest.mark.parametrize("known", FORMATS.values(), ids=FORMATS)
def test_what_opens_a_format_can_be_found_by_its_name(known: Format) -> None:
    """As a child process does."""
    from pocketface.lazy import opener_of

    assert callable(opener_of(known.opener))
    assert bool(known.suffix) != bool(known.marker)


def test_a_network_of_another_tool_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "net.keras").write_bytes(b"PK")
    (tmp_path / "net.engine").write_bytes(b"ftrt")
    with pytest.raises(ValueError, match=r"net\.keras is a Keras model; `pocketface export` makes files of it"):
        format_of(tmp_path / "net.keras")
    with pytest.raises(ValueError, match=r"net\.engine is a file for one runtime"):
        format_of(tmp_path / "net.engine")
