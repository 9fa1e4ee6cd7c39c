"""Networks small enough to be counted in a fraction of a second."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, save

from pocketface.benchmark.arm64.emulator import Emulator, installed, setup
from pocketface.export.artifact import Artifact, Card
from pocketface.export.tflite.quantise import quantise_tflite
from pocketface.export.tflite.to_tflite import to_tflite
from pocketface.faces.contract import InputContract

FACE = InputContract(12, 14)  # 168 places: whole tiles of 4, 6, 7 or 8, as the matrix kernels of the cores take them
WIDTH = 64
EXTRA_MACS = 12 * 14 * WIDTH * WIDTH  # of one 1x1 convolution, WIDTH to WIDTH
RNG = np.random.default_rng(0)


@pytest.fixture(scope="session")
def emulator() -> Emulator:
    """Skips where there is none."""
    if missing := installed():
        pytest.skip(missing)
    try:
        return setup()
    except ValueError as error:
        pytest.skip(str(error))


def network(folder: Path, convolutions: int) -> Artifact:
    """A .tflite of a 1x1 convolution 3 to WIDTH, so many more WIDTH to WIDTH, and the average of each channel."""
    kernels = [(WIDTH, 3)] + [(WIDTH, WIDTH)] * convolutions
    nodes, constants, last = [], [], "input"
    for number, shape in enumerate(kernels):
        values = RNG.normal(0, 0.2, (*shape, 1, 1)).astype(np.float32)
        constants.append(numpy_helper.from_array(values, f"w{number}"))
        nodes.append(helper.make_node("Conv", [last, f"w{number}"], [f"c{number}"], name=f"conv{number}"))
        last = f"c{number}"
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["mean"], name="mean"))
    nodes.append(helper.make_node("Flatten", ["mean"], ["embedding"], name="flat"))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 12, 14])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, WIDTH])],
        constants,
    )
    path = folder / f"net{convolutions}.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return to_tflite(path, Card("net", FACE, WIDTH), path.with_suffix(".tflite"))


def faces(count: int, height: int = FACE.height) -> NDArray[np.float32]:
    return np.random.default_rng(7).uniform(-1, 1, (count, 3, height, FACE.width)).astype(np.float32)


@pytest.fixture(scope="session")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The network with no, one and two convolutions more."""
    folder = tmp_path_factory.mktemp("fp32")
    return [network(folder, more).path for more in range(3)]


@pytest.fixture(scope="session")
def onnx(fp32: list[Path]) -> list[Path]:
    """The network with one and two convolutions more, as ONNX."""
    return [path.with_suffix(".onnx") for path in fp32[1:]]


@pytest.fixture(scope="session")
def int8(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same in int8."""
    folder = tmp_path_factory.mktemp("int8")
    nets = [network(folder, more) for more in range(2)]
    return [quantise_tflite(net, "w8a8", net.path.with_suffix(".int8.tflite"), faces(4)).path for net in nets]
