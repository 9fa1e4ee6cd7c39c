"""Batch norms that an ONNX file had folded fit the faces before a training, and change no embedding."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from pocketface.faces.contract import InputContract
from pocketface.faces.folders import LabelledFaces
from pocketface.models.checkpoint import open_embedder
from pocketface.models.embedder import Embedder
from pocketface.models.zoo import create
from pocketface.prune.training.fitted_norms import with_fitted_norms


@pytest.fixture
def faces() -> LabelledFaces:
    crops = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)
    return LabelledFaces(crops, np.arange(6), tuple(map(str, range(6))), "six")


@pytest.fixture
def imported(tmp_path: Path) -> Embedder:
    weights = np.random.default_rng(1).normal(0, 0.3, (4, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["face", "w", "b"], ["c"], name="stem"),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("face", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 1, 1])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(weights[:, 0, 0, 0].copy(), "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "net.onnx")
    return open_embedder(tmp_path / "net.onnx", contract=InputContract(16, 16))


def test_embeddings_stay_and_a_batch_of_training_is_normalised_alike(imported: Embedder, faces: LabelledFaces) -> None:
    fitted = with_fitted_norms(imported, faces, seed=0)
    assert np.abs(fitted.embed(faces.faces) - imported.embed(faces.faces)).max() < 1e-6
    batch = torch.from_numpy(fitted.contract.preprocess(faces.faces))
    with torch.no_grad():
        evaluated, trained = fitted.backbone.eval()(batch), fitted.backbone.train()(batch)
    assert torch.allclose(evaluated, trained, atol=1e-4)  # the faces' own statistics are those it was fitted to
    assert not imported.backbone.get_submodule("stem_norm").running_mean.any()


def test_other_networks_and_fitted_ones_are_given_back(imported: Embedder, faces: LabelledFaces) -> None:
    fitted = with_fitted_norms(imported, faces, seed=0)
    assert with_fitted_norms(fitted, faces, seed=0) is fitted
    zoo = create("mobilefacenet", width=0.25)
    assert with_fitted_norms(zoo, faces, seed=0) is zoo
