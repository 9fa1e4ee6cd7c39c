"""Lengths and batch norms that half precision can hold."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import helper
from torch import nn

from pocketface.export.coreml.evaluator import CoreMLEvaluator
from pocketface.export.coreml.known_issues import known_issues_of
from pocketface.export.coreml.package import read_package
from pocketface.export.coreml.to_coreml import to_coreml
from pocketface.export.graph.to_onnx import to_onnx
from pocketface.faces.contract import InputContract
from pocketface.models.embedder import Embedder

from .conftest import SIDE, card, floats, numbers


def test_a_length_never_squares_a_large_number_in_half_precision(run_onnx: Callable[..., Any], tmp_path: Path) -> None:
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
        assert not known_issues_of(package)
        operations = list(read_package(package).program.operations)
        scaled = {one.outputs[0].name for one in operations if one.type == "real_div"}
        (length,) = [one for one in operations if one.type == "reduce_l2_norm"]
        assert length.inputs["x"].arguments[0].name in scaled, way
        assert not [one.type for one in operations if one.type in ("reduce_sum", "reduce_sum_square")]


def test_a_variance_beyond_half_precision_still_normalises(
    save: Callable[..., Path], run_onnx: Callable[..., Any], tmp_path: Path
) -> None:
    node = helper.make_node("BatchNormalization", ["x", "g", "b", "m", "v"], ["y"])
    constants = {"g": floats(1, 1, 1), "b": numbers(3), "m": numbers(3), "v": floats(1e6, 1e-9, 4)}
    source = save(tmp_path / "a.onnx", [node], constants, (1, 3, SIDE, SIDE))
    package = to_coreml(source, card(192), tmp_path / "a.mlpackage", "fp16").path
    faces = numbers(2, 3, SIDE, SIDE)
    np.testing.assert_allclose(CoreMLEvaluator(package).run(faces), run_onnx(source, faces), rtol=5e-3, atol=5e-3)
