"""What stands in a cell: why there is no number, and why a file is slower."""

import dataclasses
import json

from .conftest import NO_MAC, ROWS, report, written_run


def test_what_could_not_be_measured_is_listed_with_its_reason(tmp_path):
    page, markdown = report(tmp_path, written_run(tmp_path / "run"))
    assert markdown.split("slower, and why\n\n")[1].split("\n\n")[0] == (
        f"1. {NO_MAC}\n   - net-pruned.mlpackage: Median latency on 1 thread\n"
        "2. no kernel takes w4\n   - net-pruned tflite w4: Export"
    )
    assert f'title="not measured: {NO_MAC}">not measured<sup><a href="#why-1"' in page
    assert f'<li id="why-1" value="1">{NO_MAC}' in page


def test_a_slower_file_has_the_reason_that_its_export_noted(tmp_path):
    run = written_run(
        tmp_path / "run", [dataclasses.replace(row, value=9.0) if row is ROWS[7] else row for row in ROWS]
    )
    (run / "artifacts").mkdir()
    note = "3 XNNPACK partitions; fall off: 2 PRELU (XNNPACK's PRELU is float)"
    record = {
        "key": "",
        "targets": {"tflite-w8a8": {"file": "net-pruned.w8a8.tflite", "notes": [{"kind": "partitions", "text": note}]}},
    }
    (run / "artifacts" / "exported.json").write_text(json.dumps(record))
    page, markdown = report(tmp_path, run)
    assert f"slower than net.tflite: {note}\n   - net-pruned.w8a8.tflite: Faster" in markdown
    assert '<td class="num slower"' in page


def test_a_slower_file_without_a_note_says_that_none_explains_it(tmp_path):
    rows = [dataclasses.replace(row, value=9.0) if row is ROWS[7] else row for row in ROWS]
    _, markdown = report(tmp_path, written_run(tmp_path / "run", rows))
    assert "slower than net.tflite: nothing that the export noted explains it" in markdown
