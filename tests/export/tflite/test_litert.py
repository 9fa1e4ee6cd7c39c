"""Files that are not what they seem, read and opened by LiteRT."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pocketface.export.artifact import METADATA_KEY, Artifact
from pocketface.export.tflite.flatbuffer import pack, set_metadata
from pocketface.export.tflite.litert import LiteRTSession, read_tflite_card
from pocketface.models.tflite.tables import unpack

from .conftest import node

RNG = np.random.default_rng(0)
FACES = RNG.normal(0, 2, (3, 3, 8, 8)).astype(np.float32)


def weights(*shape: int) -> NDArray[np.float32]:
    return RNG.normal(0, 0.5, shape).astype(np.float32)


TINY_NODES = [node("Conv", "input w", "c"), node("Relu", "c", "r"), node("Flatten", "r", "embedding")]


@pytest.fixture
def tiny(written: Callable[..., Path], converted: Callable[..., Artifact], tmp_path: Path) -> Path:
    return converted(written(tmp_path, TINY_NODES, {"w": weights(4, 3, 8, 8)}, 4), 4).path


@pytest.mark.parametrize("reader", [read_tflite_card, LiteRTSession])
def test_a_truncated_file_is_one_sentence(tiny: Path, reader: Callable[[Path], object]) -> None:
    content = tiny.read_bytes()
    for share in (0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98):
        tiny.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match=r"^net\.tflite: [^\n]+$"):
            reader(tiny)


def test_read_card_survives_any_damage(tiny: Path) -> None:
    content, random = tiny.read_bytes(), np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content)
        for place in random.integers(0, len(content), 4):
            damaged[place] = random.integers(256)
        tiny.write_bytes(damaged)
        try:
            read_tflite_card(tiny)
        except ValueError as error:
            assert str(error).startswith("net.tflite: ")


def test_a_file_without_a_card_has_none(tiny: Path) -> None:
    model = unpack(tiny.read_bytes())
    model.metadata = []
    tiny.write_bytes(pack(model))
    assert read_tflite_card(tiny) is None
    assert LiteRTSession(tiny).run(FACES).shape == (3, 4)


@pytest.mark.parametrize("text", [b"[" * 100_000, b"{}", b"\xff\xfe", b" " * (2 << 20)])
def test_metadata_that_is_no_card_is_one_sentence(tiny: Path, text: bytes) -> None:
    model = unpack(tiny.read_bytes())
    set_metadata(model, METADATA_KEY, text)
    tiny.write_bytes(pack(model))
    with pytest.raises(ValueError, match=r"^net\.tflite: [^\n]+$"):
        read_tflite_card(tiny)


def test_session_names_the_shape_it_wants(tiny: Path) -> None:
    with pytest.raises(ValueError, match=r"net\.tflite takes \(N, 3, 8, 8\), not \(1, 3, 9, 9\)"):
        LiteRTSession(tiny).run(np.zeros((1, 3, 9, 9), np.float32))
