"""What a file takes and gives: which output is the embedding, sizes, layouts, batches, and numbers of every type."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pocketface.export.artifact import Card, ConversionError
from pocketface.export.formats import open_session, read_artifact
from pocketface.export.graph.to_onnx import adopt_onnx
from pocketface.export.session import raw_embeddings
from pocketface.faces.contract import InputContract
from pocketface.models.graph.ports import Port, Ports, ports_of

FACE = Port("face", (1, 3, 8, 8))
HALVES = {"mean": (127.5,) * 3, "scale": (1 / 127.5,) * 3}  # pixels become -1 to 1
PIXELS = {"mean": (0.0,) * 3, "scale": (1.0,) * 3}
COLOURS = np.broadcast_to(np.uint8([10, 20, 40]), (2, 8, 8, 3)).copy()
COLOURS[1] = [3, 2, 1]


def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), output.split(), name=output, **attributes)


def write(path: Path, nodes: list[onnx.NodeProto], ends: dict[str, tuple[Any, ...]], **more: Any) -> Path:
    """Writes an .onnx file whose nodes lead from `face` to `ends`, with the constants that the tests name."""
    shape, kind = more.get("shape", (1, 3, 8, 8)), more.get("kind", TensorProto.FLOAT)
    given = TensorProto.FLOAT if kind == TensorProto.UINT8 else kind
    dtype = helper.tensor_dtype_to_np_dtype(given)
    constants: dict[str, NDArray[Any]] = {
        "sums": np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]], dtype).reshape(4, 3, 1, 1),
        "two": np.int64([2, 4]),
        "flat": np.int64([-1]),
        "first": np.int64([0]),
    }
    read = {name for one in nodes for name in one.input}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("face", kind, shape)],
        [helper.make_tensor_value_info(name, given, sides) for name, sides in ends.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items() if name in read],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


MEANS = [node("GlobalAveragePool", "face", "means"), node("Conv", "means sums", "four")]
"""Red, green, blue, and their sum, of a face of one colour: (1, 4, 1, 1)."""
FLAT = [*MEANS, node("Flatten", "four", "out")]


def embedded(path: Path, contract: Any, faces: Any = COLOURS, output: str = "") -> list[list[float]]:
    artifact = read_artifact(path, contract, output)
    return raw_embeddings(open_session(path, output=output), artifact.card.contract, faces).tolist()


def exported(path: Path, contract: InputContract, output: str = "") -> list[list[float]]:
    ours = adopt_onnx(path, Card("net", contract, 4), path.with_name("ours.onnx"), output).path
    session = ort.InferenceSession(ours)
    (port,), (end,) = session.get_inputs(), session.get_outputs()
    assert (port.shape, port.type, end.shape) == ([1, contract.channels, 8, 8], "tensor(float)", [1, 4])
    inputs = contract.preprocess(COLOURS)
    return [session.run(None, {port.name: face[None]})[0][0].tolist() for face in inputs]


RIGHT = [[10.0, 20.0, 40.0, 70.0], [3.0, 2.0, 1.0, 6.0]]


def test_the_one_output_that_gives_a_row_of_numbers_is_the_embedding_and_named(tmp_path: Path) -> None:
    nodes = [*FLAT, node("ReduceL2", "out", "norm", axes=[1], keepdims=1)]
    path = write(tmp_path / "two.onnx", nodes, {"norm": (1, 1), "out": (1, 4)})
    artifact = read_artifact(path, PIXELS)
    assert [str(note) for note in artifact.notes] == [
        "two.onnx: its output 'out' is the embedding; not used: norm",
    ]
    assert artifact.card.embedding_size == 4
    assert embedded(path, PIXELS) == RIGHT
    assert exported(path, InputContract(8, 8, **PIXELS)) == RIGHT


def test_of_several_outputs_that_may_be_the_embedding_one_must_be_named(tmp_path: Path) -> None:
    nodes = [*FLAT, node("Flatten", "means", "three")]
    path = write(tmp_path / "two.onnx", nodes, {"three": (1, 3), "out": (1, 4)})
    with pytest.raises(ConversionError) as refused:
        read_artifact(path, PIXELS)
    both = "'three' (1, 3), 'out' (1, 4)"
    assert str(refused.value) == (
        f"two.onnx has 2 outputs that may be the embedding, {both}; name the right one with --output"
    )
    assert embedded(path, PIXELS, output="three") == [[10, 20, 40], [3, 2, 1]]
    assert exported(path, InputContract(8, 8, **PIXELS), "out") == RIGHT
    with pytest.raises(ConversionError, match=r"two\.onnx has no output 'x'; it has 'three' \(1, 3\), 'out' \(1, 4\)"):
        read_artifact(path, PIXELS, "x")


@pytest.mark.parametrize(
    ("nodes", "shape"),
    [
        (MEANS, (1, 4, 1, 1)),
        ([*FLAT, node("Unsqueeze", "out first", "row")], (1, 1, 4)),
        ([*FLAT, node("Reshape", "out flat", "row")], (4,)),
    ],
)
def test_sides_of_one_are_dropped_from_an_embedding(nodes: Any, shape: tuple[int, ...], tmp_path: Path) -> None:
    path = write(tmp_path / "net.onnx", nodes, {nodes[-1].output[0]: shape})
    assert read_artifact(path, PIXELS).card.embedding_size == 4
    assert embedded(path, PIXELS) == RIGHT
    assert exported(path, InputContract(8, 8, **PIXELS)) == RIGHT


def test_a_batch_of_two_is_filled_with_copies_of_the_face(tmp_path: Path) -> None:
    nodes = [*MEANS, node("Reshape", "four two", "out")]
    path = write(tmp_path / "net.onnx", nodes, {"out": (2, 4)}, shape=(2, 3, 8, 8))
    assert read_artifact(path, PIXELS).batch == 2
    assert embedded(path, PIXELS) == RIGHT
    assert exported(path, InputContract(8, 8, **PIXELS)) == RIGHT


def test_a_free_batch_takes_all_faces_in_one_call() -> None:
    calls: list[tuple[int, ...]] = []

    def call(faces: NDArray[Any]) -> NDArray[Any]:
        calls.append(faces.shape)
        return faces.mean((2, 3))

    ports = ports_of("net", [Port("face", (None, 3, 8, 8))], [Port("out", (None, 3))])
    inputs = InputContract(8, 8, **PIXELS).preprocess(COLOURS)
    assert ports.run(call, inputs).tolist() == [[10, 20, 40], [3, 2, 1]]
    assert calls == [(2, 3, 8, 8)]


def test_channels_that_lie_last_are_fed_last_and_exported_first(tmp_path: Path) -> None:
    nodes = [node("Transpose", "face", "turned", perm=[0, 3, 1, 2]), node("GlobalAveragePool", "turned", "means")]
    path = write(tmp_path / "net.onnx", [*nodes, *FLAT[1:]], {"out": (1, 4)}, shape=(1, 8, 8, 3))
    assert embedded(path, PIXELS) == RIGHT
    contract = InputContract(8, 8, **PIXELS)
    assert exported(path, contract) == RIGHT
    kinds = [one.op_type for one in onnx.load(tmp_path / "ours.onnx").graph.node]
    assert "Transpose" not in kinds


def test_half_precision_is_fed_half_precision(tmp_path: Path) -> None:
    path = write(tmp_path / "net.onnx", FLAT, {"out": (1, 4)}, kind=TensorProto.FLOAT16)
    assert read_artifact(path, PIXELS).card.precision == "fp16"
    assert embedded(path, PIXELS) == RIGHT  # all whole numbers below 2048
    assert exported(path, InputContract(8, 8, **PIXELS)) == RIGHT


def test_bytes_are_fed_pixels_without_a_contract(tmp_path: Path) -> None:
    path = write(
        tmp_path / "net.onnx",
        [node("Cast", "face", "floats", to=TensorProto.FLOAT), node("GlobalAveragePool", "floats", "means"), *FLAT[1:]],
        {"out": (1, 4)},
        kind=TensorProto.UINT8,
    )
    assert read_artifact(path).card.contract == InputContract(8, 8, **PIXELS)
    assert embedded(path, None) == RIGHT
    assert exported(path, InputContract(8, 8, **PIXELS)) == RIGHT
    with pytest.raises(ConversionError) as refused:
        read_artifact(path, HALVES)
    assert str(refused.value) == (
        "net.onnx takes uint8 that stand for 0 to 255; by the contract pixels become -1 to 1; "
        "it prepares pixels itself: leave --mean and --scale out"
    )


@pytest.mark.parametrize(
    ("scale", "zero", "contract", "fits"),
    [
        (1 / 127.5, 0, HALVES, True),  # -1.004 to 0.996
        (1.0, 128, PIXELS, False),  # -256 to -1
        (1.0, -128, PIXELS, True),  # 0 to 255
        (1.0, -128, HALVES, False),  # pixels of -1 to 1 would be 0 or 1
        (2 / 127.5, 0, HALVES, True),  # a symmetric range twice as wide
        (5 / 127.5, 0, HALVES, False),  # pixels would fill a fifth
    ],
)
def test_pixels_must_fill_the_range_of_integers(scale: float, zero: int, contract: Any, fits: bool) -> None:
    ports = ports_of("net", [Port("face", (1, 8, 8, 3), "int8", scale, zero)], [Port("out", (1, 4))])
    if fits:
        ports.check(InputContract(8, 8, **contract))
    else:
        with pytest.raises(ConversionError, match="give the --mean and --scale that it was quantised with"):
            ports.check(InputContract(8, 8, **contract))


def test_a_files_own_size_is_taken_where_none_is_stated(tmp_path: Path) -> None:
    path = write(tmp_path / "net.onnx", FLAT, {"out": (1, 4)}, shape=(1, 3, 16, 12))
    contract = read_artifact(path, PIXELS).card.contract
    assert (contract.height, contract.width) == (16, 12)
    with pytest.raises(ConversionError) as refused:
        read_artifact(path, {**PIXELS, "height": 12, "width": 16})
    assert str(refused.value) == "net.onnx takes 1x3x16x12; the contract says 1x3x12x16; give its own size with --size"


def test_one_channel_is_given_luma(tmp_path: Path) -> None:
    nodes = [node("GlobalAveragePool", "face", "mean"), node("Concat", "mean mean", "pair", axis=1)]
    path = write(tmp_path / "net.onnx", [*nodes, node("Flatten", "pair", "out")], {"out": (1, 2)}, shape=(1, 1, 8, 8))
    # 0.299 * 10 + 0.587 * 20 + 0.114 * 40 = 19.29; 0.299 * 3 + 0.587 * 2 + 0.114 = 2.185
    assert embedded(path, PIXELS) == [[19, 19], [2, 2]]
    with pytest.raises(
        ConversionError, match="takes 1x1x8x8; the contract says 1x3x8x8; an embedder takes three colours"
    ):
        read_artifact(path, {**PIXELS, "channel_order": "rgb"})


@pytest.mark.parametrize(
    ("inputs", "outputs", "sentence"),
    [
        ([FACE, FACE], [Port("out", (1, 4))], "net has 2 inputs and 1 outputs; an embedder has one of each"),
        ([Port("face", (1, 192))], [Port("out", (1, 4))], "it takes 1x192, which is no batch of faces (N, C, H, W)"),
        ([FACE], [Port("map", (1, 4, 7, 7))], "it gives 'map' (1, 4, 7, 7); an embedder gives a row of numbers (N, D)"),
        ([FACE], [Port("score", (1, 1))], "it gives 'score' (1, 1); an embedder gives a row of numbers (N, D)"),
        ([Port("face", (1, 3, 8, 8), "string")], [Port("out", (1, 4))], "it takes 1x3x8x8 of type string"),
    ],
)
def test_what_is_no_embedder_is_one_sentence(inputs: list[Port], outputs: list[Port], sentence: str) -> None:
    with pytest.raises(ConversionError) as refused:
        ports_of("net", inputs, outputs)
    assert sentence in str(refused.value)


def test_a_call_that_gives_no_rows_is_refused() -> None:
    ports = Ports("net", FACE, Port("out", ()))
    with pytest.raises(ConversionError, match=r"net gives \(1, 4, 2, 2\) for 1 face; an embedder gives a row"):
        ports.run(lambda faces: np.zeros((1, 4, 2, 2), np.float32), np.zeros((1, 3, 8, 8), np.float32))


GENERATED = {  # what other people's tools write: size, channel order, batch, precision of each file
    "01-two-outputs-first-is-norm": {"two.onnx": (112, 112, "rgb", 1, "fp32")},
    "03-onnx-embedding-of-other-rank": dict.fromkeys(("1D11.onnx", "11D.onnx", "D.onnx"), (112, 112, "rgb", 1, "fp32")),
    "06-not-square": {"112x96.onnx": (112, 96, "rgb", 1, "fp32")},
    "07-fp16-nhwc-uint8-onnx": {
        "fp16.onnx": (112, 112, "rgb", 1, "fp16"),
        "nhwc.onnx": (112, 112, "rgb", 1, "fp32"),
        "uint8.onnx": (112, 112, "rgb", 1, "fp32"),
    },
    "12-one-channel": {"gray.onnx": (128, 128, "gray", 1, "fp32")},
}


@pytest.mark.parametrize("generator", GENERATED)
def test_files_of_other_tools_are_told_and_embed_as_onnxruntime_does(
    generator: str, shared: Path, tmp_path: Path
) -> None:
    script = shared / "cases" / f"{generator}.py"
    if not script.is_file():
        pytest.skip(f"the folder with real faces has no generator {generator}")
    subprocess.run([sys.executable, script], cwd=tmp_path, check=True)
    for name, expected in GENERATED[generator].items():
        artifact = read_artifact(tmp_path / name, None if name == "uint8.onnx" else HALVES)
        card, contract = artifact.card, artifact.card.contract
        found = (contract.height, contract.width, contract.channel_order, artifact.batch, card.precision)
        assert found == expected and card.embedding_size == 64, name
        crop = np.random.default_rng(0).integers(0, 256, (1, contract.height, contract.width, 3), np.uint8)
        session = ort.InferenceSession(tmp_path / name)
        port = session.get_inputs()[0]
        inputs = contract.preprocess(crop)
        given = inputs.transpose(0, 2, 3, 1) if port.shape[3] == 3 else inputs
        kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
        results = session.run(None, {port.name: given.astype(kinds[port.type])})
        (right,) = [result for result in results if result.size == 64]
        ours = raw_embeddings(open_session(artifact.path), contract, crop)
        assert np.array_equal(ours[0], right.reshape(-1).astype(np.float32)), name
