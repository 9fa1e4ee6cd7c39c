"""int8 ONNX: values checked by hand, every layer integer in onnxruntime, and a trained net keeps its embeddings."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor, nn

from pocketface.export.artifact import Card
from pocketface.export.exporter import export
from pocketface.export.formats import open_session, read_artifact
from pocketface.export.graph.qdq import quantise_onnx, to_qdq
from pocketface.export.recipe import ExportRecipe
from pocketface.faces.contract import InputContract
from pocketface.faces.rendering.synthetic import synthetic_faces
from pocketface.models.embedder import Embedder

FLOAT = onnx.TensorProto.FLOAT


def network(nodes: list[onnx.NodeProto], constants: dict[str, NDArray[np.float32]], opset: int = 18) -> onnx.ModelProto:
    """Two channels of one pixel in, `embedding` out."""
    ends = [helper.make_tensor_value_info("input", FLOAT, [1, 2, 1, 1])]
    result = [helper.make_tensor_value_info("embedding", FLOAT, [1, 2, 1, 1])]
    weights = [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "net", ends, result, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def run(model: onnx.ModelProto, *pixel: float) -> list[float]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (values,) = session.run(None, {"input": np.float32(pixel).reshape(1, 2, 1, 1)})
    return [round(float(value), 5) for value in values.reshape(-1)]


SWAP = [helper.make_node("Conv", ["input", "w"], ["embedding"])]
WEIGHTS = np.float32([[0, 127], [0.5, 0]]).reshape(2, 2, 1, 1)
RANGES = {"input": (-1.28, 1.27), "embedding": (-162.56, 161.29)}  # steps of 0.01 and 1.27


def test_values_are_rounded_to_the_steps_of_their_ranges() -> None:
    quantised = to_qdq(network(SWAP, {"w": WEIGHTS}), RANGES)
    # 0.503 becomes 0.50, times 127 is 63.5, and that is 50 steps of 1.27; half of 2 ends at 1.27 / 2, half a step
    assert run(quantised, 2.0, 0.503) == [63.5, 0.0]


def test_each_channel_has_a_step_of_its_own() -> None:
    quantised = to_qdq(network(SWAP, {"w": WEIGHTS}), RANGES)
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantised.graph.initializer}
    (weights,) = [values for values in tensors.values() if values.shape == (2, 2, 1, 1)]
    assert weights.dtype == np.int8 and weights.reshape(-1).tolist() == [0, 127, 127, 0]
    (steps,) = [values for name, values in tensors.items() if name.startswith("w") and name.endswith("scale")]
    np.testing.assert_allclose(steps, [1, 0.5 / 127], rtol=1e-6)


def test_what_follows_the_last_weights_stays_float() -> None:
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["x"]),
        helper.make_node("Mul", ["x", "x"], ["squares"]),
        helper.make_node("ReduceSum", ["squares"], ["sum"], keepdims=1),
        helper.make_node("Sqrt", ["sum"], ["length"]),
        helper.make_node("Div", ["x", "length"], ["embedding"]),
    ]
    model = network(nodes, {"w": np.eye(2, dtype=np.float32).reshape(2, 2, 1, 1)})
    ranges = {"input": (-1.28, 1.27), "x": (-1.28, 1.27), "squares": (0.0, 2.0)}
    quantised = to_qdq(model, ranges)
    assert run(quantised, 0.3, 0.4) == [0.6, 0.8]
    read = {name: node.op_type for node in quantised.graph.node for name in node.input}
    assert [read[f"{name}"] for name in ("squares", "sum", "length")] == ["ReduceSum", "Sqrt", "Div"]


def test_a_graph_of_an_old_opset_is_brought_to_one_that_has_steps_per_channel() -> None:
    quantised = to_qdq(network(SWAP, {"w": WEIGHTS}, opset=11), RANGES)
    assert [entry.version for entry in quantised.opset_import if entry.domain == ""] == [13]
    assert run(quantised, 0, 0.503) == [63.5, 0.0]


class Net(nn.Module):
    """A little of everything that embedders are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.PReLU(8))
        self.depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU6(), nn.Conv2d(8, 8, 1))
        self.pooled = nn.Conv2d(8, 8, 8, groups=8)
        self.last = nn.Linear(8, 4)

    def forward(self, faces: Tensor) -> Tensor:
        x = self.first(faces)
        x = x + self.depthwise(x)
        result: Tensor = self.last(self.pooled(x).flatten(1))
        return result


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    embedder = Embedder("net", Net().eval(), InputContract(16, 16), "none.py:net")
    faces, _ = synthetic_faces(16, 1, size=32)
    folder = tmp_path_factory.mktemp("made")
    results = export(embedder, faces[:, ::2, ::2], ExportRecipe(targets=("onnx", "onnx-w8a8")), folder)
    assert [result.reason for result in results] == ["", ""]
    return folder


def test_onnxruntime_runs_every_layer_in_integers(made: Path, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "runs.onnx"), 3
    onnxruntime.InferenceSession(str(made / "net.w8a8.onnx"), options, providers=["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "runs.onnx").graph.node)
    # five convolutions, one of them the PReLU's; its sum and the residual one; the linear layer
    assert (kinds["QLinearConv"], kinds["QLinearAdd"], kinds["QGemm"]) == (5, 2, 1)
    assert not {"Conv", "Add", "Gemm", "PRelu", "Clip", "Relu"} & set(kinds)


def test_the_card_tells_what_was_done(made: Path) -> None:
    card = read_artifact(made / "net.w8a8.onnx").card
    assert card.precision == "w8a8" and len(card.calibration_sha256) == 64
    assert "PReLU as x + relu((a - 1) x) at 1 sites" in map(str, card.rewrites)
    assert card.tools.count(f"onnxruntime {onnxruntime.__version__}") == 1  # however many wrote it down


def test_the_same_faces_give_the_same_bytes(made: Path, tmp_path: Path) -> None:
    card = Card("net", InputContract(16, 16), 4)
    model = network(SWAP, {"w": WEIGHTS})
    faces = np.float32([[1, 2], [3, -4]]).reshape(2, 2, 1, 1)
    once, twice = (quantise_onnx(model, card, tmp_path / name, faces).path.read_bytes() for name in "ab")
    assert once == twice
    other = quantise_onnx(model, card, tmp_path / "c", faces[:1])
    assert other.path.read_bytes() != once


def test_no_faces_are_refused(tmp_path: Path) -> None:
    model, card = network(SWAP, {"w": WEIGHTS}), Card("net", InputContract(16, 16), 4)
    with pytest.raises(ValueError, match="need calibration faces"):
        quantise_onnx(model, card, tmp_path / "a.onnx", np.zeros((0, 2, 1, 1), np.float32))
    assert not list(tmp_path.iterdir())


def test_a_trained_net_keeps_its_embeddings(shared: Path, tmp_path: Path) -> None:
    from pocketface.inputs import open_faces, open_source
    from pocketface.run_recipe import Roots, read_recipe

    example = Path(__file__).parents[3] / "examples" / "lfw_prelu.toml"
    recipe = Roots(example.parent, shared / "faces", shared / "models").resolve(read_recipe(example))
    source = open_source(recipe)
    faces = open_faces(recipe.train, source.contract).faces
    chosen = np.random.default_rng(0).permutation(len(faces))[:64]
    calibration, probe = np.ascontiguousarray(faces[chosen[:32]]), source.contract.preprocess(faces[chosen[32:]])
    *_, result = export(source, calibration, ExportRecipe(targets=("onnx-w8a8",)), tmp_path)
    assert result.artifact is not None
    integers = open_session(result.artifact.path).run(probe)
    exact = open_session(tmp_path / "mobilefacenet-prelu.onnx").run(probe)
    cosines = (integers * exact).sum(1) / np.linalg.norm(integers, axis=1) / np.linalg.norm(exact, axis=1)
    assert cosines.mean() > 0.99  # 0.995 and more with 100 calibration faces
    assert result.artifact.path.stat().st_size < 0.36 * (tmp_path / "mobilefacenet-prelu.onnx").stat().st_size
