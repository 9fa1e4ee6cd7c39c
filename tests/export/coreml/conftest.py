"""What the tests of Core ML share: small ONNX files and small programs, and onnxruntime to compare with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pocketface.export.artifact import Card
from pocketface.export.coreml.package import import_coremltools
from pocketface.export.coreml.to_coreml import to_coreml
from pocketface.export.graph.ranges import activation_ranges
from pocketface.faces.contract import InputContract
from pocketface.models.quiet import quiet

Array = NDArray[Any]
SIDE = 8


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def floats(*values: float) -> Array:
    return np.array(values, np.float32)


def card(size: int, side: int = SIDE, **more: Any) -> Card:
    return Card("tiny", InputContract(side, side), size, **more)


def two_layers(mb: Any, x: Any) -> Any:
    x = mb.conv(x=x, weight=numbers(64, 3, 4, 4), bias=numbers(64), pad_type="valid")
    return mb.linear(x=mb.squeeze(x=x, axes=[2, 3]), weight=numbers(64, 64, seed=1), bias=numbers(64, seed=2))


def make(source: Path, path: Path, precision: Any, **how: Any) -> Path:
    """Writes a package of (1, 16), for w8a8 with the ranges of eight noisy faces."""
    ranges = activation_ranges(source, numbers(8, 3, SIDE, SIDE, seed=4), "minmax") if precision == "w8a8" else None
    return to_coreml(source, card(16), path, precision, ranges=ranges, **how).path


def _saved(path: Path, nodes: list[Any], constants: dict[str, Array], shape: tuple[int, ...], opset: int = 20) -> Path:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9), path)
    return path


@pytest.fixture(scope="session")
def save() -> Callable[..., Path]:
    """Writes an ONNX file whose nodes lead from x (1, 3, 8, 8) to y of a shape."""
    return _saved


@pytest.fixture(scope="session")
def run_onnx() -> Callable[[Path, Array], Array]:
    """Runs each face by itself in onnxruntime: (N, D)."""

    def run(path: Path, inputs: Array) -> Array:
        session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return np.stack([session.run(None, {name: face[None]})[0].ravel() for face in inputs])

    return run


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
    return _saved(tmp_path / "tiny.onnx", nodes, constants, (1, 16))


@pytest.fixture(scope="session")
def package() -> Callable[..., Path]:
    """Saves, by coremltools itself, the program that `build(mb, x)` makes of one input x."""

    def save_package(
        path: Path,
        build: Callable[[Any, Any], Any],
        half: bool = False,
        target: str = "iOS16",
        compress: Callable[[Any, Any], Any] | None = None,
        shape: tuple[int, ...] = (1, 3, 4, 4),
        entry: Any = None,
    ) -> Path:
        ct = import_coremltools()
        with quiet():
            from coremltools.converters.mil import Builder as mb
            from coremltools.converters.mil.mil import Function, Placeholder, Program, types

            entry = entry or ct.TensorType(name="input", shape=shape)
            face = Placeholder(sym_shape=entry.shape.symbolic_shape, dtype=types.fp32, name="input")
            program = Program()
            with Function({"input": face}, opset_version=getattr(ct.target, target)) as function:
                function.set_outputs([build(mb, function.inputs["input"])])
            program.add_function("main", function)
            model = ct.convert(
                program,
                source="milinternal",
                convert_to="mlprogram",
                inputs=[entry],
                compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
                minimum_deployment_target=getattr(ct.target, target),
                skip_model_load=True,
            )
            if compress is not None:
                model = compress(ct.optimize.coreml, model)
            model.save(str(path))
        return path

    return save_package
