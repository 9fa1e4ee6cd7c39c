"""A file is whole or not there, an error names the file that was asked for, and a memo is read under its key alone."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pocketface.command_line import sentence_of
from pocketface.files import Memo, checked_name, full_disk, refuse_foreign, remove_own, written_whole


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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mounts a disk of 64 KiB, where this user may."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if sys.platform != "linux" or os.getuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_one_sentence_for_every_writer(small_disk: Path) -> None:
    (small_disk / "old").write_bytes(b"old" * 10_000)
    writers = {
        "text": lambda path: path.write_text("a" * 100_000),
        "array": lambda path: np.save(path.open("wb"), np.zeros(100_000, np.uint8)),
        "tensors": lambda path: save_file({"a": torch.zeros(25_000)}, path),
    }
    for name, write in writers.items():
        with pytest.raises(OSError, match="No space left") as caught, written_whole(small_disk / name) as beside:
            write(beside)
        assert sentence_of(caught.value) == (
            f"{small_disk / name}: No space left on device; 0.0 MB are free in {small_disk}"
        )
        assert caught.value.errno == errno.ENOSPC
        assert [path.name for path in small_disk.iterdir()] == ["old"]


def test_a_limit_on_the_size_of_files_is_the_same_sentence_for_any_user(tmp_path: Path) -> None:
    code = (
        "import resource, sys, torch; from pathlib import Path; from safetensors.torch import save_file\n"
        "from pocketface.command_line import guarded; from pocketface.files import written_whole\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "def work():\n"
        "    with written_whole(Path(sys.argv[1])) as beside: save_file({'a': torch.zeros(25_000)}, beside)\n"
        "guarded(work)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "net")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"pocketface: {tmp_path / 'net'}: File too large; ")
    assert done.stderr.endswith(f" MB are free in {tmp_path}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_found_behind_what_libraries_make_of_it() -> None:
    assert full_disk(ValueError("damaged")) is None and full_disk(OSError(errno.EACCES, "no")) is None
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("the quantiser failed") from error
    except RuntimeError as error:
        found = full_disk(error)
    assert found is not None and found.errno == errno.ENOSPC
    assert "MB are free in" in sentence_of(found) and "TMPDIR" in sentence_of(found)


def test_what_is_renamed_is_on_the_disk_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        done.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    def replaced(old: Path, new: Path) -> None:
        done.append("renamed")
        replace(old, new)

    if sys.platform != "linux":
        pytest.skip("/proc names what is synced")
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    with written_whole(tmp_path / "out", "marker") as beside:
        beside.mkdir()
        (beside / "marker").touch()
    assert done == [f"{tmp_path}/.out.part", f"{tmp_path}/.out.part/marker", "renamed", str(tmp_path)]
