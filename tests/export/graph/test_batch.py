"""A batch of one is freed where the graph lets it, and refused in one sentence where not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pocketface.export.artifact import Card, ConversionError
from pocketface.export.exporter import export
from pocketface.export.formats import open_session
from pocketface.export.graph.batch import free_batch
from pocketface.export.graph.to_onnx import to_onnx
from pocketface.export.recipe import ExportRecipe
from pocketface.export.targets import ForeignOnnx
from pocketface.faces.contract import InputContract
from pocketface.models.embedder import Embedder
from pocketface.models.graph.reading import read_onnx

CONTRACT = InputContract(16, 16)
FACES = np.random.default_rng(1).normal(0, 1, (7, 3, 16, 16)).astype(np.float32)


class Net(nn.Module):
    """A convolution to (N, 8, 4, 4), and `end`, which makes (N, D) of it."""

    def __init__(self, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.end = nn.Conv2d(3, 8, 4, 4), end

    def forward(self, faces: Tensor) -> Tensor:
        return self.end(self.conv(faces).relu())


def exported(end: Callable[[Tensor], Tensor], folder: Path) -> tuple[nn.Module, Path]:
    torch.manual_seed(0)
    embedder = Embedder("net", Net(end).eval(), CONTRACT, "none.py:net")
    return embedder.backbone, to_onnx(embedder, Card("net", CONTRACT, 8), folder / "net.onnx").path


def windows(x: Tensor) -> Tensor:
    """Splits each face in four, mixes within the parts, and joins them: the batch is 4 for a while."""
    parts = x.reshape(-1, 8, 2, 2, 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(-1, 8, 4)
    mixed = torch.softmax(parts @ parts.transpose(1, 2), -1) @ parts
    return mixed.reshape(-1, 4, 8, 4).mean(3).reshape(-1, 32)


@pytest.mark.parametrize("end", [lambda x: x.flatten(1), lambda x: x.mean((2, 3)), windows])
def test_one_to_seven_faces_are_what_they_are_alone(end: Callable[[Tensor], Tensor], tmp_path: Path) -> None:
    backbone, path = exported(end, tmp_path)
    assert open_session(path).ports.batch == 1  # what it is freed of
    onnx.save(free_batch(read_onnx(path), "net"), tmp_path / "free.onnx")
    session = open_session(tmp_path / "free.onnx")
    assert session.ports.batch is None
    with torch.inference_mode():
        expected: NDArray[np.float32] = backbone(torch.from_numpy(FACES)).numpy()
    for count in (1, 2, 7):
        np.testing.assert_allclose(session.run(FACES[:count]), expected[:count], rtol=1e-4, atol=1e-5)


def test_a_net_that_adds_a_token_for_one_face_is_refused(tmp_path: Path) -> None:
    token = torch.ones(1, 8, 1)
    _, path = exported(lambda x: torch.cat([token, x.flatten(2)], 2).mean(2), tmp_path)
    with pytest.raises(ConversionError, match=r"net computes with the batch of 1 .*; export it with a dynamic batch"):
        free_batch(read_onnx(path), "net")


def test_a_net_that_mixes_the_faces_is_refused(tmp_path: Path) -> None:
    def correlated(x: Tensor) -> Tensor:
        means = x.mean((2, 3))
        return means @ (means.t() @ means)

    _, path = exported(correlated, tmp_path)
    with pytest.raises(ConversionError, match="net mixes the faces of a batch of 2"):
        free_batch(read_onnx(path), "net")


def test_a_foreign_file_of_batch_1_becomes_a_dynamic_one(tmp_path: Path) -> None:
    _, path = exported(lambda x: x.flatten(1), tmp_path)
    crops = np.random.default_rng(2).integers(0, 256, (9, 16, 16, 3)).astype(np.uint8)
    source = ForeignOnnx(path, "theirs", CONTRACT)
    (made,) = export(source, crops, ExportRecipe(targets=("onnx-dynamic",)), tmp_path / "out")
    assert made.reason == "" and made.artifact is not None and made.parity is not None
    assert made.artifact.path.name == "theirs.dynamic.onnx" and made.artifact.batch is None
    assert made.parity.largest_difference <= 1e-5
    (side, *_) = onnx.load(made.artifact.path).graph.input[0].type.tensor_type.shape.dim
    assert side.dim_param == "batch"
