"""Files beside devices: which latency stands where, and what is said where there is none."""

from dataclasses import replace

from pocketface.benchmark.report.device_matrix import device_matrix
from pocketface.benchmark.report.summary import summarise

from .conftest import SMALL, WHOLE, row

PIXEL, GALAXY = (
    "Pixel 9 (Tensor G4), Android 15, serial hash ab12cd",
    "Galaxy S23 (SM8550), Android 14, serial hash 99aa00",
)
CPU, GPU = "adb benchmark_model", "adb benchmark_model gpu"


def timed(file, value, device, runtime, metric="latency_ms_p50", threads=1, reason=""):
    measured = replace(row(file, metric, 1.0, runtime=runtime), device=device, conditions={"threads": threads})
    return replace(measured, value=value, valid=not reason, reason=reason)


def test_a_row_for_each_file_and_a_column_for_each_device_and_what_ran_it():
    rows = [
        timed(WHOLE, 2.0, PIXEL, CPU),
        timed(WHOLE, 3.0, PIXEL, CPU, "latency_ms_mean"),  # the median is the one that is shown
        timed(WHOLE, 1.2, PIXEL, CPU, threads=2),
        timed(WHOLE, 1.5, GALAXY, CPU, "latency_ms_mean"),
        timed(SMALL, 0.9, PIXEL, CPU),
        timed(SMALL, None, PIXEL, GPU, reason="the GPU delegate takes no part of it"),
        timed(SMALL, 0.1, "a laptop", "litert"),
    ]
    matrix = device_matrix(summarise(rows))
    assert matrix.columns == (
        "Galaxy S23 (SM8550), benchmark_model",
        "Pixel 9 (Tensor G4), benchmark_model",
        "Pixel 9 (Tensor G4), benchmark_model gpu",
        "Pixel 9 (Tensor G4), benchmark_model, 2 threads",
    )
    whole, small = ([cell.value for cell in cells] for _, cells in matrix.rows)
    assert (whole, small) == ([1.5, 2.0, None, 1.2], [None, 0.9, None, None])
    refused = matrix.rows[1][1][2]
    assert (refused.text, refused.hint) == ("not valid", "the GPU delegate takes no part of it")


def test_two_phones_of_one_kind_are_told_apart():
    other = PIXEL.replace("ab12cd", "ffffff")
    matrix = device_matrix(summarise([timed(WHOLE, 2.0, PIXEL, CPU), timed(WHOLE, 2.1, other, CPU)]))
    assert matrix.columns == (f"{PIXEL}, benchmark_model", f"{other}, benchmark_model")


def test_one_phone_has_no_table_of_its_own():
    assert device_matrix(summarise([timed(WHOLE, 2.0, PIXEL, CPU), timed(SMALL, 1.0, PIXEL, CPU)])) is None
    assert device_matrix(summarise([timed(WHOLE, 2.0, "a laptop", "litert")])) is None
