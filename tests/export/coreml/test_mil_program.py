"""Programs whose activations have 8 bits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from pocketface.export.coreml.evaluator import CoreMLEvaluator
from pocketface.export.coreml.package import read_package
from pocketface.export.coreml.to_coreml import to_coreml

from .conftest import SIDE, card, make, numbers


def test_w8a8_computes_what_integers_compute(save: Callable[..., Path], tmp_path: Path) -> None:
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


def test_w8a8_wants_ranges(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="w8a8 needs the ranges of the activations; pass those of calibration faces"):
        to_coreml(tiny, card(16), tmp_path / "a.mlpackage", "w8a8")
