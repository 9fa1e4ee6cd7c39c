"""Rows that lie are refused; those written are those read."""

import json

import pytest

from pocketface.benchmark.measurement import Measurement, read_measurements, write_measurements

PLACE = {
    "model": "tiny",
    "artifact": "artifacts/tiny.tflite",
    "format": "tflite",
    "precision": "w8a8",
    "runtime": "litert",
    "device": "cpu",
}
TAKEN = Measurement(**PLACE, metric="latency_ms_p50", value=1.5, unit="ms", low=1.4, high=1.7, n=30)
REFUSED = Measurement(**PLACE, metric="eer", value=None, unit="1", valid=False, reason="no pairs")


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_valid_row_wants_a_finite_number(value):
    with pytest.raises(ValueError, match="a valid row has a number"):
        Measurement(**PLACE, metric="eer", value=value, unit="1")


def test_a_row_that_is_not_valid_wants_a_reason():
    with pytest.raises(ValueError, match="gives no reason"):
        Measurement(**PLACE, metric="eer", value=None, unit="1", valid=False)


def test_rows_come_back_as_they_were_written(tmp_path):
    write_measurements([TAKEN, REFUSED], tmp_path / "measurements.json")
    assert read_measurements(tmp_path / "measurements.json") == [TAKEN, REFUSED]


def test_the_file_is_a_list_of_the_promised_objects(tmp_path):
    write_measurements([REFUSED], tmp_path / "measurements.json")
    (row,) = json.loads((tmp_path / "measurements.json").read_text())
    assert row == {
        **PLACE,
        "metric": "eer",
        "value": None,
        "unit": "1",
        "low": None,
        "high": None,
        "n": None,
        "valid": False,
        "reason": "no pairs",
        "conditions": {},
        "source": "",
    }


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "measurements.json"
    write_measurements([TAKEN], path)
    unwritable = Measurement(**PLACE, metric="eer", value=0.1, unit="1", conditions={"no JSON": object()})
    with pytest.raises(TypeError):
        write_measurements([unwritable], path)
    assert read_measurements(path) == [TAKEN]


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"metric": "eer"}]', '[{"colour": "red"}]'])
def test_what_is_no_list_of_rows_is_refused(tmp_path, text):
    path = tmp_path / "measurements.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="holds no measurements"):
        read_measurements(path)
