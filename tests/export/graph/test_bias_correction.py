"""Bias correction: by hand, and each channel's mean is what it was."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from PIL import Image

from pocketface.export.artifact import Card
from pocketface.export.graph.bias_correction import correct_biases
from pocketface.export.graph.to_onnx import to_onnx
from pocketface.export.tflite.litert import LiteRTSession
from pocketface.export.tflite.quantise import quantise_tflite
from pocketface.export.tflite.to_tflite import to_tflite
from pocketface.faces.contract import IMAGENET
from pocketface.models.checkpoint import open_embedder
from pocketface.models.embedder import Embedder, unit

RNG = np.random.default_rng(0)
FACES = RNG.uniform(0, 1, (24, 3, 8, 8)).astype(np.float32)


def model(nodes: list[onnx.NodeProto], constants: dict[str, Any], last: str) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(values, np.float32), name) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def small() -> onnx.ModelProto:
    """A padded, strided convolution, a depthwise one and a dense layer, each with channels of its own mean."""
    constants = {
        "w": RNG.uniform(-1, 2, (6, 3, 3, 3)),
        "b": RNG.normal(0, 1, 6),
        "v": RNG.uniform(-1, 2, (6, 1, 4, 4)),
        "dense": RNG.uniform(-1, 2, (5, 6)),
        "d": RNG.normal(0, 1, 5),
    }
    nodes = [
        helper.make_node("Conv", ["input", "w", "b"], ["first"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["first"], ["positive"]),
        helper.make_node("Conv", ["positive", "v"], ["second"], group=6),
        helper.make_node("Flatten", ["second"], ["flat"]),
        helper.make_node("Gemm", ["flat", "dense", "d"], ["embedding"], transB=1),
    ]
    return model(nodes, constants, "embedding")


def constants_of(network: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in network.graph.initializer}


def with_int8_weights(network: onnx.ModelProto) -> onnx.ModelProto:
    """Rounds each layer's weights by the formula, one step per output channel."""
    result = onnx.ModelProto()
    result.CopyFrom(network)
    layers = {node.input[1] for node in result.graph.node if node.op_type in ("Conv", "Gemm")}
    for tensor in result.graph.initializer:
        if tensor.name in layers:
            rows = numpy_helper.to_array(tensor).astype(np.float64)
            for row in rows:
                step = np.abs(row).max() / 127
                row[:] = np.round(row / step) * step
            tensor.CopyFrom(numpy_helper.from_array(rows.astype(np.float32), tensor.name))
    return result


def mean_of(network: onnx.ModelProto, name: str, channels_of: tuple[int, ...]) -> Any:
    probed = onnx.ModelProto()
    probed.CopyFrom(network)
    del probed.graph.output[:]
    probed.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(probed.SerializeToString(), providers=["CPUExecutionProvider"])
    values = np.concatenate([session.run(None, {"input": face[None]})[0] for face in FACES])
    return values.mean(axis=channels_of)


def test_a_bias_is_lowered_by_what_rounding_adds_by_hand() -> None:
    node = helper.make_node("Conv", ["input", "w", "b"], ["first"])
    before = model([node], {"w": np.reshape([127, 0.6, -0.7], (1, 3, 1, 1)), "b": [5]}, "first")
    faces = np.full((2, 3, 8, 8), 10, np.float32)
    faces[:, 2] = 20  # 127 stays, 0.6 becomes 1 on a mean of 10, -0.7 becomes -1 on a mean of 20: 4 - 6
    after, layers = correct_biases(before, faces)
    assert layers == 1
    assert constants_of(after)[after.graph.node[0].input[2]].tolist() == pytest.approx([5 + 2])


def test_a_product_with_a_filter_a_column_is_lowered_as_well() -> None:
    flat = helper.make_node("Flatten", ["input"], ["flat"])
    node = helper.make_node("Gemm", ["flat", "w", "b"], ["first"])
    columns = np.zeros((192, 2))
    columns[:2] = [[127, 254], [0.6, 3.2]]  # 0.6 becomes 1 at a step of 1, 3.2 becomes 4 at a step of 2; the mean is 10
    before = model([flat, node], {"w": columns, "b": [5, 5]}, "first")
    after, layers = correct_biases(before, np.full((2, 3, 8, 8), 10, np.float32))
    assert layers == 1
    assert constants_of(after)[after.graph.node[1].input[2]].tolist() == pytest.approx([5 - 4, 5 - 8])


@pytest.mark.parametrize(("name", "axes"), [("first", (0, 2, 3)), ("second", (0, 2, 3)), ("embedding", (0,))])
def test_each_layers_mean_is_nearer_to_what_it_was(name: str, axes: tuple[int, ...]) -> None:
    before = small()
    after, layers = correct_biases(before, FACES)
    assert layers == 3
    exact, plain = mean_of(before, name, axes), mean_of(with_int8_weights(before), name, axes)
    corrected = mean_of(with_int8_weights(after), name, axes)
    left = np.abs(corrected - exact).max() / np.abs(plain - exact).max()
    assert left < (0.01 if name == "first" else 0.2)  # behind the ReLU errors do not only shift


def test_the_given_model_is_left_alone() -> None:
    before = small()
    kept = before.SerializeToString()
    correct_biases(before, FACES)
    assert before.SerializeToString() == kept


def test_layers_that_share_a_bias_get_one_each() -> None:
    nodes = [
        helper.make_node("Conv", ["input", "w", "b"], ["first"]),
        helper.make_node("Conv", ["first", "v", "b"], ["second"]),
    ]
    weights = {"w": RNG.uniform(0, 1, (3, 3, 1, 1)), "v": RNG.uniform(0, 1, (3, 3, 1, 1)), "b": np.zeros(3)}
    after, _ = correct_biases(model(nodes, weights, "second"), FACES)
    assert after.graph.node[0].input[2] != after.graph.node[1].input[2]
    assert "b" not in constants_of(after)


def test_no_faces_are_refused() -> None:
    with pytest.raises(ValueError, match="needs faces"):
        correct_biases(small(), FACES[:0])


def test_int8_weights_of_a_trained_relu6_net_gain(shared: Path, tmp_path: Path) -> None:
    embedder = trained(shared)
    photos = sorted((shared / "faces" / "train112" / "lfw").rglob("*.jpg"))[::16]
    crops = np.stack([np.asarray(Image.open(photo).convert("RGB")) for photo in photos[:32]])
    calibration, probe = np.split(embedder.contract.preprocess(crops), 2)
    card = Card("net", embedder.contract, 128)
    plain = onnx.load(to_onnx(embedder, card, tmp_path / "plain.onnx").path)
    exact = unit(LiteRTSession(to_tflite(tmp_path / "plain.onnx", card, tmp_path / "plain.tflite").path).run(probe))

    def loss(network: onnx.ModelProto) -> float:
        onnx.save(network, tmp_path / "net.onnx")
        fp32 = to_tflite(tmp_path / "net.onnx", card, tmp_path / "net.tflite")
        w8 = quantise_tflite(fp32, "w8", tmp_path / "net.w8.tflite")
        return 1 - float((unit(LiteRTSession(w8.path).run(probe)) * exact).sum(axis=1).mean())

    before, after = loss(plain), loss(correct_biases(plain, calibration)[0])
    assert before > 0.001  # 0.0014 and 0.0003 over 150 faces
    assert after < 0.4 * before


def trained(shared: Path) -> Embedder:
    file = Path(__file__).parents[3] / "examples" / "published_mobilefacenets.py"
    weights = shared / "models" / "mobilefacenet_relu6.safetensors"
    return open_embedder(f"{file}:foamliu", weights, contract=IMAGENET, name="relu6")
