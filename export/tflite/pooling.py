"""Sliding windows in TFLite: their padding, pools, and padding by itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...models.graph.view import attribute
from .context import Context, Value
from .flatbuffer import REFLECT, SAME, SYMMETRIC, VALID

if TYPE_CHECKING:
    from onnx import NodeProto

Pair = tuple[int, int]


@dataclass(frozen=True)
class Windows:
    """How a kernel slides over height and width."""

    kernel: Pair
    stride: Pair
    dilation: Pair
    size: Pair  # of the image
    out: Pair  # of the result
    before: Pair  # padding at top and left
    after: Pair  # padding at bottom and right, as ONNX has it
    read: Pair  # rows and columns behind the image that a window really covers

    @property
    def is_valid(self) -> bool:
        """No window leaves the image: TFLite's VALID."""
        return self.before == self.read == (0, 0)

    @property
    def is_same(self) -> bool:
        """TFLite's SAME pads just so: it puts an odd row last, where PyTorch with stride 2 has it first."""
        return all(
            out == -(-size // stride) and before == (before + read) // 2
            for out, size, stride, before, read in zip(
                self.out, self.size, self.stride, self.before, self.read, strict=True
            )
        )

    @property
    def is_centred(self) -> bool:
        """Window i has its middle on pixel i * stride, on both axes."""
        return self.before == tuple((k - 1) // 2 for k in self.kernel) and all(
            out == -(-size // stride) for out, size, stride in zip(self.out, self.size, self.stride, strict=True)
        )

    @property
    def options(self) -> dict[str, Any]:
        """Padding and strides in the schema's words."""
        padding = SAME if self.is_same and not self.is_valid else VALID
        return {"padding": padding, "strideH": self.stride[0], "strideW": self.stride[1]}


def windows_of(context: Context, node: NodeProto, image: Value, kernel: Iterable[int]) -> Windows:
    """Reads kernel, strides, dilations and pads of `node`."""
    kernel = _pair(context, node, kernel)
    stride = _pair(context, node, attribute(node, "strides", (1, 1)))
    dilation = _pair(context, node, attribute(node, "dilations", (1, 1)))
    size, out = (image.shape[1], image.shape[2]), context.shape(node.output[0])[2:]
    # k taps that are d apart cover d (k - 1) + 1 rows, and the last window starts at row (out - 1) s.
    covered = [(out[i] - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1 for i in (0, 1)]
    pads = attribute(node, "pads", (0, 0, 0, 0))
    auto = attribute(node, "auto_pad", "NOTSET")
    if auto.startswith("SAME"):
        total = [max(covered[i] - size[i], 0) for i in (0, 1)]
        first = [(amount + (auto == "SAME_LOWER")) // 2 for amount in total]
        pads = (*first, total[0] - first[0], total[1] - first[1])
    if min(pads) < 0:
        raise context.refuse(node, f"has negative pads {list(pads)}; crop in front of it instead")
    before, after = (pads[0], pads[1]), (pads[2], pads[3])
    read = (max(covered[0] - size[0] - before[0], 0), max(covered[1] - size[1] - before[1], 0))
    return Windows(kernel, stride, dilation, size, (out[0], out[1]), before, after, read)


def emit_max_pool(context: Context, node: NodeProto) -> None:
    """Largest of each window; the padding never wins."""
    image, name = image_of(context, node), node.output[0]
    slide = windows_of(context, node, image, attribute(node, "kernel_shape"))
    _refuse_dilation(context, node, slide)
    if slide.is_valid or slide.is_same:  # TFLite's SAME leaves the padding out by itself
        _pool(context, name, "MAX_POOL_2D", image, slide)
    elif image.non_negative:
        _pool(context, name, "MAX_POOL_2D", pad_image(context, f"{name}/padded", image, slide), slide)
    elif slide.is_centred:  # zeros could win; but with stride 1 SAME is symmetric, and every second window is ours
        every = replace(slide, stride=(1, 1), out=slide.size, read=(slide.kernel[0] // 2, slide.kernel[1] // 2))
        every_shape = (1, *slide.size, image.shape[3])
        image = _pool(context, f"{name}/every", "MAX_POOL_2D", image, every, every_shape)
        _subsample(context, name, image, slide)
    else:
        raise context.refuse(
            node,
            f"pads {slide.before} and {slide.after} around values that may be negative; only "
            f"half the kernel {slide.kernel} on each side is supported there",
        )


def emit_average_pool(context: Context, node: NodeProto) -> None:
    """Mean of each window, over the padding too where `count_include_pad` says so."""
    image, name = image_of(context, node), node.output[0]
    slide = windows_of(context, node, image, attribute(node, "kernel_shape"))
    _refuse_dilation(context, node, slide)
    counts_padding = bool(attribute(node, "count_include_pad", 0))
    if slide.is_valid or (slide.is_same and not counts_padding):  # TFLite's SAME leaves the padding out by itself
        _pool(context, name, "AVERAGE_POOL_2D", image, slide)
        return
    down, across = (_taps(slide, axis, counts_padding) for axis in (0, 1))
    correction = np.outer(slide.kernel[0] / down, slide.kernel[1] / across)
    image = pad_image(context, f"{name}/padded", image, slide)
    if (correction == 1).all():
        _pool(context, name, "AVERAGE_POOL_2D", image, slide)
        return
    shape = (1, *slide.out, image.shape[3])
    pooled = _pool(context, f"{name}/pooled", "AVERAGE_POOL_2D", image, slide, shape)
    factors = context.writer.constant(f"{name}/correction", correction[None, :, :, None])
    context.emit(name, "MUL", [pooled.tensor, factors], non_negative=image.non_negative)


def emit_global_average(context: Context, node: NodeProto) -> None:
    """The mean over height and width."""
    image = image_of(context, node)
    inputs = [image.tensor, context.writer.constant(f"{node.output[0]}/axes", np.array([1, 2]))]
    context.emit(node.output[0], "MEAN", inputs, non_negative=image.non_negative, keepDims=True)


def emit_pad(context: Context, node: NodeProto) -> None:
    """ONNX's Pad with a constant, by reflection, or by repeating the edge."""
    value, mode, name = context.lying(node), attribute(node, "mode", "constant"), node.output[0]
    rank = len(value.shape)
    pads = attribute(node, "pads", None)  # an attribute before opset 11
    pads = np.asarray(context.constant(node, 1) if pads is None else pads)
    axes = context.constant(node, 3)
    amounts = np.zeros((rank, 2), int)
    amounts[np.arange(rank) if axes is None else axes] = pads.reshape(2, -1).T
    given = context.constant(node, 2)
    fill = float(attribute(node, "value", 0.0) if given is None else given.reshape(()))
    if value.flattened or mode not in ("constant", "reflect", "edge") or (amounts < 0).any():
        known = "constant, reflect and edge, >= 0, are supported, before an image is flattened"
        raise context.refuse(node, f"pads {pads.tolist()} in mode {mode!r}; {known}")
    amounts = amounts[list(value.order)]
    same: dict[str, Any] = dict(order=value.order, non_negative=value.non_negative)
    if mode == "edge":
        _repeat_edge(context, name, value, amounts)
        return
    inputs = [value.tensor, context.writer.constant(f"{name}/pads", amounts)]
    if mode == "reflect":
        context.emit(name, "MIRROR_PAD", inputs, mode=REFLECT, **same)
    elif fill == 0:
        context.emit(name, "PAD", inputs, **same)
    else:
        inputs.append(context.writer.constant(f"{name}/fill", np.array(fill)))
        context.emit(name, "PADV2", inputs, order=value.order, non_negative=value.non_negative and fill > 0)


def _repeat_edge(context: Context, name: str, value: Value, amounts: NDArray[np.int64]) -> None:
    """One more row or column at a time: by one, a mirror that takes the edge too repeats the edge."""
    for step in range(count := max(1, int(amounts.max()))):
        more = np.minimum(amounts - step, 1).clip(0)
        shape = [side + int(by.sum()) for side, by in zip(value.shape, more, strict=True)]
        inputs = [value.tensor, context.writer.constant(f"{name}/pads{step}", more)]
        label = name if step == count - 1 else f"{name}/step{step}"
        same: dict[str, Any] = dict(order=value.order, non_negative=value.non_negative, mode=SYMMETRIC)
        value = context.emit(label, "MIRROR_PAD", inputs, shape, **same)


def pad_image(context: Context, name: str, image: Value, slide: Windows) -> Value:
    """Emits the padding that TFLite's own SAME cannot express, no wider than the windows read."""
    rows, columns = zip(slide.before, slide.read, strict=True)
    amounts = np.array([(0, 0), rows, columns, (0, 0)])
    shape = [side + sum(amount) for side, amount in zip(image.shape, amounts.tolist(), strict=True)]
    inputs = [image.tensor, context.writer.constant(f"{name}/pads", amounts)]
    return context.emit(name, "PAD", inputs, shape, non_negative=image.non_negative)


def _pool(
    context: Context,
    name: str,
    code: str,
    image: Value,
    slide: Windows,
    shape: tuple[int, ...] | None = None,
) -> Value:
    if slide.kernel == (1, 1):  # not XNNPACK's idea of a pool
        return _subsample(context, name, image, slide)
    options: dict[str, Any] = slide.options | {
        "filterHeight": slide.kernel[0],
        "filterWidth": slide.kernel[1],
    }
    if image.shape[1:3] != slide.size:  # it was padded on the way
        options["padding"] = VALID
    return context.emit(name, code, [image.tensor], shape, non_negative=image.non_negative, **options)


def _subsample(context: Context, name: str, image: Value, slide: Windows) -> Value:
    """Takes every stride-th pixel, by a depthwise convolution with one weight of 1."""
    channels = image.shape[3]
    tensors = [
        image.tensor,
        context.writer.constant(f"{name}/ones", np.ones((1, 1, 1, channels))),
        context.writer.constant(f"{name}/zeros", np.zeros(channels)),
    ]
    options: dict[str, Any] = {
        "padding": VALID,
        "strideH": slide.stride[0],
        "strideW": slide.stride[1],
        "depthMultiplier": 1,
    }
    return context.emit(name, "DEPTHWISE_CONV_2D", tensors, non_negative=image.non_negative, **options)


def _taps(slide: Windows, axis: int, counts_padding: bool) -> NDArray[np.float64]:
    """Gives (out,) what each window divides by: its taps on the image, or also those on the padding."""
    low = -slide.before[axis] if counts_padding else 0
    high = slide.size[axis] + (slide.after[axis] if counts_padding else 0)
    first = np.arange(slide.out[axis]) * slide.stride[axis] - slide.before[axis]
    taps = first[:, None] + np.arange(slide.kernel[axis])
    counts: NDArray[np.float64] = ((taps >= low) & (taps < high)).sum(axis=1).astype(np.float64)
    return counts


def image_of(context: Context, node: NodeProto) -> Value:
    """Gives the node's first input, which must be of rank 4."""
    image = context.value(node)
    if len(image.shape) != 4:
        raise context.refuse(node, f"reads a tensor of rank {len(image.shape)}; only images are supported there")
    return image


def _pair(context: Context, node: NodeProto, values: Iterable[int]) -> Pair:
    values = tuple(values)
    if len(values) != 2:
        raise context.refuse(node, f"has a window of {len(values)} dimensions; only images are supported, with 2")
    return values[0], values[1]


def _refuse_dilation(context: Context, node: NodeProto, slide: Windows) -> None:
    if slide.dilation != (1, 1):
        raise context.refuse(node, f"has dilation {slide.dilation}; TFLite's pools have none")
