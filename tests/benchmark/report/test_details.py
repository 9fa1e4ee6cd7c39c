"""Tables of parts."""

from .conftest import ROWS, SMALL, report, row, written_run


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
