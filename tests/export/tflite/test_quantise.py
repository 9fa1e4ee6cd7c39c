"""fp32 .tflite to fp16, w8, w8-dynamic, w8a8 and w8a16: the numbers, the card, the ports, one XNNPACK piece."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from pocketface.export.artifact import METADATA_KEY, Artifact, Card, ConversionError
from pocketface.export.stored_precision import tflite_precision
from pocketface.export.tflite.delegation import delegation
from pocketface.export.tflite.litert import LiteRTSession, read_tflite_card
from pocketface.export.tflite.quantise import PRECISIONS, quantise_tflite
from pocketface.export.tflite.to_tflite import to_tflite
from pocketface.faces.contract import InputContract
from pocketface.models.embedder import unit
from pocketface.models.graph.ports import Port
from pocketface.models.tflite.tables import unpack

RNG = np.random.default_rng(0)
SIDE, SIZE, CHANNELS = 16, 8, 32
FACES = RNG.normal(0, 1, (12, 3, SIDE, SIDE)).astype(np.float32)


def net(folder: Path) -> Artifact:
    """Conv, PReLU, depthwise, PReLU, residual, global depthwise, 1x1: a MobileFaceNet in small."""

    def weights(*shape: int) -> NDArray[np.float32]:
        return (RNG.normal(0, 1, shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    constants: dict[str, NDArray[np.float32]] = {
        "w1": weights(CHANNELS, 3, 3, 3),
        "a1": RNG.uniform(-0.5, 1, (CHANNELS, 1, 1)).astype(np.float32),
        "w2": weights(CHANNELS, 1, 3, 3),
        "a2": RNG.uniform(-0.5, 1, (CHANNELS, 1, 1)).astype(np.float32),
        "w3": weights(CHANNELS, CHANNELS, 1, 1),
        "w4": weights(CHANNELS, 1, SIDE // 2, SIDE // 2),
        "w5": weights(SIZE, CHANNELS, 1, 1),
    }

    def node(operator: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(operator, inputs.split(), [output], name=output, **attributes)

    nodes = [
        node("Conv", "input w1", "c1", pads=[1] * 4, strides=[2, 2]),
        node("PRelu", "c1 a1", "p1"),
        node("Conv", "p1 w2", "c2", pads=[1] * 4, group=CHANNELS),
        node("PRelu", "c2 a2", "p2"),
        node("Conv", "p2 w3", "c3"),
        node("Add", "c3 p1", "s"),
        node("Conv", "s w4", "c4", group=CHANNELS),
        node("Conv", "c4 w5", "c5"),
        node("Flatten", "c5", "embedding"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, [1, SIZE])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    path = folder / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return to_tflite(path, Card("net", InputContract(SIDE, SIDE), SIZE), folder / "net.tflite")


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return net(tmp_path_factory.mktemp("fp32"))


@pytest.fixture(scope="module")
def made(fp32: Artifact) -> dict[str, Artifact]:
    return {name: quantise_tflite(fp32, name, fp32.path.with_name(f"net.{name}.tflite"), FACES) for name in PRECISIONS}


def operators(path: Path) -> Counter[str]:
    from ai_edge_litert import schema_py_generated as schema

    names = {number: name for name, number in vars(schema.BuiltinOperator).items()}
    model = unpack(path.read_bytes())
    return Counter(names[model.operatorCodes[row.opcodeIndex].builtinCode] for row in model.subgraphs[0].operators)


@pytest.mark.parametrize(
    ("precision", "least"), [("fp16", 0.99999), ("w8", 0.999), ("w8-dynamic", 0.99), ("w8a8", 0.97), ("w8a16", 0.999)]
)
def test_embeddings_stay_near_the_float_ones(
    fp32: Artifact, made: dict[str, Artifact], precision: str, least: float
) -> None:
    exact = unit(LiteRTSession(fp32.path).run(FACES))
    ours = unit(LiteRTSession(made[precision].path).run(FACES))
    assert (exact * ours).sum(axis=1).mean() >= least
    assert not np.array_equal(exact, ours)


@pytest.mark.parametrize(
    ("precision", "share"), [("fp16", 0.55), ("w8", 0.4), ("w8-dynamic", 0.55), ("w8a8", 0.4), ("w8a16", 0.4)]
)  # dynamic: w3 and w4, 3,072 of 4,480 weights, have 1,024 or more
def test_weights_shrink(made: dict[str, Artifact], fp32: Artifact, precision: str, share: float) -> None:
    def weights(path: Path) -> int:
        model = unpack(path.read_bytes())
        card = {entry.buffer for entry in model.metadata}
        return sum(
            len(buffer.data)
            for number, buffer in enumerate(model.buffers)
            if buffer.data is not None and number not in card
        )

    assert weights(made[precision].path) <= share * weights(fp32.path)


@pytest.mark.parametrize("precision", ["fp16", "w8", "w8a8"])
def test_xnnpack_runs_it_in_one_piece(made: dict[str, Artifact], precision: str) -> None:
    assert delegation(made[precision].path).partitions == 1


def test_w8a8_keeps_prelu_whole_between_two_conversions(made: dict[str, Artifact]) -> None:
    counts = operators(made["w8a8"].path)
    assert (counts["PRELU"], counts["DEQUANTIZE"], counts["QUANTIZE"]) == (2, 2, 2)


def test_dynamic_range_takes_floats_without_a_conversion_and_leaves_small_layers_float(
    made: dict[str, Artifact],
) -> None:
    from ai_edge_litert.schema_py_generated import TensorType

    counts, tensors = operators(made["w8-dynamic"].path), unpack(made["w8-dynamic"].path.read_bytes()).subgraphs[0]
    assert counts["QUANTIZE"] == counts["DEQUANTIZE"] == 0
    kinds = {row.name.decode(): row.type for row in tensors.tensors if row.name.endswith(b"/weights")}
    assert {name for name, kind in kinds.items() if kind == TensorType.INT8} == {"c3/weights", "c4/weights"}
    assert tflite_precision(made["w8-dynamic"].path) == "w8-dynamic"


def test_w8_weights_are_multiples_of_their_channels_step(fp32: Artifact, made: dict[str, Artifact]) -> None:
    original, changed = unpack(fp32.path.read_bytes()), unpack(made["w8"].path.read_bytes())

    def tensor(model: Any, name: bytes) -> Any:
        return next(row for row in model.subgraphs[0].tensors if row.name == name)

    exact = original.buffers[tensor(original, b"c1/weights").buffer].data.view(np.float32)
    exact = exact.reshape(CHANNELS, -1)  # (O, kh, kw, I)
    row = tensor(changed, b"c1/weights")
    steps = changed.buffers[row.buffer].data.view(np.int8).reshape(CHANNELS, -1)
    scale = np.abs(exact).max(axis=1) / 127
    np.testing.assert_allclose(row.quantization.scale, scale, rtol=1e-5)
    np.testing.assert_array_equal(steps, np.round(exact / scale[:, None]))


def test_integers_inside_are_integers_at_the_ports(made: dict[str, Artifact]) -> None:
    ports = {name: LiteRTSession(artifact.path).ports.face.dtype for name, artifact in made.items()}
    assert ports == {
        "fp16": "float32",
        "w8": "float32",
        "w8-dynamic": "float32",
        "w8a8": "int8",
        "w8a16": "int16",
    }


def test_a_port_quantises_by_hand() -> None:
    port = Port("input", (1, 8, 8, 3), "int8", 0.5, -10)
    assert port.numbers(np.float32([0, 1, 1.3, 100, -100])).tolist() == [-10, -8, -7, 127, -128]
    assert port.values(np.int8([-10, -8, 127])).tolist() == [0, 1, 68.5]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_card_says_what_was_done(fp32: Artifact, made: dict[str, Artifact], precision: str) -> None:
    card = read_tflite_card(made[precision].path)
    assert card == made[precision].card
    assert card is not None and card.precision == precision
    assert card.source_sha256 == fp32.card.source_sha256 != ""
    packages = [tool.split()[0] for tool in card.tools]
    assert packages == ["onnx", "ai-edge-litert", "ai-edge-quantizer"]
    nhwc = np.ascontiguousarray(FACES.transpose(0, 2, 3, 1))
    expected = hashlib.sha256(nhwc.tobytes()).hexdigest() if precision in ("w8a8", "w8a16") else ""
    assert card.calibration_sha256 == expected
    model = unpack(made[precision].path.read_bytes())
    assert [entry.name for entry in model.metadata] == [METADATA_KEY.encode()]
    assert model.description.startswith(f"Face embedder net, {precision}\n".encode())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_same_input_gives_the_same_bytes(fp32: Artifact, made: dict[str, Artifact], precision: str) -> None:
    again = quantise_tflite(fp32, precision, fp32.path.with_name("again.tflite"), FACES)
    assert again.path.read_bytes() == made[precision].path.read_bytes()


def test_tensorflows_interpreter_runs_them(fp32: Artifact, made: dict[str, Artifact]) -> None:
    pytest.importorskip("tensorflow", reason="wants the extra `tensorflow`")
    given, gives = fp32.path.with_name("faces.npy"), fp32.path.with_name("embeddings.npz")
    np.save(given, FACES[:4].transpose(0, 2, 3, 1))
    paths = {name: str(artifact.path) for name, artifact in {"fp32": fp32, **made}.items()}
    arguments = [sys.executable, "-c", TENSORFLOW, str(given), str(gives), *paths.values()]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(arguments, check=True, env=environment, capture_output=True)  # beside LiteRT it may clash
    for (name, path), theirs in zip(paths.items(), np.load(gives).values(), strict=True):
        ours = unit(LiteRTSession(Path(path)).run(FACES[:4]))
        least = 0.999 if name == "w8a8" else 0.999999  # a step up or down, where the two round otherwise
        assert (ours * unit(theirs)).sum(axis=1).min() >= least, name


TENSORFLOW = """
import sys, numpy as np, tensorflow as tf
rows = []
for path in sys.argv[3:]:
    run = tf.lite.Interpreter(path)
    run.allocate_tensors()
    (given,), (gives,) = run.get_input_details(), run.get_output_details()
    integer, (scale, zero) = given["dtype"] is not np.float32, given["quantization"]
    made = []
    for face in np.load(sys.argv[1]):
        if integer:
            limits = np.iinfo(given["dtype"])
            face = np.clip(np.round(face / scale + zero), limits.min, limits.max)
        run.set_tensor(given["index"], face[None].astype(given["dtype"]))
        run.invoke()
        made.append(run.get_tensor(gives["index"])[0].astype(np.float32) - gives["quantization"][1])
    rows.append(np.stack(made))
np.savez(sys.argv[2], *rows)
"""


def test_all_weights_lie_inside_the_flatbuffer(made: dict[str, Artifact]) -> None:
    from ai_edge_litert import schema_py_generated as schema

    root = schema.Model.GetRootAs(made["w8a8"].path.read_bytes())
    assert {root.Buffers(index).Offset() for index in range(root.BuffersLength())} == {0}


def test_w8a8_without_faces_is_refused(fp32: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"w8a8 of net\.tflite needs faces to set its ranges"):
        quantise_tflite(fp32, "w8a8", tmp_path / "x.tflite")
    assert not list(tmp_path.iterdir())


def test_faces_of_another_size_are_refused(fp32: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"must be \(N, 3, 16, 16\), not \(1, 3, 8, 8\)"):
        quantise_tflite(fp32, "w8a8", tmp_path / "x.tflite", np.zeros((1, 3, 8, 8), np.float32))


def test_faces_that_are_not_finite_are_refused(fp32: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="not finite"):
        quantise_tflite(fp32, "w8a8", tmp_path / "x.tflite", np.full((1, 3, SIDE, SIDE), np.nan, np.float32))


def test_unknown_precision_names_the_known(fp32: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="no TFLite precision 'w4'; known: fp16, w8, w8-dynamic, w8a8"):
        quantise_tflite(fp32, "w4", tmp_path / "x.tflite")


PER_CHANNEL = np.linspace(0.2, 0.8, CHANNELS, dtype=np.float32).reshape(CHANNELS, 1, 1)


def between_sigmoids(path: Path, steps: list[onnx.NodeProto], **constants: Any) -> Path:
    """Writes a network with these steps from `s` to `e` (1, 32, 16, 16), which no layer beside them can take in."""
    rng = np.random.default_rng(1)
    constants["w1"] = rng.normal(0, 0.3, (CHANNELS, 3, 3, 3)).astype(np.float32)
    constants["w2"] = rng.normal(0, 0.1, (SIZE, CHANNELS, 16, 16)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["input", "w1"], ["c"], pads=[1] * 4),
        helper.make_node("Sigmoid", ["c"], ["s"]),
        *steps,
        helper.make_node("Sigmoid", ["e"], ["t"]),
        helper.make_node("Conv", ["t", "w2"], ["o"]),
        helper.make_node("Flatten", ["o"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, [1, SIZE])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.mark.parametrize("precision", ["w8a8", "w8a16"])
@pytest.mark.parametrize("operator", ["Max", "Min", "Add", "Sub", "Mul", "Div", "Relu"])
def test_an_operator_with_a_constant_per_channel_is_quantised_and_stays_in_one_piece(
    operator: str, precision: Any, tmp_path: Path
) -> None:
    steps = [helper.make_node(operator, ["s"] if operator == "Relu" else ["s", "k"], ["e"])]
    path = between_sigmoids(tmp_path / "net.onnx", steps, k=PER_CHANNEL)
    whole = to_tflite(path, Card("net", InputContract(SIDE, SIDE), SIZE), tmp_path / "net.tflite")
    small = quantise_tflite(whole, precision, tmp_path / "small.tflite", FACES)
    exact, ours = (unit(LiteRTSession(one.path).run(FACES)) for one in (whole, small))
    assert (exact * ours).sum(axis=1).min() > 0.999
    assert precision == "w8a16" or delegation(small.path).partitions == 1


def test_a_sum_with_an_epsilon_stays_float_and_a_note_names_it(tmp_path: Path) -> None:
    """As in the global response norm of ConvNeXt V2: x g / (mean of g + epsilon), g the length of each channel."""
    steps = [
        helper.make_node("ReduceL2", ["s", "places"], ["g"]),
        helper.make_node("ReduceMean", ["g", "channels"], ["m"]),
        helper.make_node("Add", ["m", "epsilon"], ["safe_mean"]),
        helper.make_node("Div", ["g", "safe_mean"], ["share"]),
        helper.make_node("Mul", ["s", "share"], ["e"]),
    ]
    constants = {"places": np.int64([2, 3]), "channels": np.int64([1]), "epsilon": np.float32(1e-6)}
    path = between_sigmoids(tmp_path / "net.onnx", steps, **constants)
    whole = to_tflite(path, Card("net", InputContract(SIDE, SIDE), SIZE), tmp_path / "net.tflite")
    small = quantise_tflite(whole, "w8a8", tmp_path / "small.tflite", FACES)
    assert delegation(small.path).partitions == 1
    (note,) = [note for note in small.notes if note.kind == "float-sums"]
    assert str(note) == "sums in float arithmetic: 1 with an epsilon that no int8 step holds (safe_mean)"
