"""A table of what faces are like: groups by words, thirds of numbers, and what is refused."""

from pathlib import Path

import pytest

from pocketface.faces.attributes import read_attributes

NAMES = tuple(f"{number}.jpg" for number in range(9))


def table(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_numbers_are_cut_in_thirds_and_words_are_groups(tmp_path: Path) -> None:
    lines = [f"{number}.jpg,{10 * number},{'left' if number < 4 else 'front'}" for number in range(9)]
    age, pose = read_attributes(table(tmp_path, "\n".join(["image,age,pose", *lines])), NAMES)
    assert age.groups == ("below 26.67", "26.67 to 53.33", "53.33 and above")  # a third of the way from 0 to 80, two
    assert age.group.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert (pose.name, pose.groups) == ("pose", ("front", "left"))
    assert pose.group.tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 0]


def test_a_few_numbers_are_groups(tmp_path: Path) -> None:
    lines = [f"{number}.jpg,{number % 2}" for number in range(9)]
    (glasses,) = read_attributes(table(tmp_path, "\n".join(["image,glasses", *lines])), NAMES)
    assert (glasses.groups, glasses.group.tolist()) == (("0", "1"), [0, 1, 0, 1, 0, 1, 0, 1, 0])


def test_of_faces_without_a_line_or_with_an_empty_cell_nothing_is_said(tmp_path: Path) -> None:
    (pose,) = read_attributes(table(tmp_path, "image,pose\n3.jpg,front\n1.jpg,\nelsewhere.jpg,left\n"), NAMES)
    assert (pose.groups, pose.group.tolist()) == (("front",), [-1, -1, -1, 0, -1, -1, -1, -1, -1])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,pose\nother.jpg,front\n", "describes none of the 9 faces"),
        ("image,pose\n1.jpg,front\n1.jpg,left\n", "line 3: '1.jpg' is described a second time"),
        ("image,pose\n1.jpg\n", "line 2 has 1 cells, the first line 2"),
        ("image\n1.jpg\n", "names 2 to 50 columns"),
        ("image,pose,pose\n1.jpg,a,b\n", "has two columns 'pose'; rename one"),
        ('image,pose\n1.jpg,"front\n', "line 2: unexpected end of data"),
    ],
)
def test_what_is_no_table_of_these_faces_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_attributes(table(tmp_path, text), NAMES)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no table of attributes"):
        read_attributes(tmp_path / "none.csv", NAMES)
