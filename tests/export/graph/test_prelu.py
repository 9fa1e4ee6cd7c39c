"""PReLU as a skip: the network stays what it was, whatever its slopes, and no PReLU is left."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from pocketface.export.artifact import Card, ConversionError
from pocketface.export.graph.prelu import decompose_prelu
from pocketface.export.graph.to_onnx import to_onnx
from pocketface.faces.contract import ARCFACE
from pocketface.models.factories import load_embedder

RNG = np.random.default_rng(0)
SLOPES = np.float32([-1.5, -0.2, 0, 1e-6, 0.25, 1, 1.3, 2.4])
FACE = RNG.normal(0, 2, (1, 3, 8, 8)).astype(np.float32)


def node(operator: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), [output], **attributes)


def weights(*shape: int) -> NDArray[np.float32]:
    return RNG.normal(0, 1, shape).astype(np.float32)


def model(nodes: list[onnx.NodeProto], outputs: str = "out", **constants: NDArray[Any]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs.split()],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def between(last: onnx.NodeProto, *more: onnx.NodeProto, **constants: NDArray[Any]) -> onnx.ModelProto:
    """A convolution to 8 channels `x`, the PReLU to `y`, and what `last` (and `more`) makes of it."""
    first = [node("Conv", "input w b", "x"), node("PRelu", "x slopes", "y")]
    given = {"w": weights(8, 3, 1, 1), "b": weights(8), "slopes": SLOPES.reshape(8, 1, 1)} | constants
    return model([*first, *more, last], **given)


def run(network: onnx.ModelProto, face: NDArray[np.float32] = FACE) -> list[NDArray[np.float32]]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    content = network.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {"input": face}))


def operators(network: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in network.graph.node]


SKIP = ["Conv", "Relu", "Add"]
SIGNED = ["Conv", "Relu", "Conv", "Add"]
CASES = {
    "depthwise reads it": (between(node("Conv", "y v", "out", group=8), v=weights(8, 1, 3, 3)), SKIP),
    "two filters a channel": (between(node("Conv", "y v", "out", group=8), v=weights(16, 1, 3, 3)), SKIP),
    "a mixing convolution reads it": (between(node("Conv", "y v", "out"), v=weights(5, 8, 3, 3)), SKIP),
    "a convolution in groups reads it": (between(node("Conv", "y v", "out", group=2), v=weights(6, 4, 1, 1)), SKIP),
    "two convolutions read it": (
        between(
            node("Add", "y1 y2", "out"),
            node("Conv", "y v1", "y1", group=8),
            node("Conv", "y v2", "y2"),
            v1=weights(8, 1, 1, 1),
            v2=weights(8, 8, 1, 1),
        ),
        SKIP,
    ),
    "a sum reads it too": (
        between(node("Add", "y y1", "out"), node("Conv", "y v", "y1", group=8), v=weights(8, 1, 1, 1)),
        SIGNED,
    ),
    "a sum reads what it reads": (between(node("Add", "x y", "out")), SIGNED),
    "nothing follows": (model([node("PRelu", "input slopes", "out")], slopes=SLOPES[[0, 5, 7], None, None]), SIGNED),
    "nothing follows, no slope over 1": (
        model([node("PRelu", "input slopes", "out")], slopes=SLOPES[None, :3, None, None]),
        SKIP,
    ),
    "a row": (
        model(
            [node("Flatten", "input", "row"), node("MatMul", "row w", "x"), node("PRelu", "x slopes", "out")],
            w=weights(192, 8),
            slopes=SLOPES,
        ),
        ["Mul", "Relu", "Mul", "Add"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_network_computes_what_it_computed(name: str) -> None:
    before, steps = CASES[name]
    after, sites = decompose_prelu(before)
    assert sites == 1
    for ours, exact in zip(run(after), run(before), strict=True):
        np.testing.assert_allclose(ours, exact, rtol=1e-5, atol=1e-5)
    names = operators(before)
    at = names.index("PRelu")
    assert operators(after) == [*names[:at], *steps, *names[at + 1 :]]


def test_a_channel_with_a_slope_over_one_is_flipped_on_both_sides_by_hand() -> None:
    before = model(
        [node("Conv", "input w b", "x"), node("PRelu", "x slopes", "y"), node("Conv", "y v", "out")],
        w=np.float32([[1, 2, 3], [4, 5, 6]]).reshape(2, 3, 1, 1),
        b=np.float32([7, 8]),
        slopes=np.float32([3, 0.5]).reshape(2, 1, 1),
        v=np.float32([[9, 10]]).reshape(1, 2, 1, 1),
    )
    after, _ = decompose_prelu(before)
    constants = {tensor.name: numpy_helper.to_array(tensor).squeeze().tolist() for tensor in after.graph.initializer}
    convolutions = [[constants[name] for name in node.input[1:]] for node in after.graph.node if node.op_type == "Conv"]
    assert convolutions == [[[[-1, -2, -3], [4, 5, 6]], [-7, 8]], [[2, -0.5]], [[-9, 10]]]
    assert run(after, np.ones((1, 3, 8, 8), np.float32))[0][0, 0, 0, 0] == 9 * 13 + 10 * 23
    assert run(after, -np.ones((1, 3, 8, 8), np.float32))[0][0, 0, 0, 0] == 9 * 1 + 10 * -7 / 2


def test_convolutions_in_a_row_are_flipped_twice_and_a_shared_bias_for_each_of_its_own() -> None:
    nodes = [
        node("Conv", "input w b", "x1"),
        node("PRelu", "x1 s1", "y1"),
        node("Conv", "y1 v b", "x2", group=8),
        node("PRelu", "x2 s2", "y2"),
        node("Conv", "y2 v b", "out", group=8),
    ]
    before = model(
        nodes,
        "out y1",
        w=weights(8, 3, 1, 1),
        b=weights(8),
        v=weights(8, 1, 1, 1),
        s1=SLOPES.reshape(8, 1, 1),
        s2=SLOPES[::-1].reshape(8, 1, 1).copy(),
    )
    after, sites = decompose_prelu(before)
    assert sites == 2
    # y1 is handed out, so its sign may not change
    assert operators(after) == ["Conv", *SIGNED, "Conv", *SKIP, "Conv"]
    for ours, exact in zip(run(after), run(before), strict=True):
        np.testing.assert_allclose(ours, exact, rtol=1e-5, atol=1e-5)


def test_one_slope_for_all_stays() -> None:
    before = model([node("PRelu", "input slope", "out")], slope=np.float32([[[0.25]]]))
    after, sites = decompose_prelu(before)
    assert (sites, operators(after)) == (0, ["PRelu"])


def test_the_given_model_is_left_alone() -> None:
    before, _ = CASES["depthwise reads it"]
    kept = before.SerializeToString()
    decompose_prelu(before)
    assert before.SerializeToString() == kept


def test_slopes_that_differ_from_pixel_to_pixel_are_refused() -> None:
    with pytest.raises(ConversionError, match=r"PRelu 'out' has slopes of shape \(3, 8, 8\); only one per channel"):
        decompose_prelu(model([node("PRelu", "input slopes", "out")], slopes=weights(3, 8, 8)))


def test_computed_slopes_are_refused() -> None:
    with pytest.raises(ConversionError, match="PRelu 'out' computes its slopes; only constant ones are supported"):
        decompose_prelu(model([node("Abs", "input", "slopes"), node("PRelu", "input slopes", "out")]))


def test_a_trained_net_stays_what_it_was(shared: Path, tmp_path: Path) -> None:
    architecture = f"{Path(__file__).parents[3] / 'examples' / 'published_mobilefacenets.py'}:insightface_y1"
    embedder = load_embedder(architecture, shared / "models" / "mobilefacenet_prelu.safetensors", contract=ARCFACE)
    before = onnx.load(to_onnx(embedder, Card("y1", embedder.contract, 128), tmp_path / "y1.onnx").path)
    after, sites = decompose_prelu(before)
    slopes = [node.input[1] for node in before.graph.node if node.op_type == "PRelu"]
    trained = [numpy_helper.to_array(tensor) for tensor in before.graph.initializer if tensor.name in slopes]
    flipped = [tensor for tensor in after.graph.initializer if tensor.name.endswith("/flipped_1")]
    assert (sites, operators(after).count("PRelu")) == (33, 0)
    assert sum(int((values > 1).sum()) for values in trained) == 96  # in 26 of the 33
    assert len(flipped) > 26
    assert operators(after).count("Add") == operators(before).count("Add") + 33
    assert operators(after).count("Conv") == operators(before).count("Conv") + 33  # no sign is left over
    for seed in range(3):
        face = np.random.default_rng(seed).uniform(-1, 1, (1, 3, 112, 112)).astype(np.float32)
        (ours,), (exact,) = run(after, face), run(before, face)
        assert np.abs(exact).max() > 0.5
        np.testing.assert_allclose(ours, exact, rtol=0, atol=1e-5)
