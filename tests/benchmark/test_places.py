"""Where the rows of a runtime were taken."""

import pytest

from pocketface.benchmark.adb.benchmark_model import benchmark_model
from pocketface.benchmark.arm64.cores import CORES, emulated_runtime
from pocketface.benchmark.places import PLACES, place_of
from pocketface.export.formats import FORMATS


@pytest.mark.parametrize(
    ("runtime", "kind", "core"),
    [
        ("litert", "this machine", ""),
        ("litert-no-xnnpack", "this machine", ""),
        ("litert-arm64-a76", "emulated core", "a76"),
        ("adb benchmark_model", "device", ""),
        ("adb runner", "device", ""),
        ("coreml CPU_AND_NE", "device", ""),
        ("coreml-evaluator", "interpreter", ""),
        ("adbx", "this machine", ""),
    ],
)
def test_a_runtime_is_looked_up_by_its_whole_name(runtime: str, kind: str, core: str) -> None:
    assert (place_of(runtime).kind, place_of(runtime).core) == (kind, core)


def test_a_phone_counts_before_a_mac_and_its_neural_engine_before_its_processor() -> None:
    names = ["coreml CPU_ONLY", "litert", "coreml ALL", "adb runner", "coreml CPU_AND_NE"]
    ranked = sorted(names, key=lambda runtime: place_of(runtime).rank)
    assert ranked == ["adb runner", "coreml ALL", "coreml CPU_AND_NE", "coreml CPU_ONLY", "litert"]


def test_what_is_written_is_in_the_table(tmp_path) -> None:
    program = tmp_path / "any name"
    program.write_bytes(b"")
    known = {place.runtime for place in PLACES}
    assert f"adb {benchmark_model(program).name}" in known
    assert {emulated_runtime(core) for core in CORES} <= known
    assert FORMATS["coreml"].runtime in known
