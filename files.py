"""Files that are whole or not there: hashes, writing beside before renaming, and memos of earlier work."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

LONGEST_NAME = 180  # bytes: systems take 255, and suffixes are appended


def checked_name(name: str, what: str) -> str:
    """Gives `name` back if it can be the name of a file or a folder anywhere, and no path.

    Args:
        name: Perhaps from a file that somebody else made.
        what: That it names: "embedder".

    Raises:
        ValueError: It is empty, too long, `.` or `..`, or has a separator or a character that cannot be printed.

    >>> checked_name("pruned-0.70M", "embedder")
    'pruned-0.70M'
    """
    if not name.strip(" .") or len(name.encode("utf-8", "replace")) > LONGEST_NAME:
        why = "is no name for a file"
    elif found := next((letter for letter in name if letter in "/\\:" or not letter.isprintable()), None):
        why = f"has {found!r}, which a file name cannot have everywhere"
    else:
        return name
    raise ValueError(f"the {what}'s name {name[:60]!r} {why}; give it another, such as with --name")


def sha256_of(path: Path) -> str:
    """Gives the SHA-256 of a file, or of a folder's files with their names, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    for file in files:
        if file is not path:
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


@contextmanager
def written_whole(path: Path, marker: str = "") -> Iterator[Path]:
    """Gives a name beside `path` to write to (a file or a folder); renames it to `path` only if nothing failed.

    Args:
        path: What to write; what lies there is replaced, a folder only as `refuse_foreign` allows.
        marker: A file that every folder of this kind holds.

    Raises:
        ValueError: `path` is a folder of something else.
        OSError: It cannot be written; the error names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    _remove(beside)
    try:
        yield beside
        if beside.is_dir():
            refuse_foreign(path, marker)
            _remove(path)
        os.replace(beside, path)
    except OSError as error:
        if str(beside) in str(error.filename):
            error.filename, error.filename2 = str(path), None  # the name that people know
        raise
    finally:
        _remove(beside)


def refuse_foreign(folder: Path, marker: str) -> None:
    """Refuses to have a folder replaced that pocketface did not make.

    Args:
        folder: What would be replaced; nothing, an empty folder and one that holds `marker` may be.
        marker: A file that every folder of this kind holds.

    Raises:
        ValueError: It holds something else.
    """
    ours = marker and (folder / marker).is_file()
    if folder.exists() and not ours and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} holds something that pocketface did not write; move it, or name another with --out")


def remove_own(path: Path, marker: str) -> None:
    """Removes a file, or a folder that `refuse_foreign` allows; leaves any other folder alone."""
    if not path.is_dir() or (path / marker).is_file():
        _remove(path)


@dataclass(frozen=True)
class Memo:
    """Results of earlier work in a JSON file, under a key that says of which work."""

    path: Path
    key: str

    def read(self, parse: Callable[[dict[str, Any]], T]) -> T | None:
        """Gives what `parse` makes of the results; None where there are none of this key, or damaged ones.

        Whoever gets None does the work again.

        Args:
            parse: Reads what `write` was given; may raise what reading a damaged file raises.
        """
        try:
            values = json.loads(self.path.read_text(encoding="utf-8"))
            return parse(values) if values["key"] == self.key else None
        except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return None

    def write(self, **results: Any) -> None:
        """Writes results that JSON can hold, whole or not at all."""
        with written_whole(self.path) as beside:
            text = json.dumps({"key": self.key, **results}, indent=1)
            beside.write_text(text + "\n", encoding="utf-8")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
