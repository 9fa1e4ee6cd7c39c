"""The charts of one run's similarities."""

import pytest

from pocketface.benchmark.measurement import Measurement
from pocketface.benchmark.report.curves import drawn_far
from pocketface.benchmark.report.summary import summarise

FILE = ("net", "artifacts/net.tflite", "tflite", "fp32", "litert", "a CPU")


def lines(**thresholds):
    """One file with thresholds by FAR; None is refused."""
    return summarise(
        [
            Measurement(*FILE, f"threshold_at_far_1e-{power[1:]}", value, "1", valid=value is not None, reason="few")
            if value is None
            else Measurement(*FILE, f"threshold_at_far_1e-{power[1:]}", value, "1")
            for power, value in thresholds.items()
        ]
    )


@pytest.mark.parametrize(
    ("thresholds", "far"),
    [({"_2": 0.2, "_3": 0.3}, "1e-3"), ({"_2": 0.2, "_3": None}, "1e-2"), ({"_2": None, "_3": None}, ""), ({}, "")],
)
def test_the_threshold_that_is_drawn_is_of_a_far_that_has_one(thresholds, far):
    assert drawn_far(lines(**thresholds)) == far
