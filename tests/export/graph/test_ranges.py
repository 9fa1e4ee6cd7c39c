"""Ranges of activations: four ways, counted by hand, and the same in ONNX and TFLite."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from pocketface.export.artifact import Card, ConversionError
from pocketface.export.graph.ranges import RANGE_METHODS, RangeMethod, activation_ranges
from pocketface.export.tflite.to_tflite import to_tflite
from pocketface.faces.contract import InputContract

SIDE = 8


def doubling(folder: Path) -> Path:
    """A 1x1 convolution that doubles, a ReLU, and the mean of each channel."""
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["doubled"]),
        helper.make_node("Relu", ["doubled"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(2 * np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1), "w")],
    )
    path = folder / "doubling.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def constant(*values: float) -> NDArray[np.float32]:
    return np.stack([np.full((3, SIDE, SIDE), value, np.float32) for value in values])


def loss(values: NDArray[np.float32], low: float, high: float) -> float:
    """The squared error of int8 steps from low to high, by the formula."""
    step = (high - low) / 255
    steps = np.clip(np.round(values / step) - np.round(low / step), 0, 255) + np.round(low / step)
    return float(((values - steps * step) ** 2).sum())


def test_minmax_is_all_that_was_seen(tmp_path: Path) -> None:
    ranges = activation_ranges(doubling(tmp_path), constant(1, -3, 0.5), "minmax")
    assert ranges == {
        "input": (-3, 1),
        "doubled": (-6, 2),
        "positive": (0, 2),
        "pooled": (0, 2),
        "embedding": (0, 2),
    }


def test_smooth_follows_each_face_by_a_twentieth(tmp_path: Path) -> None:
    low, high = activation_ranges(doubling(tmp_path), constant(1, 3), "smooth")["doubled"]
    assert low == 0  # a range holds zero
    assert high == pytest.approx(0.95 * 2 + 0.05 * 6)


def test_percentile_leaves_out_the_outermost_value(tmp_path: Path) -> None:
    faces = np.linspace(-1, 1, 100 * 3 * SIDE * SIDE, dtype=np.float32).reshape(100, 3, SIDE, SIDE).copy()
    faces[0, 0, 0, 0] = 100  # one of 19,200
    low, high = activation_ranges(doubling(tmp_path), faces, "percentile")["doubled"]
    assert -2 <= low <= -1.9 and 2 <= high <= 2.2


def test_mse_clips_an_outlier_where_that_costs_less(tmp_path: Path) -> None:
    faces = np.random.default_rng(0).normal(0, 1, (2000, 3, SIDE, SIDE)).astype(np.float32)
    faces[0, 0, 0, 0] = 20
    low, high = activation_ranges(doubling(tmp_path), faces, "mse")["doubled"]
    whole = float(2 * faces.min()), 40.0
    assert 6 < high < 36
    assert loss(2 * faces, low, high) < 0.9 * loss(2 * faces, *whole)


def test_mse_keeps_the_whole_of_what_is_even(tmp_path: Path) -> None:
    faces = np.linspace(-1, 1, 20 * 3 * SIDE * SIDE, dtype=np.float32).reshape(20, 3, SIDE, SIDE)
    assert activation_ranges(doubling(tmp_path), faces, "mse")["doubled"] == pytest.approx((-2, 2), rel=0.03)


@pytest.mark.parametrize("how", RANGE_METHODS)
def test_onnx_and_tflite_have_the_same_ranges_by_the_same_names(tmp_path: Path, how: RangeMethod) -> None:
    path = doubling(tmp_path)
    faces = np.random.default_rng(1).normal(0, 1, (6, 3, SIDE, SIDE)).astype(np.float32)
    tflite = to_tflite(path, Card("net", InputContract(SIDE, SIDE), 3), tmp_path / "net.tflite")
    theirs, ours = activation_ranges(path, faces, how), activation_ranges(tflite.path, faces, how)
    assert {"input", "positive", "embedding"} <= set(ours) & set(theirs)  # the ReLU is fused: no "doubled"
    for name in set(ours) & set(theirs):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-5, abs=1e-6)


def test_a_tensor_that_is_zero_has_a_range(tmp_path: Path) -> None:
    assert activation_ranges(doubling(tmp_path), constant(-1, -2), "mse")["positive"] == (0, 0)


def test_numbers_that_are_not_finite_are_told_with_their_place(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"doubling\.onnx: 'input' holds numbers that are not finite"):
        activation_ranges(doubling(tmp_path), constant(np.inf))


def test_an_unknown_way_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no ranges 'entropy'; known: minmax, smooth, percentile, mse"):
        activation_ranges(doubling(tmp_path), constant(1), "entropy")  # type: ignore[arg-type]


def test_no_faces_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pass at least one"):
        activation_ranges(doubling(tmp_path), constant(1)[:0])
