"""A table of text: numbers right, words left, names cut in their middle, headings between."""

from pocketface.benchmark.report.text_table import text_table

ROWS = [["net"], [".onnx", "fp32", "4.00"], [".w8a8.tflite", "w8a8", "10.33"]]


def test_words_stand_left_and_numbers_right():
    assert text_table(("file", "precision", "MB"), ROWS, 80, left=(0, 1)) == [
        "file          precision     MB",
        "net",
        ".onnx         fp32        4.00",
        ".w8a8.tflite  w8a8       10.33",
    ]


def test_only_the_name_gives_way_where_the_terminal_is_narrow():
    lines = text_table(("file", "MB"), [["a" * 40 + ".w8a8.tflite", "4.00"]], 30)
    assert lines == ["file                        MB", "aaaaaaaa…aaa.w8a8.tflite  4.00"]
    assert max(map(len, lines)) == 30


def test_a_heading_is_cut_too():
    assert text_table(("file", "MB"), [["b" * 50], ["x", "1"]], 20)[1] == "bbbbbbb…bbbbbbbbbbbb"
