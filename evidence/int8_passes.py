"""What each graph pass brings to static int8 of a hybrid: the mean cosine of EdgeFace XXS to its float network.

    python evidence/int8_passes.py --faces FOLDER --weights FOLDER

Run it from the repository root; it takes two minutes of one core. The folders are described in
examples/lfw_relu6.toml. 72 faces of `train112/lfw` set ranges, and 24 others judge. Prints a line for each step; every
line has the passes of those above it.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from int8_ways import hybrid
from numpy.typing import NDArray

from pocketface.export.graph.rewrites import RewriteChain
from pocketface.export.tflite.int8_ways import quantised
from pocketface.export.tflite.litert import LiteRTSession, mean_cosine

FACES = 96  # a quarter of them judges


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    options = parser.parse_args()
    with hybrid(options.faces, options.weights, FACES) as (base, faces, folder):
        for label, graph in steps(RewriteChain.of(base), faces.fit):
            made = quantised(graph, "w8a8", faces.fit, "mse", folder / "tried.tflite")
            print(f"{label}: {mean_cosine(LiteRTSession(made.path), faces.judged, faces.exact):.4f}", flush=True)


def steps(graph: RewriteChain, fit: NDArray[np.float32]) -> Iterator[tuple[str, RewriteChain]]:
    """Gives the graph after each pass."""
    yield "sums of residual streams in float, no pass", graph
    yield "scales and shifts folded", (graph := graph.folded())
    yield "channels equalised between convolutions", (graph := graph.equalised(fit))
    yield "channels equalised through residual streams", (graph := graph.streams_equalised(fit))
    yield "biases corrected", graph.corrected(fit)


if __name__ == "__main__":
    main()
