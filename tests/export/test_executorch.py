"""ExecuTorch: the numbers of PyTorch, a card inside that is read without it, one sentence where it is missing."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pocketface.export.artifact import Card, ConversionError, Note
from pocketface.export.executorch_session import read_executorch_card
from pocketface.export.exporter import Exported, export
from pocketface.export.formats import open_session, read_artifact
from pocketface.export.recipe import ExportRecipe
from pocketface.export.session import unit_embeddings
from pocketface.export.targets import ForeignOnnx
from pocketface.export.to_executorch import to_executorch
from pocketface.faces.contract import InputContract
from pocketface.models.embedder import Embedder

FACES = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3)).astype(np.uint8)
INSTALLED = importlib.util.find_spec("executorch") is not None
needs_executorch = pytest.mark.skipif(
    not INSTALLED, reason="executorch is an extra: pip install pocketface[executorch]"
)


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    torch.manual_seed(0)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.PReLU(8), nn.Hardswish(), head)
    return Embedder("tiny", backbone.eval(), InputContract(16, 16), "none.py:tiny", licence="MIT")


@pytest.fixture(scope="module")
def made(embedder: Embedder, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("made")
    (result,) = export(embedder, FACES, ExportRecipe(targets=("executorch",)), folder)
    assert result.reason == ""
    return result


@needs_executorch
def test_the_embeddings_are_those_of_pytorch(embedder: Embedder, made: Exported) -> None:
    assert made.artifact is not None and made.artifact.path.name == "tiny.pte"
    session = open_session(made.artifact.path)
    assert session.runtime == "executorch"
    assert np.abs(unit_embeddings(session, embedder.contract, FACES) - embedder.embed(FACES)).max() <= 1e-5


@needs_executorch
def test_xnnpack_takes_all_of_it_and_says_so(made: Exported) -> None:
    assert made.artifact is not None
    assert made.artifact.notes == (Note("one-partition", "XNNPACK runs 1 part of it", count=1),)


@needs_executorch
def test_the_card_is_inside(embedder: Embedder, made: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    assert made.artifact is not None
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "executorch.runtime", None)  # it is read without ExecuTorch
        artifact = read_artifact(made.artifact.path)
    assert artifact.format == "executorch" and artifact.card == made.artifact.card
    assert (artifact.card.licence, artifact.card.embedding_size, artifact.card.contract) == (
        "MIT",
        4,
        embedder.contract,
    )
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(made.artifact.path)
    assert program.load_method("pocketface").execute([]) == [artifact.card.to_json()]  # what an app would call


@needs_executorch
def test_the_same_embedder_gives_the_same_bytes(embedder: Embedder, made: Exported, tmp_path: Path) -> None:
    assert made.artifact is not None
    card = made.artifact.card.but(tools=made.artifact.card.tools[:-1])
    again = to_executorch(embedder, card, tmp_path / "again.pte")
    assert again.path.read_bytes() == made.artifact.path.read_bytes()


@needs_executorch
def test_a_damaged_file_is_refused(made: Exported, tmp_path: Path) -> None:
    assert made.artifact is not None
    content, path = made.artifact.path.read_bytes(), tmp_path / "cut.pte"
    for length in (6, 60, len(content) // 3):
        path.write_bytes(content[:length])
        with pytest.raises(ConversionError, match=r"ExecuTorch"):
            open_session(path)
        with pytest.raises(ValueError):
            read_executorch_card(path)


def test_without_executorch_one_is_told_what_to_install(
    embedder: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (
        "executorch.exir",
        "executorch.backends.xnnpack.partition.xnnpack_partitioner",
        "executorch.runtime",
    ):
        monkeypatch.setitem(sys.modules, module, None)
    told = r"ExecuTorch files need executorch: pip install 'pocketface\[executorch\]'"
    with pytest.raises(ConversionError, match=told):
        to_executorch(embedder, Card("tiny", embedder.contract, 4), tmp_path / "tiny.pte")
    (tmp_path / "other.pte").write_bytes(b"\0\0\0\0ET12")
    with pytest.raises(ConversionError, match=told):
        open_session(tmp_path / "other.pte")


def test_an_onnx_file_is_refused_for_there_is_no_pytorch_network_in_it(embedder: Embedder, tmp_path: Path) -> None:
    export(embedder, FACES, ExportRecipe(targets=("onnx",)), tmp_path)
    source = ForeignOnnx(tmp_path / "tiny.onnx", "theirs", embedder.contract)
    (result,) = export(source, FACES, ExportRecipe(targets=("executorch",)), tmp_path / "out")
    assert result.reason == "tiny.onnx is given as ONNX; executorch needs the PyTorch network"
