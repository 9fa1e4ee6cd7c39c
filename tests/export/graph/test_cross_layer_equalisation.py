"""Channel equalisation: the network stays what it was, and int8 gains."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from PIL import Image
from safetensors.torch import load_file

from pocketface.export.artifact import Card
from pocketface.export.graph.cross_layer_equalisation import equalise_across_layers
from pocketface.export.graph.to_onnx import to_onnx
from pocketface.export.tflite.litert import LiteRTSession
from pocketface.export.tflite.quantise import quantise_tflite
from pocketface.export.tflite.to_tflite import to_tflite
from pocketface.faces.contract import InputContract
from pocketface.models.embedder import Embedder, Embeddings, unit

FACES = np.ones((2, 3, 8, 8), np.float32)


def model(middle: list[onnx.NodeProto], second: NDArray[np.float32], groups: int) -> onnx.ModelProto:
    """A 1x1 convolution that makes 20, 1 and -0.5 of ones, `middle` from `first` to `between`, a second one."""
    constants = {
        "w": np.float32([[10, 10, 0], [1, 0, 0], [0, -1, 0]]).reshape(3, 3, 1, 1),
        "b": np.float32([0, 0, 0.5]),
        "v": second,
        "slopes": np.float32([1, 1, 0.5]).reshape(3, 1, 1),
        "low": np.float32(0),
        "high": np.float32(6),
    }
    nodes = [
        helper.make_node("Conv", ["input", "w", "b"], ["first"]),
        *middle,
        helper.make_node("Conv", ["between", "v"], ["second"], group=groups),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("second", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


PRELU = [helper.make_node("PRelu", ["first", "slopes"], ["between"])]
DEPTHWISE = np.float32([1, 2, 3]).reshape(3, 1, 1, 1)
MIXING = np.arange(9, dtype=np.float32).reshape(3, 3, 1, 1)


def run(network: onnx.ModelProto, face: NDArray[np.float32]) -> Any:
    session = onnxruntime.InferenceSession(network.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"input": face})[0]


def weights_of(network: onnx.ModelProto, place: int) -> tuple[NDArray[Any], NDArray[Any]]:
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in network.graph.initializer}
    convolutions = [node for node in network.graph.node if node.op_type == "Conv"]
    return constants[convolutions[0].input[place]], constants[convolutions[1].input[1]]


def test_a_depthwise_site_is_brought_to_one_range_by_hand() -> None:
    result, sites = equalise_across_layers(model(PRELU, DEPTHWISE, 3), FACES)
    first, second = weights_of(result, 1)
    bias, _ = weights_of(result, 2)
    assert sites == 1  # channels reach 20, 1 and 0.5, so the scales are 1, 20 and 40
    np.testing.assert_allclose(first[:, :, 0, 0], [[10, 10, 0], [20, 0, 0], [0, -40, 0]])
    np.testing.assert_allclose(bias, [0, 0, 20])
    np.testing.assert_allclose(second[:, 0, 0, 0], [1, 2 / 20, 3 / 40])


def test_a_site_that_mixes_channels_goes_half_of_the_way() -> None:
    result, sites = equalise_across_layers(model(PRELU, MIXING, 1), FACES)
    first, second = weights_of(result, 1)
    assert sites == 1
    np.testing.assert_allclose(first[1, 0, 0, 0], np.sqrt(20), rtol=1e-6)
    np.testing.assert_allclose(second[:, 1, 0, 0], MIXING[:, 1, 0, 0] / np.sqrt(20), rtol=1e-6)


@pytest.mark.parametrize(("second", "groups"), [(DEPTHWISE, 3), (DEPTHWISE.repeat(2, 0), 3), (MIXING, 1)])
def test_the_network_computes_what_it_computed(second: NDArray[np.float32], groups: int) -> None:
    before = model(PRELU, second, groups)
    after, _ = equalise_across_layers(before, FACES)
    face = np.random.default_rng(0).normal(0, 1, (1, 3, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(run(after, face), run(before, face), rtol=1e-5, atol=1e-5)


CLIP = [helper.make_node("Clip", ["first", "low", "high"], ["between"])]


def test_under_a_relu6_a_channel_keeps_a_quarter_of_headroom_by_hand() -> None:
    result, sites = equalise_across_layers(model(CLIP, DEPTHWISE, 3), FACES)
    first, second = weights_of(result, 1)
    assert sites == 1  # channels reach 6, 1 and 0 behind the clip: 6 / (1.25 * 1), and no more than 64 for the silent
    np.testing.assert_allclose(first[:, :, 0, 0], [[10, 10, 0], [4.8, 0, 0], [0, -64, 0]], rtol=1e-6)
    np.testing.assert_allclose(second[:, 0, 0, 0], [1, 2 / 4.8, 3 / 64], rtol=1e-6)


def test_under_a_relu6_what_was_seen_passes_and_what_is_far_above_is_cut() -> None:
    before = model(CLIP, DEPTHWISE, 3)
    after, _ = equalise_across_layers(before, FACES)
    np.testing.assert_allclose(run(after, 1.2 * FACES[:1])[0, :2], run(before, 1.2 * FACES[:1])[0, :2], rtol=1e-6)
    assert run(before, 3 * FACES[:1])[0, 1].max() == 6  # 2 times 3
    np.testing.assert_allclose(run(after, 3 * FACES[:1])[0, 1], 2 * 1.25, rtol=1e-6)


def test_nothing_happens_between_a_relu6_and_a_layer_that_mixes_channels() -> None:
    before = model(CLIP, MIXING, 1)
    after, sites = equalise_across_layers(before, FACES)
    assert sites == 0
    assert run(after, FACES[:1]).tolist() == run(before, FACES[:1]).tolist()


def test_nothing_happens_across_a_clip_that_is_no_relu() -> None:
    network = model(CLIP, DEPTHWISE, 3)
    network.graph.initializer.append(numpy_helper.from_array(np.float32(-1), "minus"))
    network.graph.node[1].input[1] = "minus"
    assert equalise_across_layers(network, FACES)[1] == 0


def test_a_clip_without_a_top_is_a_relu() -> None:
    network = model([helper.make_node("Clip", ["first", "low"], ["between"])], DEPTHWISE, 3)
    first, _ = weights_of(equalise_across_layers(network, FACES)[0], 1)
    np.testing.assert_allclose(first[:, :, 0, 0], [[10, 10, 0], [20, 0, 0], [0, -64, 0]])


def test_nothing_happens_where_a_third_one_listens() -> None:
    middle = [*PRELU, helper.make_node("Identity", ["first"], ["elsewhere"])]
    assert equalise_across_layers(model(middle, MIXING, 1), FACES)[1] == 0


def test_the_given_model_is_left_alone() -> None:
    before = model(PRELU, DEPTHWISE, 3)
    kept = before.SerializeToString()
    equalise_across_layers(before, FACES)
    assert before.SerializeToString() == kept


def test_no_faces_are_refused() -> None:
    with pytest.raises(ValueError, match="needs faces"):
        equalise_across_layers(model(PRELU, DEPTHWISE, 3), FACES[:0])


def test_int8_of_a_trained_prelu_net_gains(shared: Path, tmp_path: Path) -> None:
    embedder = trained(shared)
    photos = sorted((shared / "faces" / "train112" / "lfw").rglob("*.jpg"))[::16]
    crops = np.stack([np.asarray(Image.open(photo).convert("RGB")) for photo in photos[:48]])
    calibration, probe = np.split(embedder.contract.preprocess(crops), [24])
    card = Card("y1", embedder.contract, 128)
    graph = to_onnx(embedder, card, tmp_path / "plain.onnx")
    result, sites = equalise_across_layers(onnx.load(graph.path), calibration)
    onnx.save(result, tmp_path / "equalised.onnx")
    exact = unit(embedder.backbone(torch.from_numpy(probe)).detach().numpy())

    def cosines(name: str) -> tuple[Embeddings, float]:
        fp32 = to_tflite(tmp_path / f"{name}.onnx", card, tmp_path / f"{name}.tflite")
        int8 = quantise_tflite(fp32, "w8a8", tmp_path / f"{name}.w8a8.tflite", calibration)
        floats = unit(LiteRTSession(fp32.path).run(probe))
        return floats, float((unit(LiteRTSession(int8.path).run(probe)) * exact).sum(axis=1).mean())

    (_, before), (floats, after) = cosines("plain"), cosines("equalised")
    assert sites == 34  # 17 before depthwise convolutions, 17 before 1x1
    assert np.abs(floats - exact).max() <= 1e-5
    assert before < 0.975 and after > 0.992  # 0.965 and 0.996 over 300 faces


def trained(shared: Path) -> Embedder:
    file = Path(__file__).parents[3] / "examples" / "published_mobilefacenets.py"
    spec = importlib.util.spec_from_file_location("published_mobilefacenets", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    backbone = module.insightface_y1()
    backbone.load_state_dict(load_file(shared / "models" / "mobilefacenet_prelu.safetensors"), strict=True)
    contract = InputContract(scale=(1 / 128, 1 / 128, 1 / 128))
    return Embedder("y1", backbone.eval(), contract, "insightface_y1")
