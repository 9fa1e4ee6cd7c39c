"""Reading what LiteRT's benchmark_model prints: the forms that its versions have had."""

import pytest

from pocketface.benchmark.adb.benchmark_model import read_profile, read_timings

TIMINGS = (
    "Inference timings in us: Init: 18777, First inference: 64791, Warmup (avg): 57758.2, Inference (avg): 55043.2"
)
WARM_UP = "count=9 first=64791 curr=56000 min=56000 max=64791 avg=57758.2 std=2000"
COUNT = "count=50 first=58154 curr=53809 min=53077 max=60727 avg=55043.2 std=1562"


def test_the_second_line_of_counts_is_what_was_timed() -> None:
    text = f"Loaded model x\nInitialized session in 18.777ms.\n{WARM_UP}\n\n{COUNT}\n\n{TIMINGS}\n"
    read = read_timings(text)
    assert (read.runs, read.mean, read.least, read.most) == (50, 55.0432, 53.077, 60.727)
    assert (read.load, read.first, read.median, read.peak_memory_bytes) == (18.777, 64.791, None, None)


def test_prefixes_and_powers_of_ten_and_percentiles_of_newer_versions() -> None:
    count = (
        "INFO: count=2 first=4e+06 curr=3.8e+06 min=3800000 max=4000000 avg=3.9e+06 std=1e5 p5=3800000 median=3900000"
    )
    read = read_timings(f"INFO: {WARM_UP}\nINFO: {count}\nINFO: {TIMINGS}")
    assert (read.runs, read.mean, read.median) == (2, 3900.0, 3900.0)


def test_runs_that_all_took_the_same_time_print_it_once() -> None:
    read = read_timings(f"{WARM_UP}\ncount=50 curr=147(all same)\n{TIMINGS}")
    assert (read.runs, read.mean, read.least, read.most) == (50, 0.147, 0.147, 0.147)


@pytest.mark.parametrize(
    "line",
    [
        "INFO: Overall peak memory footprint (MB) via periodic monitoring: 1.5",
        "Peak memory footprint (MB): init=0 overall=1.5",
    ],
)
def test_the_peak_memory_of_old_and_new_versions(line: str) -> None:
    assert read_timings(f"{COUNT}\n{TIMINGS}\n{line}\n").peak_memory_bytes == 1572864


@pytest.mark.parametrize("avg", ["nan", "inf", "-1", "0", "1e300", "1e", "--"])
def test_times_that_are_none_are_refused(avg: str) -> None:
    with pytest.raises(ValueError, match="it printed times that are none"):
        read_timings(f"{COUNT.replace('avg=55043.2', f'avg={avg}')}\n{TIMINGS}")


PROFILE = """Profiling Info for Benchmark Initialization:
============================== Summary by node type ==============================
node type, count, avg_ms, avg %, cdf %, mem KB, times called
AllocateTensors, 1, 99, 100%, 100%, 0, 1

Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
PRELU, 0.2, 7, 10%, 10%, 0, 1, [a]:0
TfLiteXNNPackDelegate, 0.2, 7, 10%, 10%, 0, 1, [b]:1

============================== Summary by node type ==============================
node type, count, avg_ms, avg %, cdf %, mem KB, times called
TfLiteXNNPackDelegate, 1, 3.5, 77.8%, 77.8%, 0, 1
PRELU, 2, 1, 22.2%, 100%, 0, 2

Timings (microseconds): count=50 first=4500 curr=4500 min=4400 max=4600 avg=4500 std=10
Memory (bytes): count=0
3 nodes observed


"""
DELEGATE = """Delegate internal:
============================== Summary by node type ==============================
node type, count, avg_ms, avg %, cdf %, mem KB, times called
Convolution (NHWC, F32) IGEMM, 5, 3, 88%, 88%, 0, 5
Add (ND, F32), 5, 0.4, 12%, 100%, 0, 5

"""


def test_operators_are_those_of_an_inference_not_of_loading() -> None:
    assert read_profile(PROFILE) == {"TfLiteXNNPackDelegate": 3.5, "PRELU": 1.0}


def test_a_delegate_that_tells_its_operators_is_replaced_by_them() -> None:
    read = read_profile(PROFILE + DELEGATE)
    assert list(read.items()) == [("Convolution (NHWC, F32) IGEMM", 3.0), ("PRELU", 1.0), ("Add (ND, F32)", 0.4)]


@pytest.mark.parametrize("text", ["", "node type", PROFILE.replace(", 3.5,", ", nan,"), PROFILE.replace("3.5", "x")])
def test_a_profile_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_profile(text)
