"""A float graph as int8 sees it: layers and MACs counted by hand, one tensor rounded by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pocketface.export.artifact import Artifact
from pocketface.export.graph.ranges import activation_ranges
from pocketface.export.tflite.flatbuffer import pack
from pocketface.export.tflite.litert import LiteRTSession
from pocketface.export.tflite.quantise import quantised_content, w8a8
from pocketface.export.tflite.rounding import IntegerLayer, plan_of, sums_beside, with_rounded

from .conftest import node

RNG = np.random.default_rng(0)
FACES = RNG.normal(0, 1, (8, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def fp32(net: Callable[..., Artifact], tmp_path: Path) -> Artifact:
    return net(tmp_path)


def test_layers_and_macs_are_those_counted_by_hand(fp32: Artifact) -> None:
    int8 = quantised_content(fp32.path, w8a8(fp32.path), activation_ranges(fp32.path, FACES))
    plan = plan_of(fp32.path.read_bytes(), int8)
    assert plan.layers == (  # the PReLU stays float; the pad hands on p1, the reshape s
        IntegerLayer("c1", ("input",), True, 8 * 8 * 8 * 3, 512),
        IntegerLayer("c2", ("p1",), True, 8 * 8 * 8 * 9, 512),
        IntegerLayer("c3", ("c2",), True, 8 * 8 * 8 * 8, 512),
        IntegerLayer("s", ("c2", "c3"), False, 0, 512),
        IntegerLayer("embedding", ("s",), True, 4 * 512, 4),
    )
    assert plan.ports == ("input", "embedding")


def test_a_tensor_is_rounded_as_long_as_one_int8_layer_touches_it(fp32: Artifact) -> None:
    int8 = quantised_content(fp32.path, w8a8(fp32.path), activation_ranges(fp32.path, FACES))
    plan = plan_of(fp32.path.read_bytes(), int8)
    assert plan.rounded_tensors(frozenset()) == {"input", "c1", "p1", "c2", "c3", "s", "embedding"}
    assert plan.rounded_tensors(frozenset({"c1"})) == {"input", "p1", "c2", "c3", "s", "embedding"}
    assert plan.rounded_tensors(frozenset({"c2", "c3", "s"})) == {"input", "c1", "s", "embedding"}


def test_the_output_rounded_is_the_nearest_step(fp32: Artifact, tmp_path: Path) -> None:
    exact = LiteRTSession(fp32.path).run(FACES)
    (tmp_path / "rounded.tflite").write_bytes(pack(with_rounded(fp32.path.read_bytes(), "embedding", (-12.8, 12.7))))
    ours = LiteRTSession(tmp_path / "rounded.tflite").run(FACES)
    np.testing.assert_allclose(ours, np.round(exact, 1), atol=1e-5)  # steps of 25.5 / 255 = 0.1


def test_the_input_rounded_is_the_nearest_step_of_the_input(fp32: Artifact, tmp_path: Path) -> None:
    (tmp_path / "rounded.tflite").write_bytes(pack(with_rounded(fp32.path.read_bytes(), "input", (-12.8, 12.7))))
    ours = LiteRTSession(tmp_path / "rounded.tflite").run(FACES)
    exact = LiteRTSession(fp32.path).run(np.round(FACES, 1))
    np.testing.assert_allclose(ours, exact, atol=1e-4)


def test_sums_of_a_residual_stream_stay_float_beside_layer_norms(
    written: Callable[..., Path], converted: Callable[..., Artifact], fp32: Artifact, tmp_path: Path
) -> None:
    nodes = [
        node("Conv", "input w", "c"),
        node("Conv", "c u", "d"),
        node("Add", "c d", "s"),
        node("Transpose", "s", "t", perm=[0, 2, 3, 1]),
        node("LayerNormalization", "t scale shift", "n"),
        node("Transpose", "n", "back", perm=[0, 3, 1, 2]),
        node("GlobalAveragePool", "back", "m"),
        node("Flatten", "m", "embedding"),
    ]
    constants = {
        "w": RNG.normal(0, 1, (4, 3, 1, 1)).astype(np.float32),
        "u": RNG.normal(0, 1, (4, 4, 1, 1)).astype(np.float32),
        "scale": np.float32([1, 2, 3, 4]),
        "shift": np.float32([0, 1, 0, 1]),
    }
    folder = tmp_path / "normed"
    folder.mkdir()
    normed = converted(written(folder, nodes, constants, 4), 4)
    assert sums_beside(normed.path.read_bytes(), "centred") == ["s"]
    assert sums_beside(fp32.path.read_bytes(), "centred") == []  # no norm: its sum is quantised
    int8 = quantised_content(normed.path, w8a8(normed.path), activation_ranges(normed.path, FACES))
    assert [layer.name for layer in plan_of(normed.path.read_bytes(), int8).layers if not layer.weighted] == ["m"]
