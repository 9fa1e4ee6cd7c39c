"""What reads an image window by window: convolutions, pools, paddings, and matrix products over channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from .tflite_graph import Array, TfliteOperator
from .translation import FIRST, TO_FIRST, Translation

SAME = 0  # of the schema's Padding
REFLECT = 0  # of its MirrorPadMode


def translate_conv(t: Translation, operator: TfliteOperator) -> None:
    """Plain and grouped convolution; (O, kh, kw, I) becomes (O, I, kh, kw)."""
    kernel = t.constant(operator, 1).astype(np.float32).transpose(0, 3, 1, 2)
    _translate_conv(t, operator, kernel, t.shape(operator)[3] // kernel.shape[1])


def translate_depthwise(t: Translation, operator: TfliteOperator) -> None:
    """Depthwise convolution; (1, kh, kw, C m) becomes (C m, 1, kh, kw)."""
    kernel = t.constant(operator, 1).astype(np.float32).transpose(3, 0, 1, 2)
    _translate_conv(t, operator, kernel, t.shape(operator)[3])


def _translate_conv(t: Translation, operator: TfliteOperator, kernel: Array, groups: int) -> None:
    options, label = operator.options, t.tensor(operator.outputs[0]).name
    dilation = (options.dilationHFactor, options.dilationWFactor)
    inputs = [t.image(operator), t.weight(f"{label}/filters", kernel)]
    bias = t.optional(operator, 2)
    if bias is not None:
        inputs.append(t.weight(f"{label}/bias", bias.astype(np.float32)))
    window = _window(t, operator, kernel.shape[2:], dilation)
    t.give(operator, "Conv", inputs, FIRST, group=int(groups), dilations=dilation, **window)


def translate_transposed_conv(t: Translation, operator: TfliteOperator) -> None:
    """Transposed convolution; (O, kh, kw, I) becomes (I, O, kh, kw), and the result's shape becomes pads."""
    kernel, options = t.constant(operator, 1).astype(np.float32).transpose(3, 0, 1, 2), operator.options
    label, strides = t.tensor(operator.outputs[0]).name, (options.strideH, options.strideW)
    image, result = t.shape(operator, 2)[1:3], t.result_shape(operator)[1:3]
    inputs = [t.image(operator, 2), t.weight(f"{label}/filters", kernel)]
    bias = t.optional(operator, 3)
    if bias is not None:
        inputs.append(t.weight(f"{label}/bias", bias.astype(np.float32)))
    over = [
        (side - 1) * stride + reach - wanted
        for side, stride, reach, wanted in zip(image, strides, kernel.shape[2:], result, strict=True)
    ]
    before = [max(0, total) // 2 if options.padding == SAME else 0 for total in over]
    after = [max(0, total) - first for total, first in zip(over, before, strict=True)]
    known = {"strides": strides, "pads": [*before, *after], "output_padding": [max(0, -total) for total in over]}
    t.give(operator, "ConvTranspose", inputs, FIRST, kernel_shape=list(kernel.shape[2:]), **known)


def _window(
    t: Translation, operator: TfliteOperator, kernel: Any, dilation: tuple[int, int] = (1, 1)
) -> dict[str, Any]:
    """Gives the attributes of a sliding window; what TFLite calls SAME is spelt out, more behind than before."""
    options = operator.options
    strides, before, after = (options.strideH, options.strideW), [0, 0], [0, 0]
    for axis in (0, 1) if options.padding == SAME else ():
        side, stride, reach = t.shape(operator)[axis + 1], strides[axis], (kernel[axis] - 1) * dilation[axis] + 1
        total = max((-(-side // stride) - 1) * stride + reach - side, 0)
        before[axis], after[axis] = total // 2, total - total // 2
    return {"kernel_shape": list(kernel), "strides": strides, "pads": [*before, *after]}


def translate_average_pool(t: Translation, operator: TfliteOperator) -> None:
    """Means of windows, of the pixels inside the image; of a window as large as the image, the mean of all."""
    kernel = (operator.options.filterHeight, operator.options.filterWidth)
    if kernel == t.shape(operator)[1:3] and t.result_shape(operator)[1:3] == (1, 1):
        t.give(operator, "GlobalAveragePool", [t.image(operator)], FIRST)
        return
    t.give(operator, "AveragePool", [t.image(operator)], FIRST, **_window(t, operator, kernel))


def translate_max_pool(t: Translation, operator: TfliteOperator) -> None:
    """Largest values of windows."""
    kernel = (operator.options.filterHeight, operator.options.filterWidth)
    t.give(operator, "MaxPool", [t.image(operator)], FIRST, **_window(t, operator, kernel))


def translate_pad(t: Translation, operator: TfliteOperator) -> None:
    """Puts zeros, or a constant, around an image or a row."""
    inputs = [*_padded(t, operator)]
    value = t.optional(operator, 2)
    if value is not None:
        inputs.append(t.weight("padding", value.astype(np.float32).reshape(())))
    t.give(operator, "Pad", inputs, t.value(operator), mode="constant")


def translate_mirror_pad(t: Translation, operator: TfliteOperator) -> None:
    """Continues an image by its mirror image."""
    if operator.options.mode != REFLECT:
        raise t.refuse(operator, "repeats the edge itself; only the mirror image without it is supported")
    t.give(operator, "Pad", _padded(t, operator), t.value(operator), mode="reflect")


def _padded(t: Translation, operator: TfliteOperator) -> list[str]:
    amounts = t.constant(operator, 1)
    value = t.value(operator)
    if value.image is not None:
        raise t.refuse(operator, "pads a flattened image; pad it before it is flattened")
    amounts = amounts[list(TO_FIRST)] if value.first else amounts
    return [value.name, t.numbers(amounts.T.reshape(-1).tolist())]


def translate_prelu(t: Translation, operator: TfliteOperator) -> None:
    """A slope per channel, or per value; on a flattened image in its order."""
    value, slopes = t.value(operator), t.constant(operator, 1).astype(np.float32)
    if value.first:
        slopes = slopes.reshape((1,) * (4 - slopes.ndim) + slopes.shape).transpose(TO_FIRST)[0]
    elif value.image is not None:
        slopes = rows_of(slopes.reshape(-1), value.image) if slopes.size > 1 else slopes.reshape(-1)
    name = t.weight(f"{t.tensor(operator.outputs[0]).name}/slopes", slopes)
    t.give(operator, "PRelu", [value.name, name], value)


def translate_fully_connected(t: Translation, operator: TfliteOperator) -> None:
    """Rows times a matrix (O, I), plus a bias; the matrix takes a flattened image in the order that it lies in."""
    value, shape = t.value(operator), t.shape(operator)
    weights = t.constant(operator, 1).astype(np.float32)
    label = t.tensor(operator.outputs[0]).name
    bias = t.optional(operator, 2)
    if operator.options.weightsFormat:
        raise t.refuse(operator, "shuffles its weights for one processor; only plain weights are supported")
    if operator.options.keepNumDims and len(shape) > 2:
        matrix = t.weight(f"{label}/weights", weights.T)
        name = t.node("MatMul", [t.plain(operator), matrix], f"{label}/product")
        bias = np.zeros(len(weights), np.float32) if bias is None else bias
        t.give(operator, "Add", [name, t.weight(f"{label}/bias", bias.astype(np.float32))])
        return
    row, columns = value.name, weights.shape[1]
    if value.first:
        _, height, width, channels = shape
        weights = rows_of(weights, (height, width, channels))
    elif value.image is not None:
        weights = rows_of(weights, value.image)
    if len(shape) != 2:
        rows = int(np.prod(shape)) // columns
        row = t.node("Reshape", [row, t.sides((rows, columns))], f"{label}/row")
    inputs = [row, t.weight(f"{label}/weights", weights)]
    if bias is not None:
        inputs.append(t.weight(f"{label}/bias", bias.astype(np.float32)))
    t.give(operator, "Gemm", inputs, transB=1)


def rows_of(values: Array, image: tuple[int, int, int]) -> Array:
    """Gives (..., H W C) values in the order CHW.

    >>> rows_of(np.arange(4), (1, 2, 2)).tolist()
    [0, 2, 1, 3]
    """
    leading = values.shape[:-1]
    return np.moveaxis(values.reshape(*leading, *image), -1, -3).reshape(*leading, -1)
