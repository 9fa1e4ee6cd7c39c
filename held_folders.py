"""Folders that one process holds: the one that it works in, and that of its temporary files, which dies with it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .files import error_sentence

try:
    import fcntl
except ImportError:  # Windows: nothing is held, and nothing swept
    fcntl = None  # type: ignore[assignment]

LOCK = ".pocketface.lock"
TEMPORARY = "pocketface-"  # what the names of folders of temporary files begin with


class FolderInUse(ValueError):
    """Another process works in the folder; it may be waited for."""


@contextlib.contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Makes a folder if need be, and keeps other processes of pocketface from working in it meanwhile.

    The system lets go of the lock when its process ends, however it ends. Afterwards nothing of it is left, nor is a
    folder that was made for it and is empty.

    Args:
        folder: Where to work.

    Raises:
        FolderInUse: Another process works there.
        ValueError: It cannot be written to.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _locked_file(folder / LOCK)
    except OSError as error:
        raise ValueError(f"cannot write to {folder}: {error.strerror}; name another folder with --out") from error
    try:
        if isinstance(lock, str):
            raise FolderInUse(f"{folder} is in use by process {lock}; wait until it ends, or name another with --out")
        yield
    finally:
        if isinstance(lock, int):
            with contextlib.suppress(OSError):
                (folder / LOCK).unlink()  # before others can have it
            os.close(lock)
        for place in made:
            with contextlib.suppress(OSError):  # it holds something
                place.rmdir()


@contextlib.contextmanager
def own_temporary_folder() -> Iterator[None]:
    """Puts temporary files, those of libraries and of children too, into a folder of this process, removed at the end.

    Those that killed processes left are removed first.
    """
    usual, variable = tempfile.tempdir, os.environ.get("TMPDIR")
    try:
        _sweep(Path(tempfile.gettempdir()))
        folder, lock = _locked_folder()
    except OSError:  # no place for temporary files: whoever wants one will say so
        yield
        return
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = usual
        os.environ.pop("TMPDIR")
        if variable is not None:
            os.environ["TMPDIR"] = variable
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _sweep(temporary: Path) -> None:
    for path in temporary.glob(f"{TEMPORARY}*") if fcntl else ():
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(descriptor).st_uid == os.getuid():
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(descriptor)


def _locked_folder() -> tuple[Path, int | None]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=TEMPORARY))
        if fcntl is None:
            return folder, None
        with contextlib.suppress(FileNotFoundError, BlockingIOError):  # another process swept it meanwhile
            lock = os.open(folder, os.O_RDONLY)
            if _lock_is_ours(lock, folder):
                return folder, lock
            os.close(lock)


def _locked_file(path: Path) -> int | str | None:
    """Gives the lock, or the number of the process that has it; None where the file system has no locks."""
    while fcntl:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            if _lock_is_ours(lock, path):
                os.ftruncate(lock, 0)
                os.write(lock, str(os.getpid()).encode())
                return lock
        except BlockingIOError:
            holder = os.read(lock, 20).decode(errors="replace")
            os.close(lock)
            return holder if holder.isdecimal() else "unknown"
        except OSError as error:
            os.close(lock)
            raise OSError(error.errno, error_sentence(error)) from error
        os.close(lock)
    return None


def _lock_is_ours(descriptor: int, path: Path) -> bool:
    """Locks what is open; False where what lies at `path` is another by now, whose lock this is not."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # a file system without locks
        return True
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
