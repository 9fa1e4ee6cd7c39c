"""Each lowering of the table against onnxruntime, and what has none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from pocketface.export.artifact import ConversionError
from pocketface.export.coreml.evaluator import CoreMLEvaluator
from pocketface.export.coreml.mil_lowering import OPERATORS
from pocketface.export.coreml.to_coreml import to_coreml
from pocketface.models.graph.face_operators import FACE_OPERATORS

from .conftest import SIDE, Array, card, floats, numbers

# What each lowering is tried with: attributes, constants after x, the shape that comes out of (1, 3, 8, 8).
Case = tuple[dict[str, Any], list[Any], tuple[int, ...]]


PLAIN: Case = ({}, [], (1, 3, 8, 8))


INTS = np.int64
TWICE = np.float32([1, 1, 2, 3])


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
    "Elu": [({"alpha": 0.7}, [], (1, 3, 8, 8))],
    "Softplus": [PLAIN],
    "Mish": [PLAIN],
    "Sum": [({}, [numbers(3, 1, 1), np.float32(2)], (1, 3, 8, 8))],
    "Resize": [
        ({"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, ["", TWICE], (1, 3, 16, 24)),
        ({"mode": "linear"}, ["", np.float32([1, 1, 2, 2])], (1, 3, 16, 16)),
        ({"mode": "linear", "coordinate_transformation_mode": "align_corners"}, ["", TWICE], (1, 3, 16, 24)),
    ],
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
    "Concat": [
        ({"axis": 1}, ["x"], (1, 6, 8, 8)),
        ({"axis": -1}, ["x"], (1, 3, 8, 16)),
        ({"axis": 1}, [numbers(1, 2, 8, 8)], (1, 5, 8, 8)),
    ],
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
    "Log": ([helper.make_node("Exp", ["x"], ["e"]), helper.make_node("Log", ["e"], ["y"])], {}, (1, 3, 8, 8)),
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


def test_every_lowering_is_tried_here_or_in_the_list_that_all_formats_share() -> None:
    assert set(OPERATORS) <= {*CASES, *CHAINS, *FACE_OPERATORS}


@pytest.mark.parametrize("kind", sorted({*CASES, *CHAINS}))
def test_every_lowering_computes_what_onnxruntime_computes(
    save: Callable[..., Path], run_onnx: Callable[..., Any], kind: str, tmp_path: Path
) -> None:
    faces = numbers(3, 3, SIDE, SIDE, seed=9)
    cases = [CHAINS[kind]] if kind in CHAINS else []
    for attributes, others, shape in CASES.get(kind, []):
        constants = {f"k{i}": np.asarray(value) for i, value in enumerate(others) if not isinstance(value, str | None)}
        names = [
            value if isinstance(value, str) else "" if value is None else f"k{i}" for i, value in enumerate(others)
        ]
        cases.append(([helper.make_node(kind, ["x", *names], ["y"], **attributes)], constants, shape))
    for i, (nodes, constants, shape) in enumerate(cases):
        source = save(tmp_path / f"{i}.onnx", nodes, constants, shape)
        package = to_coreml(source, card(int(np.prod(shape))), tmp_path / f"{i}.mlpackage").path
        np.testing.assert_allclose(
            CoreMLEvaluator(package, output="embedding").run(faces),
            run_onnx(source, faces),
            rtol=2e-5,
            atol=2e-6,
            err_msg=str(nodes[0]),
        )


def test_an_unknown_operator_is_named_with_its_node(save: Callable[..., Path], tmp_path: Path) -> None:
    source = save(
        tmp_path / "a.onnx", [helper.make_node("Mod", ["x", "x"], ["y"], name="odd", fmod=1)], {}, (1, 3, 8, 8)
    )
    with pytest.raises(ConversionError, match=r"no lowering for ONNX operator Mod \('odd'\)"):
        to_coreml(source, card(192), tmp_path / "a.mlpackage")
    assert not (tmp_path / "a.mlpackage").exists()


def test_a_known_operator_that_cannot_be_said_tells_why(save: Callable[..., Path], tmp_path: Path) -> None:
    node = helper.make_node("MaxPool", ["x"], ["y"], name="holes", kernel_shape=[2, 2], dilations=[2, 2])
    source = save(tmp_path / "a.onnx", [node], {}, (1, 3, 6, 6))
    with pytest.raises(ConversionError, match=r"cannot express MaxPool 'holes'.*dilations"):
        to_coreml(source, card(108), tmp_path / "a.mlpackage")


def test_an_average_whose_window_hangs_over_counted_padding_is_refused(
    save: Callable[..., Path], tmp_path: Path
) -> None:
    node = helper.make_node(
        "AveragePool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, count_include_pad=1
    )
    source = save(tmp_path / "a.onnx", [node], {}, (1, 3, 4, 4))
    with pytest.raises(ConversionError, match="ceil_mode"):
        to_coreml(source, card(48), tmp_path / "a.mlpackage")
