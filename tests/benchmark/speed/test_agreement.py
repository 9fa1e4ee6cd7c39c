"""Our times beside those of other tools on the same file, and embeddings of one runtime beside another's."""

import json
import statistics
import subprocess
import sys

import numpy as np
import pytest

from pocketface.benchmark.recipe import BenchmarkRecipe
from pocketface.benchmark.runtimes import Runtime, litert_without_xnnpack
from pocketface.benchmark.speed.agreement import runtime_difference
from pocketface.benchmark.speed.latency import TimingJob, measure_all
from pocketface.benchmark.speed.operator_profile import onnxruntime_profile
from pocketface.benchmark.subjects import Candidate, VerifiedFile
from pocketface.export.formats import open_session, read_artifact
from pocketface.export.session import unit_embeddings
from pocketface.faces.drawn_pairs import synthetic_pairs

TRIES = 6
TOLERANCE = 0.25  # ours counts handing over the face and taking the embedding, theirs does not; the tool is not watched


def litert_benchmark(path, tmp_path):
    """Gives (fastest, median) in ms as `litert-benchmark`, which ships with LiteRT, takes them."""
    told = tmp_path / "told.json"
    code = "from ai_edge_litert.tools.benchmark_litert_model import main; main()"
    arguments = [f"--model={path}", "--num_runs=40", "--num_threads=1", f"--result_json={told}"]
    subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, check=True)
    latency = json.loads(told.read_text())["latency"]
    return latency["min_ms"], latency["median_ms"]


def onnxruntime_tells(path, tmp_path):
    """Gives (fastest, median) in ms of the runs that onnxruntime notes in its profile."""
    face = np.random.default_rng(0).uniform(-1, 1, (1, 3, 112, 112)).astype(np.float32)  # as ours: zeros are faster
    events = onnxruntime_profile(path, face, 40)
    runs = [event["dur"] / 1000 for event in events if event["name"] == "model_run"][1:]
    return min(runs), statistics.median(runs)


@pytest.mark.parametrize(("kind", "tool"), [("tflite", litert_benchmark), ("onnx", onnxruntime_tells)])
def test_our_times_are_those_of_an_independent_tool(files, tmp_path, kind, tool):
    ratios = []
    for _ in range(TRIES):  # who disturbs the tool, which is not watched, spoils one try and not all
        (latency,) = measure_all([TimingJob(files[kind])], rounds=1, minimum_runs=40, minimum_seconds=0)
        if latency.disturbed:
            continue
        least, median = tool(files[kind], tmp_path)
        ratios.append((latency.quantile(0.5).value / median, min(latency.samples_ms) / least))
        if ratios[-1] == pytest.approx((1, 1), rel=TOLERANCE):
            return
    if not ratios:
        pytest.skip(f"others use this machine: {latency.disturbed}")
    raise AssertionError(f"our median and fastest run by the tool's: {ratios}")


def test_a_further_runtime_is_compared_with_the_usual_one_on_faces(files, tmp_path):
    pairs = synthetic_pairs(4, 2)
    recipe = BenchmarkRecipe(runtimes=("litert", "litert-no-xnnpack"))
    candidate = Candidate(read_artifact(files["tflite"]))
    embeddings = np.zeros((len(pairs.faces), 128), np.float32)  # of no matter: the faces are embedded anew
    seen = VerifiedFile(candidate, "net.tflite", embeddings, None, pairs, recipe, tmp_path, None)
    (row,) = runtime_difference(seen, None)
    assert (row.metric, row.runtime, row.conditions["against"]) == ("runtime_difference", "litert-no-xnnpack", "litert")
    faces = pairs.faces[:16]
    contract = candidate.artifact.card.contract
    plain = unit_embeddings(litert_without_xnnpack(files["tflite"], 1), contract, faces)
    assert row.value == pytest.approx(
        np.abs(plain - unit_embeddings(open_session(files["tflite"]), contract, faces)).max()
    )
    assert 0 < row.value < 1e-5 and row.n == len(faces)


def test_a_runtime_that_fails_has_the_reason(files, tmp_path, monkeypatch):
    broken = Runtime("broken", ("tflite",), ("numpy",), "numpy", "pocketface.benchmark.runtimes:no_such_function")
    monkeypatch.setattr("pocketface.benchmark.runtimes.RUNTIMES", (broken,))
    recipe = BenchmarkRecipe(runtimes=("all",))
    seen = VerifiedFile(
        Candidate(read_artifact(files["tflite"])), "", None, None, synthetic_pairs(2, 2), recipe, tmp_path, None
    )
    (row,) = runtime_difference(seen, None)
    assert (row.runtime, row.valid, row.value) == ("broken", False, None)
    assert "no_such_function" in row.reason
