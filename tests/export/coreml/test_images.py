"""Pictures as input: the colours, the scales, and what has no room for three of them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from pocketface.export.artifact import Card, ConversionError
from pocketface.export.coreml.evaluator import CoreMLEvaluator
from pocketface.export.coreml.package import read_package
from pocketface.export.coreml.to_coreml import to_coreml
from pocketface.export.graph.ranges import activation_ranges
from pocketface.export.session import unit_embeddings
from pocketface.faces.contract import InputContract
from pocketface.models.embedder import unit

from .conftest import SIDE


@pytest.fixture
def three_scales() -> InputContract:
    return InputContract(SIDE, SIDE, "bgr", (103.5, 116.25, 123.75), (1 / 57, 1 / 58, 1 / 64))


@pytest.mark.parametrize("precision", ["fp32", "w8a8"])
@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_a_picture_gives_what_its_numbers_give(
    run_onnx: Callable[..., Any], order: Any, precision: Any, three_scales: InputContract, tiny: Path, tmp_path: Path
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
    save: Callable[..., Path], three_scales: InputContract, tmp_path: Path
) -> None:
    source = save(tmp_path / "a.onnx", [helper.make_node("Relu", ["x"], ["y"], name="first")], {}, (1, 3, 8, 8))
    about = Card("tiny", three_scales, 192)
    with pytest.raises(ConversionError, match=r"Relu 'first' cannot take up the difference; leave coreml_image out"):
        to_coreml(source, about, tmp_path / "a.mlpackage", image=True)
