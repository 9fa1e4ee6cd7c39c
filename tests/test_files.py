"""A file is whole or not there, and an error names the file that was asked for."""

from pathlib import Path

import pytest

from pocketface.files import written_whole


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
