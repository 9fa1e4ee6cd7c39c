"""Half precision: the embeddings stay, an L2 norm does not overflow, and every zoo net keeps its numbers in ONNX."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.transformers.float16 import convert_float_to_float16
from torch import Tensor, nn

from pocketface.export.artifact import Card
from pocketface.export.formats import open_session
from pocketface.export.graph.float16 import to_half
from pocketface.export.graph.to_onnx import to_onnx
from pocketface.faces.contract import Faces, InputContract
from pocketface.models.batch_norm import reestimate_batch_norms
from pocketface.models.embedder import Embedder, unit
from pocketface.models.graph.reading import read_onnx
from pocketface.models.zoo import ZOO, create

FACE = np.random.default_rng(0).normal(0, 1, (1, 3, 16, 16)).astype(np.float32)


class Normalised(nn.Module):
    """Ends in an L2 norm of numbers whose squares are beyond float16's 65,504."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8, 4)

    def forward(self, faces: Tensor) -> Tensor:
        embedding: Tensor = self.last(self.conv(faces).relu().mean((2, 3))) * 5000
        return nn.functional.normalize(embedding)


@pytest.fixture(scope="module")
def normalised(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    torch.manual_seed(0)
    embedder = Embedder("n", Normalised().eval(), InputContract(16, 16), "none.py:n")
    folder = tmp_path_factory.mktemp("normalised")
    return read_onnx(to_onnx(embedder, Card("n", embedder.contract, 4), folder / "n.onnx").path)


def run(model: onnx.ModelProto, face: NDArray[np.float32] = FACE) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: face})[0])


def test_weights_are_half_and_the_ends_are_not(normalised: onnx.ModelProto) -> None:
    half = to_half(normalised)
    kinds = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    weights = [kinds[node.input[1]] for node in half.graph.node if node.op_type in ("Conv", "Gemm")]
    assert weights == [onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT16]
    for value in (half.graph.input[0], half.graph.output[0]):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_two_casts_are_all_that_is_added(normalised: onnx.ModelProto) -> None:
    before = [node.op_type for node in normalised.graph.node]
    after = [node.op_type for node in to_half(normalised).graph.node]
    weighted = before.index("Gemm")
    assert after == ["Cast", *before[: weighted + 1], "Cast", *before[weighted + 1 :]]


def test_an_l2_norm_does_not_overflow_where_arithmetic_is_really_half(normalised: onnx.ModelProto) -> None:
    exact = run(normalised)
    assert np.abs(run(to_half(normalised)) - exact).max() < 1e-3
    (real,) = ReferenceEvaluator(to_half(normalised)).run(None, {"input": FACE})
    assert np.abs(real - exact).max() < 2e-3
    naive = ONNXModel(convert_float_to_float16(normalised, keep_io_types=True))
    naive.topological_sort()
    with np.errstate(over="ignore", invalid="ignore"):
        (plain,) = ReferenceEvaluator(naive.model).run(None, {"input": FACE})
    assert not np.abs(plain - exact).max() < 0.1


def test_a_value_that_two_float32_layers_read_is_cast_once() -> None:
    nodes = [
        onnx.helper.make_node("Mul", ["input", "w"], ["x"]),
        onnx.helper.make_node("ReduceL2", ["x"], ["length"], keepdims=1, axes=[1]),
        onnx.helper.make_node("Sqrt", ["x"], ["root"]),
        onnx.helper.make_node("Mul", ["root", "w"], ["back"]),
        onnx.helper.make_node("Div", ["back", "length"], ["embedding"]),
    ]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 2]) for name in ("input", "embedding")]
    weights = onnx.numpy_helper.from_array(np.float32([[3, 4]]), "w")
    graph = onnx.helper.make_graph(nodes, "net", ends[:1], ends[1:], [weights])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=9)
    half = to_half(model)
    # x = (3, 16), of length sqrt(265); the roots are sqrt(3) and 4, times 3 and 4
    np.testing.assert_allclose(run(half, np.float32([[1, 4]])), [[3 * 3**0.5 / 265**0.5, 16 / 265**0.5]], rtol=2e-3)
    assert len({node.output[0] for node in half.graph.node}) == len(half.graph.node)


def test_the_given_model_is_left_alone_and_the_bytes_are_the_same(normalised: onnx.ModelProto) -> None:
    kept = normalised.SerializeToString()
    once, twice = to_half(normalised), to_half(normalised)
    assert once.SerializeToString(deterministic=True) == twice.SerializeToString(deterministic=True)
    assert normalised.SerializeToString() == kept


def grained_faces(count: int, size: int) -> Faces:
    """Blobs with grain: without it, fresh depthwise layers amplify the least rounding."""
    rng = np.random.default_rng(0)
    blobs = torch.from_numpy(rng.uniform(0, 255, (count, 3, 7, 7)).astype(np.float32))
    smooth = nn.functional.interpolate(blobs, (size, size), mode="bicubic", align_corners=False)
    grain = torch.from_numpy(rng.uniform(0, 255, smooth.shape).astype(np.float32))
    return (0.7 * smooth + 0.3 * grain).clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8).numpy()


@pytest.mark.parametrize("name", sorted(ZOO))
def test_every_zoo_net_in_any_batch_and_in_half_precision(name: str, tmp_path: Path) -> None:
    embedder = create(name)
    faces = embedder.contract.preprocess(grained_faces(15, embedder.contract.height))
    reestimate_batch_norms(embedder.backbone.eval(), [torch.from_numpy(faces[:8])])
    faces = faces[8:]
    with torch.inference_mode():
        exact = unit(embedder.backbone(torch.from_numpy(faces)).numpy())
    card = Card(name, embedder.contract, embedder.embedding_size)
    dynamic = to_onnx(embedder, card, tmp_path / "dynamic.onnx", dynamic=True)
    session = open_session(dynamic.path)
    for count in (1, 2, 7):
        assert np.abs(unit(session.run(faces[:count])) - exact[:count]).max() <= 1e-5
    half = to_half(read_onnx(dynamic.path))
    onnx.save(half, tmp_path / "half.onnx")
    embeddings = unit(open_session(tmp_path / "half.onnx").run(faces))
    assert (embeddings * exact).sum(axis=1).min() >= 0.9999
    assert half.ByteSize() < 0.52 * dynamic.path.stat().st_size
