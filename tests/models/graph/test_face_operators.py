"""Every operator of the list, in TFLite, in Core ML and in PyTorch, against onnxruntime."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pocketface.export.artifact import Card
from pocketface.export.coreml.evaluator import CoreMLEvaluator
from pocketface.export.coreml.mil_lowering import OPERATORS as COREML
from pocketface.export.coreml.to_coreml import to_coreml
from pocketface.export.graph.compositions import COMPOSITIONS
from pocketface.export.graph.to_onnx import adopt_onnx
from pocketface.export.tflite.delegation import delegation
from pocketface.export.tflite.litert import LiteRTSession
from pocketface.export.tflite.operators import OPERATORS as TFLITE
from pocketface.export.tflite.quantise import quantise_tflite
from pocketface.export.tflite.to_tflite import to_tflite
from pocketface.faces.contract import InputContract
from pocketface.models.graph.face_operators import FACE_OPERATORS
from pocketface.models.graph.torch_import import OPERATORS as PYTORCH
from pocketface.models.graph.torch_import import import_onnx

Array = NDArray[Any]
SIDE, SIZE = 8, 16
CONTRACT = InputContract(SIDE, SIDE)
FACES = np.random.default_rng(0).normal(0, 1, (2, 3, SIDE, SIDE)).astype(np.float32)
CLOSE = 1e-5


def numbers(*shape: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def floats(*values: float) -> Array:
    return np.array(values, np.float32)


def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(kind, names, output.split(), name=f"the_{output}", **attributes)


@dataclass(frozen=True)
class Case:
    """Nodes from `x` (1, 8, 8, 8), or from `row` (1, 8), or from `tokens` (1, 64, 8), to `y`, with constants."""

    nodes: list[onnx.NodeProto]
    constants: dict[str, Array]
    opset: int = 18


def one(kind: str, *constants: Any, opset: int = 18, source: str = "x", **attributes: Any) -> Case:
    """A case of one node; a constant that is None is left out, a text is the name of a value."""
    names, given = [source], {}
    for place, constant in enumerate(constants):
        if constant is None or isinstance(constant, str):
            names.append(constant or "-")
        else:
            names.append(f"k{place}")
            given[f"k{place}"] = constant
    return Case([node(kind, " ".join(names), "y", **attributes)], given, opset)


def of_positive(kind: str, *constants: Any, **attributes: Any) -> Case:
    """A case of one node on numbers above 0.1."""
    case = one(kind, *constants, source="positive", **attributes)
    before = [node("Abs", "x", "size"), node("Add", "size tenth", "positive")]
    return Case(before + case.nodes, case.constants | {"tenth": floats(0.1).reshape(())}, case.opset)


def chosen(*nodes: onnx.NodeProto, **constants: Array) -> Case:
    """A case in which the last of `nodes` decides which numbers of x are kept."""
    return Case([*nodes, node("Where", f"{nodes[-1].output[0]} x other", "y")], {"other": floats(0.5), **constants})


C = (8, 1, 1)
FOUR = dict(kernel_shape=[3, 3], pads=[1, 1, 1, 1])
CASES: dict[str, Case] = {
    "Conv": one("Conv", numbers(4, 8, 3, 3) / 8, numbers(4), pads=[1, 0, 2, 1], strides=[2, 1]),
    "ConvTranspose": one("ConvTranspose", numbers(8, 4, 2, 2) / 8, numbers(4), strides=[2, 2]),
    "ConvTranspose padded": one(
        "ConvTranspose", numbers(8, 4, 3, 3) / 8, strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]
    ),
    "ConvTranspose to a shape": one(
        "ConvTranspose", numbers(8, 4, 3, 3) / 8, numbers(4), strides=[2, 2], output_shape=[16, 15]
    ),
    "ConvTranspose to a larger shape": one(
        "ConvTranspose", numbers(8, 4, 2, 2) / 8, strides=[2, 2], output_shape=[17, 16]
    ),
    "ConvTranspose same": one("ConvTranspose", numbers(8, 4, 3, 3) / 8, strides=[2, 2], auto_pad="SAME_UPPER"),
    "ConvTranspose same, of 4": one("ConvTranspose", numbers(8, 4, 4, 4) / 8, strides=[2, 2], auto_pad="SAME_LOWER"),
    "ConvTranspose dilated": one("ConvTranspose", numbers(8, 4, 3, 3) / 8, dilations=[2, 2], auto_pad="VALID"),
    "ConvTranspose grouped": one("ConvTranspose", numbers(8, 1, 4, 4) / 4, strides=[2, 2], pads=[1] * 4, group=8),
    "Gemm": one("Gemm", numbers(8, 8), numbers(8), source="row", alpha=0.5, beta=2.0),
    "MatMul": one("MatMul", numbers(8, 8) / 4, source="tokens"),
    "Einsum": one("Einsum", numbers(8, 8) / 4, source="tokens", equation="bnc,cd->bnd"),
    "Einsum of an image": one("Einsum", numbers(4, 8) / 4, equation="bchw,oc->bohw"),
    "Einsum of two": one("Einsum", numbers(1, 64, 8) / 8, source="tokens", equation="bic,bjc->bij"),
    "Einsum of two, plain": Case(
        [
            node("Einsum", "tokens tokens", "a", equation="bic,bjc->bij"),
            node("Softmax", "a", "p", axis=-1),
            node("Einsum", "p tokens", "y", equation="bij,bjc->bic"),
        ],
        {},
    ),
    "BatchNormalization": one("BatchNormalization", numbers(8), numbers(8), numbers(8), numbers(8) ** 2 + 0.1),
    "InstanceNormalization": one("InstanceNormalization", numbers(8), numbers(8, seed=2), epsilon=1e-3),
    "GroupNormalization": one("GroupNormalization", numbers(8), numbers(8, seed=2), num_groups=2, opset=21),
    "LayerNormalization": one("LayerNormalization", numbers(8), numbers(8, seed=2), source="tokens"),
    "LayerNormalization of all": one("LayerNormalization", numbers(8, 8, 8), numbers(8, 8, 8, seed=2), axis=1),
    "RMSNormalization": one("RMSNormalization", numbers(8), source="tokens", opset=23),
    "RMSNormalization of all": one("RMSNormalization", numbers(8, 8, 8), axis=1, epsilon=1e-3, opset=23),
    "LpNormalization": one("LpNormalization", axis=1),
    "LpNormalization p=1": one("LpNormalization", axis=1, p=1),
    "LRN": one("LRN", size=5, alpha=0.3, beta=0.75, bias=2.0),
    "LRN of three": one("LRN", size=3, alpha=0.1),
    "MaxPool": one("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "AveragePool": one("AveragePool", strides=[2, 2], **FOUR),
    "LpPool": one("LpPool", kernel_shape=[2, 2], strides=[2, 2], p=2),
    "LpPool p=3": one("LpPool", p=3, **FOUR),
    "GlobalAveragePool": one("GlobalAveragePool"),
    "GlobalMaxPool": one("GlobalMaxPool"),
    "GlobalLpPool": one("GlobalLpPool", p=2),
    "GlobalLpPool p=3": one("GlobalLpPool", p=3),
    "Relu": one("Relu"),
    "LeakyRelu": one("LeakyRelu", alpha=0.2),
    "PRelu": one("PRelu", numbers(*C)),
    "PRelu of a row": one("PRelu", numbers(8), source="row"),
    "Clip": one("Clip", np.float32(-0.5), np.float32(0.7)),
    "Clip without end": one("Clip", np.float32(-0.5), np.float32(np.inf)),
    "Clip 6": one("Clip", min=-0.5, max=0.7, opset=7),
    "Elu": one("Elu", alpha=1.0),
    "Elu 0.7": one("Elu", alpha=0.7),
    "Selu": one("Selu"),
    "Celu": one("Celu", alpha=0.6),
    "ThresholdedRelu": one("ThresholdedRelu", alpha=0.4),
    "Sigmoid": one("Sigmoid"),
    "HardSigmoid": one("HardSigmoid"),
    "HardSwish": one("HardSwish"),
    "Swish": one("Swish", opset=24),
    "Tanh": one("Tanh"),
    "Softplus": one("Softplus"),
    "Softsign": one("Softsign"),
    "Mish": one("Mish"),
    "Gelu": one("Gelu", opset=20),
    "Gelu tanh": one("Gelu", approximate="tanh", opset=20),
    "Erf": one("Erf"),
    "Softmax": one("Softmax", axis=1),
    "Softmax 11": one("Softmax", axis=1, opset=11),
    "Softmax 11 of a row": one("Softmax", source="row", opset=11),
    "LogSoftmax": one("LogSoftmax", axis=1),
    "LogSoftmax 11": one("LogSoftmax", axis=2, opset=11),
    "Add": one("Add", numbers(*C)),
    "Sub": one("Sub", numbers(*C)),
    "Mul": one("Mul", numbers(*C)),
    "Div": one("Div", numbers(*C)),
    "Pow": of_positive("Pow", np.float32(1.7)),
    "Pow of 3": one("Pow", np.float32(3)),
    "Max": one("Max", numbers(*C), numbers(8, 8)),
    "Min": one("Min", numbers(*C)),
    "Max 7": one("Max", numbers(1, 8, 8, 8), opset=7),
    "Sum": one("Sum", numbers(*C), numbers(8, 8)),
    "Mean": one("Mean", numbers(*C), numbers(8, 8)),
    "Abs": one("Abs"),
    "Neg": one("Neg"),
    "Exp": one("Exp"),
    "Log": of_positive("Log"),
    "Sqrt": of_positive("Sqrt"),
    "Reciprocal": of_positive("Reciprocal"),
    "Sin": one("Sin"),
    "Cos": one("Cos"),
    "Floor": one("Floor"),
    "Ceil": one("Ceil"),
    "Round": one("Round"),
    "Sign": one("Sign"),
    "Greater": chosen(node("Greater", "x k", "c"), k=numbers(*C)),
    "GreaterOrEqual": chosen(node("GreaterOrEqual", "x k", "c"), k=numbers(*C)),
    "Less": chosen(node("Less", "k x", "c"), k=numbers(*C)),
    "LessOrEqual": chosen(node("LessOrEqual", "x k", "c"), k=numbers(*C)),
    "Equal": chosen(node("Relu", "x", "r"), node("Equal", "r zero", "c"), zero=floats(0)),
    "Not": chosen(node("Greater", "x k", "c"), node("Not", "c", "d"), k=numbers(*C)),
    "And": chosen(
        node("Greater", "x k", "a"), node("Less", "x m", "b"), node("And", "a b", "c"), k=-floats(1), m=floats(1)
    ),
    "Or": chosen(
        node("Greater", "x m", "a"), node("Less", "x k", "b"), node("Or", "a b", "c"), k=-floats(1), m=floats(1)
    ),
    "Where": Case(
        [node("Greater", "x k", "c"), node("Mul", "x k", "m"), node("Where", "c x m", "y")], {"k": floats(0.3)}
    ),
    "ReduceMean": one("ReduceMean", ints(1)),
    "ReduceMean 11": one("ReduceMean", axes=[2, 3], opset=11),
    "ReduceMean without axes": one("ReduceMean"),
    "ReduceSum": one("ReduceSum", ints(2)),
    "ReduceSum 11": one("ReduceSum", axes=[1], keepdims=1, opset=11),
    "ReduceMax": one("ReduceMax", ints(2, 3)),
    "ReduceMax 11": one("ReduceMax", axes=[1], keepdims=0, opset=11),
    "ReduceMin": one("ReduceMin", ints(1)),
    "ReduceL1": one("ReduceL1", ints(1)),
    "ReduceL2": one("ReduceL2", ints(-1), keepdims=0),
    "ReduceSumSquare": one("ReduceSumSquare", ints(1)),
    "ReduceLogSumExp": one("ReduceLogSumExp", ints(1)),
    "Reshape": one("Reshape", ints(1, 4, 16, 8)),
    "Flatten": one("Flatten", source="tokens"),
    "Squeeze": one("Squeeze", ints(0), source="tokens"),
    "Squeeze 11": one("Squeeze", axes=[0], source="tokens", opset=11),
    "Unsqueeze": one("Unsqueeze", ints(1), source="tokens"),
    "Unsqueeze 11": one("Unsqueeze", axes=[1], source="tokens", opset=11),
    "Transpose": one("Transpose", perm=[0, 2, 1], source="tokens"),
    "Expand": Case([node("GlobalAveragePool", "x", "g"), node("Expand", "g k", "y")], {"k": ints(1, 8, 4, 4)}),
    "Expand and more": Case(
        [node("ReduceMean", "x", "g", axes=[1]), node("Expand", "g k", "e"), node("Mul", "x e", "y")],
        {"k": ints(1, 8, 1, 1)},
        17,
    ),
    "Tile": one("Tile", ints(1, 2, 1, 3)),
    "Concat": one("Concat", "x", axis=1),
    "Split": Case(
        [node("Split", "x k", "a b", axis=1), node("Mul", "a a", "c"), node("Add", "c b", "y")], {"k": ints(4, 4)}
    ),
    "Split unevenly": Case(
        [node("Split", "x k", "a b", axis=1), node("Concat", "b a", "y", axis=1)], {"k": ints(3, 5)}
    ),
    "Slice of channels": one("Slice", ints(2), ints(7), ints(1)),
    "Slice with steps": one("Slice", ints(0, 1), ints(8, 8), ints(2, 1), ints(2, 3)),
    "Slice backwards": one("Slice", ints(-1), ints(-(2**62)), ints(1), ints(-1)),
    "Slice backwards, every second": one("Slice", ints(6, 0), ints(0, 8), ints(2, 3), ints(-2, 1)),
    "Slice 9": one("Slice", starts=[1], ends=[-1], axes=[3], opset=9),
    "Gather of channels": one("Gather", ints(3, 0, 0, 7), axis=1),
    "Gather of one": one("Gather", np.array(-2, np.int64), axis=1, source="tokens"),
    "Pad": one("Pad", ints(0, 0, 1, 2, 0, 0, 0, 1), np.float32(0.5)),
    "Pad 2": one("Pad", pads=[0, 0, 1, 2, 0, 0, 0, 1], value=0.5, opset=10),
    "Pad of channels": one("Pad", ints(0, 1, 0, 0, 0, 3, 0, 0)),
    "Pad edge": one("Pad", ints(0, 0, 1, 2, 0, 0, 0, 1), mode="edge"),
    "Pad reflect": one("Pad", ints(0, 0, 1, 2, 0, 0, 0, 1), mode="reflect"),
    "Resize nearest": one(
        "Resize", None, floats(1, 1, 2, 3), coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    ),
    "Resize nearest of other factors": one(
        "Resize", None, floats(1, 1, 1.5, 0.5), coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    ),
    "Resize nearest, half pixel": one("Resize", None, floats(1, 1, 1.5, 1.25)),
    "Resize nearest, smaller": one("Resize", None, None, ints(1, 8, 5, 3), mode="nearest"),
    "Resize linear": one("Resize", None, floats(1, 1, 2, 2), mode="linear"),
    "Resize linear of other factors": one("Resize", None, floats(1, 1, 1.5, 1.25), mode="linear"),
    "Resize linear to a size": one(
        "Resize", None, None, ints(1, 8, 7, 13), mode="linear", coordinate_transformation_mode="pytorch_half_pixel"
    ),
    "Resize linear from corners": one(
        "Resize", None, None, ints(1, 8, 7, 13), mode="linear", coordinate_transformation_mode="align_corners"
    ),
    "Resize linear, asymmetric": one(
        "Resize", None, floats(1, 1, 2, 2), mode="linear", coordinate_transformation_mode="asymmetric"
    ),
    "Resize 10": one("Resize", floats(1, 1, 2, 2), mode="nearest", opset=10),
    "Resize 10 linear": one("Resize", floats(1, 1, 2, 2), mode="linear", opset=10),
    "Resize 11": one("Resize", floats(), floats(1, 1, 2, 2), mode="linear", opset=11),
    "Upsample": one("Upsample", floats(1, 1, 2, 2), mode="nearest", opset=9),
    "Upsample 7": one("Upsample", scales=[1.0, 1.0, 2.0, 2.0], mode="linear", opset=7),
    "DepthToSpace": one("DepthToSpace", blocksize=2),
    "DepthToSpace CRD": one("DepthToSpace", blocksize=2, mode="CRD"),
    "SpaceToDepth": one("SpaceToDepth", blocksize=2),
    "Cast": Case(
        [node("Greater", "x k", "c"), node("Cast", "c", "f", to=1), node("Mul", "x f", "y")], {"k": floats(0.3)}
    ),
    "Identity": one("Identity"),
    "Dropout": one("Dropout", opset=12),
}


STEM = {"face", "x", "row", "tokens"}


def written(cases: dict[str, Case], path: Path) -> Path:
    """Writes cases of one opset as one embedder: what they read before them, and behind each a dense layer."""
    opset = next(iter(cases.values())).opset
    axes = {"axes": [2, 3]} if opset < 13 else {}
    nodes = [
        node("Conv", "face stem", "x", pads=[1, 1, 1, 1]),
        node("Conv", "x narrow", "pixel", strides=[8, 8]),
        node("Squeeze", "pixel" if axes else "pixel hw", "row", **axes),
        node("Reshape", "x flat", "list"),
        node("Transpose", "list", "tokens", perm=[0, 2, 1]),
    ]
    constants = {"stem": numbers(8, 3, 3, 3) / 4, "narrow": numbers(8, 8, 8, 8) / 20}
    constants |= {"flat": ints(1, 8, 64), "hw": ints(2, 3)}
    for number, case in enumerate(cases.values()):
        y, steps, given = f"{number}/y", *_renamed(case, f"{number}/")
        shape = _computed(_model([*nodes, *steps], constants | given, opset, y, None), FACES[:1]).shape
        size = int(np.prod(shape))
        head = numbers(SIZE, size, seed=3) / np.float32(np.sqrt(size))
        if len(shape) == 4:
            head = head.reshape(SIZE, *shape[1:])
            steps += [
                node("Conv", f"{y} {number}/head", f"{number}/p"),
                node("Flatten", f"{number}/p", f"{number}/out"),
            ]
        else:
            head = head.T
            given[f"{number}/whole"] = ints(1, size)
            steps.append(node("Reshape", f"{y} {number}/whole", f"{number}/all"))
            steps.append(node("MatMul", f"{number}/all {number}/head", f"{number}/out"))
        nodes += steps
        constants |= given | {f"{number}/head": head.astype(np.float32)}
    nodes.append(node("Concat", " ".join(f"{number}/out" for number in range(len(cases))), "embedding", axis=1))
    onnx.save(_model(nodes, constants, opset, "embedding", (1, SIZE * len(cases))), path)
    return path


def _renamed(case: Case, prefix: str) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    """Gives the case with names of its own but for what all cases read."""
    steps = []
    for one in case.nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(one)
        copy.input[:] = [name if name in STEM or not name else prefix + name for name in one.input]
        copy.output[:] = [prefix + name for name in one.output]
        copy.name = prefix + one.name
        steps.append(copy)
    return steps, {prefix + name: values for name, values in case.constants.items()}


def _model(nodes: list[Any], constants: dict[str, Array], opset: int, result: str, shape: Any) -> onnx.ModelProto:
    needed, kept = {result}, []
    for step in reversed(nodes):
        if needed & set(step.output):
            needed |= set(step.input)
            kept.insert(0, step)
    graph = helper.make_graph(
        kept,
        "net",
        [helper.make_tensor_value_info("face", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items() if name in needed],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _computed(model: onnx.ModelProto, faces: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"face": face[None]})[0] for face in faces])


def tflite(source: Path, adopted: Path, card: Card) -> Array:
    return LiteRTSession(to_tflite(adopted, card, source.with_suffix(".tflite")).path).run(FACES)


def coreml(source: Path, adopted: Path, card: Card) -> Array:
    return CoreMLEvaluator(to_coreml(adopted, card, source.with_suffix(".mlpackage")).path, "exact").run(FACES)


def pytorch(source: Path, adopted: Path, card: Card) -> Array:
    with torch.inference_mode():
        return import_onnx(source, CONTRACT)(torch.from_numpy(FACES)).numpy()


ROUTES: dict[str, Callable[[Path, Path, Card], Array]] = {"tflite": tflite, "coreml": coreml, "pytorch": pytorch}


def test_every_operator_of_the_list_is_tried() -> None:
    assert {name.split(" ")[0] for name in CASES} == set(FACE_OPERATORS)


def test_every_route_takes_the_whole_list() -> None:
    """A format has an operator, or it is composed; Upsample is written as Resize."""
    assert set(FACE_OPERATORS) <= {*TFLITE, *COMPOSITIONS, "Upsample"}
    assert set(FACE_OPERATORS) <= {*COREML, *COMPOSITIONS, "Upsample"}
    assert set(FACE_OPERATORS) <= set(PYTORCH)


OPSETS = sorted({case.opset for case in CASES.values()})


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("opset", OPSETS)
def test_operators_compute_what_onnxruntime_computes(opset: int, route: str, tmp_path: Path) -> None:
    check({name: case for name, case in CASES.items() if case.opset == opset}, route, tmp_path)


def check(cases: dict[str, Case], route: str, folder: Path) -> None:
    source = written(cases, folder / "net.onnx")
    card = Card("net", CONTRACT, SIZE * len(cases))
    adopted = adopt_onnx(source, card, folder / "ours.onnx").path
    found = ROUTES[route](source, adopted, card)
    apart = np.abs(found - _computed(onnx.load(source), FACES)).reshape(len(FACES), len(cases), SIZE).max(axis=(0, 2))
    assert {name: gap for name, gap in zip(cases, apart.tolist(), strict=True) if not gap <= CLOSE} == {}


IN_INT8 = ["HardSwish", "Mish", "Softplus", "InstanceNormalization", "GroupNormalization", "LRN", "ThresholdedRelu"]


@pytest.mark.parametrize("name", IN_INT8)
def test_what_8_bits_cannot_hold_stays_float_in_w8a8(name: str, tmp_path: Path) -> None:
    card, source = Card("net", CONTRACT, SIZE), written({name: CASES[name]}, tmp_path / "net.onnx")
    whole = to_tflite(adopt_onnx(source, card, tmp_path / "ours.onnx").path, card, tmp_path / "net.tflite")
    faces = numbers(8, 3, SIDE, SIDE)
    small = quantise_tflite(whole, "w8a8", tmp_path / "small.tflite", faces)
    wanted, found = (LiteRTSession(one.path).run(faces) for one in (whole, small))
    cosines = (wanted * found).sum(1) / np.linalg.norm(wanted, axis=1) / np.linalg.norm(found, axis=1)
    assert cosines.min() > 0.99
    fallen = {"ThresholdedRelu", "LRN"}  # which XNNPACK has no comparison and no power for
    assert delegation(small.path).partitions == 1 or name in fallen
