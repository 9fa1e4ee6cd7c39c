"""What the tests of adb need: a server of their own for the real `adb`, a loopback device, files and a tool."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from pocketface.export.artifact import Card
from pocketface.export.tflite.to_tflite import to_tflite
from pocketface.faces.contract import InputContract

from .loopback import Loopback

FACE = InputContract(8, 8)


def adb(*words: str, **environment: str) -> str:
    process = subprocess.run(
        ["adb", *words],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return process.stdout + process.stderr


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A server of adb on a port of its own, with keys of its own: a user's is left alone."""
    if not shutil.which("adb"):
        pytest.skip("no adb: apt-get install adb")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
        patch.delenv("ANDROID_SERIAL", raising=False)
        adb("start-server", HOME=str(tmp_path_factory.mktemp("home")))
        yield
        adb("kill-server")


@pytest.fixture
def connect(server: None, tmp_path: Path) -> Iterator[Callable[..., Loopback]]:
    """Makes a loopback device with the given settings, and connects it."""
    made: list[Loopback] = []

    def one(**settings: object) -> Loopback:
        device = Loopback(tmp_path / f"device{len(made)}", **settings)  # type: ignore[arg-type]
        made.append(device)
        device.__enter__()
        adb("connect", device.serial)
        return device

    yield one
    for device in made:
        device.vanish()
        adb("disconnect", device.serial)


@pytest.fixture
def device(connect: Callable[..., Loopback]) -> Loopback:
    return connect()


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two .tflite files, of a convolution and its mean: 16 and 32 channels."""
    folder = tmp_path_factory.mktemp("files")
    return [_network(folder, f"net{width}", width) for width in (16, 32)]


@pytest.fixture(scope="session")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that runs files in LiteRT, here, and prints what benchmark_model prints."""
    program = tmp_path_factory.mktemp("tool") / "benchmark_model"
    program.write_text(f"#!{sys.executable}\n{Path(__file__).with_name('stand_in.py').read_text()}")
    program.chmod(0o755)
    return program


def script(folder: Path, lines: str) -> Path:
    """A tool that is a line of shell."""
    program = folder / "benchmark_model"
    program.write_text(f"#!/bin/sh\n{lines}\n")
    program.chmod(0o755)
    return program


def _network(folder: Path, name: str, width: int) -> Path:
    kernel = np.random.default_rng(width).normal(0, 0.2, (width, 3, 1, 1)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["input", "kernel"], ["maps"], name="conv"),
            helper.make_node("GlobalAveragePool", ["maps"], ["mean"], name="mean"),
            helper.make_node("Flatten", ["mean"], ["embedding"], name="flat"),
        ],
        name,
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, [1, width])],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    path = folder / f"{name}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return to_tflite(path, Card(name, FACE, width), path.with_suffix(".tflite")).path
