"""Disturbances that are written down, and a busy loop on the same cores that is real."""

import dataclasses
import os
import subprocess
import sys
import time

import pytest

from pocketface.benchmark.measurement import RowMaker
from pocketface.benchmark.speed.latency import TimingJob, latency_rows, measure_all
from pocketface.benchmark.speed.noise import Noise, NoiseWatch, reference_ms

CALM = Noise(0.5, 1, 2, (1,), (0.2, 0.21), 0.02, 0.5, 0.0, 3, 0.1)
ROW = RowMaker(model="m", artifact="a", format="tflite", precision="fp32", runtime="litert", device="d")

SPINNING = """
import time

class Session:
    def __init__(self, path, threads):
        pass

    def run(self, inputs):
        end = time.thread_time_ns() + 2_000_000  # of the core: who has to wait takes longer on the wall
        while time.thread_time_ns() < end:
            pass
"""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"waited_seconds": 0.025}, ""),
        ({"waited_seconds": 0.03, "involuntary_switches": 9}, "others had the core 6% of the time (9 times in 0.5 s)"),
        ({"waited_seconds": 0.8, "threads": 2}, "others had the core 100% of the time (3 times in 0.5 s)"),
        ({"waited_seconds": 0.2, "others_seconds": 0.02}, ""),  # its own threads wait for one another
        ({"waited_seconds": 0.2, "others_seconds": None}, "others had the core 40% of the time (3 times in 0.5 s)"),
        ({"stolen_seconds": 0.02}, ""),
        ({"stolen_seconds": 0.03}, "the host of this virtual machine kept the core 6% of the time"),
        ({"stolen_seconds": 0.03, "threads": 2, "cores": (0, 1)}, ""),
        ({"reference_ms": (0.2, 0.38)}, "a reference kernel ran 1.9 times slower after than before"),
        ({"reference_ms": (0.38, 0.2)}, "a reference kernel ran 1.9 times slower than at its best"),
        ({"threads": 4}, "4 threads took turns on 2 cores"),
        ({"waited_seconds": None, "stolen_seconds": None}, ""),
    ],
)  # fmt: skip
def test_each_rule_has_its_sentence(change, said):
    assert dataclasses.replace(CALM, **change).disturbance() == (f"disturbed: {said}" if said else "")


def test_what_the_kernel_takes_at_its_best_decides():
    assert CALM.disturbance(0.195) == ""
    assert CALM.disturbance(0.1) == "disturbed: a reference kernel ran 2.1 times slower than at its best"


def test_the_reference_kernel_takes_the_same_time_twice():
    tries = [sorted(reference_ms() for _ in range(3)) for _ in range(10)]
    assert 0.02 < tries[0][0] < 20
    assert any(times[1] < 1.1 * times[0] for times in tries)  # what disturbs a try may be real, beside other tests


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how long threads wait")
def test_waiting_is_counted_and_work_is_not():
    with NoiseWatch() as alone:
        time.sleep(0.05)
    assert alone.noise.waited_seconds is not None and alone.noise.waited_seconds < 0.04  # asleep, it wants no core
    assert alone.noise.seconds >= 0.05


@pytest.fixture
def spinning(tmp_path, monkeypatch):
    """A job that computes two milliseconds a run."""
    (tmp_path / "spinning_runtime.py").write_text(SPINNING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return TimingJob(tmp_path / "net", opener="spinning_runtime:Session")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how long threads wait")
def test_a_busy_loop_on_the_same_cores_makes_the_row_invalid_and_keeps_the_value(spinning):
    cores = sorted(os.sched_getaffinity(0))
    loop = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nprint(flush=True)\nwhile True: pass"
    busy = [subprocess.Popen([sys.executable, "-c", loop, str(core)], stdout=subprocess.PIPE) for core in cores]
    try:
        for process in busy:
            process.stdout.readline()
        (latency,) = measure_all([spinning], rounds=1, minimum_runs=30, minimum_seconds=0.2)
    finally:
        for process in busy:
            process.kill()
            process.communicate()
    assert latency.noise[0].cores in [(core,) for core in cores]
    (p50, *_) = latency_rows(latency, ROW)
    assert not p50.valid and p50.value >= 2
    assert p50.reason.startswith("disturbed: others had the core ")
    assert p50.conditions["taken_share"] > 0.25  # half of the time where both want it all


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how long threads wait")
def test_left_alone_the_row_is_valid(spinning):
    for _ in range(5):
        (latency,) = measure_all([spinning], rounds=1, minimum_runs=10, minimum_seconds=0.1)
        (p50, *_) = latency_rows(latency, ROW)
        if p50.valid:
            assert 2 <= p50.value < 2.4
            return
    if os.getloadavg()[0] > 1:
        pytest.skip(f"others use this machine: {p50.reason}")
    raise AssertionError(p50.reason)
