import dataclasses
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
from pocketface.export.coreml.evaluator import CoreMLEvaluator, constants_of
from pocketface.export.coreml.known_issues import doubts
from pocketface.export.coreml.mil_lowering import OPERATORS
from pocketface.export.coreml.package import import_coremltools, quietly, read_coreml_card, read_package
from pocketface.export.coreml.precisions import PRECISIONS
from pocketface.export.coreml.to_coreml import to_coreml
from pocketface.export.exporter import export
from pocketface.export.graph.ranges import activation_ranges
from pocketface.export.graph.to_onnx import adopt_onnx, to_onnx
from pocketface.export.recipe import ExportRecipe
from pocketface.export.session import unit_embeddings
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
    "Erf": [PLAIN],
    "Gelu": [PLAIN, ({"approximate": "tanh"}, [], (1, 3, 8, 8))],
    "LayerNormalization": [
        ({"epsilon": 1e-3}, [numbers(8), numbers(8, seed=1)], (1, 3, 8, 8)),
        ({"axis": 2}, [numbers(8, 8)], (1, 3, 8, 8)),
    ],
    "Slice": [
        ({}, [np.array([1, -3], INTS), np.array([2**63 - 1, -1], INTS), np.array([2, -1], INTS)], (1, 3, 7, 2)),
        ({}, [np.array([0], INTS), np.array([7], INTS), np.array([3], INTS), np.array([3], INTS)], (1, 3, 8, 3)),
        ({}, [np.array([0, 1], INTS), np.array([1, 3], INTS)], (1, 2, 8, 8)),
    ],
    "Gather": [
        ({"axis": 1}, [np.array(-1, INTS)], (1, 8, 8)),
        ({"axis": 3}, [np.array([[6, -1], [0, 6]], INTS)], (1, 3, 8, 2, 2)),
    ],
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
    "Split": (
        [
            helper.make_node("Split", ["x", "sizes"], ["a", "b"], axis=1),
            helper.make_node("Split", ["b"], ["c", "d", "e"], axis=3, num_outputs=3),
            helper.make_node("Mul", ["c", "d"], ["f"]),
            helper.make_node("Concat", ["f", "e"], ["g"], axis=-1),
            helper.make_node("Concat", ["a", "a"], ["h"], axis=1),
            helper.make_node("ReduceMean", ["h", "last"], ["i"]),
            helper.make_node("Add", ["g", "i"], ["y"]),
        ],
        {"sizes": np.array([1, 2], INTS), "last": np.array([-1], INTS)},
        (1, 2, 8, 5),
    ),
    "channel shuffle": (
        [
            helper.make_node("Neg", ["x"], ["n"]),
            helper.make_node("Concat", ["x", "n"], ["c"], axis=1),
            helper.make_node("Reshape", ["c", "apart"], ["r"]),
            helper.make_node("Transpose", ["r"], ["t"], perm=[0, 2, 1, 3, 4]),
            helper.make_node("Reshape", ["t", "together"], ["y"]),
        ],
        {"apart": np.array([1, 2, 3, 8, 8], INTS), "together": np.array([1, 6, 8, 8], INTS)},
        (1, 6, 8, 8),
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
def test_half_precision_package_of_a_zoo_network_embeds_as_torch_does(name: str, tmp_path: Path) -> None:
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
    package = to_coreml(source, about, tmp_path / "net.mlpackage", "fp16").path
    for mode in ("fp16", "fp16acc"):
        assert (unit(CoreMLEvaluator(package, mode).run(faces[4:])) * expected).sum(1).min() > 0.9999, mode  # type: ignore[arg-type]


def make(source: Path, path: Path, precision: Any, **how: Any) -> Path:
    """Writes a package of (1, 16), for w8a8 with the ranges of eight noisy faces."""
    ranges = activation_ranges(source, numbers(8, 3, SIDE, SIDE, seed=4), "minmax") if precision == "w8a8" else None
    return to_coreml(source, card(16), path, precision, ranges=ranges, **how).path


@pytest.mark.parametrize(
    ("precision", "least"), [("fp16", 0.99999), ("w8", 0.9995), ("w6", 0.998), ("w4", 0.98), ("w8a8", 0.999)]
)
def test_smaller_precisions_stay_close(precision: Any, least: float, tiny: Path, tmp_path: Path) -> None:
    package = make(tiny, tmp_path / "a.mlpackage", precision)
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


@pytest.mark.parametrize(("precision", "entries"), [("w6", 64), ("w4", 16)])
def test_palettes_hold_the_weights_of_large_layers(precision: Any, entries: int, tiny: Path, tmp_path: Path) -> None:
    package = read_package(make(tiny, tmp_path / "a.mlpackage", precision))
    (stored,) = [one for one in package.program.operations if one.type.startswith("constexpr")]  # 2,592; not 1,536
    assert stored.type == "constexpr_lut_to_dense"
    weights = constants_of(package)[stored.outputs[0].name]
    assert isinstance(weights, np.ndarray) and len(np.unique(weights)) == entries
    assert np.abs(weights - numbers(96, 3, 3, 3)).mean() < 1.5 / entries


def test_w8a8_computes_what_integers_compute(tmp_path: Path) -> None:
    """A linear layer whose steps one can count: activations in halves, weights in quarters, exactly."""
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("Gemm", ["f", "w"], ["y"], transB=1)]
    weights = np.random.default_rng(0).integers(-127, 128, (2, 192)).astype(np.float32) / 4
    weights[:, 0] = 31.75  # so that a step is a quarter
    source = save(tmp_path / "a.onnx", nodes, {"w": weights}, (1, 2))
    path = tmp_path / "a.mlpackage"
    to_coreml(source, card(2), path, "w8a8", ranges={"x": (-4, 4), "f": (-63.75, 63.75)})
    faces = numbers(4, 3, SIDE, SIDE) * 30
    expected = (np.rint(faces.reshape(4, -1) * 2).clip(-128, 127) / 2) @ weights.T
    found = CoreMLEvaluator(path, "exact").run(faces)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=0.51)  # zero lies in the middle of two steps


def test_w8a8_stores_every_layer_in_bytes_and_leaves_prelu_float(tiny: Path, tmp_path: Path) -> None:
    operations = list(read_package(make(tiny, tmp_path / "a.mlpackage", "w8a8")).program.operations)
    makers = {result.name: one for one in operations for result in one.outputs}

    def chain(operation: Any) -> list[str]:
        before = makers.get(operation.inputs["x" if "x" in operation.inputs else "input"].arguments[0].name)
        return [operation.type, *(chain(before) if before is not None else [])]

    (conv,) = [one for one in operations if one.type == "conv"]
    (linear,) = [one for one in operations if one.type == "linear"]
    (prelu,) = [one for one in operations if one.type == "prelu"]
    assert chain(conv) == ["conv", "dequantize", "quantize", "cast"]
    assert chain(linear)[:4] == ["linear", "dequantize", "quantize", "reshape"]
    assert chain(prelu)[:2] == ["prelu", "conv"]
    for layer in (conv, linear):
        assert makers[layer.inputs["weight"].arguments[0].name].type == "constexpr_affine_dequantize"


@pytest.fixture
def three_scales() -> InputContract:
    return InputContract(SIDE, SIDE, "bgr", (103.5, 116.25, 123.75), (1 / 57, 1 / 58, 1 / 64))


@pytest.mark.parametrize("precision", ["fp32", "w8a8"])
@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_a_picture_gives_what_its_numbers_give(
    order: Any, precision: Any, three_scales: InputContract, tiny: Path, tmp_path: Path
) -> None:
    contract = dataclasses.replace(three_scales, channel_order=order)
    crops = np.random.default_rng(0).integers(0, 256, (6, SIDE, SIDE, 3), dtype=np.uint8)
    inputs, about = contract.preprocess(crops), Card("tiny", contract, 16)
    ranges = activation_ranges(tiny, inputs, "minmax")
    path = to_coreml(tiny, about, tmp_path / "a.mlpackage", precision, image=True, ranges=ranges).path
    (port,) = read_package(path).model.description.input
    assert port.type.WhichOneof("Type") == "imageType"
    colours = port.type.imageType
    assert (colours.width, colours.height, colours.ColorSpace.Name(colours.colorSpace)) == (SIDE, SIDE, order.upper())
    assert "a picture of any pixel format" in port.shortDescription
    found, expected = unit_embeddings(CoreMLEvaluator(path), contract, crops), unit(run_onnx(tiny, inputs))
    if precision == "fp32":
        assert np.abs(found - expected).max() < 1e-5
    assert (found * expected).sum(1).min() > 0.999
    wrong = Card("tiny", dataclasses.replace(contract, channel_order={"rgb": "bgr", "bgr": "rgb"}[order]), 16)
    other = to_coreml(tiny, wrong, tmp_path / "b.mlpackage", precision, image=True, ranges=ranges).path
    assert (unit_embeddings(CoreMLEvaluator(other), wrong.contract, crops) * expected).sum(1).min() < 0.99


def test_an_input_that_no_convolution_reads_has_no_room_for_three_scales(
    three_scales: InputContract, tmp_path: Path
) -> None:
    source = save(tmp_path / "a.onnx", [helper.make_node("Relu", ["x"], ["y"], name="first")], {}, (1, 3, 8, 8))
    about = Card("tiny", three_scales, 192)
    with pytest.raises(ConversionError, match=r"Relu 'first' cannot take up the difference; leave coreml_image out"):
        to_coreml(source, about, tmp_path / "a.mlpackage", image=True)


def test_the_stage_makes_pictures_and_palettes_for_the_ios_that_it_is_told(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Conv2d(3, 96, 3, 2, 1), nn.PReLU(96), nn.Conv2d(96, 32, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    embedder = Embedder("tiny", backbone.eval(), InputContract(16, 16, "bgr"), "none.py:tiny", licence="MIT")
    faces = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    targets = ("coreml-fp16", "coreml-w6", "coreml-w4", "coreml-w8a8")
    recipe = ExportRecipe(targets=targets, minimum_ios=15, coreml_image=True)
    _, *made = export(embedder, faces, recipe, tmp_path)
    assert [(one.target, one.reason) for one in made] == [(target, "") for target in targets]
    for one, ios, least in zip(made, (15, 16, 16, 17), (0.9999, 0.99, 0.95, 0.99), strict=True):
        assert one.artifact is not None and one.parity is not None
        card = one.artifact.card
        assert read_coreml_card(one.artifact.path) == card and card.input == "image"
        assert one.parity.cosine_min > least, one.target
        assert read_package(one.artifact.path).model.specificationVersion == ios - 9
    assert [str(each) for each in card.rewrites] == ["equalise 1 sites", "correct 2 biases"] and len(
        card.calibration_sha256
    ) == 64


def test_w8a8_wants_ranges(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="w8a8 wants the ranges of the activations; pass those of calibration faces"):
        to_coreml(tiny, card(16), tmp_path / "a.mlpackage", "w8a8")


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
    torch.manual_seed(0)
    for way, divide in ways.items():
        embedder = Embedder("large", Large(divide), InputContract(SIDE, SIDE), "x")
        source = to_onnx(embedder, card(16, normalised=True), tmp_path / f"{way}.onnx").path
        package = to_coreml(source, card(16, normalised=True), tmp_path / f"{way}.mlpackage", "fp16").path
        for mode in ("fp16", "fp16acc"):
            embeddings = CoreMLEvaluator(package, mode).run(faces)  # type: ignore[arg-type]
            np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=4e-3, err_msg=way)
            assert (embeddings * run_onnx(source, faces)).sum(1).min() > 0.999
        assert not doubts(package)
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
    artifact = to_coreml(tiny, card(16, licence="MIT"), tmp_path / "a.mlpackage", precision, ranges={"x": (-4, 4)})
    assert read_coreml_card(artifact.path) == artifact.card == card(16, licence="MIT").but(precision=precision)
    assert (artifact.format, artifact.batch) == ("coreml", 1)


@pytest.mark.parametrize("precision", ["w8", "w6", "w8a8"])
def test_two_conversions_give_the_same_bytes_and_everyone_may_read_them(
    precision: Any, tiny: Path, tmp_path: Path
) -> None:
    def files(name: str) -> dict[str, bytes]:
        folder = make(tiny, tmp_path / name, precision, image=True)
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


IOS = {"fp32": 15, "fp16": 15, "w8": 16, "w6": 16, "w4": 16, "w8a8": 17}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("asked", [15, 18])
def test_coremltools_opens_the_package_as_the_ios_that_was_asked_or_is_needed(
    precision: Any, asked: Any, tiny: Path, tmp_path: Path
) -> None:
    faces, path = numbers(4, 3, SIDE, SIDE, seed=4), tmp_path / "a.mlpackage"
    ranges = {"x": (-4.0, 4.0), "f": (-8.0, 8.0)}
    artifact = to_coreml(tiny, card(16), path, precision, minimum_ios=asked, ranges=ranges)
    with quietly():
        model = import_coremltools().models.MLModel(str(path), skip_model_load=True)
    made = max(asked, IOS[precision])
    assert model.get_spec().specificationVersion == made - 9  # 6 came with iOS 15
    later = f"{precision} wants iOS {made}, later than the {asked} that was asked for"
    assert (later in map(str, artifact.notes)) == (made > asked)
    assert (unit(CoreMLEvaluator(path).run(faces)) * unit(run_onnx(tiny, faces))).sum(1).min() > 0.98
    assert model.input_description["input"].startswith("One face")


def test_a_package_is_replaced_whole_and_survives_a_conversion_that_fails(tiny: Path, tmp_path: Path) -> None:
    package = to_coreml(tiny, card(16), tmp_path / "a.mlpackage").path
    (package / "stray").write_text("of an older tool")
    with pytest.raises(ConversionError):
        to_coreml(tiny, card(17), package)
    assert read_coreml_card(package) == card(16)
    to_coreml(tiny, card(16), package, "fp16")
    assert not (package / "stray").exists() and read_coreml_card(package) == card(16).but(precision="fp16")
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
    with pytest.raises(ValueError, match="no Core ML precision 'w2'; known: fp32, fp16, w8, w6, w4, w8a8"):
        to_coreml(tiny, card(16), tmp_path / "a.mlpackage", "w2")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no Core ML programs for iOS 14; there are for 15, 16, 17, 18"):
        to_coreml(tiny, card(16), tmp_path / "a.mlpackage", minimum_ios=14)


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
