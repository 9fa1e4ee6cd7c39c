"""The result for programs, of rows whose numbers one sees."""

from pocketface.benchmark.report.limits import ShippingLimits
from pocketface.benchmark.report.result_facts import result_facts

from .conftest import APPLE, DEVICE, NO_MAC, ROWS, SMALL, WHOLE, row


def test_each_file_has_the_numbers_of_the_table():
    files = {fact["file"]: fact for fact in result_facts([("run", ROWS)])["files"]}
    assert list(files) == ["net.tflite", "net-pruned.w8a8.tflite", "net-pruned.mlpackage"]
    small = files["net-pruned.w8a8.tflite"]
    assert small["latency_ms"] | {"low": None} == {
        **{"value": 0.9, "low": None, "high": None, "n": None, "valid": True},
        **{"runtime": "litert", "device": DEVICE},
    }
    assert small["accuracy"] == {
        "value": 0.987,
        "low": 0.983,
        "high": 0.99,
        "n": 6000,
        "valid": True,
        "rendered": False,
    }
    assert small["accuracy_difference"]["value"] == -0.0005
    assert (small["size_bytes"], small["verdict"], small["misses"], small["ship"]) == (330_000, "keeps", [], True)
    assert not files["net.tflite"]["ship"] and files["net.tflite"]["accuracy_difference"] is None


def test_what_was_not_measured_is_null_and_does_not_count():
    apple = result_facts([("run", ROWS)])["files"][2]
    assert apple["artifact"] == APPLE[1] and NO_MAC not in str(apple)
    assert (apple["latency_ms"]["value"], apple["latency_ms"]["valid"]) == (None, False)


def test_counts_stand_by_their_core():
    counted = row(SMALL, "arm64_instructions", 40_000_000, "count", "litert-arm64-a53")
    files = result_facts([("run", [*ROWS, counted])])["files"]
    assert files[1]["arm64_instructions"] == {"a53": 40_000_000} and files[0]["arm64_instructions"] == {}


def test_what_to_ship_is_named_by_kind_and_under_which_limits():
    found = result_facts([("one", ROWS), ("two", ROWS[:5])], ShippingLimits(max_mb=1.0))["ship"]
    assert [(each["run"], each["for"], each["artifact"]) for each in found] == [
        ("one", "Any phone", SMALL[1]),
        ("one", "Core ML", APPLE[1]),
        ("two", "Any phone", None),
    ]
    assert found[0]["speed_evidence"] == "this machine" and found[2]["nearest"] == WHOLE[1]
    assert found[0]["limits"] == {"max_mb": 1.0, "max_ms": None, "max_drop": 0.2}
