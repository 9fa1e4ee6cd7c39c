"""ONNX to .tflite: whole networks against PyTorch, onnxruntime and TensorFlow; graphs that a card does not fit."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from pocketface.export.artifact import METADATA_KEY, Artifact, Card, ConversionError
from pocketface.export.graph.to_onnx import to_onnx
from pocketface.export.session import OnnxRuntimeSession
from pocketface.export.tflite.delegation import delegation
from pocketface.export.tflite.litert import LiteRTSession, read_tflite_card
from pocketface.export.tflite.to_tflite import to_tflite
from pocketface.faces.contract import IMAGENET, InputContract
from pocketface.models.batch_norm import reestimate_batch_norms
from pocketface.models.embedder import Embedder, unit
from pocketface.models.tflite.tables import unpack
from pocketface.models.torchvision_shim import import_torchvision
from pocketface.models.zoo import ZOO, create

from .conftest import node

RNG = np.random.default_rng(0)
FACES = RNG.normal(0, 2, (3, 3, 8, 8)).astype(np.float32)


def weights(*shape: int) -> NDArray[np.float32]:
    return RNG.normal(0, 0.5, shape).astype(np.float32)


def test_a_map_of_one_pixel_is_an_embedding_too(
    written: Callable[..., Path], converted: Callable[..., Artifact], tmp_path: Path
) -> None:
    path = written(tmp_path, [node("Conv", "input w", "embedding")], {"w": weights(4, 3, 8, 8)}, 4)
    model = onnx.load(path)
    for side in (1, 1):
        model.graph.output[0].type.tensor_type.shape.dim.add(dim_value=side)
    onnx.save(model, path)
    ours = LiteRTSession(converted(path, 4).path).run(FACES)
    assert ours.shape == (3, 4)
    np.testing.assert_allclose(ours, OnnxRuntimeSession(path).run(FACES), rtol=1e-4, atol=1e-5)


def test_a_free_batch_becomes_one(
    written: Callable[..., Path],
    converted: Callable[..., Artifact],
    operators: Callable[[Path], list[str]],
    tmp_path: Path,
) -> None:
    nodes = [
        node("GlobalAveragePool", "input", "g"),
        node("Shape", "input", "s"),
        node("Gather", "s zero", "n"),
        node("Unsqueeze", "n first", "m"),
        node("Concat", "m rest", "shape", axis=0),
        node("Reshape", "g shape", "embedding"),
    ]
    constants = {"zero": np.array(0), "first": np.array([0]), "rest": np.array([3])}
    path = written(tmp_path, nodes, constants, 3, batch="N")
    artifact = converted(path, 3)
    np.testing.assert_allclose(LiteRTSession(artifact.path).run(FACES), FACES.mean((2, 3)), rtol=1e-5, atol=1e-6)
    assert operators(artifact.path) == ["MEAN", "RESHAPE"]


def test_another_input_size_than_the_cards_is_refused(
    written: Callable[..., Path], converted: Callable[..., Artifact], tmp_path: Path
) -> None:
    path = written(tmp_path, [node("Flatten", "input", "embedding")], {}, 192)
    with pytest.raises(ConversionError, match="takes 1x3x8x8; the card's input is 1x3x16x16"):
        converted(path, 192, InputContract(16, 16))


def test_another_embedding_size_than_the_cards_is_refused(
    written: Callable[..., Path], converted: Callable[..., Artifact], tmp_path: Path
) -> None:
    nodes = [node("GlobalAveragePool", "input", "g"), node("Flatten", "g", "embedding")]
    path = written(tmp_path, nodes, {}, 3)
    with pytest.raises(ConversionError, match=r"gives \(1, 3\); the card's embedding is \(1, 4\)"):
        converted(path, 4)


def _images(embedder: Embedder, count: int, seed: int) -> NDArray[np.float32]:
    """Noise in blocks of 16 pixels, as smooth as photos are."""
    height, width = embedder.contract.height, embedder.contract.width
    blocks = np.random.default_rng(seed).integers(0, 256, (count, height // 16 + 1, width // 16 + 1, 3))
    pixels = blocks.repeat(16, 1).repeat(16, 2)[:, :height, :width].astype(np.uint8)
    return embedder.contract.preprocess(pixels)


def _settled(name: str, **options: Any) -> tuple[Embedder, NDArray[np.float32]]:
    embedder = create(name, **options)
    if any(isinstance(module, torch.nn.BatchNorm2d) for module in embedder.backbone.modules()):
        reestimate_batch_norms(embedder.backbone, [torch.from_numpy(_images(embedder, 4, 1))])
    embedder.backbone.eval()
    return embedder, _images(embedder, 2, 2)


@pytest.mark.parametrize("name", sorted(ZOO))
def test_zoo_net_computes_what_pytorch_and_onnxruntime_compute(
    converted: Callable[..., Artifact],
    operators: Callable[[Path], list[str]],
    exported: Callable[..., None],
    tmp_path: Path,
    name: str,
) -> None:
    embedder, faces = _settled(name)
    path = tmp_path / f"{name}.onnx"
    exported(embedder.backbone, embedder.example(), path, dynamo=False)  # in a second; the other one below
    artifact = converted(path, embedder.embedding_size, embedder.contract)
    ours = unit(LiteRTSession(artifact.path).run(faces))
    with torch.inference_mode():
        torchs = unit(embedder.backbone(torch.from_numpy(faces)).numpy())
    assert np.abs(ours - unit(OnnxRuntimeSession(path).run(faces))).max() <= 1e-5
    assert np.abs(ours - torchs).max() <= 1e-5
    assert (tuple(map(str, artifact.notes)), delegation(artifact.path).partitions) == (("1 XNNPACK partition",), 1)
    assert "TRANSPOSE" not in operators(artifact.path)
    # Each pads an image of even size at the top and left; TFLite's own SAME would at the bottom and right.
    evens = {"mobilefacenet": [112, 56, 28, 14], "resnet50v2": [56, 28, 14]}
    assert _padded(artifact.path) == [
        ([[0, 0], [1, 0], [1, 0], [0, 0]], side, 2) for side in evens.get(name, [])
    ]  # all others need no PAD


def _padded(path: Path) -> list[tuple[list[list[int]], int, int]]:
    """Gives of each PAD its amounts, its image's side, and the stride of the convolution that reads it."""
    from ai_edge_litert import schema_py_generated as schema

    model = unpack(path.read_bytes())
    graph = model.subgraphs[0]
    pads = [
        row for row in graph.operators if model.operatorCodes[row.opcodeIndex].builtinCode == schema.BuiltinOperator.PAD
    ]
    found = []
    for row in pads:
        image, amounts = (graph.tensors[place] for place in row.inputs)
        (reader,) = (other for other in graph.operators if row.outputs[0] in other.inputs)
        values = model.buffers[amounts.buffer].data.view(np.int32).reshape(4, 2)
        found.append((values.tolist(), int(image.shape[1]), reader.builtinOptions.strideH))
    return found


@pytest.fixture(scope="module")
def mobilefacenet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Embedder, Artifact, Artifact]:
    """A settled net with its ONNX and its TFLite file, made as the exporter makes them."""
    embedder, _ = _settled("mobilefacenet")
    folder = tmp_path_factory.mktemp("mobilefacenet")
    card = Card(embedder.name, embedder.contract, embedder.embedding_size)
    graph = to_onnx(embedder, card, folder / "m.onnx")
    return embedder, graph, to_tflite(graph.path, card, folder / "m.tflite")


def test_mobilefacenet_of_the_dynamo_exporter(
    operators: Callable[[Path], list[str]], mobilefacenet: tuple[Embedder, Artifact, Artifact]
) -> None:
    embedder, _, artifact = mobilefacenet
    faces = _images(embedder, 2, 3)
    with torch.inference_mode():
        torchs = unit(embedder.backbone(torch.from_numpy(faces)).numpy())
    assert np.abs(unit(LiteRTSession(artifact.path).run(faces)) - torchs).max() <= 1e-5
    assert Counter(operators(artifact.path)) == {
        "CONV_2D": 33,
        "DEPTHWISE_CONV_2D": 17,
        "PRELU": 33,
        "ADD": 12,
        "PAD": 4,  # before the four convolutions of stride 2
        "RESHAPE": 1,
    }
    assert delegation(artifact.path).partitions == 1


def test_tensorflows_interpreter_agrees(mobilefacenet: tuple[Embedder, Artifact, Artifact]) -> None:
    pytest.importorskip("tensorflow")
    embedder, _, artifact = mobilefacenet
    faces = _images(embedder, 1, 4)
    script = (
        "import sys, numpy as np, tensorflow as tf\n"
        "run = tf.lite.Interpreter(sys.argv[1]).get_signature_runner('serving_default')\n"
        "np.save(sys.argv[3], run(input=np.load(sys.argv[2]))['embedding'])\n"
    )
    given, gives = artifact.path.with_name("in.npy"), artifact.path.with_name("out.npy")
    np.save(given, faces.transpose(0, 2, 3, 1))
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    arguments = [sys.executable, "-c", script, str(artifact.path), str(given), str(gives)]
    subprocess.run(arguments, check=True, env=environment, capture_output=True)  # beside LiteRT it may clash
    np.testing.assert_allclose(unit(np.load(gives)), unit(LiteRTSession(artifact.path).run(faces)), atol=1e-5)


def test_the_same_graph_gives_the_same_bytes(mobilefacenet: tuple[Embedder, Artifact, Artifact]) -> None:
    _, graph, artifact = mobilefacenet
    again = to_tflite(graph.path, graph.card, artifact.path.with_name("again.tflite"))
    assert again.path.read_bytes() == artifact.path.read_bytes()


def test_the_file_carries_its_card(mobilefacenet: tuple[Embedder, Artifact, Artifact]) -> None:
    _, _, artifact = mobilefacenet
    card = read_tflite_card(artifact.path)
    assert card == artifact.card
    assert card is not None and len(card.source_sha256) == 64
    assert any(tool.startswith("ai-edge-litert ") for tool in card.tools)
    model = unpack(artifact.path.read_bytes())
    assert model.description.startswith(b"Face embedder mobilefacenet, fp32\n")
    assert [entry.name for entry in model.metadata] == [METADATA_KEY.encode()]


def test_ports_have_names_and_weights_are_aligned(mobilefacenet: tuple[Embedder, Artifact, Artifact]) -> None:
    from ai_edge_litert import schema_py_generated as schema

    _, _, artifact = mobilefacenet
    content = artifact.path.read_bytes()
    model = unpack(content)
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    assert graph.tensors[graph.inputs[0]].name == signature.inputs[0].name == b"input"
    assert graph.tensors[graph.outputs[0]].name == signature.outputs[0].name == b"embedding"
    assert signature.signatureKey == b"serving_default"
    root = schema.Model.GetRootAs(content)
    buffers = [root.Buffers(index) for index in range(root.BuffersLength())]
    starts = [buffer._tab.Vector(buffer._tab.Offset(4)) for buffer in buffers if buffer.DataLength()]
    assert starts and not any(start % 16 for start in starts)


def test_foreign_onnx_converts_as_it_is(operators: Callable[[Path], list[str]], shared: Path, tmp_path: Path) -> None:
    path = shared / "models" / "foreign_mobilefacenet_relu6.onnx"
    artifact = to_tflite(path, Card("foreign", IMAGENET, 128), tmp_path / "f.tflite")
    faces = RNG.normal(0, 1, (2, 3, 112, 112)).astype(np.float32)
    ours, theirs = unit(LiteRTSession(artifact.path).run(faces)), unit(OnnxRuntimeSession(path).run(faces))
    assert np.abs(ours - theirs).max() <= 1e-5
    assert delegation(artifact.path).partitions == 1
    assert set(operators(artifact.path)) == {"ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "PAD", "RESHAPE"}


@pytest.mark.parametrize(
    ("name", "some"), [("shufflenet_v2_x0_5", {"SLICE": 26, "TRANSPOSE": 16}), ("repvit_m0_9", {"GELU": 27})]
)
def test_a_net_of_others_runs_in_one_piece(
    converted: Callable[..., Artifact],
    operators: Callable[[Path], list[str]],
    exported: Callable[..., None],
    tmp_path: Path,
    name: str,
    some: dict[str, int],
) -> None:
    models = import_torchvision().models
    timm = pytest.importorskip("timm", reason="wants the extra `test`")
    torch.manual_seed(0)
    network = (getattr(models, name) if hasattr(models, name) else partial(timm.create_model, name))(num_classes=32)
    path = tmp_path / "net.onnx"
    exported(network.eval(), torch.zeros(1, 3, 64, 64), path, dynamo=False)
    artifact = converted(path, 32, InputContract(64, 64))
    faces = RNG.normal(0, 1, (2, 3, 64, 64)).astype(np.float32)
    ours, theirs = unit(LiteRTSession(artifact.path).run(faces)), unit(OnnxRuntimeSession(path).run(faces))
    assert np.abs(ours - theirs).max() <= 1e-5
    assert tuple(map(str, artifact.notes)) == ("1 XNNPACK partition",)
    assert some.items() <= Counter(operators(artifact.path)).items()
