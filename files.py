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
def written_whole(path: Path) -> Iterator[Path]:
    """Gives a name beside `path` to write to (a file or a folder); renames it to `path` only if nothing failed.

    Raises:
        OSError: It cannot be written; the error names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    _remove(beside)
    try:
        yield beside
        if beside.is_dir():
            _remove(path)
        os.replace(beside, path)
    except OSError as error:
        if str(beside) in str(error.filename):
            error.filename, error.filename2 = str(path), None  # the name that people know
        raise
    finally:
        _remove(beside)


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
