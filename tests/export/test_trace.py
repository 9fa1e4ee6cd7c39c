"""The trace names the layer that was spoilt, in each format, and none where none was."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image
from torch import nn

from pocketface.__main__ import main
from pocketface.export.artifact import Artifact
from pocketface.export.coreml.package import read_package
from pocketface.export.exporter import export
from pocketface.export.formats import read_artifact
from pocketface.export.recipe import ExportRecipe
from pocketface.export.targets import ForeignOnnx
from pocketface.export.tflite.flatbuffer import pack
from pocketface.export.trace import SCALED_RANKS, SOURCE_ITSELF, Trace, trace, traced_layer
from pocketface.faces.contract import Faces, InputContract
from pocketface.models.embedder import Embedder
from pocketface.models.graph.rewrite import REWRITES
from pocketface.models.tflite.tables import unpack

TARGETS = ("onnx", "tflite-fp32", "tflite-fp16", "tflite-w8a8", "coreml-fp32", "coreml-fp16")
FLOAT = [target for target in TARGETS if "w8" not in target]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    """Three convolutions in a row, and a matrix behind a flattened 4x4 image: where channels last is another order."""
    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.PReLU(8),
        nn.Conv2d(8, 6, 3, 2, 1), nn.ReLU6(),
        nn.Conv2d(6, 5, 1), nn.Flatten(), nn.BatchNorm1d(80), nn.Linear(80, 4),
    )  # fmt: skip
    with torch.no_grad():  # channels that differ, so that equalising them does something
        backbone[0].weight *= torch.logspace(-1, 0.7, 8)[:, None, None, None]
    return Embedder("tiny", backbone.eval(), InputContract(16, 16), "none.py:tiny")


@pytest.fixture(scope="module")
def faces() -> Faces:
    return np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def made(embedder: Embedder, faces: Faces, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    results = export(embedder, faces, ExportRecipe(targets=TARGETS), tmp_path_factory.mktemp("made"))
    assert [result.reason for result in results] == [""] * len(TARGETS)
    return {result.target: result.artifact for result in results if result.artifact is not None}


def second_convolution(made: dict[str, Artifact]) -> tuple[str, np.ndarray]:
    """What the ONNX file calls the result of its second convolution, and that one's weights."""
    graph = onnx.load(made["onnx"].path).graph
    second = [node for node in graph.node if node.op_type == "Conv"][1]
    weights = next(tensor for tensor in graph.initializer if tensor.name == second.input[1])
    return second.output[0], numpy_helper.to_array(weights)


def spoilt_onnx(path: Path, weights: np.ndarray) -> None:
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tuple(tensor.dims) == weights.shape:
            tensor.CopyFrom(numpy_helper.from_array(2 * weights, tensor.name))
    onnx.save(model, path)


def spoilt_tflite(path: Path, weights: np.ndarray) -> None:
    model = unpack(path.read_bytes())
    (tensor,) = [one for one in model.subgraphs[0].tensors if list(one.shape) == [6, 3, 3, 8] and one.buffer]
    data = np.frombuffer(model.buffers[tensor.buffer].data, np.float16 if tensor.type == 1 else np.float32)
    model.buffers[tensor.buffer].data = np.frombuffer((2 * data).tobytes(), np.uint8)
    path.write_bytes(pack(model))


def spoilt_package(path: Path, weights: np.ndarray) -> None:
    file = path / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    content = file.read_bytes()
    assert read_package(path).weights == content
    for dtype in (np.float32, np.float16):
        old = weights.astype(dtype).tobytes()
        if content.count(old) == 1:
            file.write_bytes(content.replace(old, (2 * weights).astype(dtype).tobytes()))
            return
    raise AssertionError("no such weights")


SPOIL = {"onnx": spoilt_onnx, "tflite": spoilt_tflite, "coreml": spoilt_package}


def copied(artifact: Artifact, folder: Path) -> Path:
    path = folder / artifact.path.name
    (shutil.copytree if artifact.path.is_dir() else shutil.copy)(artifact.path, path)
    return path


@pytest.mark.parametrize("target", TARGETS)
def test_a_file_in_order_leaves_its_source_nowhere(
    target: str, embedder: Embedder, made: dict[str, Artifact], faces: Faces
) -> None:
    found = trace(embedder, made[target], faces[:2])
    assert found.first is None
    assert found.layers[0].name == SOURCE_ITSELF and found.layers[-1].name == "embedding"
    assert {"Conv", "PRelu", "Gemm"} <= {layer.kind for layer in found.layers}
    assert all(layer.cosine > 0.99 for layer in found.layers)


@pytest.mark.parametrize("target", FLOAT)
def test_the_layer_whose_weights_are_wrong_is_named_first(
    target: str, embedder: Embedder, made: dict[str, Artifact], faces: Faces, tmp_path: Path
) -> None:
    """The second convolution's weights are doubled; TFLite has it and the ReLU6 behind it in one."""
    name, weights = second_convolution(made)
    path = copied(made[target], tmp_path)
    SPOIL[made[target].format](path, weights)
    found = trace(embedder, read_artifact(path), faces[:2])
    assert found.first is not None
    named = [layer.name for layer in found.layers]
    clipped = next(layer.name for layer in found.layers if layer.kind == "Clip")
    assert found.first.name == (clipped if target.startswith("tflite") else name)
    assert found.first.difference > 0.05 > 0.02 > found.layers[named.index(found.first.name) - 1].difference
    assert f"first differs from the source at {found.first.kind} {found.first.name!r}: by" in found.verdict()


def test_of_an_integer_file_the_worst_layer_is_named(
    embedder: Embedder, made: dict[str, Artifact], faces: Faces
) -> None:
    found = trace(embedder, made["tflite-w8a8"], faces[:2])
    assert found.worst.cosine == min(layer.cosine for layer in found.layers) < 0.99999
    assert found.verdict().startswith(f"quantised values differ by design: most at {found.worst.kind}")


def test_equalised_channels_are_no_fault(embedder: Embedder, made: dict[str, Artifact], faces: Faces) -> None:
    """Equalising scales the channels between two convolutions, and the second's weights undo it."""
    artifact = made["tflite-w8a8"]
    assert any(rewrite.kind == "equalise" for rewrite in artifact.card.rewrites)
    found = trace(embedder, artifact, faces[:2])
    assert [layer.scaled for layer in found.layers if layer.kind in ("PRelu", "Gemm")] == [True, False]
    blind = trace(embedder, Artifact(artifact.path, "tflite", artifact.card.but(rewrites=())), faces[:2])
    assert layer(blind, "PRelu").cosine < 0.97 < 0.99 < layer(found, "PRelu").cosine


def test_rows_of_equalised_streams_are_compared_up_to_a_factor_a_channel() -> None:
    assert SCALED_RANKS.keys() <= REWRITES.keys()
    rows = np.random.default_rng(0).normal(0, 1, (2, 5, 4)).astype(np.float32)  # (N, places, C)
    scaled = rows * np.float32([1, 2, 0.5, 64])
    assert traced_layer("sum", "Add", rows, scaled, True).cosine == pytest.approx(1)
    assert traced_layer("sum", "Add", rows, scaled, False).cosine < 0.7


def layer(found: Trace, kind: str):
    return next(one for one in found.layers if one.kind == kind)


def test_a_foreign_file_is_traced_too_whatever_its_names(
    made: dict[str, Artifact], faces: Faces, tmp_path: Path
) -> None:
    path = tmp_path / "theirs.onnx"
    model = onnx.load(made["onnx"].path)
    del model.metadata_props[:]
    for node in model.graph.node:
        node.input[:] = [spelt(name) for name in node.input]
        node.output[:] = [spelt(name) for name in node.output]
    del model.graph.value_info[:]
    onnx.save(model, path)
    source = ForeignOnnx(path, "theirs", InputContract(16, 16))
    for result in export(source, faces, ExportRecipe(targets=("onnx", "tflite-fp32", "coreml-fp16")), tmp_path / "out"):
        assert result.artifact is not None, result.reason
        found = trace(source, result.artifact, faces[:1])
        assert found.first is None
        assert "/stem/conv2d.1" in [layer.name for layer in found.layers]


def spelt(name: str) -> str:
    """As PyTorch's older exporter spells it."""
    return "/stem/conv2d.1" if name == "conv2d" else name


def test_a_file_of_another_source_is_refused(made: dict[str, Artifact], faces: Faces) -> None:
    torch.manual_seed(1)
    other = Embedder("other", nn.Sequential(nn.Conv2d(3, 4, 16), nn.Flatten()), InputContract(16, 16), "none.py:other")
    with pytest.raises(ValueError, match=r"tiny\.onnx was made from another source than other"):
        trace(other, made["onnx"], faces[:1])


@pytest.mark.parametrize("has_card", [True, False])
def test_the_command_prints_a_row_for_each_layer_and_the_verdict(
    has_card: bool,
    made: dict[str, Artifact],
    faces: Faces,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, weights = second_convolution(made)
    foreign = tmp_path / "theirs.onnx"
    model = onnx.load(made["onnx"].path)
    del model.metadata_props[:]
    onnx.save(model, foreign)
    path = copied(made["onnx"], tmp_path)
    spoilt_onnx(path, weights)
    kept = onnx.load(path)  # the card still names the checkpoint; here the foreign file is the source
    for entry in kept.metadata_props:
        entry.value = entry.value.replace(made["onnx"].card.source_sha256, "")
    if not has_card:  # somebody else's file says nothing: the user does
        del kept.metadata_props[:]
    onnx.save(kept, path)
    contract = made["onnx"].card.contract
    fed = ["--mean", ",".join(map(str, contract.mean)), "--scale", ",".join(map(str, contract.scale))]
    (tmp_path / "faces" / "someone").mkdir(parents=True)
    Image.fromarray(faces[0]).save(tmp_path / "faces" / "someone" / "1.png")
    arguments = ["pocketface", "trace", str(foreign), str(path), "--faces", str(tmp_path / "faces")]
    monkeypatch.setattr("sys.argv", [*arguments, *(fed if not has_card else [])])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code in (0, None)
    said = capsys.readouterr().out
    assert said.count("Conv") == 4  # three rows and the verdict
    assert f"tiny.onnx: first differs from the source at Conv {name!r}: by" in said.splitlines()[-1]


class Tokens(nn.Module):
    """Pixels as a sequence, its first axis not the faces': such values are of no face, and compared with nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = nn.Conv2d(3, 8, 3, 4, 1), nn.Linear(8, 4)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        tokens = self.stem(faces).flatten(2).permute(2, 0, 1)  # (16, N, 8)
        return self.last(tokens.tanh().permute(1, 0, 2).mean(1))


def test_values_that_are_of_no_face_are_left_out(faces: Faces, tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = Embedder("tokens", Tokens().eval(), InputContract(16, 16), "none.py:tokens")
    (made,) = export(source, faces, ExportRecipe(targets=("onnx",)), tmp_path)
    assert made.artifact is not None
    found = trace(source, made.artifact, faces[:2])
    assert found.first is None and found.layers[-1].name == "embedding"
    assert any(name.startswith("/Tanh") or "tanh" in name for name in found.missing)
