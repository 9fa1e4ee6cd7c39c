"""One line per file and runtime, what each is compared with, and the front."""

import dataclasses

import pytest

from pocketface.benchmark.report.summary import Line, pareto_front, summarise

from .conftest import DEVICE, ROWS, SMALL, WHOLE, row


def lines_of(*points: tuple[float | None, float | None]) -> list[Line]:
    """A line per (cost, gain)."""
    return [
        Line("", f"m{i}", "", "onnx", "fp32", "", "", {
            key: row((f"m{i}", "", "onnx", "fp32"), key, value)
            for key, value in (("cost", cost), ("gain", gain))
            if value is not None
        })
        for i, (cost, gain) in enumerate(points)
    ]  # fmt: skip


def test_rows_of_one_file_and_runtime_become_one_line():
    small = summarise(ROWS)[1]
    assert (small.name, small.format, small.precision, small.runtime, small.device) == (
        "net-pruned.w8a8.tflite", "tflite", "w8a8", "litert", DEVICE,
    )  # fmt: skip
    assert {key: small.value(key) for key in ("size_bytes", "parameters", "latency_ms_p50@1")} == {
        "size_bytes": 330_000, "parameters": 300_000, "latency_ms_p50@1": 0.9,
    }  # fmt: skip


def test_latency_has_a_cell_per_number_of_threads():
    whole = summarise(ROWS)[0]
    assert (whole.value("latency_ms_p50@1"), whole.value("latency_ms_p50@2")) == (2.0, 1.2)


def test_size_belongs_to_every_runtime_of_the_file():
    rows = [*ROWS[:1], row(WHOLE, "eer", 0.01, runtime="litert"), row(WHOLE, "eer", 0.02, runtime="tf.lite")]
    assert [(line.runtime, line.value("size_bytes"), line.value("eer")) for line in summarise(rows)] == [
        ("litert", 4_000_000, 0.01),
        ("tf.lite", 4_000_000, 0.02),
    ]


def test_two_devices_are_two_lines():
    phone = dataclasses.replace(ROWS[2], device="a phone", value=5.0)
    lines = summarise([ROWS[0], ROWS[2], phone])
    assert [(line.device, line.value("latency_ms_p50@1")) for line in lines] == [(DEVICE, 2.0), ("a phone", 5.0)]


def test_parameters_of_the_model_reach_its_other_files():
    assert summarise(ROWS)[2].value("parameters") == 300_000


def test_same_metric_under_other_conditions_is_kept():
    flipped = dataclasses.replace(ROWS[4], value=0.6, conditions={"flip": True})
    again = dataclasses.replace(ROWS[4], value=0.5, conditions={"crops": "224x224"})
    cells = summarise([ROWS[4], flipped, again])[0].cells
    assert {key: cell.value for key, cell in cells.items()} == {
        "verification_accuracy": 0.992,
        "verification_accuracy+flip": 0.6,
        "verification_accuracy (measurement 2)": 0.5,
    }


def test_speed_is_told_against_the_unpruned_fp32_of_the_same_runtime():
    cell = summarise(ROWS)[1].cells["latency_ratio"]
    assert cell.value == pytest.approx(2.0 / 0.9)
    assert cell.conditions == {"against": "net.tflite"}


def test_speed_is_told_against_the_first_line_where_no_unpruned_fp32_ran():
    first = [row(SMALL, "latency_ms_p50", 0.9, "ms", threads=1)]
    second = [row((*SMALL[:1], "b.tflite", "tflite", "w8"), "latency_ms_p50", 1.8, "ms", threads=1)]
    assert summarise(first + second)[1].value("latency_ratio") == 0.5


def test_size_is_told_against_the_unpruned_fp32_of_another_runtime_where_its_own_has_none():
    cell = summarise(ROWS)[2].cells["size_ratio"]
    assert (round(cell.value, 2), cell.conditions["against"]) == (6.56, "net.tflite")


def test_front_holds_what_nothing_beats():
    #                  front  front  dearer and worse than 1  front
    lines = lines_of((1, 10), (2, 20), (3, 15), (4, 30))
    assert pareto_front(lines, ["cost"], ["gain"]) == [0, 1, 3]


def test_equals_stay_on_the_front_together():
    assert pareto_front(lines_of((1, 10), (1, 10)), ["cost"], ["gain"]) == [0, 1]


def test_as_good_but_dearer_is_beaten():
    assert pareto_front(lines_of((1, 10), (2, 10), (1, 9)), ["cost"], ["gain"]) == [0]


def test_lines_without_a_number_take_no_part_in_the_front():
    assert pareto_front(lines_of((None, 99), (5, 10), (1, None)), ["cost"], ["gain"]) == [1]


def test_front_of_two_costs_takes_less_of_both():
    assert pareto_front(lines_of((1, 5), (5, 1), (5, 5)), ["cost", "gain"], []) == [0, 1]


def test_front_of_nothing_is_empty():
    assert pareto_front([], ["cost"], ["gain"]) == []
