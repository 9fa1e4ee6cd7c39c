"""The machine's name, and which of its cores are chosen."""

import re
import subprocess
import sys

import pytest

from pocketface.benchmark import machine as module
from pocketface.benchmark.machine import device_name, distinct_cores


def test_the_device_is_named_with_its_cores():
    assert re.fullmatch(r".+, \d+ cores?, \w+", device_name())


def test_two_threads_get_the_fast_cores_and_no_two_halves_of_one(tmp_path, monkeypatch):
    # four slow cores, two fast ones with two halves each: 4 and 5, 6 and 7
    for cpu in range(8):
        for name, text in (
            ("cpufreq/cpuinfo_max_freq", "3000000" if cpu > 3 else "1800000"),
            ("topology/thread_siblings_list", str(cpu) if cpu < 4 else "4-5" if cpu < 6 else "6-7"),
        ):
            path = tmp_path / f"cpu{cpu}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
    monkeypatch.setattr(module, "CPUS", tmp_path)
    assert distinct_cores(range(8), 1) == (7,)
    assert distinct_cores(range(8), 2) == (5, 7)
    assert distinct_cores(range(8), 3) == (3, 5, 7)
    assert distinct_cores(range(8), 8) == tuple(range(8))
    assert distinct_cores([0, 1, 4], 2) == (1, 4)
    assert distinct_cores([0, 1], 3) == ()


def test_cores_that_tell_nothing_are_taken_from_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CPUS", tmp_path)
    assert distinct_cores(range(4), 2) == (2, 3)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux pins")
def test_a_process_is_pinned():
    code = "import os; from pocketface.benchmark.machine import pin; print(pin(1) == tuple(os.sched_getaffinity(0)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "True"
