"""Limits of a process that reads what may be damaged: it fails or dies by itself, and takes nothing else with it."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

MEMORY = 6 << 30  # bytes of address space, most of it never touched: libraries alone take three
SECONDS = 60  # of processor that opening a file and embedding one face with it may take
WAITS = 10  # times as long it may take in all: other programs may have the processor


def limit_memory(path: Path, more: int = 0) -> None:
    """Lets this process have 6 GB of address space and four times the file's size; beyond it is a MemoryError in it.

    Args:
        path: The file that it is to read; of a folder, the sum of its files counts.
        more: Bytes that it needs besides, for faces.
    """
    try:
        import resource
    except ImportError:  # Windows has none
        return
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    for kind, most in ((resource.RLIMIT_AS, MEMORY + 4 * size + more), (resource.RLIMIT_CORE, 0)):
        soft, hard = resource.getrlimit(kind)
        stricter = [one for one in (soft, hard, most) if one != resource.RLIM_INFINITY]
        resource.setrlimit(kind, (min(stricter), hard))


@contextlib.contextmanager
def limited_time() -> Iterator[None]:
    """Kills this process where what is done inside takes a minute of processor, or ten in all; native code too.

    It ends with SIGPROF, or with SIGALRM.
    """
    if not hasattr(signal, "setitimer"):  # Windows has none
        yield
        return
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, WAITS * SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
