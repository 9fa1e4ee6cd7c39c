"""Measures the Core ML packages of this hand-off on a Mac: latency and parity per compute unit, as JSON.

    pip install coremltools && python mac/measure.py          writes mac/mac_results.json

Nothing but coremltools (with the numpy that it brings) and this folder is needed. Close other programs, plug the
Mac in. The times include what Python adds to a prediction; an app is a little faster.
"""

from __future__ import annotations

import json
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np

HERE = Path(__file__).resolve().parent.parent
UNITS = ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL")
WARM_UP, RUNS = 20, 200


def main() -> None:
    """Measures every package on every unit; one that fails leaves its reason."""
    index = json.loads((HERE / "golden.json").read_text(encoding="utf-8"))
    rows = []
    for artifact in index["artifacts"]:
        if artifact["format"] != "coreml":
            continue
        for unit in UNITS:
            row = {key: artifact[key] for key in ("model", "file", "precision", "sha256")} | {"unit": unit}
            try:
                row |= measured(index, artifact, unit)
            except Exception as error:  # a unit that cannot run the file must not keep the others from being measured
                row["reason"] = " ".join(str(error).split())[:300] or type(error).__name__
            rows.append(row)
            print(row, flush=True)
    results = {"pocketface_mac_results": 1, "device": device(), "coremltools": ct.__version__, "rows": rows}
    out = HERE / "mac" / "mac_results.json"
    out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"written: {out}")


def measured(index: dict[str, Any], artifact: dict[str, Any], unit: str) -> dict[str, Any]:
    """Times one package on one unit, and compares it with what the evaluator recorded."""
    contract, path = index["contract"], HERE / artifact["file"]
    started = time.perf_counter()
    model = ct.models.MLModel(str(path), compute_units=getattr(ct.ComputeUnit, unit))
    load = time.perf_counter() - started
    name = model.get_spec().description.input[0].name
    shape = (1, 1 if contract["channel_order"] == "gray" else 3, contract["height"], contract["width"])
    inputs = [given(HERE / "golden", face, shape, artifact) for face in index["faces"]]
    started = time.perf_counter()
    cosines = []
    for i, value in enumerate(inputs):
        (embedding,) = model.predict({name: value}).values()
        if i == 0:
            first = time.perf_counter() - started
        expected = np.fromfile(HERE / "golden" / artifact["embeddings"][i], "<f4")
        cosines.append(cosine(np.asarray(embedding).ravel(), expected))
    for _ in range(WARM_UP):
        model.predict({name: inputs[0]})
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        model.predict({name: inputs[0]})
        times.append(time.perf_counter() - started)
    return {
        "load_ms": 1e3 * load,
        "first_ms": 1e3 * first,
        "median_ms": 1e3 * float(np.median(times)),
        "p90_ms": 1e3 * float(np.quantile(times, 0.9)),
        "runs": RUNS,
        "faces": len(cosines),
        "cosine_min": min(cosines),
        "cosine_mean": float(np.mean(cosines)),
        "placement": placement(model, unit),
    }


def given(folder: Path, face: dict[str, Any], shape: tuple[int, ...], artifact: dict[str, Any]) -> Any:
    """Gives a golden face as the package takes it: a tensor, or a picture."""
    if artifact["input"]["kind"] == "image":
        from PIL import Image

        return Image.open(folder / face["png"]).convert("RGB")
    return np.fromfile(folder / face["nchw"], "<f4").reshape(shape)


def cosine(a: Any, b: Any) -> float:
    """Gives the cosine of two vectors of any length."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def placement(model: Any, unit: str) -> dict[str, int] | None:
    """Counts the operations that Core ML means to run on each device; None where it does not tell."""
    try:
        from coremltools.models.compute_plan import MLComputePlan

        plan = MLComputePlan.load_from_path(
            path=model.get_compiled_model_path(), compute_units=getattr(ct.ComputeUnit, unit)
        )
        counts: dict[str, int] = {}
        for operation in plan.model_structure.program.functions["main"].block.operations:
            usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
            if usage is not None:
                kind = type(usage.preferred_compute_device).__name__
                counts[kind] = counts.get(kind, 0) + 1
        return counts
    except Exception:  # before macOS 14.4, or in another coremltools: the times stand without it
        return None


def device() -> dict[str, str]:
    """Says which machine this is."""
    try:
        chip = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        chip = platform.processor() or platform.machine()
    return {"chip": chip, "system": f"{platform.system()} {platform.mac_ver()[0] or platform.release()}"}


if __name__ == "__main__":
    main()
