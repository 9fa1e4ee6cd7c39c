"""Crops of several folders are one set; nobody of one is anybody of another."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pocketface.faces import several_folders
from pocketface.faces.several_folders import read_all_faces
from pocketface.faces.shards import read_faces


def folder(root: Path, name: str, people: dict[str, list[int]]) -> Path:
    for person, greys in people.items():
        (root / name / person).mkdir(parents=True, exist_ok=True)
        for number, grey in enumerate(greys):
            Image.fromarray(np.full((8, 8, 3), grey, np.uint8)).save(root / name / person / f"{number}.png")
    return root / name


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    a = folder(tmp_path, "train", {"0001": [10, 11], "0002": [20]})
    return [a, folder(tmp_path, "extra", {"0001": [30], "0003": [40, 41]})]


def test_a_name_in_two_folders_is_two_people(two: list[Path]) -> None:
    faces = read_all_faces(two, 8, 8)
    assert faces.names == ("train/0001", "train/0002", "extra/0001", "extra/0003")
    assert faces.labels.tolist() == [0, 0, 1, 2, 3, 3]
    assert faces.faces[:][:, 0, 0, 0].tolist() == [10, 11, 20, 30, 40, 41]


def test_one_folder_is_what_it_was(two: list[Path]) -> None:
    one, alone = read_all_faces(two[:1], 8, 8), read_faces(two[0], 8, 8)
    assert one.sha256 == alone.sha256 and one.names == alone.names == ("0001", "0002")


def test_the_hash_is_of_all_folders(two: list[Path]) -> None:
    before = read_all_faces(two, 8, 8).sha256
    Image.fromarray(np.full((8, 8, 3), 42, np.uint8)).save(two[1] / "0003" / "1.png")
    assert read_all_faces(two, 8, 8).sha256 != before != read_all_faces(two[:1], 8, 8).sha256


def test_many_stay_on_disk(two: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_all_faces(two, 8, 8)
    monkeypatch.setattr(several_folders, "LARGEST_IN_MEMORY", 5 * 8 * 8 * 3)
    stored = read_all_faces(two, 8, 8)
    assert not isinstance(stored.faces, np.ndarray) and stored.sha256 == whole.sha256
    chosen = np.array([5, 0, 3])
    assert (stored.faces[chosen] == whole.faces[chosen]).all()


def test_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    places = [folder(tmp_path, f"{place}/train", {"0001": [10]}) for place in "ab"]
    assert read_all_faces(places, 8, 8).names == ("a/train/0001", "b/train/0001")


def test_faces_that_would_count_twice_are_refused(two: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train is given twice: its people would count as other people too"):
        read_all_faces([two[0], two[0]], 8, 8)
    with pytest.raises(ValueError, match=r"extra lies in .*: its people would count"):
        read_all_faces([tmp_path, two[1]], 8, 8)
    (tmp_path / "link").symlink_to(two[0])
    with pytest.raises(ValueError, match="is given twice"):
        read_all_faces([two[0], tmp_path / "link"], 8, 8)
