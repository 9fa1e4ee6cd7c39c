"""A runtime is one class and one line: this one runs .onnx files in ONNX's own reference implementation."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from pocketface.benchmark import runtimes as module
from pocketface.benchmark.recipe import BenchmarkRecipe
from pocketface.benchmark.runner import benchmark_files
from pocketface.benchmark.runtimes import RUNTIMES, Runtime
from pocketface.faces import InputContract, synthetic_pairs

CODE = '''
import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator


class ReferenceSession:
    """An .onnx file in ONNX's reference implementation, on one thread whatever is asked."""

    runtime = "onnx-reference"

    def __init__(self, path, threads=1):
        self._evaluator = ReferenceEvaluator(onnx.load(path))

    def run(self, inputs):
        """Maps (N, 3, H, W) preprocessed faces to (N, D), of whatever length the file gives."""
        (name,) = self._evaluator.input_names
        return np.concatenate([self._evaluator.run(None, {name: face[None]})[0] for face in inputs])
'''


@pytest.fixture(autouse=True)
def the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy_runtime.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")  # each file is timed in a fresh process
    line = Runtime("onnx-reference", ("onnx",), ("onnx",), "onnx", "toy_runtime:ReferenceSession")
    monkeypatch.setattr(module, "RUNTIMES", (*RUNTIMES, line))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A network whose embedding is the mean of each channel."""
    value, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    nodes = [
        onnx.helper.make_node("GlobalAveragePool", ["input"], ["mean"]),
        onnx.helper.make_node("Flatten", ["mean"], ["embedding"]),
    ]
    ports = [value("input", kind, [1, 3, 32, 32])], [value("embedding", kind, [1, 3])]
    graph = onnx.helper.make_graph(nodes, "mean colour", *ports)
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), tmp_path / "mean.onnx")
    return tmp_path / "mean.onnx"


def test_it_is_timed_beside_the_usual_one_and_embeds_alike(file: Path, tmp_path: Path) -> None:
    recipe = BenchmarkRecipe(
        threads=(1,), minimum_runs=5, minimum_seconds=0, rounds=1, runtimes=("onnxruntime", "onnx-reference")
    )
    pairs, contract = synthetic_pairs(10, 2, 0, 32, 0), InputContract(32, 32)
    rows = benchmark_files([file], lambda _: pairs, recipe, tmp_path / "out", contract=contract)
    timed = {row.runtime: row.value for row in rows if row.metric == "latency_ms_p50"}
    assert set(timed) == {"onnxruntime", "onnx-reference"}
    (difference,) = [row for row in rows if row.metric == "runtime_difference"]
    assert difference.runtime == "onnx-reference" and 0 <= difference.value < 1e-5
    assert {row.runtime for row in rows if row.metric == "verification_accuracy"} == {"onnxruntime"}


def test_it_gives_the_mean_of_each_channel(file: Path) -> None:
    faces = np.random.default_rng(0).uniform(-1, 1, (2, 3, 32, 32)).astype(np.float32)
    from toy_runtime import ReferenceSession

    np.testing.assert_allclose(ReferenceSession(file).run(faces), faces.mean((2, 3)), atol=1e-6)
