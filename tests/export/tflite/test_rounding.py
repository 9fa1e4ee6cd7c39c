"""A float graph as int8 sees it: layers and MACs counted by hand, one tensor rounded by hand."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from pocketface.export.artifact import Artifact, Card
from pocketface.export.graph.ranges import activation_ranges
from pocketface.export.tflite.flatbuffer import pack
from pocketface.export.tflite.litert import LiteRTSession
from pocketface.export.tflite.quantise import quantised_content, w8a8
from pocketface.export.tflite.rounding import IntegerLayer, plan_of, with_rounded
from pocketface.export.tflite.to_tflite import to_tflite
from pocketface.faces.contract import InputContract

RNG = np.random.default_rng(0)
FACES = RNG.normal(0, 1, (8, 3, 8, 8)).astype(np.float32)


def net(folder: Path, loud: float = 1.0) -> Artifact:
    """Conv, PReLU, padded depthwise, sum, dense; one channel of the first is `loud`, which the depthwise undoes."""
    scale = np.float32([loud, *[1] * 7])

    def weights(*shape: int) -> NDArray[np.float32]:
        return (RNG.normal(0, 1, shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    constants: dict[str, NDArray[np.float32]] = {
        "w": weights(8, 3, 1, 1) * scale[:, None, None, None],
        "slopes": np.full((8, 1, 1), 0.25, np.float32),
        "v": weights(8, 1, 3, 3) / scale[:, None, None, None],
        "u": weights(8, 8, 1, 1),
        "dense": weights(4, 8 * 8 * 8),
        "d": np.zeros(4, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["c1"]),
        helper.make_node("PRelu", ["c1", "slopes"], ["p1"]),
        helper.make_node("Conv", ["p1", "v"], ["c2"], pads=[0, 0, 2, 2], group=8),
        helper.make_node("Conv", ["c2", "u"], ["c3"]),
        helper.make_node("Add", ["c2", "c3"], ["s"]),
        helper.make_node("Flatten", ["s"], ["f"]),
        helper.make_node("Gemm", ["f", "dense", "d"], ["embedding"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    path = folder / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return to_tflite(path, Card("net", InputContract(8, 8), 4), folder / "net.tflite")


def test_layers_and_macs_are_those_counted_by_hand(tmp_path: Path) -> None:
    fp32 = net(tmp_path)
    int8 = quantised_content(fp32.path, w8a8(), activation_ranges(fp32.path, FACES))
    plan = plan_of(fp32.path.read_bytes(), int8)
    assert plan.layers == (  # the PReLU stays float; the pad hands on p1, the reshape s
        IntegerLayer("c1", ("input",), True, 8 * 8 * 8 * 3, 512),
        IntegerLayer("c2", ("p1",), True, 8 * 8 * 8 * 9, 512),
        IntegerLayer("c3", ("c2",), True, 8 * 8 * 8 * 8, 512),
        IntegerLayer("s", ("c2", "c3"), False, 0, 512),
        IntegerLayer("embedding", ("s",), True, 4 * 512, 4),
    )
    assert plan.ports == ("input", "embedding")


def test_a_tensor_is_rounded_as_long_as_one_int8_layer_touches_it(tmp_path: Path) -> None:
    fp32 = net(tmp_path)
    int8 = quantised_content(fp32.path, w8a8(), activation_ranges(fp32.path, FACES))
    plan = plan_of(fp32.path.read_bytes(), int8)
    assert plan.rounded_tensors(frozenset()) == {"input", "c1", "p1", "c2", "c3", "s", "embedding"}
    assert plan.rounded_tensors(frozenset({"c1"})) == {"input", "p1", "c2", "c3", "s", "embedding"}
    assert plan.rounded_tensors(frozenset({"c2", "c3", "s"})) == {"input", "c1", "s", "embedding"}


def test_the_output_rounded_is_the_nearest_step(tmp_path: Path) -> None:
    fp32 = net(tmp_path)
    exact = LiteRTSession(fp32.path).run(FACES)
    (tmp_path / "rounded.tflite").write_bytes(pack(with_rounded(fp32.path.read_bytes(), "embedding", (-12.8, 12.7))))
    ours = LiteRTSession(tmp_path / "rounded.tflite").run(FACES)
    np.testing.assert_allclose(ours, np.round(exact, 1), atol=1e-5)  # steps of 25.5 / 255 = 0.1


def test_the_input_rounded_is_the_nearest_step_of_the_input(tmp_path: Path) -> None:
    fp32 = net(tmp_path)
    (tmp_path / "rounded.tflite").write_bytes(pack(with_rounded(fp32.path.read_bytes(), "input", (-12.8, 12.7))))
    ours = LiteRTSession(tmp_path / "rounded.tflite").run(FACES)
    exact = LiteRTSession(fp32.path).run(np.round(FACES, 1))
    np.testing.assert_allclose(ours, exact, atol=1e-4)
