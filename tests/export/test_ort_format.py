"""The ORT format: the numbers of the ONNX file, a card that can be read and replaced, the same bytes twice."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.InferenceSession import InferenceSession
from torch import nn

from pocketface.benchmark.speed.latency import TimingJob, latency_in_fresh_process
from pocketface.export.artifact import ConversionError
from pocketface.export.exporter import export
from pocketface.export.formats import open_session, read_artifact, uncertified_sha256, write_card
from pocketface.export.graph.to_onnx import read_onnx
from pocketface.export.ort_format import read_ort_card, to_ort
from pocketface.export.recipe import ExportRecipe
from pocketface.export.session import unit_embeddings
from pocketface.faces.contract import InputContract
from pocketface.models.embedder import Embedder

FACES = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    torch.manual_seed(0)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.PReLU(8), nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU(), head)
    return Embedder("tiny", backbone.eval(), InputContract(16, 16), "none.py:tiny", licence="MIT")


@pytest.fixture(scope="module")
def made(embedder: Embedder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    results = export(embedder, FACES, ExportRecipe(targets=("onnx", "ort")), folder)
    assert [(result.target, result.reason) for result in results] == [("onnx", ""), ("ort", "")]
    return folder


def test_the_embeddings_are_those_of_pytorch(embedder: Embedder, made: Path) -> None:
    session = open_session(made / "tiny.ort")
    assert session.runtime == "onnxruntime"
    assert np.abs(unit_embeddings(session, embedder.contract, FACES) - embedder.embed(FACES)).max() <= 1e-5


def test_the_card_is_inside_and_onnxruntime_reads_it_too(embedder: Embedder, made: Path) -> None:
    artifact = read_artifact(made / "tiny.ort")
    assert (artifact.format, artifact.card.licence, artifact.card.precision) == ("ort", "MIT", "fp32")
    assert artifact.card.contract == embedder.contract
    properties = onnxruntime.InferenceSession(str(made / "tiny.ort")).get_modelmeta().custom_metadata_map
    assert properties["pocketface"] == artifact.card.to_json()


def test_another_card_fits_and_the_old_one_gives_the_old_file(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.ort"
    path.write_bytes((made / "tiny.ort").read_bytes())
    old, before = read_artifact(path).card, uncertified_sha256(path)
    write_card(path, old.but(licence="x" * 999))
    assert read_artifact(path).card == old.but(licence="x" * 999)
    session = onnxruntime.InferenceSession(str(path))
    assert session.get_modelmeta().custom_metadata_map["pocketface"].count("x" * 999) == 1
    write_card(path, old)
    assert path.read_bytes() == (made / "tiny.ort").read_bytes() and uncertified_sha256(path) == before


def test_the_same_network_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    model, card = read_onnx(made / "tiny.onnx"), read_artifact(made / "tiny.onnx").card
    written = {to_ort(model, card, tmp_path / f"{number}.ort").path.read_bytes() for number in range(5)}
    assert len(written) == 1  # what onnxruntime writes differs from call to call


def test_what_every_cpu_can_fuse_is_fused_and_nothing_is_laid_out_for_this_one(made: Path) -> None:
    graph = InferenceSession.GetRootAs((made / "tiny.ort").read_bytes(), 0).Model().Graph()
    nodes = [graph.Nodes(i) for i in range(graph.NodesLength())]
    kinds = Counter(f"{node.Domain().decode()}:{node.OpType().decode()}" for node in nodes)
    assert kinds["com.microsoft:FusedConv"] == 2 and kinds[":Conv"] == 1  # with ReLU, of PReLU, before PReLU
    assert not {":Relu", ":PRelu"} & set(kinds)
    assert not any(kind.startswith("com.microsoft.nchwc") for kind in kinds)


def test_it_is_timed_by_onnxruntime(made: Path) -> None:
    job = TimingJob(made / "tiny.ort", shape=(1, 3, 16, 16))
    latency = latency_in_fresh_process(job, minimum_runs=3, minimum_seconds=0.0)
    assert latency.reason == "" and sum(map(len, latency.rounds_ms)) >= 3


def test_a_damaged_file_is_refused_in_a_sentence(made: Path, tmp_path: Path) -> None:
    content, path = (made / "tiny.ort").read_bytes(), tmp_path / "bad.ort"
    refused = 0
    for seed in range(200):
        draw = random.Random(seed)
        damaged = bytearray(content[: draw.randrange(len(content))] if seed % 2 else content)
        for _ in range(5):
            place = draw.randrange(min(len(damaged), 1000)) if damaged else 0
            damaged[place : place + 1] = bytes([draw.randrange(256)])
        path.write_bytes(damaged)
        try:
            read_ort_card(path)
        except ValueError as error:
            refused += str(error).startswith(("bad.ort is damaged or no .ort file", "the file's pocketface metadata"))
    assert refused > 100
    path.write_bytes(b"not a flatbuffer")
    with pytest.raises(ConversionError, match=r"bad\.ort is damaged or no \.ort file"):
        read_artifact(path)
