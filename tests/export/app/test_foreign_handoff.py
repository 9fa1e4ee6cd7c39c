"""Files of other tools are handed off by what their owner states of them, or say why the app's code cannot run them."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "models" / "tflite"))

from lite_files import LiteNet, by_litert

from pocketface.export.app.golden import golden_faces
from pocketface.export.app.handoff import handoff
from pocketface.faces.contract import InputContract

STATED = {"mean": [127.5] * 3, "scale": [1 / 128] * 3}


def lite_file(path: Path, face: Sequence[int], outputs: int = 1) -> Path:
    net = LiteNet(face)
    x = net.conv(net.face, 4, 4)
    size = int(np.prod(net.shapes[x][1:]))
    row = net.op("RESHAPE", [x, net.constant(np.array([face[0], size]))], (face[0], size), newShape=[face[0], size])
    return net.save(path, net.op("FULLY_CONNECTED", [row, net.weights(5, size)], (face[0], 5)), *[row] * (outputs - 1))


def test_a_file_without_a_card_is_handed_off_as_its_owner_states(tmp_path: Path) -> None:
    path = lite_file(tmp_path / "app.tflite", (1, 32, 32, 3))
    bundle = handoff([path], tmp_path / "out", STATED)
    index = json.loads((bundle / "golden.json").read_text())
    assert index["contract"]["height"] == 32 and index["contract"]["scale"] == [1 / 128] * 3
    crop = golden_faces(InputContract(32, 32))[0].crop
    expected = by_litert(path, ((crop[None].astype(np.float32) - 127.5) / 128).astype(np.float32))
    given = np.fromfile(bundle / "golden" / "golden-0.app.tflite.bin", "<f4")
    np.testing.assert_allclose(given, expected[0], rtol=1e-4, atol=1e-5)
    assert (
        "floatArrayOf(127.5f, 127.5f, 127.5f)"
        in (bundle / "android/src/main/kotlin/pocketface/FaceLogic.kt").read_text()
    )
    with pytest.raises(ValueError, match=r"app.tflite does not say what it must be fed"):
        handoff([path], tmp_path / "other")


def test_what_the_app_s_code_cannot_run_is_said(tmp_path: Path) -> None:
    two = lite_file(tmp_path / "two.tflite", (2, 32, 32, 3))
    with pytest.raises(
        ValueError, match=r"two.tflite takes 2 faces at once, and the app's code gives one; `pocketface"
    ):
        handoff([two], tmp_path / "out", STATED)
    one = lite_file(tmp_path / "one.tflite", (1, 32, 32, 3))
    readme = (handoff([one, two], tmp_path / "out", STATED) / "README.md").read_text()
    assert "two.tflite takes 2 faces at once" in readme
