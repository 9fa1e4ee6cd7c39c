"""Emulated ARM64: counts against programs and layers whose instructions one can count by hand, numbers against x86."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pocketface.benchmark.arm64.cores import CORES
from pocketface.benchmark.arm64.emulated import (
    EmulatedSession,
    instructions,
    instructions_of,
    profile,
)
from pocketface.benchmark.arm64.emulator import setup
from pocketface.export.artifact import Card
from pocketface.export.graph.to_onnx import to_onnx
from pocketface.export.session import OnnxRuntimeSession
from pocketface.export.tflite.litert import LiteRTSession
from pocketface.export.tflite.to_tflite import to_tflite
from pocketface.faces.contract import InputContract
from pocketface.models.embedder import Embedder
from pocketface.models.mobilefacenet import mobilefacenet

from .conftest import EXTRA_MACS, WIDTH, faces

pytestmark = pytest.mark.usefixtures("emulator")


def kinds(path: Path, core: str) -> Counter[str]:
    told = profile(path, core)
    return Counter({kind: round(share * told.instructions) for kind, share in told.mix.items()})


# A program without any library: three marks, as the runner makes them; between the last two what a test puts there.
PROGRAM = """
.arch armv8.6-a+fp16
.global _start
_start:
    adr x9, _start
    mov x8, #4242
    svc #0
    mov x8, #4242
    svc #0
    {}
    mov x8, #4242
    svc #0
    mov x8, #93
    mov x0, #0
    svc #0
"""
MARKING = Counter(arithmetic=1, branch=1)  # mov x8; svc, before each mark


def executed(folder: Path, assembly: str, core: str) -> Counter[str]:
    """What the emulator counts between two marks of a program around `assembly`."""
    source, program = folder / "program.s", folder / "program"
    source.write_text(PROGRAM.format(assembly))
    subprocess.run(["aarch64-linux-gnu-gcc", "-nostdlib", "-static", "-o", program, source], check=True)
    _, before, after = setup().run(CORES[core], program)
    return after - before - MARKING


def test_a_loop_of_a_thousand_turns_is_counted_to_the_instruction(tmp_path: Path) -> None:
    loop = "mov x0, #1000\n 1: subs x0, x0, #1\n b.ne 1b"
    assert executed(tmp_path, loop, "a53") == Counter(arithmetic=1 + 1000, branch=1000)


@pytest.mark.parametrize(
    ("kind", "assembly"),
    [
        ("fmla32", "fmla v0.4s, v1.4s, v2.4s"),
        ("fmla32", "fmla v0.2s, v1.2s, v31.s[3]"),
        ("fmla16", "fmla v0.8h, v1.8h, v2.8h"),
        ("fmla16", "fmla v0.8h, v1.8h, v15.h[7]"),
        ("sdot", "sdot v0.4s, v1.16b, v2.16b"),
        ("sdot", "udot v0.4s, v1.16b, v31.4b[3]"),
        ("smmla", "smmla v0.4s, v1.16b, v2.16b"),
        ("smmla", "ummla v0.4s, v1.16b, v2.16b"),
        ("smlal", "smlal v0.8h, v1.8b, v2.8b"),
        ("smlal", "smlal2 v0.4s, v1.8h, v15.h[7]"),
        ("smull", "smull v0.8h, v1.8b, v2.8b"),
        ("smull", "umull2 v0.4s, v1.8h, v15.h[0]"),
        ("vector_memory", "ld1 {v0.4s, v1.4s}, [x9]"),
        ("vector_memory", "ldr q0, [x9, #16]"),
        ("memory", "ldp x0, x1, [x9], #16"),
        ("memory", "prfm pldl1keep, [x9]"),
        ("vector_other", "fadd v0.4s, v1.4s, v2.4s"),
        ("vector_other", "fmls v0.4s, v1.4s, v2.4s"),
        ("vector_other", "fmadd s0, s1, s2, s3"),
        ("arithmetic", "madd x0, x1, x2, x3"),
        ("arithmetic", "add x0, x1, #1"),
        ("branch", "cbz xzr, 1f\n 1:"),
    ],
)
def test_an_instruction_is_of_the_class_that_its_name_tells(tmp_path: Path, kind: str, assembly: str) -> None:
    assert executed(tmp_path, assembly.replace("{", "{{").replace("}", "}}").format(), "i8mm") == Counter({kind: 1})


def test_an_instruction_that_a_core_lacks_is_illegal_on_it(tmp_path: Path) -> None:
    assert executed(tmp_path, "sdot v0.4s, v1.16b, v2.16b", "a55") == Counter(sdot=1)
    with pytest.raises(ValueError, match=r"emulated Cortex-A53: .*[Ii]llegal instruction"):
        executed(tmp_path, "sdot v0.4s, v1.16b, v2.16b", "a53")


@pytest.mark.parametrize("core", CORES)
def test_a_convolution_takes_one_fmla_for_four_macs(fp32: list[Path], core: str) -> None:
    without, with_one, with_two = (kinds(path, core)["fmla32"] for path in fp32)
    assert with_one - without == with_two - with_one == EXTRA_MACS // 4


@pytest.mark.parametrize(
    ("core", "kind", "macs"),
    [("a53", "smlal", 4), ("a55", "sdot", 16), ("a76", "sdot", 16), ("i8mm", "smmla", 32)],
)
def test_an_int8_convolution_takes_the_cores_own_int8_arithmetic(
    int8: list[Path], core: str, kind: str, macs: int
) -> None:
    without, with_one = (kinds(path, core)[kind] for path in int8)
    assert with_one - without == EXTRA_MACS // macs


def test_counts_repeat_to_the_instruction_wherever_the_file_lies(fp32: list[Path], tmp_path: Path) -> None:
    elsewhere = tmp_path / ("a rather long name, " * 5 + ".tflite")
    elsewhere.write_bytes(fp32[1].read_bytes())
    assert len({instructions(path, "a76") for path in [fp32[1], fp32[1], fp32[1], elsewhere]}) == 1


def test_a_count_does_not_depend_on_the_files_counted_before(fp32: list[Path], int8: list[Path]) -> None:
    files = [*fp32, *int8]
    alone = [instructions(path, "a76") for path in files]
    assert instructions_of([*files, *files, *reversed(files)], "a76") == [*alone, *alone, *reversed(alone)]
    assert instructions_of([], "a76") == []


def test_the_shares_of_a_profile_sum_to_one(fp32: list[Path]) -> None:
    told = profile(fp32[1], "a76")
    assert told.instructions == instructions(fp32[1], "a76")
    assert sum(told.mix.values()) == pytest.approx(1)
    assert max(told.mix, key=lambda kind: told.mix[kind]) == "fmla32"


@pytest.mark.parametrize("core", CORES)
def test_int8_embeddings_equal_those_of_x86_bit_for_bit(int8: list[Path], core: str) -> None:
    inputs = faces(5)
    assert np.array_equal(EmulatedSession(int8[1], core).run(inputs), LiteRTSession(int8[1]).run(inputs))


@pytest.mark.parametrize("core", CORES)
def test_fp32_embeddings_differ_from_those_of_x86_by_rounding(fp32: list[Path], core: str) -> None:
    inputs = faces(3)
    expected = LiteRTSession(fp32[2]).run(inputs)
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(EmulatedSession(fp32[2], core).run(inputs), expected, rtol=0, atol=1e-6)


def test_onnxruntime_takes_one_fmla_for_four_macs_too(onnx: list[Path]) -> None:
    one, two = (profile(path, "a76", "onnxruntime") for path in onnx)
    fmla = [round(told.mix["fmla32"] * told.instructions) for told in (one, two)]
    assert fmla[1] - fmla[0] == EXTRA_MACS // 4
    assert instructions(onnx[1], "a76", "onnxruntime") == two.instructions  # it repeats


def test_onnxruntimes_embeddings_differ_from_those_of_x86_by_rounding(onnx: list[Path]) -> None:
    inputs = faces(3)
    expected = OnnxRuntimeSession(onnx[1]).run(inputs)
    session = EmulatedSession(onnx[1], "a53", "onnxruntime")
    assert session.runtime == "onnxruntime-arm64-a53" and np.abs(expected).max() > 0.05
    np.testing.assert_allclose(session.run(inputs), expected, rtol=0, atol=1e-6)


def test_a_runtime_without_a_library_for_arm64_is_refused(fp32: list[Path]) -> None:
    with pytest.raises(ValueError, match="no runtime 'executorch' to emulate; known: litert, onnxruntime"):
        instructions(fp32[0], "a76", "executorch")
    with pytest.raises(ValueError, match=r"net0\.tflite: .*protobuf"):
        instructions(fp32[0], "a76", "onnxruntime")


def test_no_faces_give_no_embeddings(fp32: list[Path]) -> None:
    assert EmulatedSession(fp32[0], "a76").run(faces(0)).shape == (0, WIDTH)


def test_mobilefacenet_counts_what_an_independent_counter_found(tmp_path: Path) -> None:
    # found on a file that TensorFlow's converter made of the same network, by another plugin: 88.35 million
    card = Card("mobile", InputContract(), 128)
    embedder = Embedder("mobile", mobilefacenet(), card.contract, "mobile")
    source = to_onnx(embedder, card, tmp_path / "mobile.onnx").path
    mobile = instructions(to_tflite(source, card, tmp_path / "mobile.tflite").path, "a76")
    assert mobile == pytest.approx(88.35e6, rel=5e-4)


def test_what_is_wrong_is_said(fp32: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no core 'm4' to emulate; known: a53, a55, a76, i8mm"):
        instructions(fp32[0], "m4")
    with pytest.raises(ValueError, match=r"nowhere\.tflite: cannot be opened"):
        instructions(tmp_path / "nowhere.tflite", "a76")
    noise = tmp_path / "noise.tflite"
    noise.write_bytes(bytes(range(256)) * 8)
    with pytest.raises(ValueError, match=r"noise\.tflite: LiteRtCreateModelFromBuffer"):
        instructions_of([fp32[0], noise], "a76")
    with pytest.raises(ValueError, match=r"takes \(N, 3, 12, 14\), not \(1, 3, 8, 14\)"):
        EmulatedSession(fp32[0], "a76").run(faces(1, 8))


def test_a_machine_without_the_packages_is_told_the_line_that_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match=r"wants qemu-aarch64, .*: apt-get install .*qemu-user"):
        setup()


def test_two_processes_build_the_emulator_at_once(
    tmp_path: Path, fp32: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = "import sys, pathlib; from pocketface.benchmark.arm64.emulated import instructions as counted\n"
    counts += "print(counted(pathlib.Path(sys.argv[1]), 'a76'))"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    both = [
        subprocess.Popen([sys.executable, "-c", counts, fp32[0]], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    told = {process.communicate()[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    monkeypatch.undo()
    assert told == {f"{instructions(fp32[0], 'a76')}\n"}
    (built,) = (tmp_path / "pocketface" / "arm64").iterdir()  # and nothing half-built beside it
    assert built.name.startswith("litert-")
