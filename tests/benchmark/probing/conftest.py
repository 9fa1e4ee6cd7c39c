"""Faces whose redness tells who they are, and networks that see it under one contract only."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

SIDE, PEOPLE, BINS = 24, 40, 12


def red_faces(people: int = PEOPLE, seed: int = 0) -> NDArray[np.uint8]:
    """Gives a crop of each person: noise, whose red has a level and a spread of its own, unlike green and blue."""
    random = np.random.default_rng(seed)
    who = np.random.default_rng(99)
    level, spread = who.uniform(40, 215, (people, 1, 1)), who.uniform(4, 40, (people, 1, 1))
    faces = random.normal(128, 40, (people, SIDE, SIDE, 3))
    faces[..., 0] = random.normal(level, spread, (people, SIDE, SIDE))
    return faces.clip(0, 255).astype(np.uint8)


Network = Callable[..., Path]


@pytest.fixture
def network(tmp_path: Path) -> Network:
    """Gives a function that writes an ONNX network: a histogram of one channel, between `low` and `high`."""

    def write(low: float = -1.0, high: float = 1.0, channel: int = 0, side: int | str = SIDE) -> Path:
        wide = 0.6 * (high - low) / BINS
        centres = np.linspace(low + wide, high - wide, BINS)
        weight = np.zeros((BINS, 3, 1, 1), np.float32)
        weight[:, channel] = 1.0
        constants = {"w": weight, "b": -centres, "wide": np.array(wide), "mean": np.full((1, BINS, 1, 1), 0.01 * wide)}
        nodes = [
            helper.make_node("Conv", ["x", "w", "b"], ["off"]),
            helper.make_node("Abs", ["off"], ["far"]),
            helper.make_node("Sub", ["wide", "far"], ["near"]),
            helper.make_node("Relu", ["near"], ["in"]),
            helper.make_node("GlobalAveragePool", ["in"], ["share"]),
            helper.make_node("Sub", ["share", "mean"], ["centred"]),
            helper.make_node("Flatten", ["centred"], ["embedding"]),
        ]
        graph = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, side, side])],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, BINS])],
            [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()],
        )
        path = tmp_path / "net.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
        return path

    return write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of faces, and pairs.csv of two shots of each person and of one person and the next."""
    home = tmp_path / "faces"
    home.mkdir()
    lines = ["left,right,same"]
    for shot in (0, 1):
        for person, face in enumerate(red_faces(seed=shot)):
            Image.fromarray(face).save(home / f"p{person}_{shot}.png")
    for person in range(PEOPLE):
        lines += [f"p{person}_0.png,p{person}_1.png,1", f"p{person}_0.png,p{(person + 1) % PEOPLE}_1.png,0"]
    (home / "pairs.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return home
