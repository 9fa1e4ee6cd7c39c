"""Reported faults of Apple's runtimes: the program forms that trigger them, found in any package.

None of the reports can be checked without Apple's hardware; each names its source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .mil_node import LEAST
from .package import Package, import_protobuf, is_half, read_package, read_value

ACTIVATIONS = ("relu", "relu6", "prelu", "leaky_relu", "sigmoid", "sigmoid_hard", "tanh", "gelu", "silu", "clip", "elu")


@dataclass(frozen=True)
class Program:
    """A package's operations, and which of them compute and read each value."""

    package: Package
    makers: Mapping[str, Any]
    readers: Mapping[str, tuple[Any, ...]]

    def maker(self, operation: Any, key: str) -> Any | None:
        """Gives the operation that makes an input; None where the input is written in place, or the program's own."""
        arguments = operation.inputs[key].arguments if key in operation.inputs else ()
        return self.makers.get(arguments[0].name) if arguments else None

    def value(self, operation: Any, key: str, default: Any) -> Any:
        """Gives a constant input, an attribute, or the default."""
        written = self._written(operation, key)
        return default if written is None else read_value(self.package, written)

    def kind(self, operation: Any, key: str) -> tuple[str, tuple[int, ...]]:
        """Gives type and shape of an input or attribute, "" where it is left out."""
        maker = self.maker(operation, key)
        typed = self._written(operation, key) if maker is None else maker.outputs[0]
        if typed is None:
            return "", ()
        tensor = typed.type.tensorType
        shape = tuple(int(dimension.constant.size) for dimension in tensor.dimensions)
        return str(import_protobuf().MIL_pb2.DataType.Name(tensor.dataType)), shape

    def _written(self, operation: Any, key: str) -> Any | None:
        """Gives a constant, wherever the program writes it."""
        maker = self.maker(operation, key)
        if maker is not None:
            return maker.attributes["val"] if maker.type == "const" else None
        arguments = operation.inputs[key].arguments if key in operation.inputs else ()
        if arguments:
            return arguments[0].value if arguments[0].WhichOneof("binding") == "value" else None
        return operation.attributes[key] if key in operation.attributes else None


@dataclass(frozen=True)
class KnownIssue:
    """A program form that some runtime gets wrong."""

    operations: tuple[str, ...]
    applies: Callable[[Program, Any], bool]
    sentence: str


def known_issues_of(path: Path) -> tuple[str, ...]:
    """Gives a sentence for each doubtful form in the package at `path`, with how often it occurs.

    Raises:
        ValueError: It is missing, damaged, or no ML program.
    """
    package = read_package(Path(path))
    operations = list(package.program.operations)
    makers = {result.name: operation for operation in operations for result in operation.outputs}
    readers: dict[str, tuple[Any, ...]] = {}
    for operation in operations:
        for argument in operation.inputs.values():
            for binding in argument.arguments:
                readers[binding.name] = (*readers.get(binding.name, ()), operation)
    program = Program(package, makers, readers)
    notes = [
        f"{count} x {issue.sentence}"
        for issue in KNOWN_ISSUES
        if (count := sum(one.type in issue.operations and issue.applies(program, one) for one in operations))
    ]
    if any(_is_flexible(port) for port in package.model.description.input):
        notes.append(FLEXIBLE)
    return tuple(notes)


def _is_flexible(port: Any) -> bool:
    kind = port.type.WhichOneof("Type")
    field = {"multiArrayType": "ShapeFlexibility", "imageType": "SizeFlexibility"}.get(kind)
    return field is not None and getattr(port.type, kind).WhichOneof(field) is not None


def _is_grouped(program: Program, conv: Any) -> bool:
    groups = int(program.value(conv, "groups", 1))
    _, shape = program.kind(conv, "weight")
    followed = any(one.type in ACTIVATIONS for one in program.readers.get(conv.outputs[0].name, ()))
    return len(shape) > 1 and 1 < groups < shape[1] * groups and followed


def _counts_padding(program: Program, pool: Any) -> bool:
    padded = program.value(pool, "pad_type", "valid") == "custom" and any(program.value(pool, "pad", ()))
    return bool(padded and not program.value(pool, "exclude_padding_from_average", False))


def _squares_unscaled(program: Program, operation: Any) -> bool:
    maker = program.maker(operation, "x")
    return is_half(operation.outputs[0]) and (maker is None or maker.type != "real_div")


def _has_tiny_epsilon(program: Program, operation: Any) -> bool:
    return is_half(operation.outputs[0]) and 0 < float(program.value(operation, "epsilon", 1e-5)) < float(LEAST)


def _has_blocks(program: Program, operation: Any) -> bool:
    kind, _ = program.kind(operation, "data")
    _, shape = program.kind(operation, "scale")
    return kind in ("INT8", "UINT8") and sum(size > 1 for size in shape) > 1


def _scales_palette(program: Program, operation: Any) -> bool:
    """Scales are applied to what the palette gives, or, as coremltools 9 writes it, to the palette itself."""
    nested = {"constexpr_blockwise_shift_scale": "data", "constexpr_lut_to_dense": "lut"}
    maker = program.maker(operation, nested[operation.type])
    return maker is not None and maker.type in nested and maker.type != operation.type


def _has_sixteen(program: Program, operation: Any) -> bool:
    _, shape = program.kind(operation, "lut")
    return bool(shape == (16,) or shape[-2:-1] == (16,))  # of iOS 18: axes for groups before, and vectors after


def _stored_as(kind: str) -> Callable[[Program, Any], bool]:
    return lambda program, operation: program.kind(operation, "quantized_data")[0] == kind


KNOWN_ISSUES = (
    KnownIssue(
        ("constexpr_affine_dequantize",),
        _stored_as("INT8"),
        "weights in int8: wrong results reported on GPU and Neural Engine; store them as uint8 (coremltools 2114)",
    ),
    KnownIssue(
        ("constexpr_affine_dequantize",),
        _stored_as("UINT8"),
        "weights in uint8: right where int8 is wrong, by one report wrong on GPU; check on a phone (coremltools 2114)",
    ),
    KnownIssue(
        ("constexpr_blockwise_shift_scale",),
        _has_blocks,
        "weights of 8 bits with a scale for each block: wrong on Neural Engine; use one a channel (coreai-models 279)",
    ),
    KnownIssue(
        ("constexpr_blockwise_shift_scale", "constexpr_lut_to_dense"),
        _scales_palette,
        "palette with a scale for each channel: crashes the Neural Engine of macOS 26 (coremltools 2688)",
    ),
    KnownIssue(
        ("constexpr_lut_to_dense",),
        _has_sixteen,
        "palette of 4 bits: reported crashing or wrong; check on a phone, or use 6 bits (coremltools 2716)",
    ),
    KnownIssue(
        ("conv",),
        _is_grouped,
        "convolution in groups of several channels, then an activation: reported wrong (onnx2coreml's known failures)",
    ),
    KnownIssue(
        ("avg_pool",),
        _counts_padding,
        "mean that counts padding: wrong for 7 x 7, stride 4, padding 3 (coremltools 1901)",
    ),
    KnownIssue(
        ("reduce_l2_norm", "reduce_sum_square", "l2_norm"),
        _squares_unscaled,
        "sum of squares in half precision: infinite from a length of 256 on; divide by the largest number before",
    ),
    KnownIssue(
        ("layer_norm", "instance_norm", "l2_norm"),
        _has_tiny_epsilon,
        "epsilon below 6.1e-5 in half precision: hardware may take it for zero, and divide by it where all is alike",
    ),
)
FLEXIBLE = "its input has no fixed shape: keeps the network off the Neural Engine; fix it (coremltools 1764, 2022)"
