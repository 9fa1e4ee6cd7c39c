"""Times of functions that sleep, of processes that fail, and what rows make of them."""

import dataclasses
import gc
import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest

from pocketface.benchmark.measurement import RowMaker
from pocketface.benchmark.speed import latency as module
from pocketface.benchmark.speed.latency import (
    TimingJob,
    latency_in_fresh_process,
    latency_rows,
    measure_all,
    merged_rounds,
)
from pocketface.benchmark.speed.noise import Noise
from pocketface.benchmark.speed.stopwatch import Latency, measure_latency

ROW = RowMaker(
    model="m",
    artifact="a.tflite",
    format="tflite",
    precision="fp32",
    runtime="litert",
    device="d",
)

RUNTIME = """
import os, sys, time

class Session:
    def __init__(self, path, threads, factory=None):
        print("a runtime that talks", flush=True)
        self.memory = bytearray(30_000_000)
        if "slow" in path.name: time.sleep(60)
        if "refuses" in path.name: raise ValueError(f"{path.name} is no network")
        if "raises" in path.name: raise KeyError("tensor 7")
        if "dies" in path.name: os.kill(os.getpid(), 11)
        if "leaves" in path.name: sys.exit("no way")
        assert os.environ["OMP_NUM_THREADS"] == str(threads)
        assert factory in (None, "net.py:make")

    def run(self, inputs):
        assert str(inputs.dtype) == "float32"
        time.sleep(0.001 * inputs.shape[0])

"""


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Makes jobs for a runtime that does what the file's name says."""
    (tmp_path / "sleepy_runtime.py").write_text(RUNTIME)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return lambda name, **fields: TimingJob(tmp_path / name, opener="sleepy_runtime:Session", **fields)


def test_two_milliseconds_of_sleep_take_two_milliseconds_or_more():
    latency = measure_latency(lambda: time.sleep(0.002), minimum_runs=20, minimum_seconds=0, warm_up=2)
    assert len(latency.samples_ms) == 20
    assert min(latency.samples_ms) >= 2
    assert latency.first_ms >= 2
    assert latency.quantile(0.5).value < 20


def test_cpu_time_leaves_waiting_out_and_counts_work():
    def work(seconds):
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    waited = measure_latency(lambda: time.sleep(0.005), minimum_runs=20, minimum_seconds=0, warm_up=0)
    worked = measure_latency(lambda: work(0.005), minimum_runs=20, minimum_seconds=0, warm_up=0)
    assert waited.cpu_ms[0] < 1
    assert 5 <= worked.cpu_ms[0] < 7


def test_the_row_of_cpu_time_is_valid_where_the_latency_is_not():
    busy = ("others had the core",) * 3
    latency = Latency(((9.0, 9.0),) * 3, conditions={"threads": 1}, disturbances=busy, cpu_ms=(4.0, 5.0, 4.5))
    rows = {row.metric: row for row in latency_rows(latency, ROW)}
    assert not rows["latency_ms_p50"].valid
    cpu = rows["cpu_ms"]
    assert (cpu.valid, cpu.value, cpu.low, cpu.high, cpu.unit, cpu.n) == (True, 4.5, 4.0, 5.0, "ms", 6)


def test_it_runs_on_until_the_seconds_are_over():
    latency = measure_latency(lambda: time.sleep(0.001), minimum_runs=1, minimum_seconds=0.1)
    assert 1 < len(latency.samples_ms) <= 100
    assert sum(latency.samples_ms) > 50


def test_first_run_and_warm_up_are_not_among_the_samples():
    naps = iter([0.02, 0.01, 0.01] + [0] * 10)
    latency = measure_latency(lambda: time.sleep(next(naps)), minimum_runs=10, minimum_seconds=0, warm_up=2)
    assert latency.first_ms >= 20
    assert latency.quantile(0.5).value < 10


def test_garbage_is_collected_again_after_a_run_that_raises():
    with pytest.raises(ZeroDivisionError):
        measure_latency(lambda: 1 // 0)
    calls = iter([1] * 6)
    with pytest.raises(StopIteration):
        measure_latency(lambda: next(calls))
    assert gc.isenabled()


def test_no_runs_are_refused():
    with pytest.raises(ValueError, match="would time nothing"):
        measure_latency(lambda: None, minimum_runs=0)


def test_the_warm_up_lasts_its_seconds_too():
    calls = []
    measure_latency(lambda: calls.append(time.sleep(0.001)), 1, 0, warm_up=2, warm_up_seconds=0.05)
    assert 10 < len(calls) <= 52


def test_quantiles_of_a_hundred_known_times():
    latency = Latency((tuple(float(ms) for ms in range(1, 101)),))
    assert latency.quantile(0.5).value == 50.5
    assert latency.quantile(0.9).value == pytest.approx(90.1)
    # Hahn and Meeker, Statistical Intervals, 1991: for the median of 100 the 40th and the 61st
    assert (latency.quantile(0.5).low, latency.quantile(0.5).high) == (40, 61)


def test_a_bound_beyond_the_slowest_run_stays_open():
    p99 = Latency((tuple(float(ms) for ms in range(1, 101)),)).quantile(0.99)
    assert p99.value == pytest.approx(99.01)
    assert p99.high is None


def test_p99_of_ninety_runs_is_refused():
    latency = Latency((tuple(float(ms) for ms in range(90)),))
    assert latency.quantile(0.99).value is None
    assert latency.quantile(0.99).reason == "p99 wants at least 100 runs; there are 90"


def test_rounds_that_differ_widen_the_interval():
    steady = Latency(((1.0,) * 50, (1.0,) * 50))
    drifting = Latency(((1.0,) * 50, (2.0,) * 50, (1.0,) * 50))
    assert (steady.quantile(0.5).low, steady.quantile(0.5).high) == (1, 1)
    assert (drifting.quantile(0.5).low, drifting.quantile(0.5).high) == (1, 2)


def test_the_interval_of_the_median_holds_it_nineteen_times_in_twenty():
    random = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        median = Latency((tuple(random.exponential(size=60)),)).quantile(0.5)
        held += median.low <= np.log(2) <= median.high
    assert 0.93 <= held / 400 <= 0.995


def test_merging_keeps_rounds_apart_and_takes_the_highest_peak():
    first = Latency(((1.0, 2.0),), 5.0, 10.0, 100, {"threads": 1, "load_average": 0.5, "involuntary_switches": 2})
    second = Latency(((3.0,),), 7.0, 20.0, 300, {"threads": 1, "load_average": 1.5, "involuntary_switches": 3})
    both = merged_rounds([first, second])
    assert both.rounds_ms == ((1.0, 2.0), (3.0,))
    assert (both.first_ms, both.load_ms, both.peak_memory_bytes) == (6.0, 15.0, 300)
    assert both.conditions == {"threads": 1, "load_average": 1.5, "involuntary_switches": 5}


def test_a_round_that_failed_spoils_the_rest():
    failed = Latency((), reason="it crashed")
    assert merged_rounds([Latency(((1.0,),)), failed]) == failed


CALM = Noise(0.5, 1, 2, (1,), (0.2, 0.2), 0.01, 0.5, 0.0, 3, 0.1)
BUSY = dataclasses.replace(CALM, waited_seconds=0.25, involuntary_switches=90)


def test_a_disturbed_round_is_left_out_and_two_of_three_spoil_the_row():
    told = {"load_average": 0.0, "involuntary_switches": 1}

    def latency(*noise):
        rounds = [Latency(((i + 1.0,) * 60,), 10.0 * i, 1.0, 5, told, noise=(one,)) for i, one in enumerate(noise)]
        return merged_rounds(rounds)

    once = latency(CALM, BUSY, CALM)
    assert (once.disturbed, once.clean, once.first_ms) == ("", (0, 2), 10.0)
    assert set(once.samples_ms) == {1.0, 3.0}
    (p50, *_, memory) = latency_rows(once, ROW)
    assert (p50.valid, p50.n, p50.conditions["rounds"], p50.conditions["disturbed_rounds"]) == (True, 120, 2, 1)
    assert p50.conditions["taken_share"] == 0.5

    (p50, *_, memory) = latency_rows(latency(BUSY, BUSY, CALM), ROW)
    assert (p50.valid, p50.value, p50.n) == (False, 2.0, 180)
    assert p50.reason == "disturbed: others had the core 50% of the time (90 times in 0.5 s)"
    assert memory.valid  # whoever interrupts takes no memory


def test_a_round_is_judged_by_the_reference_kernel_of_all():
    slow = dataclasses.replace(CALM, reference_ms=(0.3, 0.3))
    rounds = [
        Latency(((1.0,),), conditions={"load_average": 0.0, "involuntary_switches": 0}, noise=(one,))
        for one in (CALM, slow)
    ]
    both = merged_rounds(rounds, best_reference_ms=0.2)
    assert both.disturbances == ("", "disturbed: a reference kernel ran 1.5 times slower than at its best")
    assert merged_rounds(rounds).disturbances == ("", "")  # nobody knows that it could be faster


def test_a_disturbed_process_is_tried_once_more(job, monkeypatch):
    noises = iter([BUSY, CALM, CALM, BUSY, BUSY])

    def timed(job, *effort):
        conditions = {**job.conditions, "load_average": 0.0, "involuntary_switches": 0}
        return Latency(((1.0,),), 1.0, 1.0, 1, conditions, noise=(next(noises),))

    monkeypatch.setattr(module, "latency_in_fresh_process", timed)
    lines = []
    (latency,) = measure_all([job("good")], rounds=3, progress=lines.append)
    assert [", again: " in line for line in lines] == [False, True, False, False, True]
    assert latency.clean == (0, 1) and latency.disturbed == ""


def test_a_fresh_process_loads_and_times(job):
    latency = latency_in_fresh_process(job("net.sleepy", threads=2), minimum_runs=10, minimum_seconds=0)
    assert len(latency.samples_ms) == 10
    assert min(latency.samples_ms) >= 1
    assert latency.load_ms > 0
    assert latency.peak_memory_bytes > latency.conditions["memory_before_loading_bytes"] + 20_000_000
    assert latency.conditions["threads"] == 2
    assert latency.conditions["batch"] == 1
    assert len(latency.noise) == 1 and latency.noise[0].threads == 2


def test_the_peak_is_that_of_the_child_and_not_of_its_parent(job):
    ballast = np.ones(30_000_000)  # 240 MB
    latency = latency_in_fresh_process(job("net.sleepy"), minimum_runs=1, minimum_seconds=0)
    assert latency.peak_memory_bytes < ballast.nbytes / 2


def test_batch_and_factory_reach_the_runtime(job):
    latency = latency_in_fresh_process(
        job("net.sleepy", shape=(5, 3, 8, 8), factory="net.py:make"), minimum_runs=2, minimum_seconds=0
    )
    assert min(latency.samples_ms) >= 5
    assert latency.conditions["batch"] == 5


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("refuses", "refuses in Session (1 thread) could not be timed: refuses is no network"),
        ("raises", "raises in Session (1 thread) could not be timed: KeyError: 'tensor 7'"),
        ("dies", "dies in Session (1 thread) crashed its process with SIGSEGV"),
        ("leaves", "leaves in Session (1 thread) could not be timed: no way"),
        ("slow", "slow in Session (1 thread) was not timed within 2 s"),
    ],
)
def test_a_process_that_fails_says_so_in_one_sentence(job, name, sentence):
    with pytest.raises(RuntimeError, match=f"^{re.escape(sentence)}$"):
        latency_in_fresh_process(job(name), 1, 0, timeout=2 if name == "slow" else 60)


def test_files_take_turns_and_one_that_fails_is_not_tried_again(job):
    lines = []
    jobs = [job("good"), job("refuses"), job("good", threads=2)]
    latencies = measure_all(jobs, rounds=2, minimum_runs=3, minimum_seconds=0, progress=lines.append)
    assert [line for line in lines if ", again: disturbed: " not in line] == [
        "latency, round 1 of 2: good in Session (1 thread)",
        "latency, round 1 of 2: refuses in Session (1 thread)",
        "latency, round 1 of 2: good in Session (2 threads)",
        "latency, round 2 of 2: good in Session (1 thread)",
        "latency, round 2 of 2: good in Session (2 threads)",
    ]
    assert [len(latency.rounds_ms) for latency in latencies] == [2, 0, 2]
    assert "is no network" in latencies[1].reason
    assert latencies[2].conditions["threads"] == 2


def test_rows_of_a_latency():
    conditions = {"threads": 1, "batch": 1}
    latency = Latency((tuple(float(ms) for ms in range(1, 51)),) * 2, 9.0, 3.0, 1000, conditions)
    rows = {row.metric: row for row in latency_rows(latency, ROW)}
    assert list(rows) == [
        "latency_ms_p50",
        "latency_ms_p90",
        "latency_ms_p99",
        "load_ms",
        "first_ms",
        "peak_memory_bytes",
    ]
    assert rows["latency_ms_p50"].value < rows["latency_ms_p90"].value < rows["latency_ms_p99"].value
    assert (rows["latency_ms_p50"].unit, rows["latency_ms_p50"].n) == ("ms", 100)
    assert rows["latency_ms_p50"].conditions["threads"] == 1
    assert rows["latency_ms_p50"].conditions["p50_by_round_ms"] == [25.5, 25.5]
    assert (rows["load_ms"].value, rows["first_ms"].value) == (3.0, 9.0)
    assert (rows["peak_memory_bytes"].value, rows["peak_memory_bytes"].unit) == (1000, "bytes")


def test_rows_of_a_failure_all_give_the_reason():
    rows = latency_rows(Latency((), conditions={"threads": 2}, reason="it crashed"), ROW)
    assert len(rows) == 6
    assert {(row.valid, row.value, row.reason) for row in rows} == {(False, None, "it crashed")}
    assert rows[0].conditions["threads"] == 2


def test_the_timing_process_does_not_pay_for_pytorch_or_scipy():
    code = "import sys, pocketface.benchmark.speed.stopwatch, pocketface.export.session; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "scipy", "onnx", "tensorflow", "PIL"} & set(loaded)
