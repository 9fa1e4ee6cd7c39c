"""The report for other programs."""

import csv
import json

from pocketface.benchmark.measurement import Measurement

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
