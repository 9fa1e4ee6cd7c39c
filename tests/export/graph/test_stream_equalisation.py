"""Loud channels of a residual stream no longer set the step of the others; what is computed stays the same."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from pocketface.export.graph.intermediates import capture_of
from pocketface.export.graph.stream_equalisation import equalise_streams

RNG = np.random.default_rng(0)
FACES = RNG.normal(0, 1, (4, 2, 6, 6)).astype(np.float32)
WIDTH = 8


def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), output.split(), **attributes)


def stream(loud: float, last: list[onnx.NodeProto]) -> onnx.ModelProto:
    """A convolution, and a branch that adds a channel `loud` times as large; `last` reads the sum `s`."""

    def weights(*shape: int) -> NDArray[np.float32]:
        return (RNG.normal(0, 1, shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    out = weights(WIDTH, WIDTH, 1, 1)
    out[3] *= loud
    constants = {
        "w": weights(WIDTH, 2, 1, 1),
        "v": weights(WIDTH, 1, 3, 3),
        "u": out,
        "b": np.arange(WIDTH, dtype=np.float32) / 8,
        "p": weights(1, WIDTH, 1, 1),
        "g": np.ones(WIDTH, np.float32),
        "z": np.zeros(WIDTH, np.float32),
    }
    nodes = [
        node("Conv", "input w", "c"),
        node("Conv", "c v", "d", group=WIDTH, pads=[1] * 4),
        node("Tanh", "d", "t"),
        node("Conv", "t u b", "e"),
        node("Add", "c e", "r"),
        node("Add", "r p", "s"),
        *last,
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, *FACES.shape[1:]])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


NORMED = [node("Transpose", "s", "l", perm=[0, 2, 3, 1]), node("LayerNormalization", "l g z", "y")]


def computed(one: onnx.ModelProto) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(one.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"input": face[None]})[0] for face in FACES])


def magnitudes(one: onnx.ModelProto, name: str) -> NDArray[np.float32]:
    capture = capture_of(one, [name])
    return np.asarray(np.max([np.abs(capture(face[None])[name]).max((0, 2, 3)) for face in FACES], axis=0))


def test_a_loud_channel_comes_near_the_others_and_the_norm_reads_what_it_read() -> None:
    before = stream(50, NORMED)
    after, count = equalise_streams(before, FACES)
    assert count >= WIDTH - 1  # the loudest keeps its size
    np.testing.assert_allclose(computed(after), computed(before), atol=1e-5)
    spread = [values.max() / np.median(values) for values in (magnitudes(before, "s"), magnitudes(after, "s"))]
    assert spread[0] > 10 and spread[1] < 5
    (product,) = (one for one in after.graph.node if one.op_type == "Mul")
    assert product.output[0] == "y/wide/taken_back"  # float in an int8 file, by its name


def test_a_depthwise_layer_takes_the_factors_back_without_a_product() -> None:
    last = [*NORMED[:1], node("LayerNormalization", "l g z", "n"), node("Conv", "s v", "q", group=WIDTH, pads=[1] * 4)]
    last += [node("GlobalAveragePool", "q", "m"), node("ReduceMean", "n", "k"), node("Add", "m k", "y")]
    before = stream(50, last)
    after, _ = equalise_streams(before, FACES)
    np.testing.assert_allclose(computed(after), computed(before), atol=1e-4)
    assert [one.op_type for one in after.graph.node].count("Mul") == 1


def test_split_and_joined_channels_keep_their_factors() -> None:
    last = [
        node("Split", "s", "s1 s2", axis=1, num_outputs=2),
        node("Add", "s1 s2", "a"),
        node("Concat", "a s2", "j", axis=1),
        node("Transpose", "j", "l", perm=[0, 2, 3, 1]),
        node("LayerNormalization", "l g z", "y"),
    ]
    before = stream(50, last)
    after, count = equalise_streams(before, FACES)
    assert count > 0
    np.testing.assert_allclose(computed(after), computed(before), atol=1e-5)


@pytest.mark.parametrize(
    "last",
    [
        pytest.param([node("GlobalAveragePool", "s", "y")], id="without a norm"),
        pytest.param([*NORMED[:1], node("LayerNormalization", "l g z", "n"), node("Sigmoid", "l", "k"),
                      node("Add", "n k", "y")], id="a sigmoid reads it"),
    ],
)  # fmt: skip
def test_channels_that_cannot_be_taken_back_are_left_alone(last: list[onnx.NodeProto]) -> None:
    before = stream(50, last)
    after, _ = equalise_streams(before, FACES)
    np.testing.assert_allclose(magnitudes(after, "s"), magnitudes(before, "s"), rtol=1e-5)


def test_even_channels_need_no_product() -> None:
    after, _ = equalise_streams(stream(1, NORMED), FACES)
    assert not [one for one in after.graph.node if one.op_type == "Mul"]


def test_without_faces_there_are_no_ranges() -> None:
    with pytest.raises(ValueError, match="pass at least one"):
        equalise_streams(stream(1, NORMED), FACES[:0])
