"""One translator for each TFLite operator of face embedders; what is not in `OPERATORS` cannot be read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .moves import (
    translate_concat,
    translate_reshape,
    translate_slice,
    translate_split,
    translate_split_v,
    translate_strided_slice,
    translate_transpose,
)
from .tflite_graph import TfliteOperator
from .translation import AXIS_TO_FIRST, FIRST, TO_FIRST, Translated, Translation
from .windows import (
    rows_of,
    translate_average_pool,
    translate_conv,
    translate_depthwise,
    translate_fully_connected,
    translate_max_pool,
    translate_mirror_pad,
    translate_pad,
    translate_prelu,
    translate_transposed_conv,
)

Translator = Callable[[Translation, TfliteOperator], None]


def _unary(kind: str, **attributes: float) -> Translator:
    """Gives the translator of an operator that maps each value by itself."""

    def translate(t: Translation, operator: TfliteOperator) -> None:
        value = t.value(operator)
        t.give(operator, kind, [value.name], value, **attributes)

    return translate


def _binary(kind: str) -> Translator:
    """Gives the translator of an elementwise operator on two tensors, or on one and a constant."""

    def translate(t: Translation, operator: TfliteOperator) -> None:
        names, lies = operands(t, operator)
        t.give(operator, kind, names, lies)

    return translate


def operands(t: Translation, operator: TfliteOperator) -> tuple[list[str], Translated]:
    """Gives both sides of an elementwise operator so that they broadcast alike, and how the result lies."""
    rank = len(t.result_shape(operator))
    computed = [place for place, index in enumerate(operator.inputs) if index not in t.constants]
    values = [t.value(operator, place) for place in computed]
    images = rank == 4 and any(value.first for value in values)
    images = images and all(len(t.shape(operator, place)) == 4 for place in computed)
    row = values[0].image if values and all(value.image == values[0].image for value in values) else None
    names = []
    for place, index in enumerate(operator.inputs):
        if place in computed:
            lying = values[computed.index(place)].name
            names.append(lying if row else t.image(operator, place) if images else t.plain(operator, place))
            continue
        constant = t.constants[index].astype(np.float32)
        if images and constant.size > 1:
            constant = constant.reshape((1,) * (4 - constant.ndim) + constant.shape).transpose(TO_FIRST)[0]
        elif row and constant.size > 1:
            constant = rows_of(constant, row)
        names.append(t.weight(t.tensor(index).name, constant))
    return names, FIRST if images else Translated("", image=row)


def translate_relu(low: float, high: float) -> Translator:
    """Gives the translator of a ReLU."""

    def translate(t: Translation, operator: TfliteOperator) -> None:
        value = t.value(operator)
        t.put(operator, t.clip(value.name, t.tensor(operator.outputs[0]).name, low, high), value)

    return translate


def translate_leaky_relu(t: Translation, operator: TfliteOperator) -> None:
    """One slope for all."""
    value = t.value(operator)
    t.give(operator, "LeakyRelu", [value.name], value, alpha=float(operator.options.alpha))


def translate_gelu(t: Translation, operator: TfliteOperator) -> None:
    """By the error function, or by tanh."""
    value = t.value(operator)
    approximate = "tanh" if operator.options.approximate else "none"
    t.give(operator, "Gelu", [value.name], value, approximate=approximate)


def translate_square(t: Translation, operator: TfliteOperator) -> None:
    """Each value times itself."""
    value = t.value(operator)
    t.give(operator, "Mul", [value.name, value.name], value)


def translate_squared_difference(t: Translation, operator: TfliteOperator) -> None:
    """The difference of two tensors, times itself."""
    names, lies = operands(t, operator)
    difference = t.node("Sub", names, f"{t.tensor(operator.outputs[0]).name}/difference")
    t.give(operator, "Mul", [difference, difference], lies)


def translate_rsqrt(t: Translation, operator: TfliteOperator) -> None:
    """One over the square root."""
    value = t.value(operator)
    root = t.node("Sqrt", [value.name], f"{t.tensor(operator.outputs[0]).name}/root")
    t.give(operator, "Reciprocal", [root], value)


def _reduction(kind: str) -> Translator:
    """Gives the translator of a mean, sum or maximum over some axes."""

    def translate(t: Translation, operator: TfliteOperator) -> None:
        value, rank = t.value(operator), len(t.shape(operator))
        axes = sorted({int(axis) % rank for axis in t.constant(operator, 1).reshape(-1)})
        keep = bool(operator.options.keepDims)
        image = value.first and (keep or set(axes) >= {1, 2} or 3 in axes)  # what is left has one order
        name = value.name if image else t.plain(operator)
        over = sorted(AXIS_TO_FIRST[axis] if image else axis for axis in axes)
        lies = FIRST if image and keep else None
        t.give(operator, kind, [name, t.numbers(over)], lies, keepdims=int(keep))

    return translate


def translate_softmax(t: Translation, operator: TfliteOperator) -> None:
    """Softmax along the last axis."""
    if operator.options.beta != 1:
        raise t.refuse(operator, f"has beta {operator.options.beta:g}; only 1 is supported")
    t.give(operator, "Softmax", [t.plain(operator)], axis=-1)


def translate_l2_norm(t: Translation, operator: TfliteOperator) -> None:
    """Unit length along the last axis: of an image, the channels; of a flattened one, all that it holds."""
    value = t.value(operator)
    axis = 1 if value.first or len(t.shape(operator)) == 2 else -1
    t.give(operator, "LpNormalization", [value.name], value, axis=axis, p=2)


def translate_batch_matmul(t: Translation, operator: TfliteOperator) -> None:
    """Products of matrices, either of them transposed."""
    names = []
    for place, swap in enumerate((operator.options.adjX, operator.options.adjY)):
        name, rank = t.plain(operator, place), len(t.shape(operator, place))
        if swap:
            perm = [*range(rank - 2), rank - 1, rank - 2]
            name = t.node("Transpose", [name], f"{name}/swapped", perm=perm)
        names.append(name)
    t.give(operator, "MatMul", names)


def _resize(mode: str) -> Translator:
    """Gives the translator of a change of an image's size."""

    def translate(t: Translation, operator: TfliteOperator) -> None:
        batch, height, width, channels = t.result_shape(operator)
        places = "half_pixel" if operator.options.halfPixelCenters else "asymmetric"
        places = "align_corners" if operator.options.alignCorners else places
        sizes = t.numbers((batch, channels, height, width))
        known = {"mode": mode, "coordinate_transformation_mode": places}
        if mode == "nearest":
            known["nearest_mode"] = "round_prefer_ceil" if places != "asymmetric" else "floor"
        t.give(operator, "Resize", [t.image(operator), "", "", sizes], FIRST, **known)

    return translate


def translate_cast(t: Translation, operator: TfliteOperator) -> None:
    """Integers that become floats: pixels."""
    if t.tensor(operator.outputs[0]).kind != "FLOAT32":
        raise t.refuse(operator, "casts to no float32; only that is supported")
    value = t.value(operator)
    t.give(operator, "Cast", [value.name], value, to=1)


OPERATORS: dict[str, Translator] = {
    "ABS": _unary("Abs"),
    "ADD": _binary("Add"),
    "ADD_N": _binary("Sum"),
    "AVERAGE_POOL_2D": translate_average_pool,
    "BATCH_MATMUL": translate_batch_matmul,
    "CAST": translate_cast,
    "CONCATENATION": translate_concat,
    "CONV_2D": translate_conv,
    "DEPTHWISE_CONV_2D": translate_depthwise,
    "DIV": _binary("Div"),
    "ELU": _unary("Elu"),
    "EXP": _unary("Exp"),
    "EXPAND_DIMS": translate_reshape,
    "FULLY_CONNECTED": translate_fully_connected,
    "GELU": translate_gelu,
    "HARD_SWISH": _unary("HardSwish"),
    "L2_NORMALIZATION": translate_l2_norm,
    "LEAKY_RELU": translate_leaky_relu,
    "LOG": _unary("Log"),
    "LOGISTIC": _unary("Sigmoid"),
    "MAXIMUM": _binary("Max"),
    "MAX_POOL_2D": translate_max_pool,
    "MEAN": _reduction("ReduceMean"),
    "MINIMUM": _binary("Min"),
    "MIRROR_PAD": translate_mirror_pad,
    "MUL": _binary("Mul"),
    "NEG": _unary("Neg"),
    "PAD": translate_pad,
    "PADV2": translate_pad,
    "POW": _binary("Pow"),
    "PRELU": translate_prelu,
    "REDUCE_MAX": _reduction("ReduceMax"),
    "RELU": translate_relu(0, np.inf),
    "RELU6": translate_relu(0, 6),
    "RELU_N1_TO_1": translate_relu(-1, 1),
    "RESHAPE": translate_reshape,
    "RESIZE_BILINEAR": _resize("linear"),
    "RESIZE_NEAREST_NEIGHBOR": _resize("nearest"),
    "RSQRT": translate_rsqrt,
    "SLICE": translate_slice,
    "SOFTMAX": translate_softmax,
    "SPLIT": translate_split,
    "SPLIT_V": translate_split_v,
    "SQRT": _unary("Sqrt"),
    "SQUARE": translate_square,
    "SQUARED_DIFFERENCE": translate_squared_difference,
    "SQUEEZE": translate_reshape,
    "STRIDED_SLICE": translate_strided_slice,
    "SUB": _binary("Sub"),
    "SUM": _reduction("ReduceSum"),
    "TANH": _unary("Tanh"),
    "TRANSPOSE": translate_transpose,
    "TRANSPOSE_CONV": translate_transposed_conv,
}
