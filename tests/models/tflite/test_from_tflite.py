"""A .tflite file as ONNX computes what LiteRT computes, with its channels first and nothing turned without need."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from ai_edge_litert import schema_py_generated as schema

sys.path.insert(0, str(Path(__file__).parent))

from lite_files import Array, LiteNet, by_litert

from pocketface.models.graph.conversion_error import ConversionError
from pocketface.models.graph.simplification import simplified
from pocketface.models.tflite.from_tflite import tflite_to_onnx

Build = Callable[[LiteNet], int]


def head(net: LiteNet, x: int) -> int:
    """Adds a dense layer on the flattened image, whose weights have TFLite's order."""
    size = int(np.prod(net.shapes[x]))
    row = net.op("RESHAPE", [x, net.constant(np.array([1, size]))], (1, size), newShape=[1, size])
    return net.op("FULLY_CONNECTED", [row, net.weights(5, size), net.weights(5)], (1, 5))


def unary(code: str, **options: object) -> Build:
    def build(net: LiteNet) -> int:
        x = net.conv(net.face, 4, 2)
        return head(net, net.op(code, [x], net.shapes[x], **options))

    return build


def binary(code: str) -> Build:
    def build(net: LiteNet) -> int:
        x = net.op("LOGISTIC", [net.conv(net.face, 4, 2)], (1, 4, 4, 4))  # positive: also for POW and DIV
        y = net.op(code, [x, net.constant(np.float32([1, 2, 3, 0.5]))], (1, 4, 4, 4))
        return head(net, net.op(code, [y, x], (1, 4, 4, 4)))

    return build


def pooled(code: str, padding: int) -> Build:
    def build(net: LiteNet) -> int:
        side = 4 if padding == 0 else 3
        options = {"padding": padding, "strideH": 2, "strideW": 2, "filterHeight": 3, "filterWidth": 3}
        return head(net, net.op(code, [net.conv(net.face, 4)], (1, side, side, 4), **options))

    return build


def reduced(code: str, axes: list[int], shape: tuple[int, ...], keep: bool) -> Build:
    def build(net: LiteNet) -> int:
        x = net.op(code, [net.conv(net.face, 4, 2), net.constant(np.array(axes))], shape, keepDims=keep)
        return head(net, x)

    return build


def depthwise(net: LiteNet) -> int:
    inputs = [net.conv(net.face, 4, 2), net.weights(1, 3, 3, 8), net.weights(8)]
    known = {"padding": 1, "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    return head(net, net.op("DEPTHWISE_CONV_2D", inputs, (1, 2, 2, 8), depthMultiplier=2, **known))


def transposed(padding: int, side: int, kernel: int) -> Build:
    """Twice as many pixels; the result's sides say what is cut off, or added at the end."""

    def build(net: LiteNet) -> int:
        shape = net.constant(np.array([1, side, side, 6], np.int32))
        inputs = [shape, net.weights(6, kernel, kernel, 4), net.conv(net.face, 4, 2), net.weights(6)]
        known = {"padding": padding, "strideH": 2, "strideW": 2, "version": 3}
        return head(net, net.op("TRANSPOSE_CONV", inputs, (1, side, side, 6), **known))

    return build


def prelu(net: LiteNet) -> int:
    return head(net, net.op("PRELU", [net.conv(net.face, 4, 2), net.weights(1, 1, 4)], (1, 4, 4, 4)))


def flat_prelu_and_norm(net: LiteNet) -> int:
    """Scales each value of the flattened image by its own number before the dense layer."""
    x = net.conv(net.face, 4, 2)
    row = net.op("RESHAPE", [x, net.constant(np.array([1, 64]))], (1, 64), newShape=[1, 64])
    row = net.op("PRELU", [row, net.weights(64)], (1, 64))
    row = net.op("MUL", [row, net.weights(64)], (1, 64))
    row = net.op("L2_NORMALIZATION", [row], (1, 64))
    return net.op("FULLY_CONNECTED", [row, net.weights(5, 64), net.weights(5)], (1, 5))


def flattened_embedding(net: LiteNet) -> int:
    return net.op("RESHAPE", [net.conv(net.face, 4, 4), net.constant(np.array([1, 16]))], (1, 16), newShape=[1, 16])


def padded(net: LiteNet) -> int:
    pads = net.constant(np.array([[0, 0], [1, 2], [0, 3], [0, 0]]))
    return head(net, net.op("PAD", [net.conv(net.face, 4, 2), pads], (1, 7, 7, 4)))


def mirrored(net: LiteNet) -> int:
    pads = net.constant(np.array([[0, 0], [1, 2], [0, 3], [0, 0]]))
    return head(net, net.op("MIRROR_PAD", [net.conv(net.face, 4, 2), pads], (1, 7, 7, 4), mode=0))


def joined(net: LiteNet) -> int:
    x, y = net.conv(net.face, 4, 2), net.conv(net.face, 2, 2)
    return head(net, net.op("CONCATENATION", [x, y], (1, 4, 4, 6), axis=3))


def cut(net: LiteNet) -> int:
    begin, size = net.constant(np.array([0, 1, 0, 2])), net.constant(np.array([1, 2, -1, 2]))
    x = net.op("SLICE", [net.conv(net.face, 4, 2), begin, size], (1, 2, 4, 2))
    corners = [net.constant(np.array(numbers)) for numbers in ([0, 0, 1, 0], [1, 2, 0, 2], [1, 1, 2, 1])]
    x = net.op("STRIDED_SLICE", [x, *corners], (1, 2, 2, 2))
    operator = net.writer._graph.operators[-1]
    operator.builtinOptionsType = schema.BuiltinOptions.StridedSliceOptions
    operator.builtinOptions = schema.StridedSliceOptionsT(endMask=0b100)  # the third axis runs to its end
    return head(net, x)


def squeeze_and_excite(net: LiteNet) -> int:
    x = net.conv(net.face, 4, 2)
    mean = net.op("MEAN", [x, net.constant(np.array([1, 2]))], (1, 4), keepDims=False)
    gate = net.op("LOGISTIC", [net.op("FULLY_CONNECTED", [mean, net.weights(4, 4)], (1, 4))], (1, 4))
    gate = net.op("RESHAPE", [gate, net.constant(np.array([1, 1, 1, 4]))], (1, 1, 1, 4), newShape=[1, 1, 1, 4])
    return head(net, net.op("MUL", [x, gate], (1, 4, 4, 4)))


def attention(net: LiteNet) -> int:
    """Multiplies the image's pixels as rows with each other."""
    x = net.conv(net.face, 4, 2)
    rows = net.op("RESHAPE", [x, net.constant(np.array([1, 16, 4]))], (1, 16, 4), newShape=[1, 16, 4])
    scores = net.op("BATCH_MATMUL", [rows, rows], (1, 16, 16), adjX=False, adjY=True)
    scores = net.op("SOFTMAX", [scores], (1, 16, 16), beta=1.0)
    mixed = net.op("BATCH_MATMUL", [scores, rows], (1, 16, 4), adjX=False, adjY=False)
    return head(net, mixed)


def resized(code: str) -> Build:
    def build(net: LiteNet) -> int:
        x = net.op(
            code, [net.conv(net.face, 4, 2), net.constant(np.array([7, 6]))], (1, 7, 6, 4), halfPixelCenters=True
        )
        return head(net, x)

    return build


NETS: dict[str, Build] = {
    **{code: unary(code) for code in "ABS ELU EXP LOGISTIC NEG RELU RELU6 RELU_N1_TO_1 SQUARE TANH HARD_SWISH".split()},
    "GELU": unary("GELU", approximate=False),
    "GELU by tanh": unary("GELU", approximate=True),
    "LEAKY_RELU": unary("LEAKY_RELU", alpha=0.2),
    "TRANSPOSE_CONV same": transposed(0, 8, 3),
    "TRANSPOSE_CONV same, of 4": transposed(0, 8, 4),
    "TRANSPOSE_CONV valid": transposed(1, 9, 3),
    "TRANSPOSE_CONV wider": transposed(1, 10, 3),
    **{code: binary(code) for code in "ADD SUB MUL DIV MAXIMUM MINIMUM POW SQUARED_DIFFERENCE".split()},
    **{f"{code} {padding}": pooled(code, padding) for code in ("AVERAGE_POOL_2D", "MAX_POOL_2D") for padding in (0, 1)},
    "MEAN of pixels": reduced("MEAN", [1, 2], (1, 4), False),
    "MEAN of pixels, kept": reduced("MEAN", [1, 2], (1, 1, 1, 4), True),
    "SUM of channels": reduced("SUM", [-1], (1, 4, 4), False),
    "REDUCE_MAX of rows": reduced("REDUCE_MAX", [1], (1, 4, 4), False),
    "RESIZE_BILINEAR": resized("RESIZE_BILINEAR"),
    "RESIZE_NEAREST_NEIGHBOR": resized("RESIZE_NEAREST_NEIGHBOR"),
}
for build in (
    *(depthwise, prelu, flat_prelu_and_norm, flattened_embedding, padded, mirrored, joined, cut),
    *(squeeze_and_excite, attention),
):
    NETS[build.__name__] = build


def by_onnxruntime(model: onnx.ModelProto, faces: Array) -> Array:
    session = ort.InferenceSession(model.SerializeToString())
    return np.asarray(session.run(None, {session.get_inputs()[0].name: faces.transpose(0, 3, 1, 2)})[0])


@pytest.mark.parametrize("name", NETS)
def test_each_operator_gives_what_litert_gives(name: str, tmp_path: Path) -> None:
    net = LiteNet()
    path = net.save(tmp_path / "net.tflite", NETS[name](net))
    faces = np.random.default_rng(1).normal(0, 1, (1, 8, 8, 3)).astype(np.float32)
    theirs, model = by_litert(path, faces), tflite_to_onnx(path)
    onnx.checker.check_model(model, full_check=True)
    assert np.abs(by_onnxruntime(model, faces) - theirs).max() <= 2e-6 * max(1, np.abs(theirs).max())


def test_the_app_s_network_has_no_transpose_and_its_own_batch(tmp_path: Path) -> None:
    net = LiteNet((2, 8, 8, 3))
    x = net.conv(net.face, 4, 2, fusedActivationFunction=3)
    x = net.op("PRELU", [x, net.weights(1, 1, 4)], (2, 4, 4, 4))
    row = net.op("RESHAPE", [x, net.constant(np.array([2, 64]))], (2, 64), newShape=[2, 64])
    path = net.save(tmp_path / "net.tflite", net.op("FULLY_CONNECTED", [row, net.weights(5, 64)], (2, 5), "embedding"))
    model = tflite_to_onnx(path)
    assert [node.op_type for node in model.graph.node] == ["Conv", "Clip", "PRelu", "Reshape", "Gemm"]
    assert [side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim] == [2, 3, 8, 8]
    assert model.graph.output[0].name == "embedding"
    faces = np.random.default_rng(1).normal(0, 1, (2, 8, 8, 3)).astype(np.float32)
    assert np.abs(by_onnxruntime(model, faces) - by_litert(path, faces)).max() < 1e-6


def test_shapes_that_a_free_batch_computes_are_known_when_the_file_is_read(tmp_path: Path) -> None:
    net = LiteNet()
    x = net.conv(net.face, 4, 2)
    sides = net.writer.tensor("sides", (4,))
    net.writer._graph.tensors[sides].type = 2  # INT32
    net.writer.operator("SHAPE", [x], [sides])
    x = net.op("RESHAPE", [x, sides], (1, 4, 4, 4))
    model = tflite_to_onnx(net.save(tmp_path / "net.tflite", head(net, x)))
    assert [node.op_type for node in model.graph.node] == ["Conv", "Reshape", "Gemm"]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    net = LiteNet()
    path = net.save(tmp_path / "net.tflite", net.op("COS", [net.conv(net.face, 4)], (1, 8, 8, 4)))
    with pytest.raises(ConversionError, match=r"net.tflite uses COS, which cannot be read"):
        tflite_to_onnx(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ConversionError, match=r"net.tflite is cut short or damaged"):
        tflite_to_onnx(path)


def test_a_quantised_file_says_why_it_is_no_source(tmp_path: Path) -> None:
    net = LiteNet()
    x = net.conv(net.face, 4)
    tensor = net.writer._graph.tensors[1]
    tensor.type, tensor.quantization = 9, schema.QuantizationParametersT(scale=[0.1], zeroPoint=[0])
    path = net.save(tmp_path / "net.tflite", x)
    with pytest.raises(ConversionError, match=r"is quantised \(1 tensors of int8\).*`pocketface benchmark`"):
        tflite_to_onnx(path)


def test_prelu_as_apps_have_it_spelt_out_is_whole_again(tmp_path: Path) -> None:
    net = LiteNet()
    x = net.conv(net.face, 4, 2)
    shape = net.shapes[x]
    slopes = net.constant(np.float32([-0.1, -0.2, 0.3, -0.4]))
    negative = net.op("RELU", [net.op("NEG", [x], shape)], shape)
    x = net.op("ADD", [net.op("RELU", [x], shape), net.op("MUL", [negative, slopes], shape)], shape)  # as Keras does
    x = net.conv(x, 4)
    less = net.op("SUB", [x, net.op("ABS", [x], shape)], shape)
    half = net.op("MUL", [net.op("MUL", [less, net.weights(4)], shape), net.constant(np.float32([0.5]))], shape)
    x = net.op("ADD", [net.op("RELU", [x], shape), half], shape)  # as TensorFlow 1 does
    path = net.save(tmp_path / "net.tflite", head(net, x))
    model = simplified(tflite_to_onnx(path), "net")
    assert [node.op_type for node in model.graph.node] == ["Conv", "PRelu", "Conv", "PRelu", "Reshape", "Gemm"]
