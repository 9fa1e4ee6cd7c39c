"""Numbers and their intervals as a report writes them."""

import pytest

from pocketface.benchmark.figures import number_and_interval

from .conftest import row


@pytest.mark.parametrize(
    ("kind", "value", "low", "high", "text"),
    [
        ("share", 0.98712, 0.9834, 0.9902, "98.7 % [98.3, 99.0]"),
        ("share", 0.71, 0.52, 0.85, "71 % [52, 85]"),
        ("share", 0.99912, 0.9989, 0.9993, "99.91 % [99.89, 99.93]"),
        ("share", 0.98712, float("nan"), 0.99, "98.7 %"),
        ("bytes", 330_000, None, None, "0.33 MB"),
        ("bytes", 45_100, None, None, "45.1 kB"),
        ("ms", 0.9, 0.88, 0.95, "0.90 ms [0.88, 0.95]"),
        ("ms", 0.0123, None, None, "0.012 ms"),
        ("ms", 143.2, None, None, "143 ms"),
        ("count", 993_000, None, None, "993 k"),
        ("count", 1_200_000_000, None, None, "1.20 G"),
        ("cosine", 0.96812, None, None, "0.9681"),
        ("cosine", 0.999998, None, None, "0.999998"),
        ("tiny", 3.14e-6, None, None, "3.1e-06"),
    ],
)
def test_numbers_have_the_digits_they_are_worth(kind, value, low, high, text):
    assert " ".join(number_and_interval(row("m", value, low=low, high=high), kind)).strip() == text
