"""Whether int8 with ranges as they come pays in onnxruntime: EdgeFace XXS beside fp32 and static int8.

    python evidence/onnx_dynamic.py --faces FOLDER --weights FOLDER

Run it from the repository root, on a quiet machine; it takes three minutes of one core. The folders are described in
examples/lfw_relu6.toml. 72 faces of `train112/lfw` set ranges, and 24 others judge. Prints a line for each file: mean
cosine to the float network, the least time for a face on one thread (files take turns), and bytes.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from int8_ways import hybrid
from numpy.typing import NDArray

from pocketface.export.artifact import Artifact
from pocketface.export.calibration import PartedFaces
from pocketface.export.graph.dynamic_int8 import quantise_dense_layers
from pocketface.export.graph.qdq import quantise_onnx
from pocketface.export.graph.rewrites import CalibratedGraphs
from pocketface.export.session import OnnxRuntimeSession
from pocketface.models.embedder import unit

FACES, ROUNDS = 96, 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    options = parser.parse_args()
    with hybrid(options.faces, options.weights, FACES) as (base, faces, folder):
        compare(dict(files(base, faces, folder)), faces.judged)


def files(base: Artifact, faces: PartedFaces, folder: Path) -> Iterator[tuple[str, Path]]:
    """Gives each way's file."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    yield "fp32", base.path
    graphs = CalibratedGraphs(base, faces.fit)
    graph = graphs.levelled.skipping().corrected(faces.fit)
    yield "onnx-w8a8", quantise_onnx(graph.model, graph.card, folder / "w8a8.onnx", faces.fit, "mse").path
    folded = graphs.folded
    yield "onnx-w8-dynamic", quantise_dense_layers(folded.model, folded.card, folder / "w8-dynamic.onnx").path
    path, kinds = folder / "all.onnx", ["MatMul", "Gemm", "Conv"]
    with folded.saved() as saved:
        quantize_dynamic(saved, path, op_types_to_quantize=kinds, per_channel=True, weight_type=QuantType.QInt8)
    yield "convolutions in dynamic range too", path


def compare(paths: dict[str, Path], faces: NDArray[np.float32]) -> None:
    """Prints what each file gives and costs; the first is the exact one."""
    sessions = {name: OnnxRuntimeSession(path) for name, path in paths.items()}
    rows = {name: unit(np.concatenate([one.run(face[None]) for face in faces])) for name, one in sessions.items()}
    least = dict.fromkeys(sessions, np.inf)
    for number in range(ROUNDS):
        for name, one in sessions.items():
            start = time.perf_counter()
            one.run(faces[number % len(faces)][None])
            least[name] = min(least[name], time.perf_counter() - start)
    exact = next(iter(rows.values()))
    for name, path in paths.items():
        cosine = float((rows[name] * exact).sum(axis=1).mean())
        print(f"{name}: cosine {cosine:.4f}, {least[name] * 1000:.2f} ms, {path.stat().st_size:,} bytes", flush=True)


if __name__ == "__main__":
    main()
