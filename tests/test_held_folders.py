"""A folder is one process's at a time, and temporary files of a process that was killed are removed by the next."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pocketface.held_folders import hold_folder, own_temporary_folder

HOLDER = """
import sys, os, tempfile
from pathlib import Path
from pocketface.held_folders import hold_folder, own_temporary_folder
with hold_folder(Path(sys.argv[1])), own_temporary_folder():
    open(tempfile.mkdtemp() + "/file", "w").write("x")
    print(os.getpid(), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def holder(folder: Path) -> subprocess.Popen[str]:
    """Starts a process that holds `folder` until its standard input ends."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == f"{process.pid}\n"
    return process


def test_a_second_process_is_told_who_holds_the_folder_and_a_killed_one_holds_nothing(
    tmp_path: Path, temporary: Path
) -> None:
    out = tmp_path / "out"
    first = holder(out)
    with pytest.raises(ValueError, match=f"out is in use by process {first.pid}; wait until it ends, or name another"):
        with hold_folder(out):
            pytest.fail("it is held")
    first.kill()
    first.communicate()
    (left,) = temporary.iterdir()
    assert [path.name for path in left.rglob("*")] != [] and [path.name for path in out.iterdir()] != []
    with hold_folder(out), own_temporary_folder():
        assert not left.exists()
    assert list(out.iterdir()) == [] and list(temporary.iterdir()) == []


def test_temporary_files_of_a_process_that_runs_stay(tmp_path: Path, temporary: Path) -> None:
    other = holder(tmp_path / "other")
    with own_temporary_folder():
        (mine,) = set(temporary.iterdir()) - {path.parent.parent for path in temporary.glob("*/*/file")}
        assert Path(tempfile.gettempdir()) == mine == Path(os.environ["TMPDIR"])
    assert len(list(temporary.glob("*/*/file"))) == 1
    other.communicate("")
    assert list(temporary.iterdir()) == []


def test_what_others_called_alike_is_left_alone(tmp_path: Path, temporary: Path) -> None:
    (temporary / "pocketface-notes").write_text("a file of somebody's")
    (tmp_path / "elsewhere").mkdir()
    (temporary / "pocketface-link").symlink_to(tmp_path / "elsewhere")
    with own_temporary_folder():
        pass
    assert sorted(path.name for path in temporary.iterdir()) == ["pocketface-link", "pocketface-notes"]
    assert (tmp_path / "elsewhere").is_dir()


def test_a_folder_that_was_made_for_nothing_is_removed(tmp_path: Path) -> None:
    with hold_folder(tmp_path / "runs" / "out"):
        assert (tmp_path / "runs" / "out").is_dir()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with hold_folder(tmp_path / "mine"):
        (tmp_path / "mine" / "result").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "result"]


def test_a_place_that_cannot_be_written_to_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"^cannot write to .*/file/out: Not a directory; name another folder"):
        with hold_folder(tmp_path / "file" / "out"):
            pytest.fail("there is no such folder")
