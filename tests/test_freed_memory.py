"""Freed memory is kept where that is asked for, and what is computed with it stays the same."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from pocketface.freed_memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def work():
    return sum(float(np.ones(1 << 22).sum()) for _ in range(20))
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
assert work() == 20 * (1 << 22)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is Linux's")
def test_kept_memory_is_not_requested_again() -> None:
    kept, returned = (
        int(subprocess.run([sys.executable, "-c", FAULTS, way], capture_output=True, text=True, check=True).stdout)
        for way in ("kept", "returned")
    )
    assert kept < 100 < returned  # pages; 32 MB that are requested twenty times are 160,000 of 4 KB, or 320 of 2 MB
