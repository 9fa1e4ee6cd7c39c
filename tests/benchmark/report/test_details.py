"""Tables of parts."""

import re

from .conftest import APPLE, ROWS, SMALL, WHOLE, report, row, written_run


def test_parts_are_told_in_a_table_per_file(tmp_path):
    parts = [
        row(SMALL, "slice_accuracy", 0.97, low=0.96, high=0.98, n=2000, part="brightness: darkest third"),
        row(SMALL, "slice_accuracy_difference", -0.01, low=-0.02, high=0.0, n=2000, part="brightness: darkest third"),
        row(SMALL, "slice_accuracy", 0.99, low=0.985, high=0.995, n=2000, part="brightness: brightest third"),
        row(SMALL, "slice_accuracy_difference", None, reason="no pair", part="brightness: brightest third"),
    ]
    page, markdown = report(tmp_path, written_run(tmp_path / "run", [*ROWS, *parts]))
    assert "lowest: brightness: darkest third, -1.00 points \\[-2.00, +0.00\\]</summary>\n" in markdown
    assert (
        "| Part | Accuracy | Against the source |\n| --- | ---: | ---: |\n"
        "| brightness: darkest third | 97.0 % \\[96.0, 98.0\\] | -1.00 points \\[-2.00, +0.00\\] |\n"
        "| brightness: brightest third | 99.0 % \\[98.5, 99.5\\] | not measured |\n\nNot measured: no pair\n"
    ) in markdown
    assert "<details open><summary>net-pruned.w8a8.tflite" in page  # a recommended file's are unfolded


def test_slices_of_three_files_stand_side_by_side(tmp_path):
    def of(file, value, part):
        return row(file, "slice_accuracy_difference", value, low=value - 0.01, high=value + 0.01, part=part)

    values = {WHOLE: (0.0, 0.0), SMALL: (-0.01, 0.0), APPLE: (-0.002, -0.003)}
    parts = [of(file, both[n], part) for file, both in values.items() for n, part in enumerate(("dark", "bright"))]
    page, _ = report(tmp_path, written_run(tmp_path / "run", [*ROWS, *parts[:-1]]))
    matrix = page[page.index('<table class="matrix">') :].partition("</table>")[0]
    assert re.findall(r'<th scope="row">(\w+)</th>', matrix) == ["dark", "bright"]
    heads = re.findall(r'<th scope="col" class="num" title="([^"]+)">(\d)<br>(\w+ \w+)', matrix)
    assert [head[2] for head in heads] == ["tflite fp32", "tflite w8a8", "coreml fp16"]
    assert re.findall(r">([^<>]+)</td>", matrix) == ["+0.00", "-1.00", "-0.20", "+0.00", "+0.00", "·"]
    assert 'title="-1.00 points [-2.00, +0.00]"' in matrix
    two, _ = report(tmp_path, written_run(tmp_path / "two", [*ROWS, *parts[:4]]))
    assert '<table class="matrix">' not in two
