"""Files that are whole or not there: hashes, writing beside before renaming, and memos of earlier work."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

T = TypeVar("T")

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of a disk, a quota, a limit on the size of a file
DAMAGE = (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, EOFError, RecursionError)
"""What reading a damaged file raises."""
LONGEST_NAME = 180  # bytes: systems take 255, and suffixes are appended


def check_present(path: Path) -> None:
    """Refuses a path where there is neither a file nor a folder.

    Raises:
        ValueError: There is none.
    """
    if not path.exists():
        raise ValueError(f"no file at {path}")


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


def is_within(path: str) -> bool:
    """Says whether a path with slashes, perhaps from somebody else, leads into the folder that it starts in, anywhere.

    >>> [is_within(path) for path in ("cut/weights.bin", "../weights.bin", "/etc/hosts", "C:/weights.bin", "")]
    [True, False, False, False, False]
    """
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and not {"..", "."} & set(parts) and not set("\\:") & set(path)


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


@contextlib.contextmanager
def written_whole(path: Path, marker: str = "") -> Iterator[Path]:
    """Gives a name beside `path` to write to (a file or a folder); renames it to `path` only if nothing failed.

    It is on the disk before it is renamed: a machine that loses its power has the old file or the new one.

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
        for place in [beside, *beside.rglob("*")] if beside.is_dir() else [beside]:
            _sync(place)
        if beside.is_dir():
            refuse_foreign(path, marker)
            _remove(path)
        os.replace(beside, path)
        _sync(path.parent)
    except Exception as error:
        _remove(beside)
        if full := full_disk(error):
            raise OSError(
                full.errno, f"{os.strerror(full.errno or errno.ENOSPC)}; {_free(path.parent)}", str(path)
            ) from error
        if isinstance(error, OSError) and str(beside) in str(error.filename):
            error.filename, error.filename2 = str(path), None  # the name that people know
        raise
    finally:
        _remove(beside)


def sweep_parts(folder: Path) -> None:
    """Removes what processes that were killed began to write below a folder that is pocketface's alone."""
    for part in list(folder.rglob(".*.part")):
        _remove(part)


def full_disk(error: BaseException | None) -> OSError | None:
    """Gives the error of a full disk that `error` is or comes from, in whatever words a library has for it.

    Args:
        error: Any; what it was raised from or during is looked at too.

    Returns:
        An error that has a number, and the name of the file where that is known; None: the disk is not the reason.
    """
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        if isinstance(error, OSError) and error.errno in FULL:
            return error
        if isinstance(error, OSError) and re.fullmatch(r"\d+ requested and \d+ written", str(error)):  # NumPy
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if (number := re.search(r"\(os error (\d+)\)", str(error))) and int(number[1]) in FULL:  # safetensors
            return OSError(int(number[1]), os.strerror(int(number[1])))
        seen.append(error)
        error = error.__cause__ or error.__context__
    return None


def made_again(what: str, error: BaseException) -> str:
    """Says that what an earlier try left is damaged, why, and that it is made again."""
    return f"{what} is damaged, and made again: {' '.join(str(error).split()) or type(error).__name__}"


def error_sentence(error: OSError) -> str:
    """Says what an error of the system is about: "FILE: Permission denied"; of a full disk also how much is free."""
    if error.filename:
        return f"{error.filename}: {error.strerror}"
    if error.errno in FULL:
        return f"a temporary file: {error.strerror}; {_free(Path(tempfile.gettempdir()))} (TMPDIR)"
    return error.strerror or str(error)


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

    def read(
        self, parse: Callable[[dict[str, Any]], T], progress: Callable[[str], None] = lambda line: None
    ) -> T | None:
        """Gives what `parse` makes of the results; None where there are none of this key, or damaged ones.

        Whoever gets None does the work again.

        Args:
            parse: Reads what `write` was given; may raise what reading a damaged file raises.
            progress: Told of a damaged file.
        """
        try:
            values = json.loads(self.path.read_text(encoding="utf-8"))
            return parse(values) if values["key"] == self.key else None
        except FileNotFoundError:
            return None
        except DAMAGE as error:
            progress(made_again(str(self.path), error))
            return None

    def write(self, **results: Any) -> None:
        """Writes results that JSON can hold, whole or not at all."""
        with written_whole(self.path) as beside:
            text = json.dumps({"key": self.key, **results}, indent=1)
            beside.write_text(text + "\n", encoding="utf-8")


def _free(folder: Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free / 1e6:,.1f} MB are free in {folder}"
    except OSError:
        return f"{folder} does not say how much is free"


def _sync(path: Path) -> None:
    """Has the system write a file, or the names in a folder, to the disk; not every file system can."""
    if os.name == "nt" or path.is_symlink():  # Windows opens no folder
        return
    with contextlib.suppress(PermissionError):  # what was written without the right to be read
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        finally:
            os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
