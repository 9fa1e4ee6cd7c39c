"""Timing over adb: the real `adb` program against a loopback device that speaks its protocol. No phone is involved."""

import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from pocketface.benchmark.adb.measuring import measure_on_phone
from pocketface.benchmark.adb.recipe import PhoneRecipe
from pocketface.benchmark.arm64 import emulator
from pocketface.benchmark.measurement import Measurement

from .conftest import script
from .loopback import Loopback

QUICK = PhoneRecipe(rounds=2, minimum_runs=5, minimum_seconds=0, most_seconds=1, rest_seconds=0, cool_down_seconds=0)
IMPATIENT = QUICK.model_copy(update={"most_seconds": 0.5, "patience_seconds": 1.0})
TIMES = (
    "echo 'count=3 first=9 curr=9 min=8 max=11 avg=9 std=1'\n"
    "echo 'count=4 first=2000 curr=2000 min=1500 max=2500 avg=2000 std=10'\n"
    "echo 'Inference timings in us: Init: 7000, First inference: 9000, Warmup (avg): 9, Inference (avg): 2000'"
)


def of(rows: Sequence[Measurement], metric: str, artifact: str = "net16.tflite") -> Measurement:
    (row,) = (row for row in rows if (row.metric, row.artifact) == (metric, artifact) and "part" not in row.conditions)
    return row


def runs_of(device: Loopback) -> list[tuple[str, ...]]:
    """The mask and the file of every time that the tool was started, and whether it profiled."""
    found = [re.search(r"taskset (\w+) .*--graph=(\S+)", command) for command in device.commands]
    profiled = ["profiling" in command for command in device.commands]
    return [(*run.groups(), "profiled") if p else run.groups() for run, p in zip(found, profiled, strict=True) if run]


def on(service: str, fault: str, times: int = 1) -> Callable[[str], str]:
    """A fault the so-manieth time that a service's name holds a text."""
    seen = []
    return lambda name: fault if service in name and (seen.append(name) or len(seen) == times) else ""


def test_files_are_timed_in_turns_on_the_fastest_core_and_the_rows_are_what_was_printed(
    device: Loopback, files: list[Path], tool: Path
) -> None:
    rows = measure_on_phone(files, tool=tool, folder=files[0].parent, recipe=QUICK)

    pinned = [("10", "0.tflite"), ("10", "1.tflite")]  # mask 0x10: core 4 of 0 ... 4
    assert runs_of(device) == [*pinned, *pinned, *((*one, "profiled") for one in pinned)]
    taken = [json.loads(out.partition("taken ")[2].splitlines()[0]) for out in device.outputs if "taken " in out]
    for name, graph in (("net16.tflite", "0.tflite"), ("net32.tflite", "1.tflite")):
        first, second, _ = (one for one in taken if one["graph"] == graph)
        means = [np.mean(one["us"]) / 1000 for one in (first, second)]
        mean = of(rows, "latency_ms_mean", name)
        assert mean.value == pytest.approx(np.mean(means), rel=1e-4)
        assert (mean.low, mean.high) == (pytest.approx(min(means), rel=1e-4), pytest.approx(max(means), rel=1e-4))
        assert mean.n == len(first["us"]) + len(second["us"]) >= 10
        assert of(rows, "latency_ms_min", name).value == min(first["us"] + second["us"]) / 1000
        assert of(rows, "load_ms", name).value == pytest.approx((first["init"] + second["init"]) / 2000, abs=0.002)
        assert of(rows, "first_ms", name).value == pytest.approx((first["first"] + second["first"]) / 2000)
    assert all(row.valid for row in rows)
    assert of(rows, "peak_memory_bytes").value > 10e6  # a Python with LiteRT
    operators = {row.conditions["part"]: row.value for row in rows if row.metric == "operator_ms"}
    assert operators == {"CONV_2D": 0.75, "MEAN": 0.25}

    said = of(rows, "latency_ms_mean")
    assert (said.model, said.precision, said.format) == ("net16", "fp32", "tflite")
    assert said.runtime == "adb benchmark_model"
    assert re.fullmatch(r"Loop Back 1 \(Host\), Android 15, serial hash [0-9a-f]{6}", said.device)
    assert device.serial not in json.dumps([dict(row.conditions) for row in rows])
    wanted = {"threads": 1, "cores": "10", "rounds": 2, "features": "fp16 dotprod"}
    wanted |= {"temperature_c_before": [31.0, 31.0], "frequency_mhz_after": [2900, 2900]}
    assert wanted.items() <= said.conditions.items()
    assert device.left_behind() == []


def test_a_device_before_android_7_tells_no_exit_status_and_is_measured_alike(
    connect: Callable[..., Loopback], files: list[Path], tmp_path: Path
) -> None:
    device = connect(shell_v2=False)
    rows = measure_on_phone(files[:1], tool=script(tmp_path, TIMES), recipe=QUICK)
    mean = of(rows, "latency_ms_mean")
    assert (mean.value, mean.low, mean.high, mean.n, mean.valid) == (2.0, 2.0, 2.0, 8, True)
    assert of(rows, "latency_ms_min").value == 1.5
    assert of(rows, "load_ms").value == 7.0
    assert of(rows, "first_ms").value == 9.0
    operators = of(rows, "operator_ms")  # this tool writes no profile
    assert operators.value is None
    assert "profile.csv cannot be fetched" in operators.reason
    failing = measure_on_phone(files[:1], tool=script(tmp_path, "echo ERROR: no; exit 3"), recipe=QUICK)
    assert of(failing, "latency_ms_mean").reason.endswith("it ends with status 3: ERROR: no")
    assert device.left_behind() == []


def test_sustained_load_is_told_process_by_process(device: Loopback, files: list[Path], tmp_path: Path) -> None:
    recipe = QUICK.model_copy(update={"rounds": 1, "sustained_seconds": 1.0})
    tool = script(tmp_path, f"echo 'Operator-wise nothing' >profile.csv\nsleep 0.4\n{TIMES}")
    rows = measure_on_phone(files[:1], tool=tool, folder=files[0].parent, recipe=recipe)
    of_metric = {
        metric: [row for row in rows if row.metric == metric]
        for metric in ("sustained_latency_ms", "sustained_celsius", "sustained_mhz")
    }
    assert {tuple(row.value for row in each)[:2] for each in of_metric.values()} == {(2, 2), (31, 31), (2900, 2900)}
    steps = [row.conditions["part"] for row in of_metric["sustained_latency_ms"]]
    assert 2 <= len(steps) <= 3 and re.fullmatch(r"0 to \d s", steps[0])
    runs = [command for command in device.commands if "--graph=0.tflite" in command]
    assert len(runs) == 1 + len(steps) + 1  # a round, these, the profile
    assert of(rows, "latency_ms_mean").conditions["rounds"] == 1


def test_a_failure_under_sustained_load_keeps_what_was_before(
    device: Loopback, files: list[Path], tmp_path: Path
) -> None:
    recipe = QUICK.model_copy(update={"rounds": 1, "sustained_seconds": 60.0})
    tool = script(
        tmp_path,
        f"echo 'Operator-wise nothing' >profile.csv\necho x >>count\n[ $(wc -l <count) -le 3 ] || exit 3\n{TIMES}",
    )
    rows = measure_on_phone(files[:1], tool=tool, folder=files[0].parent, recipe=recipe)
    kept = [row for row in rows if row.metric == "sustained_latency_ms"]
    assert [row.value for row in kept] == [2, 2, None]
    assert re.fullmatch(r"ended after \d of 60 s: .*cannot time net16.tflite: .*", kept[-1].reason)
    assert of(rows, "latency_ms_mean").valid


def test_what_an_accelerator_refuses_is_no_time_of_it(device: Loopback, files: list[Path], tool: Path) -> None:
    recipe = QUICK.model_copy(update={"accelerators": ("cpu", "gpu", "nnapi"), "rounds": 1})
    rows = measure_on_phone(files[:1], tool=tool, folder=files[0].parent, recipe=recipe)
    means = {row.runtime: row for row in rows if row.metric == "latency_ms_mean"}
    assert list(means) == ["adb benchmark_model", "adb benchmark_model gpu", "adb benchmark_model nnapi"]
    cpu, gpu, nnapi = means.values()
    assert cpu.valid and "accelerated" not in cpu.conditions
    assert gpu.valid and gpu.conditions["accelerated"] == "completely"
    assert not nnapi.valid and nnapi.value is None
    assert nnapi.reason == (
        "benchmark_model cannot time net16.tflite: the NNAPI delegate takes no part of it, and the CPU ran it instead"
    )
    (timed, *_) = [command for command in device.commands if "--use_gpu=true" in command]
    assert "--use_xnnpack" not in timed
    assert [row.metric for row in rows if row.runtime == "adb benchmark_model gpu"].count("operator_ms") == 2


def test_our_runner_brings_its_libraries_and_runs_as_arm64(connect: Callable[..., Loopback], files: list[Path]) -> None:
    if missing := emulator.installed():
        pytest.skip(missing)
    try:
        built = emulator.setup()
    except ValueError as error:
        pytest.skip(str(error))
    device = connect(emulator=f"qemu-aarch64 -cpu cortex-a76 -L {built.folder / 'Cortex-A76'}")
    rows = measure_on_phone(files[:1], recipe=QUICK.model_copy(update={"rounds": 1}))
    assert of(rows, "latency_ms_mean").runtime == "adb runner"
    assert [row.reason for row in rows if not row.valid] == []
    least, median = of(rows, "latency_ms_min").value, of(rows, "latency_ms_p50").value
    assert 0 < least <= median
    assert of(rows, "latency_ms_mean").n == 5
    assert "runner time 0.tflite 5 0 1" in "".join(device.commands)
    with pytest.raises(ValueError, match="our runner has the CPU alone; gpu wants --benchmark-model"):
        measure_on_phone(files, recipe=QUICK.model_copy(update={"accelerators": ("cpu", "gpu")}))
    with pytest.raises(ValueError, match="our runner has 1 thread; 2 want --benchmark-model"):
        measure_on_phone(files[:1], recipe=PhoneRecipe(threads=(1, 2)))
    device.path("/system/bin/getprop").write_text("#!/bin/sh\necho armeabi-v7a\n")
    with pytest.raises(ValueError, match="our runner is for arm64-v8a; this phone is armeabi-v7a"):
        measure_on_phone(files[:1], recipe=QUICK)


def test_a_phone_that_vanishes_in_the_second_round_leaves_what_was_complete(
    device: Loopback, files: list[Path], tmp_path: Path
) -> None:
    device.fault = on("taskset", "vanish", times=4)  # of two files: the second file's second run
    said: list[str] = []
    rows = measure_on_phone(files, tool=script(tmp_path, TIMES), recipe=QUICK, progress=said.append)
    kept, lost = (of(rows, "latency_ms_mean", name) for name in ("net16.tflite", "net32.tflite"))
    assert (kept.valid, kept.value, kept.conditions["rounds"]) == (True, 2.0, 2)
    assert (lost.valid, lost.value, lost.conditions["rounds"]) == (False, 2.0, 1)
    sentence = r"the phone vanished before its answer was complete; adb says '.*', after 1 of 2 rounds"
    assert re.fullmatch(sentence, lost.reason)
    assert of(rows, "operator_ms").reason.startswith("the phone vanished")
    assert re.match(r"/data/local/tmp/pocketface-\w+ may be left on the phone: the phone vanished", said[-1])


def test_a_phone_that_vanishes_while_files_are_pushed_is_said_once_for_each_file(
    device: Loopback, files: list[Path], tmp_path: Path
) -> None:
    device.fault = on("data:", "vanish", times=2)
    rows = measure_on_phone(files, tool=script(tmp_path, TIMES), recipe=QUICK)
    assert [row.metric for row in rows] == ["latency_ms_mean"] * 2
    assert all(row.reason.startswith("the phone vanished before its answer was complete") for row in rows)


def test_a_phone_that_hangs_is_given_up_after_its_time(
    device: Loopback, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pocketface.benchmark.adb.device.PROBE", 1.0)
    monkeypatch.setattr("pocketface.benchmark.adb.measuring.CLEANING", 1.0)
    begun: list[str] = []
    device.fault = lambda service: "hang" if begun or ("taskset" in service and not begun.append(service)) else ""
    start = time.monotonic()
    rows = measure_on_phone(files, tool=script(tmp_path, TIMES), recipe=IMPATIENT)
    assert {row.reason for row in rows} == {"the phone did not finish `adb shell` within 2 s and answers nothing else"}
    assert time.monotonic() - start < 15


def test_a_tool_that_never_ends_is_ended_and_the_next_file_goes_on(
    device: Loopback, files: list[Path], tmp_path: Path
) -> None:
    tool = script(tmp_path, f"case $1 in --graph=0*) echo $$ >{tmp_path}/id; exec sleep 99;; *)\n{TIMES}\n;; esac")
    rows = measure_on_phone(files, tool=tool, recipe=IMPATIENT)
    said = of(rows, "latency_ms_mean").reason
    assert said == "benchmark_model cannot time net16.tflite: the phone did not finish `adb shell` within 2 s"
    assert of(rows, "latency_ms_mean", "net32.tflite").valid
    state = Path("/proc", (tmp_path / "id").read_text().strip(), "stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"
    assert device.left_behind() == []


def test_a_full_phone_keeps_the_files_that_fit(device: Loopback, files: list[Path], tmp_path: Path) -> None:
    tool, larger = script(tmp_path, TIMES), tmp_path / "larger.tflite"
    larger.write_bytes(files[0].read_bytes() + bytes(200_000))
    device.told_room = 150_000
    rows = measure_on_phone([larger, files[0]], tool=tool, recipe=QUICK)
    assert re.fullmatch(
        r"the device has no room for larger.tflite: 0.2 MB are wanted, 0.1 MB are free",
        of(rows, "latency_ms_mean", "larger.tflite").reason,
    )
    assert of(rows, "latency_ms_mean").valid

    device.told_room, device.room = 1 << 30, 100_000  # it promises what it has not
    rows = measure_on_phone([larger, files[0]], tool=tool, recipe=QUICK)
    assert (
        of(rows, "latency_ms_mean", "larger.tflite").reason == "the device is full: larger.tflite (0.2 MB) did not fit"
    )
    assert of(rows, "latency_ms_mean").valid
    assert device.left_behind() == []


def test_a_tool_that_does_not_fit_is_the_reason_for_every_file(
    device: Loopback, files: list[Path], tmp_path: Path
) -> None:
    device.told_room = 0
    rows = measure_on_phone(files, tool=script(tmp_path, TIMES), recipe=QUICK)
    assert {row.reason for row in rows} == {
        "the device has no room for benchmark_model: 0.0 MB are wanted, 0.0 MB are free"
    }


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("kill -SEGV $$", "it was ended by SIGSEGV"),
        ("kill -KILL $$", "it was ended by SIGKILL"),
        ("echo 'ERROR: op 99 is unknown'; echo Benchmarking failed.; exit 1",
         "it ends with status 1: ERROR: op 99 is unknown"),
        ("echo hello", "it printed no times; its last line is 'hello'"),
        ("", "it printed no times; its last line is ''"),
        (TIMES.replace("avg=2000", "avg=nan"), "it printed times that are none: nan is no time in"),
        (TIMES.replace("avg=2000", "avg=-5"), "it printed times that are none: -5 is no time in"),
        ("yes nonsense | head -n 300000", "it printed no times; its last line is 'nonsense'"),
    ],
)  # fmt: skip
def test_a_tool_that_fails_is_one_sentence_and_the_next_file_goes_on(
    device: Loopback, files: list[Path], tmp_path: Path, lines: str, reason: str
) -> None:
    tool = script(tmp_path, f"case $1 in --graph=0*)\n{lines}\n;; *)\n{TIMES}\n;; esac")
    rows = measure_on_phone(files, tool=tool, recipe=QUICK)
    failed = of(rows, "latency_ms_mean")
    assert not failed.valid
    assert failed.reason.startswith(f"benchmark_model cannot time net16.tflite: {reason}")
    assert "\n" not in failed.reason
    assert of(rows, "latency_ms_mean", "net32.tflite").valid
    assert sum("--graph=0.tflite" in command for command in device.commands) == 1  # it is not tried again


def test_a_phone_that_refuses_to_execute_says_so(device: Loopback, files: list[Path], tmp_path: Path) -> None:
    tool = tmp_path / "benchmark_model"
    tool.write_text("#!/no/such/program\n")
    (row,) = measure_on_phone(files[:1], tool=tool, recipe=QUICK)
    assert row.reason.startswith("benchmark_model cannot time net16.tflite: it is not there")
    tool.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(200))  # of no processor
    (row,) = measure_on_phone(files[:1], tool=tool, recipe=QUICK)
    assert "the device refuses to execute it" in row.reason


def test_a_phone_where_nothing_may_be_written_says_so(device: Loopback, files: list[Path], tmp_path: Path) -> None:
    refusing = device.path("/system/bin/mkdir")
    refusing.write_text("#!/bin/sh\necho mkdir: Permission denied >&2\nexit 1\n")
    refusing.chmod(0o755)
    rows = measure_on_phone(files, tool=script(tmp_path, TIMES), recipe=QUICK)
    said = "nothing can be written to /data/local/tmp on the phone: it ends with status 1: mkdir: Permission denied"
    assert [row.reason for row in rows] == [said, said]


def test_a_file_that_the_tool_does_not_know_is_a_row_with_what_it_said(
    device: Loopback, files: list[Path], tool: Path, tmp_path: Path
) -> None:
    broken, foreign = tmp_path / "broken.tflite", tmp_path / "net.onnx"
    broken.write_bytes(b"no model")
    foreign.write_bytes(b"")
    rows = measure_on_phone([broken, foreign, files[0]], tool=tool, recipe=QUICK.model_copy(update={"rounds": 1}))
    said = of(rows, "latency_ms_mean", "broken.tflite")
    assert said.reason == (
        "benchmark_model cannot time broken.tflite: it ends with status 1: ERROR: Failed to construct interpreter"
    )
    assert said.precision == "unknown"
    assert of(rows, "latency_ms_mean", "net.onnx").reason == "benchmark_model runs .tflite files; net.onnx is none"
    assert of(rows, "latency_ms_mean").valid


def test_rounds_in_which_the_phone_slowed_down_do_not_count(
    device: Loopback, files: list[Path], tmp_path: Path
) -> None:
    def slower(service: str) -> str:
        if "taskset" in service and sum("taskset" in command for command in device.commands) == 1:
            device.set_kilohertz(1_200_000)
        return ""

    device.fault = slower
    (mean, *_) = measure_on_phone(files[:1], tool=script(tmp_path, TIMES), recipe=QUICK)
    assert (mean.valid, mean.value) == (False, 2.0)
    assert (
        mean.reason == "the phone slowed its cores down: round 2 ended at 1200 MHz, the fastest of all rounds at 2900"
    )


def test_a_phone_that_gets_hot_does_not_count_and_is_waited_for(
    device: Loopback, files: list[Path], tmp_path: Path
) -> None:
    def hotter(service: str) -> str:
        if "taskset" in service:
            device.set_celsius(88)
        elif device.path("/sys/class/thermal/thermal_zone0/temp").read_text() == "88000\n":
            looked.append(service)
            device.set_celsius(88 if len(looked) < 2 else 32)
        return ""

    looked: list[str] = []
    device.fault = hotter
    recipe = QUICK.model_copy(update={"cool_down_seconds": 5.0})
    (mean, *_) = measure_on_phone(files[:1], tool=script(tmp_path, TIMES), recipe=recipe)
    assert mean.reason == "round 1 left the phone at 88 °C; more than 75 is hot"
    assert mean.conditions["temperature_c_before"] == [31.0, 32.0]  # the second round waited
    assert len(looked) >= 2
    assert device.left_behind() == []
