"""The precisions of Core ML programs, a line each, and how weights are compressed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SMALLEST_QUANTISED = 2048  # weights; quantising smaller layers costs accuracy and saves no bytes
GROUP = 16  # output channels with a palette of their own: a trained net's w6 has a cosine of 0.995, with one 0.984
STRETCHES = 512  # of equal width, for the start of k-means; 256 cost a trained net's w6 0.008 of cosine
ROUNDS = 300  # of k-means at most; it moves no more after some dozens


@dataclass(frozen=True)
class CoreMLPrecision:
    """The type the program computes in, the first iOS that supports it, and the compression of its weights."""

    compute: str  # of coremltools.precision
    least_ios: int
    compress: Callable[[Any, int], Any] | None = None  # of a coremltools model, for an iOS
    activations: bool = False  # whether inputs of layers with weights have 8 bits too


def eight_bits(model: Any, ios: int, smallest: int = SMALLEST_QUANTISED) -> Any:
    """Gives weights 8 bits: symmetric, with a scale for each output channel, computed in half precision.

    Until iOS 17 the numbers -127 to 127 are stored as uint8 with zero point 127: for int8 in that operator wrong
    results on GPU and Neural Engine are reported, and the unsigned form of the same numbers is the proposed cure.
    From iOS 18 on there is another operator, and int8 in it.
    Source: github.com/apple/coremltools, issue 2114, pull requests 2675 and 2677.
    """
    import coremltools.optimize.coreml as optimize

    dtype = "uint8" if ios < 18 else "int8"
    how = optimize.OpLinearQuantizerConfig(
        mode="linear_symmetric", dtype=dtype, granularity="per_channel", weight_threshold=smallest
    )
    return optimize.linear_quantize_weights(model, optimize.OptimizationConfig(global_config=how))


def palettes(bits: int) -> Callable[[Any, int], Any]:
    """Gives what replaces the weights of each layer by indices into a palette of 2 ** bits numbers.

    From iOS 18 on a layer may have a palette for each `GROUP` of output channels; where they do not divide evenly,
    it has one, as before.
    """

    def compress(model: Any, ios: int) -> Any:
        import coremltools.optimize.coreml as optimize

        grouped = {"granularity": "per_grouped_channel", "group_size": GROUP}
        for more in (grouped, {}) if ios >= 18 else ({},):  # what has become a palette is left alone
            how = optimize.OpPalettizerConfig(
                mode="custom",
                lut_function=lambda weights: palette(weights, bits),
                weight_threshold=SMALLEST_QUANTISED,
                **more,
            )
            model = optimize.palettize_weights(model, optimize.OptimizationConfig(global_config=how))
        return model

    return compress


def palette(weights: Array, bits: int) -> tuple[Array, Array]:
    """Gives the 2 ** bits numbers that stand for `weights` with the least squared error, and which stands for which.

    K-means in one dimension, where a cluster is a stretch of the sorted weights: dynamic programming finds the best
    clusters of whole `STRETCHES`, and k-means then moves their ends. The same weights, of any shape, and 1 to 8 bits
    give the same palette.

    Returns:
        (2 ** bits,) of the weights' type, ascending, and (weights.size,) uint8.

    >>> palette(np.float32([1, 9, 2, 8]), 1)
    (array([1.5, 8.5], dtype=float32), array([0, 1, 0, 1], dtype=uint8))

    Source: Wang and Song, Ckmeans.1d.dp: Optimal k-means Clustering in One Dimension by Dynamic Programming, 2011;
    Lloyd, Least Squares Quantization in PCM, 1982.
    """
    flat = weights.astype(np.float64).ravel()
    ordered = np.sort(flat)
    sums, squares = (np.concatenate([[0.0], np.cumsum(power)]) for power in (ordered, ordered**2))
    if len(flat) <= STRETCHES:
        edges = np.arange(len(flat) + 1)  # each weight by itself: the best there is
    else:
        starts = np.linspace(ordered[0], ordered[-1], STRETCHES + 1)[:-1]
        edges = np.append(np.searchsorted(ordered, starts), len(ordered))
    ends = edges[_cheapest_cuts(edges, sums[edges], squares[edges], 2**bits)]
    entries = np.full(2**bits, np.nan)
    for _ in range(ROUNDS):
        sizes = np.diff(ends)
        means = np.where(sizes, np.diff(sums[ends]) / np.maximum(sizes, 1), ordered[ends[:-1].clip(max=len(flat) - 1)])
        if np.array_equal(means, entries):
            break
        entries = means
        ends = np.concatenate([[0], np.searchsorted(ordered, (entries[1:] + entries[:-1]) / 2), [len(ordered)]])
    lut = np.sort(entries.astype(weights.dtype))
    middles = (lut[1:].astype(np.float64) + lut[:-1]) / 2
    return lut, np.searchsorted(middles, flat).astype(np.uint8)


def _cheapest_cuts(counts: Array, sums: Array, squares: Array, clusters: int) -> Array:
    """Gives the ends of the clusters with the least squared distances to their means.

    Args:
        counts: (E,) how many numbers lie before each possible end, from 0 to all.
        sums: (E,) their sum.
        squares: (E,) the sum of their squares.
        clusters: How many; some may be empty.

    Returns:
        (clusters + 1,) places in `counts`, from the first to the last.
    """
    number, total, square = (column[None, :] - column[:, None] for column in (counts, sums, squares))
    cost = np.where(np.triu(np.ones_like(number)) > 0, square - total**2 / np.maximum(number, 1), np.inf)
    best, chosen = cost[0], []
    for _ in range(clusters - 1):
        through = best[:, None] + cost
        chosen.append(through.argmin(0))
        best = through.min(0)
    cuts = [len(counts) - 1]
    for choice in reversed(chosen):
        cuts.append(int(choice[cuts[-1]]))
    return np.array([0, *cuts[::-1]])


PRECISIONS: dict[str, CoreMLPrecision] = {
    "fp32": CoreMLPrecision("FLOAT32", 15),  # on a phone it runs on CPU and GPU
    "fp16": CoreMLPrecision("FLOAT16", 15),  # all but input and output: what the Neural Engine computes in
    "w8": CoreMLPrecision("FLOAT16", 16, eight_bits),
    "w6": CoreMLPrecision("FLOAT16", 16, palettes(6)),
    "w4": CoreMLPrecision("FLOAT16", 16, palettes(4)),
    # small layers too: only 8 bits times 8 bits is quicker
    "w8a8": CoreMLPrecision("FLOAT16", 17, lambda model, ios: eight_bits(model, ios, smallest=0), activations=True),
}
