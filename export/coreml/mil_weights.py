"""The operators of a Core ML program that hold its constants, plain or compressed: the evaluator's second table.

Each function takes NumPy arrays by the names of Apple's MIL reference and gives the array that they stand for; those
for weights that are both sparse and small give two, a mask and what is not zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Inputs = dict[str, Any]


def _affine_dequantize(i: Inputs) -> Array:
    """Gives scale (data - zero_point), one of each for the whole tensor or for each slice along `axis`."""
    data: Array = i["quantized_data"]
    along = [1] * data.ndim
    along[int(i["axis"])] = -1
    scale, zero = (_along(i[name], along) for name in ("scale", "zero_point"))
    return np.asarray((data.astype(np.float32) - zero) * scale)


def _along(numbers: Array, shape: list[int]) -> Array:
    return numbers.astype(np.float32).reshape(shape if numbers.size > 1 else ())


def _blockwise_shift_scale(i: Inputs) -> Array:
    """Gives scale (data - offset), one of each for a block (iOS 18)."""
    data: Array = i["data"]
    offset = _spread(i["offset"].astype(np.float32), data.shape) if "offset" in i else np.float32(0)
    return np.asarray((data.astype(np.float32) - offset) * _spread(i["scale"].astype(np.float32), data.shape))


def _spread(blocks: Array, shape: tuple[int, ...]) -> Array:
    for axis, size in enumerate(shape):
        blocks = np.repeat(blocks, size // blocks.shape[axis], axis)
    return blocks


def _lut_to_dense(i: Inputs) -> Array:
    """Looks each index up in a palette: one for all (iOS 16, packed bits) or one for each group (iOS 18)."""
    lut: Array = i["lut"]
    if "shape" in i:
        shape = tuple(int(size) for size in i["shape"])
        bits, count = int(math.log2(lut.size)), int(np.prod(shape))
        ones = np.unpackbits(i["indices"], bitorder="little")[: count * bits].reshape(count, bits)
        return np.asarray(lut[ones @ (1 << np.arange(bits))].reshape(shape))
    indices: Array = i["indices"]
    group = np.ix_(*(np.arange(n) // (n // lut.shape[axis]) for axis, n in enumerate(indices.shape)))
    vectors = lut[(*group, indices.astype(np.int64))]
    if vectors.shape[-1] == 1:
        return np.asarray(vectors[..., 0])
    axis = int(i["vector_axis"]) % indices.ndim
    shape = tuple(n * (vectors.shape[-1] if a == axis else 1) for a, n in enumerate(indices.shape))
    return np.asarray(np.moveaxis(vectors, -1, axis + 1).reshape(shape))


def _sparse_to_dense(i: Inputs) -> Array:
    """Puts the numbers that are not zero where the mask says (iOS 16: packed bits; iOS 18: of the shape)."""
    shape = tuple(int(size) for size in i["shape"]) if "shape" in i else i["mask"].shape
    mask = np.unpackbits(i["mask"], bitorder="little")[: int(np.prod(shape))] if "shape" in i else i["mask"].ravel()
    dense = np.zeros(mask.size, i["nonzero_data"].dtype)
    dense[mask.astype(bool)] = i["nonzero_data"]
    return dense.reshape(shape)


def _lut_to_sparse(i: Inputs) -> tuple[Array, Array]:
    """Looks up what is not zero (iOS 18): the mask, and the numbers where it is set."""
    indices = _dense(i["indices_mask"], i["indices_nonzero_data"])
    dense = _lut_to_dense({"indices": indices, "lut": i["lut"], "vector_axis": i.get("vector_axis", 0)})
    mask = i["indices_mask"]
    for axis, size in enumerate(dense.shape):  # a palette of vectors widens one axis
        mask = np.repeat(mask, size // mask.shape[axis], axis)
    return mask, dense[mask.astype(bool)]


def _sparse_blockwise_shift_scale(i: Inputs) -> tuple[Array, Array]:
    """Scales what is not zero (iOS 18): the mask, and the numbers where it is set."""
    data = _dense(i["data_mask"], i["nonzero_data"])
    return i["data_mask"], _blockwise_shift_scale({**i, "data": data})[i["data_mask"].astype(bool)]


def _dense(mask: Array, nonzero: Array) -> Array:
    dense = np.zeros(mask.shape, nonzero.dtype)
    dense[mask.astype(bool)] = nonzero
    return dense


CONSTANTS: dict[str, Callable[[Inputs], Array | tuple[Array, ...]]] = {
    "const": lambda i: i["val"],
    "constexpr_affine_dequantize": _affine_dequantize,
    "constexpr_blockwise_shift_scale": _blockwise_shift_scale,
    "constexpr_lut_to_dense": _lut_to_dense,
    "constexpr_lut_to_sparse": _lut_to_sparse,
    "constexpr_sparse_blockwise_shift_scale": _sparse_blockwise_shift_scale,
    "constexpr_sparse_to_dense": _sparse_to_dense,
    "constexpr_cast": lambda i: i["source_val"].astype(np.float32),
}
