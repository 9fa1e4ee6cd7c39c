"""A file is whole or not there, an error names the file that was asked for, and a memo is read under its key alone."""

from pathlib import Path

import pytest

from pocketface.files import Memo, checked_name, refuse_foreign, remove_own, written_whole


def test_a_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(ValueError, match="no"), written_whole(tmp_path / "a.txt") as beside:
        beside.write_text("half")
        raise ValueError("no")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "old"}


def test_an_error_names_the_file_that_people_know(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Is a directory") as caught, written_whole(tmp_path / "a.txt") as beside:
        beside.mkdir()
        beside.write_text("this is a folder")
    assert caught.value.filename == str(tmp_path / "a.txt") and ".part" not in str(caught.value)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder") as caught, written_whole(tmp_path / "folder") as beside:
        beside.write_text("a file does not replace a folder")
    assert ".part" not in str(caught.value)


def test_results_come_back_under_their_key_alone(tmp_path: Path) -> None:
    Memo(tmp_path / "memo.json", "abc").write(counts=[1, 2])
    assert Memo(tmp_path / "memo.json", "abc").read(lambda results: results["counts"]) == [1, 2]
    assert Memo(tmp_path / "memo.json", "abd").read(lambda results: results["counts"]) is None
    assert Memo(tmp_path / "other.json", "abc").read(lambda results: results["counts"]) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "1", '{"counts": [1]}', '{"key": "abc"}', "[" * 100_000, b"\xff"])
def test_a_damaged_memo_counts_as_none(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "memo.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert Memo(path, "abc").read(lambda results: results["counts"]) is None


def test_a_write_that_fails_leaves_the_old_memo(tmp_path: Path) -> None:
    memo = Memo(tmp_path / "memo.json", "abc")
    memo.write(counts=[1])
    with pytest.raises(TypeError):
        memo.write(counts=object())
    assert memo.read(lambda results: results["counts"]) == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["memo.json"]


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/x", "a/b", "a\\b", "C:x", "..", ".", "", " ", "a\0b", "a\nb", "\x1b[31mred", "\u202eabc", "a" * 181],
)
def test_a_name_that_is_a_path_or_cannot_be_printed_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"^the embedder's name .* give it another") as caught:
        checked_name(name, "embedder")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["net", "pruned-0.70M", "..net", "Zoë's net (2)", "网络", "a" * 180])
def test_any_other_name_stays(name: str) -> None:
    assert checked_name(name, "embedder") == name


def test_a_folder_of_something_else_is_neither_replaced_nor_removed(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_text("mine")
    with pytest.raises(ValueError, match="photos holds something that pocketface did not write"):
        with written_whole(photos, "marker") as beside:
            beside.mkdir()
    remove_own(photos, "marker")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"] and (photos / "a.jpg").read_text() == "mine"


def test_a_folder_with_the_marker_or_an_empty_one_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for _ in range(2):
        with written_whole(tmp_path / "out", "marker") as beside:
            beside.mkdir()
            (beside / "marker").touch()
    refuse_foreign(tmp_path / "out", "marker")
    remove_own(tmp_path / "out", "marker")
    assert not list(tmp_path.iterdir())
