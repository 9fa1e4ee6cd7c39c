"""The table of files for spreadsheets, of rows whose numbers one sees."""

import csv
import dataclasses
import io

from pocketface.benchmark.report.file_table import csv_of_files
from pocketface.benchmark.report.limits import ShippingLimits
from pocketface.benchmark.report.recommendation import recommend
from pocketface.benchmark.report.summary import summarise

from .conftest import DEVICE, ROWS, SMALL, row


def table(rows):
    lines = summarise(rows)
    return list(csv.DictReader(io.StringIO(csv_of_files([("run", lines, recommend(lines, ShippingLimits()))]))))


def test_each_file_has_one_line():
    more = [
        row(SMALL, "latency_ms_p50", 5.0, "ms", "litert-no-xnnpack", threads=1, batch=1),
        row(SMALL, "arm64_instructions", 40_000_000, "count", "litert-arm64-a53"),
        row(SMALL, "embedding_cosine_mean", 0.995),
    ]
    lines = table([*ROWS, *more])
    assert [line["file"] for line in lines] == ["net.tflite", "net-pruned.w8a8.tflite", "net-pruned.mlpackage"]
    small = {key: value for key, value in lines[1].items() if value}
    assert small == {
        **{"run": "run", "file": "net-pruned.w8a8.tflite", "model": "net-pruned", "format": "tflite"},
        **{"precision": "w8a8", "size_bytes": "330000", "artifact": SMALL[1]},
        f"latency_ms_p50@1 litert, {DEVICE}": "0.9",
        f"latency_ms_p50@1 litert-no-xnnpack, {DEVICE}": "5.0",
        "arm64_instructions@a53": "40000000",
        **{
            "verification_accuracy": "0.987",
            "verification_accuracy_low": "0.983",
            "verification_accuracy_high": "0.99",
        },
        **{
            "accuracy_difference": "-0.0005",
            "accuracy_difference_low": "-0.0015",
            "accuracy_difference_high": "0.0005",
        },
        **{"embedding_cosine_mean": "0.995", "verdict": "keeps", "ship": "true"},
    }


def test_what_does_not_count_is_empty():
    disturbed = dataclasses.replace(ROWS[7], valid=False, reason="disturbed")
    lines = table([*ROWS[:7], disturbed, *ROWS[8:]])
    assert lines[0][f"latency_ms_p50@1 litert, {DEVICE}"] == "2.0"
    assert lines[1][f"latency_ms_p50@1 litert, {DEVICE}"] == ""


def test_a_name_is_no_formula():
    rows = [dataclasses.replace(each, model="=1+1") for each in ROWS[:5]]
    assert table(rows)[0]["model"] == "'=1+1"
