"""Networks of others come in by name, their weights strictly."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pocketface.faces.contract import ARCFACE
from pocketface.models.factories import load_embedder, read_weights


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_an_unknown_zoo_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no embedder 'mobilfacenet'; known: mobilefacenet"):
        load_embedder("mobilfacenet")


def test_a_missing_file_is_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"nowhere\.py is not there"):
        load_embedder("nowhere.py:net")


def test_a_missing_factory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no factory 'net'"):
        load_embedder(write(tmp_path / "a.py", "x = 1\n") + ":net")


def test_a_file_that_does_not_run_says_why(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be run: No module named 'not_installed'"):
        load_embedder(write(tmp_path / "a.py", "import not_installed\n") + ":net")


def test_a_net_that_gives_a_map_is_no_embedder(tmp_path: Path) -> None:
    place = write(tmp_path / "a.py", "from torch import nn\ndef net():\n    return nn.Conv2d(3, 4, 3)\n")
    with pytest.raises(ValueError, match=r"gives \[1, 4, 110, 110\] for one face"):
        load_embedder(f"{place}:net", contract=ARCFACE)


SEVERAL = """
from torch import nn


class Net(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.convolution, self.outputs = nn.Conv2d(3, 4, 112), outputs

    def forward(self, x):
        row = self.convolution(x).flatten(1)
        length = row.norm(dim=1, keepdim=True)
        given = {"tuple": (row / length, length), "mapping": {"length": length, "row": row}, "two": (row, row)}
        return given[self.outputs]


def net(outputs):
    return Net(outputs)
"""


@pytest.mark.parametrize("outputs", ["tuple", "mapping"])
def test_of_several_outputs_the_row_of_numbers_is_the_embedding(tmp_path: Path, outputs: str) -> None:
    place = write(tmp_path / "a.py", SEVERAL) + ":net"
    embedder = load_embedder(place, contract=ARCFACE, options={"outputs": outputs})
    assert embedder.embedding_size == 4
    copied = embedder.clone()
    faces = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3)).astype(np.uint8)
    np.testing.assert_array_equal(copied.embed(faces), embedder.embed(faces))


def test_two_rows_of_numbers_are_refused_with_their_shapes(tmp_path: Path) -> None:
    place = write(tmp_path / "a.py", SEVERAL) + ":net"
    with pytest.raises(ValueError, match=r"net gives \[1, 4\] and \[1, 4\] for one face; an embedder gives \(1, D\)"):
        load_embedder(place, contract=ARCFACE, options={"outputs": "two"})


def test_a_factory_is_never_fed_on_a_guess(tmp_path: Path) -> None:
    place = write(
        tmp_path / "a.py",
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(37632, 2))\n",
    )
    with pytest.raises(ValueError, match=r"a\.py:net does not say what it must be fed; give --mean and --scale, or a"):
        load_embedder(f"{place}:net")
    assert load_embedder(f"{place}:net", contract=ARCFACE).contract == ARCFACE


def test_a_file_that_imports_torchvision_first_runs_beside_any_torch(tmp_path: Path) -> None:
    # in a fresh process: torchvision is imported once; its CUDA wheel does not load by itself beside torch for CPUs
    place = write(
        tmp_path / "a.py",
        "from torchvision.models import shufflenet_v2_x0_5\ndef net():\n    return shufflenet_v2_x0_5(num_classes=8)\n",
    )
    code = (
        "from pocketface.faces.contract import ARCFACE\n"
        "from pocketface.models.factories import load_embedder\n"
        f"print(load_embedder({place + ':net'!r}, contract=ARCFACE).embedding_size)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["8"], done.stderr


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("ran",))


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bomb.pth"
    torch.save({"state_dict": Bomb()}, path, pickle_module=pickle)
    with pytest.raises(
        ValueError, match=r"bomb\.pth is damaged or holds more than tensors; save its state_dict as \w+$"
    ):
        read_weights(path)
    assert capsys.readouterr().out == ""


def test_a_torch_state_dict_is_read(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"state_dict": nn.Linear(2, 1).state_dict()}, path)
    assert set(read_weights(path)) == {"weight", "bias"}


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    place = write(
        tmp_path / "a.py",
        "from torch import nn\n"
        "def net():\n    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))\n",
    )
    path = tmp_path / "net.pth"
    torch.save({"2.weight": torch.full((2, 3), float("nan")), "2.bias": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"'2\.weight' holds numbers that are not finite"):
        load_embedder(f"{place}:net", path, contract=ARCFACE)
