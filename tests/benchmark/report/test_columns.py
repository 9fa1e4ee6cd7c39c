"""The columns of the table."""

from pocketface.benchmark.report.columns import columns_of
from pocketface.benchmark.report.summary import summarise

from .conftest import WHOLE, row


def test_metric_that_no_column_names_gets_its_own():
    lines = summarise([row(WHOLE, "energy_per_face", 3.5, "mJ")])
    assert [(column.key, column.title) for column in columns_of(lines[0].cells.items())] == [
        ("energy_per_face", "energy per face, mJ")
    ]
