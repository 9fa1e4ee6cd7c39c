"""One reader of CSV files with a header."""

import pytest

from pocketface.faces.csv_tables import read_csv_table


def table(folder, text, encoding="utf-8"):
    path = folder / "t.csv"
    path.write_text(text, encoding=encoding)
    return path


def test_cells_come_by_column_with_the_number_of_their_line(tmp_path):
    columns, rows = read_csv_table(table(tmp_path, '\ufeffb, a\n\n1 , "x\ny"\n2,\n'), "things", ("a",))
    assert columns == ("b", "a")
    assert list(rows) == [(4, {"b": "1", "a": "x\ny"}), (5, {"b": "2", "a": ""})]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", r"t\.csv has no column 'a'; its first line needs: a,b\[,c\]"),
        ("a\n1\n", "has no column 'b'"),
        ("a,b,b\n1,2,3\n", "has two columns 'b'; rename one"),
        ("a,b\n1\n", "line 2 has 1 cells, the first line 2"),
        ('a,b\n"1', "line 2: unexpected end of data"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, text, sentence):
    with pytest.raises(ValueError, match=sentence):
        list(read_csv_table(table(tmp_path, text), "things", ("a", "b"), ("c",))[1])


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no table of things .*none\.csv"):
        read_csv_table(tmp_path / "none.csv", "things")
    with pytest.raises(ValueError, match="is no UTF-8 text: byte 0 is 0xff"):
        read_csv_table(table(tmp_path, "a,b\n", "utf-16"), "things")
