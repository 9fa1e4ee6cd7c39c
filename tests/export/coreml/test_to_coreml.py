import stat
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from pocketface.export.artifact import Card, ConversionError
from pocketface.export.coreml.evaluator import CoreMLEvaluator, read_card
from pocketface.export.coreml.mil_lowering import OPERATORS
from pocketface.export.coreml.package import import_coremltools, quietly, read_package
from pocketface.export.coreml.to_coreml import PRECISIONS, to_coreml
from pocketface.export.graph.to_onnx import adopt_onnx, to_onnx
from pocketface.faces.contract import IMAGENET, InputContract
from pocketface.models.batch_norm import reestimate_batch_norms
from pocketface.models.embedder import Embedder, unit
from pocketface.models.zoo import ZOO, create

Array = NDArray[Any]
SIDE = 8


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def floats(*values: float) -> Array:
    return np.array(values, np.float32)


def card(size: int, side: int = SIDE, **more: Any) -> Card:
    return Card("tiny", InputContract(side, side), size, **more)


def save(path: Path, nodes: list[Any], constants: dict[str, Array], shape: tuple[int, ...], opset: int = 20) -> Path:
    """Writes an ONNX file whose nodes lead from x (1, 3, 8, 8) to y of `shape`."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9), path)
    return path


def run_onnx(path: Path, inputs: Array) -> Array:
    """Runs each face by itself in onnxruntime: (N, D)."""
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.stack([session.run(None, {name: face[None]})[0].ravel() for face in inputs])


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A convolution of 2,592 weights, PReLU, mean, and a linear layer: 16 numbers of any length."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[0, 1, 2, 3], strides=[2, 1]),
        helper.make_node("PRelu", ["c", "s"], ["p"]),
        helper.make_node("GlobalAveragePool", ["p"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "m", "n"], ["y"], transB=1),
    ]
    constants = {
        "w": numbers(96, 3, 3, 3),
        "b": numbers(96, seed=1),
        "s": np.linspace(-0.5, 0.5, 96, dtype=np.float32).reshape(96, 1, 1),
        "m": numbers(16, 96, seed=2),
        "n": numbers(16, seed=3),
    }
    return save(tmp_path / "tiny.onnx", nodes, constants, (1, 16))


# What each lowering is tried with: attributes, constants after x, the shape that comes out of (1, 3, 8, 8).
Case = tuple[dict[str, Any], list[Any], tuple[int, ...]]
PLAIN: Case = ({}, [], (1, 3, 8, 8))
INTS = np.int64
CASES: dict[str, list[Case]] = {
    "Conv": [
        ({"pads": [1, 0, 2, 1], "strides": [2, 1]}, [numbers(4, 3, 3, 3), numbers(4)], (1, 4, 5, 7)),
        ({"group": 3, "dilations": [2, 2]}, [numbers(6, 1, 3, 3)], (1, 6, 4, 4)),
        ({"auto_pad": "SAME_UPPER", "strides": [3, 3]}, [numbers(2, 3, 4, 4)], (1, 2, 3, 3)),
        ({"auto_pad": "SAME_LOWER", "strides": [3, 3]}, [numbers(2, 3, 4, 4)], (1, 2, 3, 3)),
    ],
    "BatchNormalization": [
        ({"epsilon": 1e-3}, [numbers(3), numbers(3, seed=1), numbers(3, seed=2), numbers(3) ** 2], (1, 3, 8, 8))
    ],
    "MaxPool": [
        ({"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 1, 1, 0]}, [], (1, 3, 4, 4)),
        ({"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, [], (1, 3, 4, 4)),
        ({"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, [], (1, 3, 4, 4)),
    ],
    "AveragePool": [
        ({"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, [], (1, 3, 8, 8)),
        ({"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, [], (1, 3, 8, 8)),
        ({"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, [], (1, 3, 4, 4)),
    ],
    "GlobalAveragePool": [({}, [], (1, 3, 1, 1))],
    "PRelu": [
        ({}, [floats(-0.5, 0.1, 2).reshape(3, 1, 1)], (1, 3, 8, 8)),
        ({}, [floats(0.3)], (1, 3, 8, 8)),
        ({}, [numbers(3, 8, 8)], (1, 3, 8, 8)),
    ],
    "LeakyRelu": [({"alpha": 0.2}, [], (1, 3, 8, 8)), PLAIN],
    "Relu": [PLAIN],
    "Clip": [
        ({}, [np.float32(0), np.float32(6)], (1, 3, 8, 8)),
        ({}, [np.float32(-0.5), np.float32(0.5)], (1, 3, 8, 8)),
        ({}, [np.float32(0)], (1, 3, 8, 8)),
        ({}, [np.float32(0.5)], (1, 3, 8, 8)),
        ({}, [None, np.float32(0.5)], (1, 3, 8, 8)),
        PLAIN,
    ],
    "Sigmoid": [PLAIN],
    "HardSigmoid": [({"alpha": 0.3, "beta": 0.4}, [], (1, 3, 8, 8)), PLAIN],
    "HardSwish": [PLAIN],
    "Tanh": [PLAIN],
    "Softmax": [({"axis": 1}, [], (1, 3, 8, 8)), PLAIN],
    "Add": [({}, [numbers(3, 1, 1)], (1, 3, 8, 8))],
    "Sub": [({}, [numbers(8)], (1, 3, 8, 8))],
    "Mul": [({}, [numbers(1, 3, 8, 8)], (1, 3, 8, 8))],
    "Div": [({}, [np.float32(3)], (1, 3, 8, 8))],
    "Pow": [({}, [np.float32(2)], (1, 3, 8, 8))],
    "Max": [({}, [np.float32(0.1), np.float32(0.2)], (1, 3, 8, 8))],
    "Min": [({}, [numbers(3, 1, 1)], (1, 3, 8, 8))],
    "Abs": [PLAIN],
    "Exp": [PLAIN],
    "Neg": [PLAIN],
    "ReduceL2": [({}, [np.array([1], INTS)], (1, 1, 8, 8)), ({"keepdims": 0}, [np.array([-1], INTS)], (1, 3, 8))],
    "LpNormalization": [({"axis": 1}, [], (1, 3, 8, 8))],
    "ReduceMean": [({"keepdims": 0}, [np.array([2, 3], INTS)], (1, 3)), ({}, [], (1, 1, 1, 1))],
    "ReduceSum": [({}, [np.array([-1], INTS)], (1, 3, 8, 1))],
    "ReduceMax": [({}, [np.array([1, 2], INTS)], (1, 1, 1, 8))],
    "ReduceSumSquare": [({}, [np.array([3], INTS)], (1, 3, 8, 1))],
    "Reshape": [({}, [np.array([0, -1, 4], INTS)], (1, 48, 4))],
    "Flatten": [({}, [], (1, 192)), ({"axis": 2}, [], (3, 64))],
    "Transpose": [
        ({"perm": [0, 2, 3, 1]}, [], (1, 8, 8, 3)),
        ({"perm": [3, 1, 2, 0]}, [], (8, 3, 8, 1)),
        ({}, [], (8, 8, 3, 1)),
    ],
    "Unsqueeze": [({}, [np.array([2], INTS)], (1, 3, 1, 8, 8)), ({}, [np.array([0], INTS)], (1, 1, 3, 8, 8))],
    "Expand": [
        ({}, [np.array([1, 1, 8, 8], INTS)], (1, 3, 8, 8)),
        ({}, [np.array([2, 1, 3, 8, 8], INTS)], (2, 1, 3, 8, 8)),
    ],
    "Concat": [({"axis": 1}, ["x"], (1, 6, 8, 8)), ({"axis": -1}, ["x"], (1, 3, 8, 16))],
    "Pad": [
        ({}, [np.array([0, 0, 1, 2, 0, 0, 3, 4], INTS), np.float32(7)], (1, 3, 12, 14)),
        ({}, [np.array([1, 2, 3, 4], INTS), np.float32(0), np.array([2, 3], INTS)], (1, 3, 12, 14)),
        ({"mode": "reflect"}, [np.array([0, 0, 1, 2, 0, 0, 3, 4], INTS)], (1, 3, 12, 14)),
        ({"mode": "edge"}, [np.array([0, 0, 1, 2, 0, 0, 3, 4], INTS)], (1, 3, 12, 14)),
    ],
    "Identity": [PLAIN],
    "Dropout": [PLAIN],
}  # fmt: skip
CHAINS: dict[str, tuple[list[Any], dict[str, Array], tuple[int, ...]]] = {
    "Gemm": (
        [
            helper.make_node("Flatten", ["x"], ["f"]),
            helper.make_node("Gemm", ["f", "w", "b"], ["y"], alpha=0.5, beta=2.0),
        ],
        {"w": numbers(192, 5), "b": numbers(5)},
        (1, 5),
    ),
    "MatMul": (
        [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("MatMul", ["m", "x"], ["y"])],
        {"w": numbers(8, 8)},
        (1, 3, 8, 8),
    ),
    "Squeeze": (
        [helper.make_node("GlobalAveragePool", ["x"], ["g"]), helper.make_node("Squeeze", ["g", "axes"], ["y"])],
        {"axes": np.array([2, -1], INTS)},
        (1, 3),
    ),
    "Sqrt": (
        [helper.make_node("Abs", ["x"], ["a"]), helper.make_node("Sqrt", ["a"], ["y"])],
        {},
        (1, 3, 8, 8),
    ),
    "Reciprocal": (
        [helper.make_node("Exp", ["x"], ["e"]), helper.make_node("Reciprocal", ["e"], ["y"])],
        {},
        (1, 3, 8, 8),
    ),
    "BatchNormalization of rows": (
        [
            helper.make_node("Flatten", ["x"], ["f"]),
            helper.make_node("BatchNormalization", ["f", "g", "b", "m", "v"], ["y"]),
        ],
        {"g": numbers(192), "b": numbers(192, seed=1), "m": numbers(192, seed=2), "v": numbers(192) ** 2},
        (1, 192),
    ),
    "length by hand": (
        [
            helper.make_node("Mul", ["x", "x"], ["q"]),
            helper.make_node("ReduceSum", ["q", "axes"], ["s"]),
            helper.make_node("Add", ["s", "tiny"], ["t"]),
            helper.make_node("Sqrt", ["t"], ["r"]),
            helper.make_node("Div", ["x", "r"], ["y"]),
        ],
        {"axes": np.array([1], INTS), "tiny": floats(1e-12)},
        (1, 3, 8, 8),
    ),
    "constants as nodes": (
        [
            helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(floats(2))),
            helper.make_node("Mul", ["x", "two"], ["y"]),
        ],
        {},
        (1, 3, 8, 8),
    ),
}


@pytest.mark.parametrize("kind", sorted({*OPERATORS, *CHAINS}))
def test_every_lowering_computes_what_onnxruntime_computes(kind: str, tmp_path: Path) -> None:
    faces = numbers(3, 3, SIDE, SIDE, seed=9)
    cases = [CHAINS[kind]] if kind in CHAINS else []
    for attributes, others, shape in CASES.get(kind, []):
        constants = {f"k{i}": np.asarray(value) for i, value in enumerate(others) if not isinstance(value, str | None)}
        names = [
            value if isinstance(value, str) else "" if value is None else f"k{i}" for i, value in enumerate(others)
        ]
        cases.append(([helper.make_node(kind, ["x", *names], ["y"], **attributes)], constants, shape))
    assert cases, f"no case tries {kind}"
    for i, (nodes, constants, shape) in enumerate(cases):
        source = save(tmp_path / f"{i}.onnx", nodes, constants, shape)
        package = to_coreml(source, card(int(np.prod(shape))), tmp_path / f"{i}.mlpackage").path
        np.testing.assert_allclose(
            CoreMLEvaluator(package).run(faces), run_onnx(source, faces), rtol=2e-5, atol=2e-6, err_msg=str(nodes[0])
        )


@pytest.mark.parametrize("name", ZOO)
def test_float32_package_of_a_zoo_network_embeds_as_torch_does(name: str, tmp_path: Path) -> None:
    embedder = create(name)
    contract = embedder.contract
    generator = np.random.default_rng(0)
    crops = generator.integers(0, 256, (6, 14, 14, 3), dtype=np.uint8)
    crops = crops.repeat(9, 1).repeat(9, 2)[:, : contract.height, : contract.width]
    faces = contract.preprocess(crops)
    reestimate_batch_norms(embedder.backbone, [torch.from_numpy(faces[:4])])
    expected = embedder.embed(crops[4:])
    about = Card(name, contract, expected.shape[1])
    source = to_onnx(embedder, about, tmp_path / "net.onnx").path
    package = to_coreml(source, about, tmp_path / "net.mlpackage").path
    assert np.abs(unit(CoreMLEvaluator(package).run(faces[4:])) - expected).max() < 1e-5


@pytest.mark.parametrize(("precision", "least"), [("fp16", 0.99999), ("w8", 0.9995)])
def test_smaller_precisions_stay_close(precision: Any, least: float, tiny: Path, tmp_path: Path) -> None:
    package = to_coreml(tiny, card(16), tmp_path / "a.mlpackage", precision).path
    faces = numbers(8, 3, SIDE, SIDE, seed=4)
    cosine = (unit(CoreMLEvaluator(package).run(faces)) * unit(run_onnx(tiny, faces))).sum(1)
    assert least < cosine.min() < 1 - 1e-9


def test_w8_stores_unsigned_bytes_around_127_with_a_scale_for_each_channel(tiny: Path, tmp_path: Path) -> None:
    package = read_package(to_coreml(tiny, card(16), tmp_path / "a.mlpackage", "w8").path)
    from coremltools.proto import MIL_pb2

    (stored,) = [one for one in package.program.operations if one.type.startswith("constexpr")]
    assert stored.type == "constexpr_affine_dequantize"
    types = {key: value.type.tensorType for key, value in stored.attributes.items()}
    assert types["quantized_data"].dataType == types["zero_point"].dataType == MIL_pb2.UINT8
    assert [one.constant.size for one in types["scale"].dimensions] == [96]
    with quietly():
        ct = import_coremltools()
        model = ct.models.MLModel(str(tmp_path / "a.mlpackage"), skip_model_load=True)
        from coremltools.converters.mil.frontend.milproto.load import load

        program = load(model.get_spec(), model.get_spec().specificationVersion, model.weights_dir)
    (op,) = program.functions["main"].find_ops(op_type="constexpr_affine_dequantize")
    assert set(op.zero_point.val.tolist()) == {127}
    assert 0 <= op.quantized_data.val.min() and op.quantized_data.val.max() <= 254


def test_a_length_never_squares_a_large_number_in_half_precision(tmp_path: Path) -> None:
    class Large(nn.Module):  # numbers near 2,000: their squares are beyond 65,504
        def __init__(self, divide: Any) -> None:
            super().__init__()
            self.linear, self.divide = nn.Linear(192, 16), divide

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            embedding: torch.Tensor = self.divide(self.linear(x.flatten(1)) * 2000)
            return embedding

    ways = {
        "normalize": nn.functional.normalize,
        "by hand": lambda e: e / torch.sqrt((e * e).sum(1, keepdim=True) + 1e-12),
    }
    faces = numbers(4, 3, SIDE, SIDE)
    for way, divide in ways.items():
        embedder = Embedder("large", Large(divide), InputContract(SIDE, SIDE), "x")
        source = to_onnx(embedder, card(16, normalised=True), tmp_path / f"{way}.onnx").path
        package = to_coreml(source, card(16, normalised=True), tmp_path / f"{way}.mlpackage", "fp16").path
        embeddings = CoreMLEvaluator(package).run(faces)
        np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=2e-3, err_msg=way)
        assert (embeddings * run_onnx(source, faces)).sum(1).min() > 0.999
        operations = list(read_package(package).program.operations)
        scaled = {one.outputs[0].name for one in operations if one.type == "real_div"}
        (length,) = [one for one in operations if one.type == "reduce_l2_norm"]
        assert length.inputs["x"].arguments[0].name in scaled, way
        assert not [one.type for one in operations if one.type in ("reduce_sum", "reduce_sum_square")]


def test_a_variance_beyond_half_precision_still_normalises(tmp_path: Path) -> None:
    node = helper.make_node("BatchNormalization", ["x", "g", "b", "m", "v"], ["y"])
    constants = {"g": floats(1, 1, 1), "b": numbers(3), "m": numbers(3), "v": floats(1e6, 1e-9, 4)}
    source = save(tmp_path / "a.onnx", [node], constants, (1, 3, SIDE, SIDE))
    package = to_coreml(source, card(192), tmp_path / "a.mlpackage", "fp16").path
    faces = numbers(2, 3, SIDE, SIDE)
    np.testing.assert_allclose(CoreMLEvaluator(package).run(faces), run_onnx(source, faces), rtol=5e-3, atol=5e-3)


def test_the_package_says_in_words_what_it_wants_and_gives(tiny: Path, tmp_path: Path) -> None:
    about = Card("moby", InputContract(SIDE, SIDE, "bgr", IMAGENET.mean, IMAGENET.scale), 16, licence="Apache-2.0")
    description = read_package(to_coreml(tiny, about, tmp_path / "a.mlpackage").path).model.description
    (entry,), (result,) = description.input, description.output
    assert (entry.name, list(entry.type.multiArrayType.shape)) == ("input", [1, 3, SIDE, SIDE])
    assert result.name == "embedding"
    assert "blue, green, red" in entry.shortDescription and "123.675, 116.28, 103.53" in entry.shortDescription
    assert "arcface" in entry.shortDescription and "(pixel - mean) * scale" in entry.shortDescription
    assert "16 numbers" in result.shortDescription and "Divide it by its length" in result.shortDescription
    assert (description.metadata.license, description.metadata.author) == ("Apache-2.0", "pocketface")
    assert "moby" in description.metadata.shortDescription


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_card_comes_back_with_the_precision_that_was_made(precision: Any, tiny: Path, tmp_path: Path) -> None:
    artifact = to_coreml(tiny, card(16, licence="MIT"), tmp_path / "a.mlpackage", precision)
    assert read_card(artifact.path) == artifact.card == card(16, licence="MIT").but(precision=precision)
    assert (artifact.format, artifact.batch) == ("coreml", 1)


def test_two_conversions_give_the_same_bytes_and_everyone_may_read_them(tiny: Path, tmp_path: Path) -> None:
    def files(name: str) -> dict[str, bytes]:
        folder = to_coreml(tiny, card(16), tmp_path / name, "w8").path
        found = [file for file in folder.rglob("*") if file.is_file()]
        assert all(file.stat().st_mode & stat.S_IROTH for file in found)
        return {file.relative_to(folder).as_posix(): file.read_bytes() for file in found}

    first = files("a.mlpackage")
    to_coreml(
        save(tmp_path / "b.onnx", [helper.make_node("Relu", ["x"], ["y"])], {}, (1, 3, 8, 8)),
        card(192),
        tmp_path / "c.mlpackage",
    )
    assert first == files("b.mlpackage")
    assert sorted(first) == [
        "Data/com.apple.CoreML/model.mlmodel",
        "Data/com.apple.CoreML/weights/weight.bin",
        "Manifest.json",
    ]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_coremltools_opens_the_package_as_ios_16(precision: Any, tiny: Path, tmp_path: Path) -> None:
    to_coreml(tiny, card(16), tmp_path / "a.mlpackage", precision)
    with quietly():
        model = import_coremltools().models.MLModel(str(tmp_path / "a.mlpackage"), skip_model_load=True)
    assert model.get_spec().specificationVersion == 7
    assert model.input_description["input"].startswith("One face")


def test_a_package_is_replaced_whole_and_survives_a_conversion_that_fails(tiny: Path, tmp_path: Path) -> None:
    package = to_coreml(tiny, card(16), tmp_path / "a.mlpackage").path
    (package / "stray").write_text("of an older tool")
    with pytest.raises(ConversionError):
        to_coreml(tiny, card(17), package)
    assert read_card(package) == card(16)
    to_coreml(tiny, card(16), package, "fp16")
    assert not (package / "stray").exists() and read_card(package) == card(16).but(precision="fp16")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.mlpackage", "tiny.onnx"]


def test_an_unknown_operator_is_named_with_its_node(tmp_path: Path) -> None:
    source = save(
        tmp_path / "a.onnx", [helper.make_node("Mod", ["x", "x"], ["y"], name="odd", fmod=1)], {}, (1, 3, 8, 8)
    )
    with pytest.raises(ConversionError, match=r"no lowering for ONNX operator Mod \('odd'\)"):
        to_coreml(source, card(192), tmp_path / "a.mlpackage")
    assert not (tmp_path / "a.mlpackage").exists()


def test_a_known_operator_that_cannot_be_said_tells_why(tmp_path: Path) -> None:
    node = helper.make_node("MaxPool", ["x"], ["y"], name="holes", kernel_shape=[2, 2], dilations=[2, 2])
    source = save(tmp_path / "a.onnx", [node], {}, (1, 3, 6, 6))
    with pytest.raises(ConversionError, match=r"cannot express MaxPool 'holes'.*dilations"):
        to_coreml(source, card(108), tmp_path / "a.mlpackage")


def test_an_average_whose_window_hangs_over_counted_padding_is_refused(tmp_path: Path) -> None:
    node = helper.make_node(
        "AveragePool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, count_include_pad=1
    )
    source = save(tmp_path / "a.onnx", [node], {}, (1, 3, 4, 4))
    with pytest.raises(ConversionError, match="ceil_mode"):
        to_coreml(source, card(48), tmp_path / "a.mlpackage")


def test_an_output_of_another_size_than_the_card_is_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"gives \(1, 16\); the card says \(1, 128\)"):
        to_coreml(tiny, card(128), tmp_path / "a.mlpackage")


def test_a_wrong_suffix_or_precision_is_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends in \.mlpackage"):
        to_coreml(tiny, card(16), tmp_path / "a.mlmodel")
    with pytest.raises(ValueError, match="no Core ML precision 'w4'; known: fp32, fp16, w8"):
        to_coreml(tiny, card(16), tmp_path / "a.mlpackage", "w4")


def test_nothing_is_printed(tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    to_coreml(tiny, card(16), tmp_path / "a.mlpackage", "w8")
    assert capfd.readouterr() == ("", "")


def test_a_foreign_graph_converts_and_embeds_faces_as_onnxruntime_does(shared: Path, tmp_path: Path) -> None:
    from PIL import Image

    about = Card("foreign", IMAGENET, 128)
    foreign = shared / "models" / "foreign_mobilefacenet_relu6.onnx"
    files = sorted((shared / "faces" / "train112" / "lfw").rglob("*.jpg"))[:4]
    faces = IMAGENET.preprocess(np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files]))
    expected = unit(run_onnx(foreign, faces))
    adopted = adopt_onnx(foreign, about, tmp_path / "ours.onnx").path
    for source in (foreign, adopted):
        exact = CoreMLEvaluator(to_coreml(source, about, tmp_path / "a.mlpackage").path)
        assert np.abs(unit(exact.run(faces)) - expected).max() < 1e-5
    half = CoreMLEvaluator(to_coreml(adopted, about, tmp_path / "b.mlpackage", "fp16").path)
    assert (unit(half.run(faces)) * expected).sum(1).min() > 0.9999
