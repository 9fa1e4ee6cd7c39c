"""Emulated cores as a part of a run: counts that repeat and are kept, a sample's embeddings, and what fails."""

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from pocketface.benchmark.arm64.emulated import instructions, profile
from pocketface.benchmark.arm64.emulated_rows import arm64_rows, kernels
from pocketface.benchmark.arm64.emulator import Emulator
from pocketface.benchmark.arm64.libraries import RUNTIMES
from pocketface.benchmark.arm64.sample import sample_pairs
from pocketface.benchmark.measurement import Measurement
from pocketface.benchmark.recipe import BenchmarkRecipe, EmulatedName
from pocketface.benchmark.runner import benchmark_files
from pocketface.benchmark.subjects import Candidate
from pocketface.export.artifact import Card
from pocketface.export.formats import open_session, read_artifact
from pocketface.export.graph.to_onnx import write_onnx_card
from pocketface.export.tflite.flatbuffer import pack
from pocketface.export.tflite.litert import LiteRTSession
from pocketface.faces.pairs import Pairs
from pocketface.models.tflite.tables import unpack

from .conftest import FACE

QUICK = BenchmarkRecipe(threads=(1,), minimum_runs=5, minimum_seconds=0, rounds=1)


def noise_pairs() -> Pairs:
    """Twelve pairs of twenty-four crops of noise in two folds: in each three genuine, three impostor."""
    faces = np.random.default_rng(3).integers(0, 256, (24, FACE.height, FACE.width, 3), dtype=np.uint8)
    left, right = np.arange(0, 24, 2), np.arange(1, 24, 2)
    same, fold = np.tile([True, True, True, False, False, False], 2), np.repeat([0, 1], 6)
    names = tuple(f"noise {number}" for number in range(24))
    return Pairs(faces, left, right, same, fold, names, np.full(24, -1), "of-noise")


def natively(path: Path, pairs: Pairs) -> NDArray[np.float32]:
    return LiteRTSession(path).run(FACE.preprocess(pairs.faces))


def rows_of(
    paths: list[Path], folder: Path, recipe: BenchmarkRecipe, given: list[NDArray[np.float32] | str] | None = None
) -> list[Measurement]:
    pairs, candidates = noise_pairs(), [Candidate(read_artifact(path)) for path in paths]
    return arm64_rows(candidates, given or [natively(path, pairs) for path in paths], pairs, recipe, folder)


def named(rows: list[Measurement], metric: str) -> dict[tuple[str, str], Measurement]:
    return {(row.artifact, row.runtime): row for row in rows if row.metric == metric}


@pytest.fixture(scope="module")
def run(emulator: Emulator, fp32: list[Path], int8: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list:
    """The rows of two files and two cores, out of the stage itself."""
    recipe = QUICK.model_copy(update={"arm64": ("a53", "a76"), "arm64_pairs": 8})
    rows = benchmark_files([fp32[1], int8[1]], lambda _: noise_pairs(), recipe, tmp_path_factory.mktemp("run"))
    return [row for row in rows if row.device == "emulated"]


def test_a_run_counts_each_file_on_each_core(run: list[Measurement], fp32: list[Path], int8: list[Path]) -> None:
    counts = named(run, "arm64_instructions")
    told = {place: (row.value, row.unit, row.conditions["threads"]) for place, row in counts.items()}
    assert told == {
        (path.name, f"litert-arm64-{core}"): (instructions(path, core), "count", 1)
        for path in (fp32[1], int8[1])
        for core in ("a53", "a76")
    }
    assert counts[int8[1].name, "litert-arm64-a76"].conditions["kernels"].startswith("int8 by sdot")
    assert counts[int8[1].name, "litert-arm64-a53"].conditions["kernels"].startswith("int8 by smlal")
    assert counts[fp32[1].name, "litert-arm64-a76"].conditions["kernels"].startswith("fp32 by fmla")
    assert not [row.metric for row in run if row.unit == "ms"]


def test_the_shares_stand_in_rows_of_their_own(run: list[Measurement], int8: list[Path]) -> None:
    shares = [row for row in run if row.metric == "arm64_instruction_share" and row.runtime == "litert-arm64-a76"]
    of_int8 = {row.conditions["part"]: row.value for row in shares if row.artifact == int8[1].name}
    assert of_int8 == profile(int8[1], "a76").mix
    assert sum(of_int8.values()) == pytest.approx(1)


@pytest.mark.parametrize("core", ["a53", "a76"])
def test_the_sample_tells_that_the_core_computes_what_this_machine_does(
    run: list[Measurement], fp32: list[Path], int8: list[Path], core: str
) -> None:
    for path, most in ((fp32[1], 1e-5), (int8[1], 0.0)):
        place = path.name, f"litert-arm64-{core}"
        largest = named(run, "emulated_largest_difference")[place]
        assert (largest.value <= most, largest.n) == (True, 16)
        assert named(run, "emulated_cosine_min")[place].value == pytest.approx(1, abs=1e-9)
        difference = named(run, "emulated_accuracy_difference")[place]
        assert (difference.value, difference.n, difference.conditions["flipped"]) == (0, 8, 0)
        assert difference.low < 0 < difference.high  # eight pairs could have missed some
        accuracy = named(run, "verification_accuracy")[place]
        assert accuracy.conditions["protocol"].startswith("cosine; 8 of 12 pairs, each judged by the threshold")
        assert (accuracy.n, 8 * accuracy.value % 1) == (8, 0)


def test_other_decisions_than_this_machines_are_told(emulator: Emulator, int8: list[Path], tmp_path: Path) -> None:
    # as if this machine told everybody apart: genuine pairs alike, impostors at right angles, so its threshold is 0.5
    pairs, perfect = noise_pairs(), np.zeros((24, 64), np.float32)
    perfect[np.arange(24), np.where(pairs.same.repeat(2), np.arange(24) // 2, np.arange(24))] = 1
    recipe = QUICK.model_copy(update={"arm64": ("a76",), "arm64_pairs": 12})
    rows = rows_of([int8[0]], tmp_path, recipe, [perfect])
    one, other = natively(int8[0], pairs).reshape(12, 2, -1).transpose(1, 0, 2)
    cosine = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    wrong = int(((cosine >= 0.5) != pairs.same).sum())
    assert 0 < wrong < 12
    place = int8[0].name, "litert-arm64-a76"
    assert named(rows, "verification_accuracy")[place].value == pytest.approx(1 - wrong / 12)
    difference = named(rows, "emulated_accuracy_difference")[place]
    assert difference.value == pytest.approx(-wrong / 12)
    assert difference.conditions["flipped"] == wrong


def test_three_runs_count_the_same_to_the_instruction(
    emulator: Emulator, fp32: list[Path], int8: list[Path], tmp_path: Path
) -> None:
    recipe = QUICK.model_copy(update={"arm64": ("a53", "a76")})
    first, *others = ([row.value for row in rows_of([fp32[1], int8[1]], tmp_path / run, recipe)] for run in "abc")
    assert len(first) > 4  # counts and shares
    assert others == [first, first]


def test_a_run_counts_in_each_runtime_that_is_named(
    emulator: Emulator, int8: list[Path], onnx: list[Path], tmp_path: Path
) -> None:
    file = tmp_path / "net.onnx"
    write_onnx_card(onnx[0], Card("net", FACE, 64), file)
    pairs, both = noise_pairs(), [Candidate(read_artifact(path)) for path in (int8[0], file)]
    embedded = [open_session(one.artifact.path).run(FACE.preprocess(pairs.faces)) for one in both]
    recipe = BenchmarkRecipe(arm64=("a76",), arm64_runtimes=("litert", "onnxruntime"), arm64_pairs=2)
    rows = arm64_rows(both, embedded, pairs, recipe, tmp_path)
    counts = named(rows, "arm64_instructions")
    assert list(counts) == [(int8[0].name, "litert-arm64-a76"), ("net.onnx", "onnxruntime-arm64-a76")]
    assert counts["net.onnx", "onnxruntime-arm64-a76"].conditions["kernels"].startswith("fp32 by fmla")
    largest = named(rows, "emulated_largest_difference")["net.onnx", "onnxruntime-arm64-a76"]
    assert largest.value <= 1e-6 and largest.conditions["against"] == "onnxruntime on this machine"
    assert {"arm64.json", "arm64-onnxruntime.json"} < {path.name for path in tmp_path.iterdir()}


def test_a_recipe_names_the_runtimes_that_are_emulated() -> None:
    assert get_args(EmulatedName) == tuple(RUNTIMES)
    with pytest.raises(ValidationError, match=r"arm64_runtimes.*\n.*'litert' or 'onnxruntime'"):
        BenchmarkRecipe(arm64_runtimes=("executorch",))


def test_where_nothing_is_asked_three_cores_count(emulator: Emulator, int8: list[Path], tmp_path: Path) -> None:
    places = list(named(rows_of([int8[0]], tmp_path, QUICK), "arm64_instructions"))
    assert places == [(int8[0].name, f"litert-arm64-{core}") for core in ("a53", "a55", "a76")]


def test_what_was_counted_is_kept_and_what_cannot_be_trusted_is_counted_again(
    emulator: Emulator, int8: list[Path], tmp_path: Path
) -> None:
    recipe, store = QUICK.model_copy(update={"arm64": ("a76",)}), tmp_path / "arm64.json"
    counted = rows_of(int8[:1], tmp_path, recipe)[0].value
    kept = json.loads(store.read_text())

    def changed(**fields: object) -> str:
        return json.dumps({**kept, "profiles": {key: {**one, **fields} for key, one in kept["profiles"].items()}})

    store.write_text(changed(instructions=7))
    assert rows_of(int8[:1], tmp_path, recipe)[0].value == 7
    for damaged in ("", "[]", '{"a": 1}', changed(instructions="?", mix={})):
        store.write_text(damaged)
        assert rows_of(int8[:1], tmp_path, recipe)[0].value == counted


def test_embeddings_of_a_sample_are_kept_by_the_hundred(emulator: Emulator, int8: list[Path], tmp_path: Path) -> None:
    few = noise_pairs()
    faces = np.resize(few.faces, (104, *few.faces.shape[1:]))
    left = np.arange(0, 104, 2)
    pairs = replace(few, faces=faces, left=left, right=left + 1, same=left % 4 == 0, fold=left // 52)
    pairs = replace(pairs, identities=np.full(104, -1))
    recipe = QUICK.model_copy(update={"arm64": ("a76",), "arm64_pairs": 52})
    candidates, embedded = [Candidate(read_artifact(int8[0]))], [natively(int8[0], pairs)]

    def said() -> list[str]:
        lines = list[str]()
        rows = arm64_rows(candidates, embedded, pairs, recipe, tmp_path, lines.append)
        assert named(rows, "emulated_largest_difference")[int8[0].name, "litert-arm64-a76"].value == 0
        return [line.partition(": ")[2] for line in lines if "faces" in line]

    hundred, rest = (f"{done} of 104 faces embedded on an emulated a76" for done in (100, 104))
    assert (said(), said()) == ([hundred, rest], [])
    max((tmp_path / "embeddings").iterdir(), key=lambda file: file.stat().st_mtime_ns).unlink()
    assert said() == [rest]


def test_a_hostile_file_gets_a_reason_and_the_others_their_numbers(
    emulator: Emulator, fp32: list[Path], int8: list[Path], tmp_path: Path
) -> None:
    network = unpack(fp32[1].read_bytes())
    network.subgraphs[0].operators[0].inputs = [9999, 1, 2]  # tensors that are not there
    hostile = tmp_path / "hostile.tflite"
    hostile.write_bytes(pack(network))
    recipe = QUICK.model_copy(update={"arm64": ("a76",), "arm64_pairs": 2})
    embeddings = natively(int8[0], noise_pairs())
    rows = rows_of([hostile, int8[0], fp32[0]], tmp_path, recipe, [embeddings, embeddings, "it cannot embed"])
    counts = named(rows, "arm64_instructions")
    failed = counts["hostile.tflite", "litert-arm64-a76"]
    assert (failed.value, failed.valid) == (None, False)
    assert failed.reason.startswith("on an emulated Cortex-A76: hostile.tflite: LiteRtCreateModelFromBuffer")
    assert not named(rows, "verification_accuracy")["hostile.tflite", "litert-arm64-a76"].valid
    assert counts[int8[0].name, "litert-arm64-a76"].value == instructions(int8[0], "a76")
    assert counts[fp32[0].name, "litert-arm64-a76"].reason == "it cannot embed"


def test_without_an_emulator_a_line_tells_and_only_cores_asked_for_get_rows(
    int8: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, said = noise_pairs(), list[str]()
    candidates, embedded = [Candidate(read_artifact(int8[0]))], [natively(int8[0], pairs)]
    monkeypatch.setenv("PATH", "")
    assert arm64_rows(candidates, embedded, pairs, QUICK, tmp_path, said.append) == []
    assert len(said) == 1 and "apt-get install --no-install-recommends qemu-user" in said[0]
    asked = QUICK.model_copy(update={"arm64": ("i8mm", "a76"), "arm64_pairs": 2})
    rows = arm64_rows(candidates, embedded, pairs, asked, tmp_path, said.append)
    assert [(row.metric, row.runtime, row.valid) for row in rows] == [
        ("arm64_instructions", "litert-arm64-i8mm", False),
        ("arm64_instructions", "litert-arm64-a76", False),
    ]
    assert all("apt-get install" in row.reason for row in rows)


def test_no_core_asked_for_and_no_tflite_file_give_nothing(int8: list[Path], tmp_path: Path) -> None:
    pairs, said = noise_pairs(), list[str]()
    candidate, embedded = Candidate(read_artifact(int8[0])), [natively(int8[0], pairs)]
    none = QUICK.model_copy(update={"arm64": ()})
    assert arm64_rows([candidate], embedded, pairs, none, tmp_path, said.append) == []
    other = Candidate(replace(candidate.artifact, format="onnx"))
    assert arm64_rows([other], embedded, pairs, QUICK, tmp_path, said.append) == []
    assert said == []


def test_a_recipe_knows_the_cores_and_wants_an_even_sample() -> None:
    with pytest.raises(ValidationError, match="no core 'm4' to emulate; known: a53, a55, a76, i8mm"):
        BenchmarkRecipe(arm64=("a76", "m4"))
    with pytest.raises(ValidationError, match="arm64_pairs"):
        BenchmarkRecipe(arm64_pairs=3)


def test_a_sample_is_half_genuine_and_spread_over_folds_and_within_them() -> None:
    fold, same = np.repeat(np.arange(10), 600), np.tile(np.repeat([True, False], 300), 10)
    chosen = sample_pairs(same, fold, 200)
    assert len(set(chosen.tolist())) == 200
    assert [int((same[chosen] & (fold[chosen] == k)).sum()) for k in range(10)] == [10] * 10
    assert [int((~same[chosen] & (fold[chosen] == k)).sum()) for k in range(10)] == [10] * 10
    assert (chosen[same[chosen]] % 600).tolist() == list(range(0, 300, 30)) * 10
    assert sample_pairs(same, fold, 100_000).tolist() == list(range(6000))
    assert sample_pairs(np.array([True, False, False]), np.zeros(3, np.int64), 2).tolist() == [0, 1]


def test_kernels_are_named_by_what_makes_up_a_twentieth() -> None:
    assert kernels({"smmla": 0.18, "sdot": 0.049, "other": 0.7}) == "int8 by smmla, 18 % of the instructions"
    assert kernels({"fmla16": 0.05, "smlal": 0.5}) == "int8 by smlal, 50 % of the instructions; fp16 by fmla, 5 %"
