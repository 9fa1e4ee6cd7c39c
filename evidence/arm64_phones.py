"""Whether counted ARM64 instructions predict milliseconds on phones, checked against published latencies.

    python evidence/arm64_phones.py        # from the repository root; about two minutes

Needs the emulator (see CONTRIBUTING.md), no faces and no phone. Writes evidence/arm64_phones.jsonl.

Four MobileNets at 224x224 are exported by this package and counted on emulated cores. The counts, and MACs beside
them, are compared with latencies that XNNPACK's authors published (one thread, fp32, random weights like ours). Of the
emulated cores the A76 is the nearest to the big cores of those phones:

- does the count put the four networks in the phone's order? (`order_right`, 1 or 0);
- how far off is the predicted latency of a network when one scale (milliseconds per instruction, geometric mean) comes
  from the other three? (`left_out_error`, relative; `left_out_error_worst` is the largest of the four, without sign).

Then int8: the share of the fp32 instructions that remains, beside the published share of the milliseconds on a phone
whose cores have sdot and on a board whose cores have not (`int8_share`, `published_int8_share`).
"""

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from rows import write_rows
from torch import nn

from pocketface.benchmark.arm64.emulated import instructions_of
from pocketface.benchmark.arm64.emulator import setup
from pocketface.benchmark.measurement import Measurement
from pocketface.export.artifact import Artifact, Card
from pocketface.export.graph.to_onnx import to_onnx
from pocketface.export.tflite.quantise import quantise_tflite
from pocketface.export.tflite.to_tflite import to_tflite
from pocketface.faces.contract import InputContract
from pocketface.models.complexity import macs
from pocketface.models.embedder import Embedder
from pocketface.models.torchvision_shim import import_torchvision

HERE = Path(__file__).parent
SIDE, CLASSES = 224, 1000
CORES = ("a53", "a76")
NETWORKS = ("MobileNet V1", "MobileNet V2", "MobileNet V3 Large", "MobileNet V3 Small")
# Milliseconds of the networks above. Source: google/XNNPACK, README.md, commit 0085ae3: end2end_bench of March 27,
# 2020, one thread, fp32, random weights.
PIXELS = {"Pixel": (82, 49, 39, 12), "Pixel 2": (86, 53, 42, 14), "Pixel 3a": (88, 55, 44, 14)}
# Milliseconds in fp32 and int8, four threads. Sources: tensorflow/tensorflow, lite/g3doc/performance/benchmarks.md,
# commit 00f0938 (Pixel 4: Cortex-A76 class, has sdot); google/XNNPACK, README.md, table of February 8, 2022
# (Raspberry Pi 4, ARM64: Cortex-A72, has no sdot; of our cores the A53 has none either).
INT8 = (
    ("Pixel 4", "a76", "MobileNet V1", 14.0, 5.0),
    ("Raspberry Pi 4", "a53", "MobileNet V1", 77, 24),
    ("Raspberry Pi 4", "a53", "MobileNet V2", 46, 17),
)
LIBRARIES = {"Pixel 4": "TFLite", "Raspberry Pi 4": "XNNPACK"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    setup(print)
    with TemporaryDirectory() as folder:
        files = {name: exported(name, network, Path(folder)) for name, network in networks().items()}
        fp32 = counts([file for file, _ in files.values()])
        small = {name: in_int8(files[name][0]) for name in NETWORKS[:2]}
        int8 = counts(list(small.values()))
    cost = {name: amount for name, (_, amount) in files.items()}
    rows = [row(name, "macs", amount, runtime="", device="", unit="1") for name, amount in cost.items()]
    rows += [*count_rows(fp32, "fp32"), *count_rows(int8, "w8a8"), *published_rows()]
    for phone, latencies in PIXELS.items():
        rows += against_phone(phone, latencies, cost, "macs")
        for core in CORES:
            counted_there = {name: fp32[name, core] for name in NETWORKS}
            rows += against_phone(phone, latencies, counted_there, f"arm64_instructions, {core}")
    for phone, core, name, before, after in INT8:
        conditions = {"phone": phone, "library": LIBRARIES[phone], "threads": 4}
        rows.append(
            row(name, "published_int8_share", after / before, runtime="published", device=phone, conditions=conditions)
        )
        share = int8[name, core] / fp32[name, core]
        rows.append(row(name, "int8_share", share, runtime=f"litert-arm64-{core}", conditions={"phone": phone}))
    write_rows(rows, HERE / "arm64_phones.jsonl")
    for line in rows:
        print(f"{line.model:20} {line.runtime:17} {line.metric:24} {line.value:14.3f} {dict(line.conditions)}")


def networks() -> dict[str, nn.Module]:
    """Builds the four, with fresh weights."""
    models = import_torchvision().models
    import timm  # imports torchvision by itself, which wants the line above

    torch.manual_seed(0)
    built = (
        timm.create_model("mobilenetv1_100"),
        models.mobilenet_v2(),
        models.mobilenet_v3_large(),
        models.mobilenet_v3_small(),
    )
    return dict(zip(NETWORKS, built, strict=True))


def exported(name: str, network: nn.Module, folder: Path) -> tuple[Artifact, int]:
    """Writes a network as fp32 .tflite; gives it and its MACs."""
    embedder = Embedder(name, network.eval(), InputContract(SIDE, SIDE), name)
    card = Card(name, embedder.contract, CLASSES)
    onnx = to_onnx(embedder, card, folder / f"{name}.onnx")
    return to_tflite(onnx.path, card, folder / f"{name}.tflite"), macs(embedder)


def in_int8(file: Artifact) -> Artifact:
    """Quantises it by noise: the ranges do not matter to a count."""
    noise = np.random.default_rng(0).uniform(-1, 1, (2, 3, SIDE, SIDE)).astype(np.float32)
    return quantise_tflite(file, "w8a8", file.path.with_suffix(".w8a8.tflite"), noise)


def counts(files: Sequence[Artifact]) -> dict[tuple[str, str], int]:
    """Counts every file on every core."""
    counted = {core: instructions_of([file.path for file in files], core) for core in CORES}
    return {(file.card.model, core): counted[core][at] for at, file in enumerate(files) for core in CORES}


def left_out(cost: Mapping[str, float], latencies: Sequence[float]) -> dict[str, float]:
    """Gives the relative error of each network's latency, predicted with the scale of the other three.

    >>> left_out({"a": 1, "b": 2, "c": 4}, [1, 2, 8])["c"]
    -0.5
    """
    errors = {}
    for name, latency in zip(cost, latencies, strict=True):
        others = [math.log(ms / cost[other]) for other, ms in zip(cost, latencies, strict=True) if other != name]
        errors[name] = math.exp(fmean(others)) * cost[name] / latency - 1
    return errors


def against_phone(
    phone: str, latencies: Sequence[float], cost: Mapping[str, float], source: str
) -> Iterator[Measurement]:
    """Compares the order, and each latency with its prediction from the other three."""
    conditions = {"phone": phone, "told_by": source, "threads": 1}
    by_cost = [name for name, _ in sorted(cost.items(), key=lambda item: item[1])]
    by_time = [name for _, name in sorted(zip(latencies, cost, strict=True))]
    errors = left_out(cost, latencies)
    fields = dict(runtime="published", device=phone, unit="1")
    yield row("all four", "order_right", float(by_cost == by_time), **fields, conditions=conditions)
    for name, error in errors.items():
        yield row(name, "left_out_error", error, **fields, conditions={**conditions, "part": name})
    worst = max(abs(error) for error in errors.values())
    yield row("all four", "left_out_error_worst", worst, **fields, conditions=conditions)


def count_rows(counted: Mapping[tuple[str, str], int], precision: str) -> Iterator[Measurement]:
    for (name, core), count in counted.items():
        runtime, how = f"litert-arm64-{core}", {"threads": 1, "runtime_version": version("ai-edge-litert")}
        yield row(name, "arm64_instructions", count, precision, runtime=runtime, unit="count", conditions=how)


def published_rows() -> Iterator[Measurement]:
    for phone, latencies in PIXELS.items():
        for name, latency in zip(NETWORKS, latencies, strict=True):
            how = {"threads": 1, "library": "XNNPACK"}
            yield row(
                name, "published_latency_ms", latency, runtime="published", device=phone, unit="ms", conditions=how
            )


def row(model: str, metric: str, value: float, precision: str = "fp32", **fields: Any) -> Measurement:
    defaults = {"device": "emulated", "unit": "1", **fields}
    return Measurement(model, "", "tflite", precision, metric=metric, value=value, **defaults)


if __name__ == "__main__":
    main()
