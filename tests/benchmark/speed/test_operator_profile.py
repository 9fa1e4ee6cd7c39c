"""What runtimes tell of their operators, against the graph and against the time of the whole."""

import numpy as np
import onnx
import pytest

from pocketface.benchmark.measurement import RowMaker
from pocketface.benchmark.speed.latency import TimingJob
from pocketface.benchmark.speed.operator_profile import _LiteRT, onnxruntime_profile, operator_rows, summed

ROW = RowMaker(model="m", artifact="a", format="tflite", precision="fp32", runtime="litert", device="d")
SUMMARY = """
============================== Run Order ==============================
         [node type]  [start]  [first]  [avg ms]     [%]    [cdf%]  [mem KB] [times called]  [Name]
  Delegate/Convolution (NHWC, F32) IGEMM   0.000   0.135   1.019   9.451%   9.451%   0.000   20   [Delegate]:0
           Delegate/PReLU (ND)   0.000   0.019   0.250   0.178%   9.629%   0.000   20   [Delegate]:1
           Delegate/PReLU (ND)   0.000   0.019   0.125   0.178%   9.629%   0.000   20   [Delegate]:2
                       RESHAPE   0.000   0.019   0.001   0.178%   9.629%   0.000   20   [embedding]:3

======================= Top by Computation Time =======================
  Delegate/Convolution (NHWC, F32) IGEMM   0.000   0.135   1.019   9.451%   9.451%   0.000   20   [Delegate]:0
"""


def test_a_summary_of_litert_is_read_line_by_line_and_once():
    assert summed(_LiteRT.nodes(SUMMARY)) == {
        "Convolution (NHWC, F32) IGEMM": (1, 1.019),
        "PReLU (ND)": (2, 0.375),
        "RESHAPE": (1, 0.001),
    }


def told(files, kind, runtime):
    rows = operator_rows(TimingJob(files[kind], threads=2), runtime, ROW)
    assert {(row.metric, row.unit, row.conditions["threads"]) for row in rows} == {("operator_ms", "ms", 1)}
    assert [row.value for row in rows] == sorted((row.value for row in rows), reverse=True)
    assert sum(row.conditions["share"] for row in rows) == pytest.approx(1, abs=1e-3)
    return {name: int(count) for name, _, count in (row.conditions["part"].rpartition(" x ") for row in rows)}


def test_xnnpack_has_as_many_convolutions_as_the_network(files):
    counts = told(files, "tflite", "litert")
    convolutions = sum(count for name, count in counts.items() if name.startswith(("Convolution", "Fully")))
    graph = onnx.load(files["onnx"]).graph
    assert convolutions == sum(node.op_type in ("Conv", "Gemm") for node in graph.node)


def test_onnxruntime_has_as_many_convolutions_as_the_graph(files):
    counts = told(files, "onnx", "onnxruntime")
    graph = onnx.load(files["onnx"]).graph
    wanted = sum(node.op_type == "Conv" for node in graph.node)
    assert sum(count for name, count in counts.items() if "Conv" in name) == wanted


def test_pytorch_tells_too(files):
    counts = told(files, "pytorch", "torch")
    convolution = max(count for name, count in counts.items() if "conv" in name)
    assert convolution >= sum(node.op_type == "Conv" for node in onnx.load(files["onnx"]).graph.node)


def test_the_operators_take_what_the_whole_takes(files):
    events = onnxruntime_profile(files["onnx"], np.zeros((1, 3, 112, 112), np.float32), 20)
    kernels = sum(event["dur"] for event in events if event["name"].endswith("_kernel_time"))
    whole = sum(event["dur"] for event in events if event["name"] == "model_run")
    assert 0.5 * whole < kernels <= whole


def test_a_runtime_that_does_not_tell_has_no_rows_and_one_that_fails_the_reason(files, tmp_path):
    assert operator_rows(TimingJob(files["tflite"]), "litert-no-xnnpack", ROW) == []
    (tmp_path / "damaged.tflite").write_bytes(b"\0\0\0\0TFL3 and nothing else")
    (row,) = operator_rows(TimingJob(tmp_path / "damaged.tflite"), "litert", ROW)
    assert not row.valid and row.reason
