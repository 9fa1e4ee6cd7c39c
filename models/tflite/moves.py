"""What moves values without computing: reshapes, transposes, joins and cuts; and what only computes shapes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .tflite_graph import Array, TfliteOperator
from .translation import AXIS_TO_FIRST, FIRST, Translated, Translation

END = np.iinfo(np.int64).max  # of a Slice: to the last


def translate_reshape(t: Translation, operator: TfliteOperator) -> None:
    """A new shape; an image that becomes a row stays in its order, as its readers know."""
    value, source, target = t.value(operator), t.shape(operator), t.result_shape(operator)
    if int(np.prod(source)) != int(np.prod(target)):
        raise t.refuse(operator, f"turns {source} into {target}; shapes must be fixed when the file is written")
    if value.first and len(target) == 2 and target == (source[0], int(np.prod(source[1:]))):
        image = None if source[1] == source[2] == 1 or source[3] == 1 else source[1:]
        known = Translated("", image=(image[0], image[1], image[2]) if image else None)
        t.give(operator, "Reshape", [value.name, t.sides(target)], known)
        return
    if value.image is not None and target[1:] == value.image:
        height, width, channels = value.image
        t.give(operator, "Reshape", [value.name, t.sides((target[0], channels, height, width))], FIRST)
        return
    if len(target) == 4 and target[1] == target[2] == 1:  # a row becomes an image of one pixel
        t.give(operator, "Reshape", [t.plain(operator), t.sides((target[0], target[3], 1, 1))], FIRST)
        return
    if value.first and source == target:
        t.put(operator, value.name, value)
        return
    t.give(operator, "Reshape", [t.plain(operator), t.sides(target)])


def translate_transpose(t: Translation, operator: TfliteOperator) -> None:
    """Axes in another order."""
    t.give(operator, "Transpose", [t.plain(operator)], perm=t.constant(operator, 1).tolist())


def translate_concat(t: Translation, operator: TfliteOperator) -> None:
    """Joins tensors along an axis."""
    places = range(len(operator.inputs))
    rank = len(t.result_shape(operator))
    axis = operator.options.axis % rank
    if rank == 4 and any(t.value(operator, place).first for place in places):
        t.give(operator, "Concat", [t.image(operator, place) for place in places], FIRST, axis=_first_axis(axis))
        return
    t.give(operator, "Concat", [t.plain(operator, place) for place in places], axis=axis)


def translate_split(t: Translation, operator: TfliteOperator) -> None:
    """Cuts into equal parts along an axis."""
    _translate_parts(t, operator, 1, t.constant(operator, 0), [t.tensor(index).shape for index in operator.outputs])


def translate_split_v(t: Translation, operator: TfliteOperator) -> None:
    """Cuts into parts of given lengths along an axis."""
    _translate_parts(t, operator, 0, t.constant(operator, 2), [t.tensor(index).shape for index in operator.outputs])


def _translate_parts(
    t: Translation, operator: TfliteOperator, place: int, axes: Array, shapes: list[tuple[int, ...]]
) -> None:
    value, axis = t.value(operator, place), int(axes.reshape(-1)[0]) % len(shapes[0])
    ends = np.cumsum([shape[axis] for shape in shapes]).tolist()
    lies = Translated("", first=value.first)
    name = value.name if value.first else t.plain(operator, place)
    axis = _first_axis(axis) if value.first else axis
    for part, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        label = t.tensor(operator.outputs[part]).name
        inputs = [name, *(t.numbers([number]) for number in (start, end, axis))]
        t.put(operator, t.node("Slice", inputs, label), lies, part)


def translate_slice(t: Translation, operator: TfliteOperator) -> None:
    """Cuts a box out of a tensor: its first corner and its size."""
    begin, size = t.constant(operator, 1), t.constant(operator, 2)
    ends = [END if side < 0 else int(start + side) for start, side in zip(begin, size, strict=True)]
    _translate_box(t, operator, begin.tolist(), ends, [1] * len(ends))


def translate_strided_slice(t: Translation, operator: TfliteOperator) -> None:
    """Cuts a box out of a tensor: its corners and steps."""
    options, rank = operator.options, len(t.shape(operator))
    if options.ellipsisMask or options.newAxisMask or options.shrinkAxisMask or getattr(options, "offset", False):
        raise t.refuse(operator, "adds or drops axes; only a box of as many axes is supported")
    begin, end, steps = (t.constant(operator, place).tolist() for place in (1, 2, 3))
    if len(begin) != rank or min(steps) < 1:
        raise t.refuse(operator, "runs backwards, or over some of the axes; only a box of as many axes is supported")
    begin = [0 if options.beginMask >> axis & 1 else begin[axis] for axis in range(rank)]
    end = [END if options.endMask >> axis & 1 else end[axis] for axis in range(rank)]
    _translate_box(t, operator, begin, end, steps)


def _translate_box(
    t: Translation, operator: TfliteOperator, begin: list[int], end: list[int], steps: list[int]
) -> None:
    value = t.value(operator)
    name = value.name if value.first else t.plain(operator)
    axes = [_first_axis(axis) if value.first else axis for axis in range(len(begin))]
    inputs = [name, *(t.numbers(numbers) for numbers in (begin, end, axes, steps))]
    t.give(operator, "Slice", inputs, Translated("", first=value.first))


def _first_axis(axis: int) -> int:
    """Gives where an axis of NHWC lies in NCHW."""
    return AXIS_TO_FIRST[axis]


def folded(t: Translation, operator: TfliteOperator) -> Array | None:
    """Gives the result of an operator that only computes with what is known, or None.

    Files whose batch was free compute the shapes of their reshapes from it.
    """
    if operator.code == "SHAPE":
        return np.array(t.shape(operator), np.int32)
    fold = FOLDS.get(operator.code)
    if fold is None or not all(index in t.constants for index in operator.inputs if index >= 0):
        return None
    return fold(operator, [t.constants[index] for index in operator.inputs if index >= 0])


def _fold_strided_slice(operator: TfliteOperator, inputs: list[Array]) -> Array:
    values, begin, end, steps = inputs
    options = operator.options
    box: list[slice | int] = []
    for axis in range(len(begin)):
        if options.shrinkAxisMask >> axis & 1:
            box.append(int(begin[axis]))
            continue
        start = None if options.beginMask >> axis & 1 else int(begin[axis])
        stop = None if options.endMask >> axis & 1 else int(end[axis])
        box.append(slice(start, stop, int(steps[axis])))
    return np.asarray(values[tuple(box)])


FOLDS: dict[str, Callable[[TfliteOperator, list[Array]], Array]] = {
    "CAST": lambda operator, inputs: inputs[0],
    "CONCATENATION": lambda operator, inputs: np.concatenate(inputs, operator.options.axis),
    "DEQUANTIZE": lambda operator, inputs: inputs[0].astype(np.float32),
    "EXPAND_DIMS": lambda operator, inputs: np.expand_dims(inputs[0], int(inputs[1].reshape(-1)[0])),
    "PACK": lambda operator, inputs: np.stack(inputs, operator.options.axis),
    "RESHAPE": lambda operator, inputs: inputs[0].reshape(inputs[1].tolist()),
    "STRIDED_SLICE": _fold_strided_slice,
    "TRANSPOSE": lambda operator, inputs: inputs[0].transpose(inputs[1].tolist()),
}
"""What is computed when the file is read, where all its inputs are known; a DEQUANTIZE only widens halves."""
