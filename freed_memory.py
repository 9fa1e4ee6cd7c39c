"""What this process does with memory that it has freed: it may keep it, for work that soon requests as much again."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory until the process ends; does nothing on other systems.

    A training step frees hundreds of megabytes that the next one requests again, and a rendered face a hundred arrays
    of as many kilobytes. On a CPU, getting and clearing those pages takes a quarter of the time.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, (1 << 31) - 1), (M_TOP_PAD, 1 << 28)):
            mallopt(option, value)
