"""Stands in for LiteRT's benchmark_model on the loopback device: runs files in LiteRT here, prints its lines."""

import json
import resource
import sys
import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter

flags = dict(argument.removeprefix("--").split("=", 1) for argument in sys.argv[1:])


def took(count, least_seconds=0.0):
    times, end = [], time.perf_counter() + least_seconds
    while len(times) < count or time.perf_counter() < end:
        start = time.perf_counter_ns()
        net.invoke()
        times.append((time.perf_counter_ns() - start) // 1000 + 1)
    return times


def stats(us):
    return (
        f"count={len(us)} first={us[0]} curr={us[-1]} min={min(us)} max={max(us)} "
        f"avg={sum(us) / len(us):g} std={np.std(us):.0f}"
    )


start = time.perf_counter()
try:
    net = Interpreter(flags["graph"], num_threads=int(flags["num_threads"]))
except (ValueError, RuntimeError):
    print("INFO: STARTING!")
    print("ERROR: Failed to construct interpreter")
    print("ERROR: Benchmarking failed.")
    sys.exit(1)
net.allocate_tensors()
init = (time.perf_counter() - start) * 1e6
for tensor in net.get_input_details():
    net.set_tensor(tensor["index"], np.zeros(tensor["shape"], tensor["dtype"]))
if flags.get("use_gpu") == "true":
    print("INFO: Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.")
if flags.get("use_nnapi") == "true":  # as an accelerator for int8 refuses a float network
    print("INFO: Though NNAPI delegate is explicitly applied, the model graph will not be executed by the delegate.")
print(f"INFO: Initialized session in {init / 1e3:.3f}ms.")
warm = took(int(flags["warmup_runs"]))
print(f"INFO: {stats(warm)}\n")
timed = took(int(flags["num_runs"]), float(flags["min_secs"]))
print(f"INFO: {stats(timed)}\n")
print(
    f"INFO: Inference timings in us: Init: {init:.0f}, First inference: {warm[0]}, "
    f"Warmup (avg): {sum(warm) / len(warm):g}, Inference (avg): {sum(timed) / len(timed):g}"
)
print("INFO: Memory footprint delta from the start of the tool (MB): init=1.25 overall=2.5")
if flags.get("report_peak_memory_footprint") == "true":
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"INFO: Overall peak memory footprint (MB) via periodic monitoring: {peak:g}")
if flags.get("enable_op_profiling") == "true":
    with open(flags["profiling_output_csv_file"], "w") as file:
        print("Operator-wise Profiling Info for Regular Benchmark Runs:", file=file)
        print("============================== Summary by node type ==============================", file=file)
        print("node type, count, avg_ms, avg %, cdf %, mem KB, times called", file=file)
        print("CONV_2D, 2, 0.75, 75%, 75%, 0, 2", file=file)
        print("MEAN, 1, 0.25, 25%, 100%, 0, 1\n", file=file)
print("taken", json.dumps({"graph": flags["graph"], "us": timed, "init": init, "first": warm[0]}))
