"""What is timed, what it is compared with, and what is kept."""

import dataclasses
import json

import pytest

from pocketface.benchmark import timing as module
from pocketface.benchmark.recipe import BenchmarkRecipe
from pocketface.benchmark.runtimes import RUNTIMES, usual_runtime
from pocketface.benchmark.speed.layer_measuring import layer_file
from pocketface.benchmark.speed.noise import Noise
from pocketface.benchmark.speed.stopwatch import Latency
from pocketface.benchmark.subjects import Candidate
from pocketface.benchmark.timing import Timing, latencies, latency_reference
from pocketface.export.artifact import Artifact, Card
from pocketface.export.formats import FORMATS
from pocketface.faces.contract import InputContract
from pocketface.models.layer_runs import LayerShape

CALM = Noise(0.5, 1, 2, (1,), (0.2, 0.2), 0.0, 0.0, 0.0, 0, 0.1)
KNOWN = {runtime.name: runtime for runtime in (*RUNTIMES, *map(usual_runtime, FORMATS))}


def tiny(channels):
    """A .tflite file of one layer."""
    return layer_file(LayerShape("slopes", (8, 8)), 1, channels)


@pytest.fixture
def candidates(tmp_path):
    """Three files: whole fp32, whole int8, pruned fp32."""

    def candidate(model, precision, name, kind="tflite"):
        (tmp_path / name).write_bytes(tiny(8))
        return Candidate(Artifact(tmp_path / name, kind, Card(model, InputContract(), 8, precision), None))

    return [
        candidate("net", "fp32", "a.tflite"),
        candidate("net", "w8a8", "b.tflite"),
        candidate("less", "fp32", "c.tflite"),
    ]


@pytest.fixture
def asked(monkeypatch):
    """Gives a.tflite 8 ms, b.tflite 4 ms and all else 2 ms; remembers what was asked for."""
    asked = []

    def measure_all(jobs, rounds, runs, seconds, **others):
        asked.append({"jobs": jobs, "rounds": rounds, "runs": runs, "seconds": seconds, **others})
        times = {"a.tflite": 8.0, "b.tflite": 4.0}
        latencies = []
        for job in jobs:
            round_ms = (times.get(job.path.name, 2.0),) * runs
            latencies.append(Latency((round_ms,) * rounds, 1.0, 1.0, 1, job.conditions, noise=(CALM,) * rounds))
        return latencies

    monkeypatch.setattr(module, "measure_all", measure_all)
    return asked


def test_each_file_is_compared_with_the_whole_network_in_its_runtime_and_threads(candidates, asked, tmp_path):
    rows = latencies(candidates, BenchmarkRecipe(threads=(1, 2)), tmp_path, lambda line: None)
    ratios = [
        (row.artifact, row.conditions["against"], row.conditions["threads"], row.value)
        for row in rows
        if row.metric == "latency_ratio"
    ]
    assert ratios == [
        ("b.tflite", "a.tflite", 1, 2.0),
        ("b.tflite", "a.tflite", 2, 2.0),
        ("c.tflite", "a.tflite", 1, 4.0),
        ("c.tflite", "a.tflite", 2, 4.0),
    ]


def test_without_a_whole_network_the_first_file_is_the_reference(candidates):
    timings = [Timing(candidate, usual_runtime("tflite"), 1) for candidate in candidates]
    other = Timing(candidates[1], KNOWN["litert-no-xnnpack"], 1)
    assert latency_reference(timings[2], timings) is timings[0]
    assert latency_reference(other, [*timings, other]) is other


def test_a_recipe_s_runtimes_are_all_timed(candidates, asked, tmp_path):
    recipe = BenchmarkRecipe(threads=(1,), runtimes=("litert", "litert-no-xnnpack"))
    rows = latencies(candidates[:1], recipe, tmp_path, lambda line: None)
    assert [row.runtime for row in rows if row.metric == "latency_ms_p50"] == ["litert", "litert-no-xnnpack"]
    assert [job.opener.partition(":")[2] for job in asked[0]["jobs"]] == ["LiteRTSession", "litert_without_xnnpack"]


def test_a_runtime_that_is_not_there_has_a_row_with_the_reason(candidates, asked, tmp_path, monkeypatch):
    gone = dataclasses.replace(KNOWN["tflite-runtime"], hindrance=lambda: "it was built for NumPy 1")
    monkeypatch.setattr("pocketface.benchmark.runtimes.RUNTIMES", (gone,))
    recipe = BenchmarkRecipe(threads=(1,), runtimes=("all",)).model_copy(update={"runtimes": ("tflite-runtime",)})
    (row,) = latencies(candidates[:1], recipe, tmp_path, lambda line: None)
    assert (row.runtime, row.value, row.valid) == ("tflite-runtime", None, False)
    assert row.reason == "it was built for NumPy 1"


def test_times_are_kept_until_something_that_decides_them_changes(candidates, asked, tmp_path):
    recipe = BenchmarkRecipe(threads=(1,))

    def take(**change):
        latencies(candidates, recipe.model_copy(update=change), tmp_path, lambda line: None)
        return len(asked)

    assert [take(), take(), take(margin=0.01)] == [1, 1, 1]
    assert [take(minimum_runs=60), take(rounds=3), take(runtimes=("all",))] == [2, 3, 4]
    assert "key" in json.loads((tmp_path / "latency.json").read_text())
    candidates[0].artifact.path.write_bytes(tiny(16))
    assert take(runtimes=("all",)) == 5


def test_a_failure_is_not_kept(candidates, tmp_path, monkeypatch):
    tries = []

    def measure_all(jobs, rounds, runs, seconds, **others):
        tries.append(jobs)
        if len(tries) == 1:
            return [Latency((), conditions=job.conditions, reason="crashed with SIGKILL") for job in jobs]
        return [Latency(((2.0,) * runs,), 1.0, 1.0, 1, job.conditions, noise=(CALM,)) for job in jobs]

    monkeypatch.setattr(module, "measure_all", measure_all)
    recipe = BenchmarkRecipe(threads=(1,), rounds=1)

    def median():
        rows = latencies(candidates[:1], recipe, tmp_path, lambda line: None)
        return next(row.value for row in rows if row.metric == "latency_ms_p50")

    assert [median(), median(), median()] == [None, 2.0, 2.0]
    assert len(tries) == 2


def test_strict_is_mlperf_s_rule_over_all_rounds(candidates, asked, tmp_path):
    recipe = BenchmarkRecipe(threads=(1,), rounds=3, strict=True)
    rows = latencies(candidates[:1], recipe, tmp_path, lambda line: None)
    assert (asked[0]["runs"], asked[0]["seconds"]) == (342, 20)  # 3 x 342 = 1,026 and 3 x 20 s = 60 s
    assert asked[0]["timeout"] > 3 * 20
    p90 = next(row for row in rows if row.metric == "latency_ms_p90")
    assert (p90.valid, p90.n, p90.conditions["rule"]) == (True, 1026, "1024 runs and 60 s")


def test_strict_is_not_met_where_a_round_was_disturbed(candidates, asked, tmp_path, monkeypatch):
    answer = module.measure_all

    def disturbed_once(*arguments, **others):
        reasons = ("", "disturbed: x", "")
        return [dataclasses.replace(latency, disturbances=reasons) for latency in answer(*arguments, **others)]

    monkeypatch.setattr(module, "measure_all", disturbed_once)
    recipe = BenchmarkRecipe(threads=(1,), rounds=3, strict=True)
    rows = latencies(candidates[:1], recipe, tmp_path, lambda line: None)
    p90 = next(row for row in rows if row.metric == "latency_ms_p90")
    assert (p90.valid, p90.reason) == (False, "strict needs 1024 undisturbed runs; there are 684")


@pytest.mark.parametrize("text", ["", '{"key": ', '{"rows": []}'])
def test_damaged_times_are_taken_again_and_said(candidates, asked, tmp_path, text):
    recipe, said = BenchmarkRecipe(threads=(1,)), []
    first = latencies(candidates, recipe, tmp_path, said.append)
    (tmp_path / "latency.json").write_text(text)
    assert latencies(candidates, recipe, tmp_path, said.append) == first and len(asked) == 2
    assert len(said) == 1 and said[0].startswith(f"{tmp_path / 'latency.json'} is damaged, and made again: ")


def test_kept_times_of_other_types_are_taken_again(candidates, asked, tmp_path):
    recipe, path, said = BenchmarkRecipe(threads=(1,)), tmp_path / "latency.json", []
    latencies(candidates, recipe, tmp_path, said.append)
    kept = json.loads(path.read_text())
    kept["rows"][0]["value"] = "8 ms"
    path.write_text(json.dumps(kept))
    assert latencies(candidates, recipe, tmp_path, said.append)[0].value == 8.0
    assert len(asked) == 2 and len(said) == 1
