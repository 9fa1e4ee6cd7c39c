"""By what evidence a file is called fast, on rows whose answer one sees."""

import json

import pytest

from pocketface.benchmark.measurement import Measurement
from pocketface.benchmark.report.data_files import json_of
from pocketface.benchmark.report.limits import ShippingLimits
from pocketface.benchmark.report.recommendation import Choice, recommend
from pocketface.benchmark.report.summary import summarise

BUSY = "other processes took 31 % of the core"


def file(precision, mb, ms, format="tflite", busy=False, phone_ms=None, cpu_ms=None, **instructions):
    """Rows of one file that keeps the accuracy; instructions are in millions, by core."""
    runtime = "litert" if format == "tflite" else "onnxruntime"
    known = ("net", f"artifacts/net.{precision}.{format}", format, precision)
    here = (*known, runtime, "a Xeon")
    rows = [
        Measurement(*here, "size_bytes", mb * 1e6, "bytes"),
        Measurement(*here, "verification_accuracy", 0.99, "1", 0.985, 0.995, 6000),
        Measurement(*here, "accuracy_difference", 0.0, "1", -0.001, 0.001, 6000, conditions={"to": "net"}),
        Measurement(
            *(*here, "latency_ms_p50", ms, "ms", 0.99 * ms, 1.01 * ms),
            valid=not busy,
            reason=BUSY if busy else "",
            conditions={"threads": 1},
        ),
    ]
    rows += [
        Measurement(
            *(*known, f"litert-arm64-{core}", "emulated", "arm64_instructions", 1e6 * count, "count"),
            conditions={"threads": 1},
        )
        for core, count in instructions.items()
    ]
    if cpu_ms is not None:
        rows.append(
            Measurement(
                *(*here, "cpu_ms", cpu_ms, "ms", 0.98 * cpu_ms, 1.02 * cpu_ms),
                conditions={"threads": 1},
            )
        )
    if phone_ms is not None:
        here = (*known, "adb benchmark_model", "Pixel 4")
        rows.append(Measurement(*here, "latency_ms_p50", phone_ms, "ms", conditions={"threads": 1}))
    return rows


# the foreign MobileFaceNet: w8 runs the kernels of fp32, and only w8a8 those of int8
FP32 = {"precision": "fp32", "mb": 4.0, "ms": 3.0, "a76": 86.8, "a53": 101}
W8 = {"precision": "w8", "mb": 1.2, "ms": 3.0, "a76": 86.8, "a53": 101}
W8A8 = {"precision": "w8a8", "mb": 1.3, "ms": 3.4, "a76": 31.4, "a53": 72}


def any_phone(*files, limits=None) -> Choice:
    rows = [row for of in files for row in file(**of)]
    choices = dict(recommend(summarise(rows), limits or ShippingLimits()).choices)
    return choices["Any phone"]


def told(choice: Choice):
    assert choice.best is not None and choice.evidence is not None
    return choice.best.line.precision, choice.evidence.kind, choice.evidence.core


def test_the_file_of_fewest_instructions_is_preferred_to_the_smallest_and_to_the_fastest_on_this_machine():
    choice = any_phone(FP32, W8, W8A8)
    assert told(choice) == ("w8a8", "arm64 counts", "a76")
    assert choice.why == "by counted instructions the fastest that meets the limits"
    assert {judged.line.precision: why for judged, why in choice.others} == {
        "fp32": "slower: 86.8 M instructions against 31.4 M instructions",
        "w8": "slower: 86.8 M instructions against 31.4 M instructions",
    }
    assert choice.evidence is not None and choice.evidence.sentence == (
        "Speed was judged by ARM64 instructions counted on an emulated Cortex-A76, as no phone was timed; between "
        "precisions they are an indication, and counts within 15 % of each other are called equal."
    )


def test_a_phone_that_was_timed_counts_before_instructions():
    choice = any_phone(W8 | {"phone_ms": 8.0}, W8A8 | {"phone_ms": 9.0})
    assert told(choice) == ("w8", "phone", "")
    assert choice.evidence is not None and choice.evidence.sentence == "Speed was judged by latencies of Pixel 4."


def test_files_whose_counts_are_within_15_percent_are_equally_fast_and_the_smaller_is_chosen():
    near, far = W8A8 | {"precision": "w8", "mb": 1.2, "a76": 36.0}, W8A8 | {"precision": "w8", "mb": 1.2, "a76": 36.2}
    assert told(any_phone(near, W8A8))[0] == "w8"  # 36.0 / 31.4 = 1.146
    assert told(any_phone(far, W8A8))[0] == "w8a8"  # 36.2 / 31.4 = 1.153


def test_counts_of_a_core_without_sdot_do_not_order_precisions():
    w8, w8a8 = ({key: value for key, value in of.items() if key != "a76"} for of in (W8, W8A8))
    assert told(any_phone(w8, w8a8)) == ("w8", "this machine", "")
    assert told(any_phone(w8a8)) == ("w8a8", "arm64 counts", "a53")  # of one precision they do


def test_on_a_busy_machine_counts_decide_and_without_them_the_size_and_both_are_said():
    choice = any_phone(W8 | {"busy": True}, W8A8 | {"busy": True})
    assert told(choice) == ("w8a8", "arm64 counts", "a76")
    assert choice.evidence is not None
    assert "no phone was timed, and no latency of this machine is valid" in choice.evidence.sentence
    uncounted = [{"precision": p, "mb": mb, "ms": 3.0, "busy": True} for p, mb in (("w8", 1.2), ("w8a8", 1.3))]
    choice = any_phone(*uncounted)
    assert told(choice) == ("w8", "none", "")
    assert choice.evidence is not None
    assert choice.evidence.sentence == f"The size decides, as no valid number tells the speed: {BUSY}."


def test_on_a_busy_machine_without_counts_cpu_time_decides_and_it_is_said():
    w8 = {"precision": "w8", "mb": 1.2, "ms": 9.0, "busy": True, "cpu_ms": 4.0}
    w8a8 = {"precision": "w8a8", "mb": 1.3, "ms": 9.5, "busy": True, "cpu_ms": 2.5}
    choice = any_phone(w8, w8a8)
    assert told(choice) == ("w8a8", "cpu time", "")
    assert choice.why == "by CPU time the fastest that meets the limits"
    assert [why for _, why in choice.others] == ["slower: 4.00 ms of CPU time against 2.50 ms of CPU time"]
    assert choice.evidence is not None and choice.evidence.sentence == (
        "Speed was judged by this machine's CPU time, as no phone was timed, no ARM64 instructions were counted that "
        f"tell these files apart, and no latency of this machine is valid: {BUSY}. A phone may order the files "
        "differently."
    )


def test_one_file_that_was_timed_in_a_calm_moment_does_not_win_by_that():
    calm = {"precision": "w8", "mb": 1.2, "ms": 4.0, "cpu_ms": 4.0}
    disturbed = {"precision": "w8a8", "mb": 1.3, "ms": 9.5, "busy": True, "cpu_ms": 2.5}
    choice = any_phone(calm, disturbed)
    assert told(choice) == ("w8a8", "cpu time", "")
    assert choice.evidence is not None and "not every latency of this machine is valid" in choice.evidence.sentence


def test_cpu_time_decides_nothing_where_every_latency_is_valid():
    w8 = {"precision": "w8", "mb": 1.2, "ms": 3.0, "cpu_ms": 4.0}
    w8a8 = {"precision": "w8a8", "mb": 1.3, "ms": 3.5, "cpu_ms": 2.5}
    assert told(any_phone(w8, w8a8)) == ("w8", "this machine", "")


def test_a_file_without_counts_does_not_win_by_this_machines_latency():
    onnx = {"precision": "fp32", "mb": 4.0, "ms": 0.5, "format": "onnx"}
    choice = any_phone(W8A8, onnx)
    assert told(choice)[0] == "w8a8"
    assert [why for _, why in choice.others] == ["no instructions counted on that core"]


@pytest.mark.parametrize(("files", "kind", "core"), [([W8, W8A8], "arm64 counts", "a76"), ([], None, None)])
def test_the_json_names_the_kind_of_evidence(files, kind, core):
    rows = [row for of in files for row in file(**of)] or file(**(W8 | {"ms": 9.0}))
    lines = summarise(rows)
    limits = ShippingLimits() if files else ShippingLimits(max_mb=0.1)
    (choice,) = json.loads(json_of(lines, [("run", recommend(lines, limits))]))["recommendations"][0]["choices"]
    assert (choice["speed_evidence"], choice["speed_core"]) == (kind, core)
