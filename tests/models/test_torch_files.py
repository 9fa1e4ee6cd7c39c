"""Torch's own files give tensors and nothing else, whatever they ask for."""

import pickle
from pathlib import Path

import pytest
import torch

from pocketface.models.torch_files import read_torch_file

TWO = torch.tensor([[1.0, 2.0]])


@pytest.mark.parametrize("new", [True, False], ids=["zip", "before 1.6"])
def test_tables_of_tensors_come_out_as_they_are(new: bool, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    content = {"epoch": 3, "model": {"w": TWO, "n": torch.tensor(7)}, "optimizer": {"state": {0: {"m": TWO + 1}}}}
    torch.save(content, path, _use_new_zipfile_serialization=new)
    found = read_torch_file(path)
    assert list(found) == ["model"]  # the optimiser's table is by numbers, which name no layers
    assert found["model"]["w"].tolist() == [[1, 2]] and found["model"]["n"].item() == 7


class Touch:
    """A pickle that would make a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "content",
    [
        {"w": torch.zeros(1).expand(10**12)},  # 4 TB of one number
        {"w": TWO.to_sparse()},
        [TWO],
        TWO,
    ],
    ids=["a view of one number", "sparse", "a list", "a tensor"],
)
def test_what_is_no_table_of_plain_tensors_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "net.pth")
    if isinstance(content, list):
        assert read_torch_file(tmp_path / "net.pth") == {}
        return
    with pytest.raises(ValueError, match=r"net\.pth is damaged or holds more than tensors; save its state_dict as"):
        read_torch_file(tmp_path / "net.pth")


def test_code_does_not_run(tmp_path: Path) -> None:
    torch.save({"w": TWO, "x": Touch(tmp_path / "ran")}, tmp_path / "net.pth", pickle_module=pickle)
    with pytest.raises(ValueError, match="damaged or holds more than tensors"):
        read_torch_file(tmp_path / "net.pth")
    assert not (tmp_path / "ran").exists()
