"""The report for other programs."""

import csv
import io
import json

import pytest

from pocketface.benchmark.measurement import Measurement
from pocketface.benchmark.report.data_files import csv_of

from .conftest import APPLE, NO_MAC, ROWS, SMALL, WHOLE, report, written_run


def test_csv_has_every_row_as_it_was_measured(tmp_path):
    report(tmp_path, written_run(tmp_path / "run"))
    with (tmp_path / "out" / "report.csv").open(encoding="utf-8", newline="") as stream:
        table = list(csv.DictReader(stream))
    number = {name: lambda text: float(text) if text else None for name in ("value", "low", "high")}
    read = {**number, "n": lambda text: int(text) if text else None, "conditions": json.loads, "valid": "true".__eq__}
    rows = [
        Measurement(**{name: read.get(name, str)(text) for name, text in each.items() if name != "run"})
        for each in table
    ]
    assert rows == ROWS and {each["run"] for each in table} == {"run"}


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'\t=1"),
        ("a\rb", "a b"),
        ("a\r\nb", "a b"),
        ("a-1", "a-1"),
    ],
)
def test_a_name_is_no_formula_and_no_new_line_in_a_spreadsheet(name, cell):
    row = Measurement(name, "a", "onnx", "fp32", "", "", "size_bytes", -1, "bytes")
    line = next(csv.DictReader(io.StringIO(csv_of([(name, [row])]), newline="")))
    assert (line["run"], line["model"], line["value"]) == (cell, cell, "-1")


def test_json_tells_lines_and_the_recommendation(tmp_path):
    report(tmp_path, written_run(tmp_path / "run"))
    told = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    choice = told["recommendations"][0]["choices"][0]
    assert (choice["for"], choice["artifact"]) == ("Any phone", SMALL[1])
    assert [(each["artifact"], each["why_not"]) for each in choice["files"]] == [
        (SMALL[1], ""),
        (WHOLE[1], "slower: 2.00 ms against 0.90 ms"),
    ]
    cells = next(line for line in told["lines"] if line["artifact"] == APPLE[1])["cells"]
    assert (cells["latency_ms_p50@1"]["valid"], cells["latency_ms_p50@1"]["reason"]) == (False, NO_MAC)
