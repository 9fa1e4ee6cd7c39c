"""Rendered faces are kept: found again by the same numbers alone, rendered again where damaged, and never too many."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pocketface.faces.contract import Faces
from pocketface.faces.rendering import cache
from pocketface.faces.rendering.cache import kept_or_rendered

CROWD = {"first": 0, "identities": 2}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "pocketface" / "faces"


def grey(level: int) -> Callable[[], Faces]:
    return lambda: np.full((2, 4, 4, 3), level, np.uint8)


def test_the_same_crowd_is_rendered_once(folder: Path) -> None:
    first = kept_or_rendered(CROWD, grey(1))
    again = kept_or_rendered(dict(reversed(CROWD.items())), grey(2))
    assert (first == 1).all() and (again == 1).all() and again.dtype == np.uint8 and again.shape == (2, 4, 4, 3)
    assert again.flags.writeable == first.flags.writeable
    assert [path.suffix for path in folder.iterdir()] == [".npy"]


def test_another_crowd_or_another_renderer_is_rendered_anew(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_or_rendered(CROWD, grey(1))
    assert (kept_or_rendered(CROWD | {"first": 2}, grey(2)) == 2).all()
    changed = tmp_path / "paint.py"
    changed.write_text("# another skin\n")
    monkeypatch.setattr(cache, "RENDERER", (*cache.RENDERER, changed))
    assert (kept_or_rendered(CROWD, grey(3)) == 3).all()


@pytest.mark.parametrize("damage", [b"", b"\x00", b"\x93NUMPY\x01\x00"])
def test_what_is_damaged_is_rendered_again(folder: Path, damage: bytes) -> None:
    kept_or_rendered(CROWD, grey(1))
    (kept,) = folder.iterdir()
    whole = kept.read_bytes()
    for content in (damage, whole[:-1] + b"\x02"):
        kept.write_bytes(content)
        assert (kept_or_rendered(CROWD, grey(1)) == 1).all()
        assert kept.read_bytes() == whole


def test_the_least_recently_used_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MOST", 3 * (128 + 2 * 4 * 4 * 3))  # files of this size: NumPy's header and the faces
    for number in range(3):
        kept_or_rendered({"first": number}, grey(number))
        for path in folder.iterdir():  # each was used a minute before the next
            os.utime(path, (path.stat().st_atime - 60, path.stat().st_mtime - 60))
    assert (kept_or_rendered({"first": 0}, grey(9)) == 0).all()
    kept_or_rendered({"first": 3}, grey(3))
    assert len(list(folder.iterdir())) == 3
    assert (kept_or_rendered({"first": 0}, grey(9)) == 0).all()
    assert (kept_or_rendered({"first": 1}, grey(9)) == 9).all()


def test_faces_are_rendered_where_nothing_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert (kept_or_rendered(CROWD, grey(1)) == 1).all() and (kept_or_rendered(CROWD, grey(2)) == 2).all()
